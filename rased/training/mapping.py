"""Train a network that maps features of the noisy spectrum to features of the target.

Y. Xu, J. Du, L.-R. Dai, C.-H. Lee, "An experimental study on speech enhancement based on deep
neural networks", IEEE SPL 2014: log-power regression with global normalisation. With mixtures, the statistics
come from the first batches of the training stream. With a file of frames, training uses single frames in random
order and the statistics of the whole file, as in the paper.
"""

from typing import cast

from jaxtyping import Float
from torch import Tensor

from rased.data.frames.datamodule import FramesDataModule
from rased.data.frames.file import FrameFile
from rased.data.mixtures.sample import FrameBatch, Mixture
from rased.errors import RasedError
from rased.layers.frontend import Moments
from rased.losses.base import Loss
from rased.losses.mask import OutputMSE
from rased.models.frequency import FrequencyDomainEnhancer
from rased.training.base import Enhancement


class MappingEnhancement(Enhancement):
    """Trains on the ideal output (log-power, magnitude), or on the resulting spectrum.

    A file of frames has no spectrum, so it trains on the ideal log-power.
    """

    def default_loss(self) -> Loss:
        """Return a regression loss in the domain of the network's output."""
        return OutputMSE()

    def setup(self, stage: str) -> None:
        """Configure a file of frames to deliver the inputs of this network.

        Raises:
            RasedError: this enhancer cannot be trained from that file.
        """
        data = self._frames_data()
        if data is not None:
            self._check_frames(data.frames)
            inputs = self._mapping.inputs.settings
            data.show(
                past=inputs.past_frames,
                future=inputs.future_frames,
                noise_frames=inputs.noise_frames,
            )

    def fit_statistics(self) -> None:
        """Use the statistics of the file of frames, or compute them from mixtures."""
        data = self._frames_data()
        if data is None:
            super().fit_statistics()
            return
        noisy, target = (data.frames.statistics[name] for name in ("noisy", "target"))
        # The file may hold further features; the network estimates the log-power alone.
        columns = self._mapping.features.columns("log_power", self._mapping.stft.freq)
        self._mapping.set_statistics(
            of_features=noisy,
            of_targets=Moments(target.count, target.mean[columns], target.variance[columns]),
        )

    def losses(self, batch: Mixture | FrameBatch, player: str) -> dict[str, Float[Tensor, ""]]:
        """Compute the loss from mixtures or from frames."""
        if "windows" not in batch:
            return super().losses(batch, player)
        frames = cast(FrameBatch, batch)
        output = self._mapping.predict_windows(frames["windows"], frames["noise"])
        target = self._mapping.log_power_of(frames["target"])
        # The enhancer expects (batch, freq, frames): every frame is an item with one frame.
        ideal = self._mapping.standardised(target[..., None])
        return self.loss.terms({"output": (output, ideal)})

    def rows(self, batch: Mixture | FrameBatch) -> int:
        """Return the number of items or frames in a batch."""
        if "windows" not in batch:
            return super().rows(batch)
        return len(cast(FrameBatch, batch)["windows"])

    def seconds(self, batch: Mixture | FrameBatch) -> float:
        """Return the length of the audio in a batch; a frame counts as one hop."""
        if "windows" not in batch:
            return super().seconds(batch)
        hop_length = self._mapping.stft.hop_length
        return len(batch["windows"]) * hop_length / self.enhancer.sample_rate  # type: ignore[typeddict-item]

    @property
    def _mapping(self) -> FrequencyDomainEnhancer:
        return cast(FrequencyDomainEnhancer, self.enhancer)

    def _frames_data(self) -> FramesDataModule | None:
        data = getattr(self.trainer, "datamodule", None)
        return data if isinstance(data, FramesDataModule) else None

    def _check_frames(self, file: FrameFile) -> None:
        enhancer, framing = self.enhancer, file.framing
        others = [domain for domain in self.loss.domains if domain != "output"]
        if others:
            raise RasedError(
                f"the loss {type(self.loss).__name__} compares the {others[0]}, which a file of frames lacks: "
                "add -c loss/output."
            )
        if not isinstance(enhancer, FrequencyDomainEnhancer) or enhancer.target != "log_power":
            raise RasedError(
                f"{type(enhancer).__name__} does not map frames to log-power: choose a model such as "
                "model/dnn-mapping, or train on mixtures (-c data/bundle)."
            )
        inputs, network = enhancer.inputs.settings, enhancer.network
        like = next(enhancer.parameters())
        if (
            inputs.normalisation != "global"
            or inputs.noise == "dynamic"
            # Frames in random order have no state of the frame before, and none to look ahead to.
            or enhancer.conditions
            or network.initial_state(1, like)
            or not network.causal
        ):
            raise RasedError(
                "training on single frames needs a network without memory, inputs.normalisation global, and noise none "
                "or static: choose a model such as model/dnn-mapping, or train on mixtures (-c data/bundle)."
            )
        for name, ours, theirs in (
            ("features", enhancer.features, framing.features),
            ("stft", enhancer.stft, framing.stft),
            ("sample_rate", enhancer.sample_rate, framing.sample_rate),
        ):
            if ours != theirs:
                raise RasedError(
                    f"the {name} of the model and of '{file.path}' differ ({ours}; {theirs}): write the file again "
                    "with the settings of the model (see `rased data frames --help`)."
                )
