"""Heads: linear layers that predict auxiliary targets from hidden features of an enhancer, for training alone."""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.construction import Remembered
from rased.data.mixtures.sample import Mixture, reference
from rased.errors import RasedError
from rased.signal import features, masks, ratios
from rased.signal.levels import SILENT
from rased.signal.stft import STFT
from rased.training.hidden import Hidden, pooled
from rased.training.suitable import check_numbers

Wanted = Float[Tensor, "batch parts outputs"]


class Head(Remembered, nn.Module):
    """Base class: predicts one auxiliary target. Subclasses define `wanted` and `distance`.

    Args:
        outputs: numbers for each frame of the target.
        weight: weight of this target in what the enhancer minimises.
    """

    def __init__(self, outputs: int, weight: float) -> None:
        super().__init__()
        check_numbers("weight of a head", weight=(weight, 0, None))
        self.outputs, self.weight = outputs, weight

    def connect(self, width: int, sample_rate: int) -> None:
        """Make the layer for a number of hidden features, and set the sample rate of the targets in Hz."""
        self.sample_rate = sample_rate
        self.layer: nn.Module = nn.Linear(width, self.outputs)

    def forward(self, hidden: Hidden, count: int) -> Wanted:
        """Return the prediction for a number of equal parts of the time."""
        predicted: Tensor = self.layer(pooled(hidden, count))
        return predicted

    def wanted(self, batch: Mixture) -> Wanted:
        """Return the target for a batch."""
        raise NotImplementedError(f"{type(self).__name__} must define wanted(batch)")

    def distance(self, predicted: Wanted, wanted: Wanted) -> Float[Tensor, ""]:
        """Return the distance of a prediction from the target."""
        raise NotImplementedError(f"{type(self).__name__} must define distance(predicted, wanted)")

    def loss(self, hidden: Hidden, batch: Mixture) -> Float[Tensor, ""]:
        """Return the distance for a batch."""
        wanted = self.wanted(batch)
        return self.distance(self(hidden, wanted.shape[1]), wanted)


def snr_db(batch: Mixture, range_db: tuple[float, float]) -> Float[Tensor, " batch"]:
    """Return the signal-to-noise ratio of each input in dB; everything that is not target is noise.

    Args:
        batch: the mixtures.
        range_db: ratios beyond it count as its ends: a mixture without speech or without noise has an infinite one.
    """
    noisy, target = reference(batch["noisy"]).float(), batch["target"].float()
    return ratios.snr(estimate=noisy, target=target).clamp(*range_db)


def check_range(range_db: tuple[float, float]) -> None:
    """Check a range of ratios.

    Raises:
        RasedError: the range is empty.
    """
    if not range_db[0] < range_db[1]:
        raise RasedError(f"range_db is {list(range_db)}; the lower end must come first.")


class SNRHead(Head):
    """The signal-to-noise ratio of the input, one number for each mixture: see `snr_db`.

    Its distance is the mean absolute error in units of 10 dB.

    Args:
        range_db: see `snr_db`.
        weight: see `Head`.

    Raises:
        RasedError: the range is empty.
    """

    def __init__(self, range_db: tuple[float, float] = (-20.0, 40.0), weight: float = 0.1) -> None:
        super().__init__(1, weight)
        check_range(range_db)
        self.range_db = range_db

    def wanted(self, batch: Mixture) -> Wanted:
        """Return the ratios in units of 10 dB."""
        # (batch, 1 part, 1 output).
        return snr_db(batch, self.range_db)[:, None, None] / 10

    def distance(self, predicted: Wanted, wanted: Wanted) -> Float[Tensor, ""]:
        """Return the mean absolute error."""
        return functional.l1_loss(predicted, wanted)


class ActivityHead(Head):
    """Whether there is speech, for each frame of the target; its distance is the cross-entropy.

    Args:
        frame_length: samples in a frame.
        margin_db: a frame has speech if its level is within this distance of the loudest frame.
        weight: see `Head`.
    """

    def __init__(
        self, frame_length: int = 320, margin_db: float = 30.0, weight: float = 0.1
    ) -> None:
        super().__init__(1, weight)
        check_numbers(
            "a head", frame_length=(frame_length, 1, None), margin_db=(margin_db, 0, None)
        )
        self.frame_length, self.margin_db = frame_length, margin_db

    def wanted(self, batch: Mixture) -> Wanted:
        """Return 1 for frames with speech, else 0; all of a silent target is 0."""
        target = batch["target"].float()
        # Fills the last frame.
        missing = -target.shape[-1] % self.frame_length
        frames = functional.pad(target, (0, missing)).unflatten(-1, (-1, self.frame_length))
        level = frames.square().mean(-1, keepdim=True).sqrt()
        # Relative to the loudest frame of the row, but never below the level of silence.
        least = level.amax(1, keepdim=True) * 10 ** (-self.margin_db / 20)
        return (level >= least.clamp_min(SILENT)).float()

    def distance(self, predicted: Wanted, wanted: Wanted) -> Float[Tensor, ""]:
        """Return the cross-entropy."""
        return functional.binary_cross_entropy_with_logits(predicted, wanted)


class MaskHead(Head):
    """The ideal binary mask (Wang 2005), for each bin of a spectrum; its distance is the cross-entropy.

    Args:
        stft: the transform of the mask; it need not be that of the enhancer.
        weight: see `Head`.
    """

    def __init__(self, stft: STFT = STFT(), weight: float = 0.1) -> None:  # noqa: B008 - a frozen value
        super().__init__(stft.freq, weight)
        self.stft = stft

    def wanted(self, batch: Mixture) -> Wanted:
        """Return 1 for bins that speech dominates, else 0."""
        noisy, target = (
            self.stft.analysis(part.float())
            for part in (reference(batch["noisy"]), batch["target"])
        )
        # (batch, freq, frames) to (batch, frames, freq).
        return masks.binary_mask(target=target, noisy=noisy).mT

    def distance(self, predicted: Wanted, wanted: Wanted) -> Float[Tensor, ""]:
        """Return the cross-entropy."""
        return functional.binary_cross_entropy_with_logits(predicted, wanted)


class LogMelHead(Head):
    """The logarithm of the power of the target in mel bands; its distance is the mean absolute error in bels.

    Args:
        bands: number of mel bands.
        stft: the transform; it need not be that of the enhancer.
        weight: see `Head`.
    """

    def __init__(
        self,
        bands: int = 40,
        stft: STFT = STFT(),  # noqa: B008 - a frozen value
        weight: float = 0.1,
    ) -> None:
        super().__init__(bands, weight)
        self.bands, self.stft = bands, stft

    def wanted(self, batch: Mixture) -> Wanted:
        """Return the logarithms to the base 10."""
        spectrum = self.stft.analysis(batch["target"].float())
        # Natural logarithms.
        logs = features.log_mel_power(spectrum, bands=self.bands, sample_rate=self.sample_rate)
        return logs.mT / math.log(10)

    def distance(self, predicted: Wanted, wanted: Wanted) -> Float[Tensor, ""]:
        """Return the mean absolute error."""
        return functional.l1_loss(predicted, wanted)
