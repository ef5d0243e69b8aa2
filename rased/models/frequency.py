"""Features, inputs, network, phase, post-processing: the frequency-domain enhancer, in five parts.

What the network predicts (`target`) is the choice beside them. Each part is one YAML line, any
sensible combination runs, and one that makes no sense is refused when it is built. The map of the
field it follows: H. Shi, "Research and analysis of speech enhancement or dereverberation" (RA-SED),
2020.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from rased.errors import RasedError
from rased.layers.features import FEATURES
from rased.layers.frontend import Features, Inputs, InputStage, Moments
from rased.layers.level import Level
from rased.layers.network import Network
from rased.layers.targets import TARGETS, Target, TargetName
from rased.models.base import Condition, Generators, Prediction, SpectralEnhancer, State
from rased.signal import features as feature
from rased.signal.domains import Domain, Spectrum, Waveform
from rased.signal.phase import griffin_lim, project_consistent
from rased.signal.state import joined, parted
from rased.signal.stft import STFT


@dataclass(frozen=True)
class Phase:
    """Whose phase the output gets.

    Attributes:
        source: "noisy" for real masks and mappings, "predicted" for complex ones, which bring their
            own.
        griffin_lim_iterations: refinements of that phase towards the magnitude (not causal); 0 for
            none.
        consistent: whether losses see the spectrum of the waveform that is heard (Wisdom 2019)
            instead of the network's own; the waveform is the same.
    """

    source: Literal["noisy", "predicted"] = "noisy"
    griffin_lim_iterations: int = 0
    consistent: bool = False


@dataclass(frozen=True)
class PostProcessing:
    """What is done to the result.

    Attributes:
        attenuation_limit_db: nothing is attenuated by more than this: the rest of the noisy input
            stays, which hides musical noise; None for no limit.
    """

    attenuation_limit_db: float | None = None

    def __call__(self, estimate: Spectrum, noisy: Spectrum) -> Spectrum:
        """The spectrum to be heard."""
        if self.attenuation_limit_db is None:
            return estimate
        return torch.lerp(estimate, noisy, 10.0 ** (-self.attenuation_limit_db / 20.0))


class FrequencyDomainEnhancer(SpectralEnhancer):
    """Features, inputs, network, phase, post-processing.

    Args:
        network: what maps inputs to outputs; called with the two sizes (`Network`).
        features: what the network sees of a frame.
        inputs: normalisation, context, noise estimate.
        target: what the network predicts: a name of `targets.TARGETS`, or a target of one's own.
        phase: whose phase the output gets.
        post_processing: what is done to the result.
        stft: the transform.
        sample_rate: Hz.
        residual: predict how the log-power differs from the noisy one (Tu and Zhang, "Speech enhancement
            based on deep neural networks with skip connections", ICASSP 2017): learns in minutes.
        level: the level that the five parts see the waveform at; undone at the output. None: as it comes.

    Raises:
        RasedError: parts that make no sense together.
    """

    target_mean: Float[Tensor, " freq"]
    target_std: Float[Tensor, " freq"]
    fitted: Bool[Tensor, ""]
    level: Level | None = None
    domains: tuple[Domain, ...] = ("waveform", "spectrum", "output")

    def __init__(
        self,
        network: Callable[[int, int], Network],
        *,
        features: Features = Features(),  # noqa: B008 (frozen, as the others)
        inputs: Inputs = Inputs(),  # noqa: B008
        target: TargetName | Target = "ratio_mask",
        phase: Phase = Phase(),
        post_processing: PostProcessing = PostProcessing(),
        stft: STFT = STFT(),  # noqa: B008
        sample_rate: int = 16_000,
        residual: bool = False,
        level: Level | None = None,
    ) -> None:
        meaning = TARGETS[target]() if isinstance(target, str) else target
        name = target if isinstance(target, str) else type(target).__name__
        _refuse_nonsense(features, inputs, name, meaning, phase)
        if residual and not meaning.standardised:
            raise RasedError(
                f"residual is for the target log_power, and target is '{name}': write residual: false."
            )
        super().__init__(stft=stft, sample_rate=sample_rate, lookahead=inputs.future_frames)
        self.features = features
        parts = 2 if all(part.signed for part in features.parts) else 1
        self.inputs = InputStage(
            inputs, features.size(stft.freq), sample_rate / stft.hop_length, parts=parts
        )
        self.network = network(self.inputs.outputs, meaning.size(stft.freq))
        self.target, self.meaning = target, meaning
        self.residual = residual
        self.level = level
        self.phase = phase
        self.post_processing = post_processing
        self.paper = self.network.paper
        self.published_parameters = self.network.published_parameters
        self.register_buffer("fitted", torch.tensor(False))
        if meaning.standardised:
            self.register_buffer("target_mean", torch.zeros(stft.freq))
            self.register_buffer("target_std", torch.ones(stft.freq))
        whole = inputs.normalisation == "utterance" or phase.griffin_lim_iterations > 0
        whole = whole or (level is not None and not level.running)
        if whole or not self.network.causal:
            self.latency = self.chunk_length = None

    def process(self, spectrum: Spectrum, state: State) -> tuple[Prediction, State]:
        """The five parts in a row; the result is `future_frames` frames late."""
        parts = parted(state)
        values = self.features(spectrum, self.sample_rate)
        inputs, inputs_state = self.inputs(values, parts["inputs"])
        output, network_state = self.network(inputs, parts["network"])
        noisy, delay = delayed(spectrum, parts["delay"])
        prediction = self.interpret(
            rearrange(output.float(), "batch frames out -> batch out frames"), noisy
        )
        assert prediction.spectrum is not None
        refined = self.post_processing(self.refine_phase(prediction.spectrum), noisy)
        after = joined({"inputs": inputs_state, "network": network_state, "delay": delay})
        return replace(prediction, spectrum=refined), after

    def initial_process_state(self, batch: int) -> State:
        """States of the inputs and the network, and silence in the delay."""
        like = next(self.parameters())
        silence = like.new_zeros(batch, self.stft.freq, self.inputs.future_frames, 2)
        return joined(
            {
                "inputs": self.inputs.initial_state(batch, like),
                "network": self.network.initial_state(batch, like),
                "delay": {"memory": silence} if silence.numel() else {},
            }
        )

    def predict(
        self,
        noisy: Waveform,
        *,
        condition: Condition | None = None,
        generator: Generators | None = None,
    ) -> Prediction:
        """As every `SpectralEnhancer`; silence stands behind the end.

        With a `level`, `output` is at that level, and `spectrum` is that of the estimate.
        """
        time, gains = noisy.shape[-1], self._gains(noisy)
        noisy_spectrum = self.stft.analysis(noisy if gains is None else noisy * gains)
        spectral = self.predict_spectrum(noisy_spectrum)
        spectrum = spectral.spectrum
        assert spectrum is not None
        estimate = self.stft.synthesis(spectrum, time)
        if gains is not None:
            estimate = estimate / gains
            noisy_spectrum, spectrum = self.stft.analysis(noisy), self.stft.analysis(estimate)
        elif self.phase.consistent:
            spectrum = project_consistent(spectrum, self.stft, time)
        return Prediction(estimate, spectrum, noisy_spectrum, spectral.mask, spectral.output)

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        """Of the level as well, and as much of its gains as the output is late."""
        state = super().initial_state(batch)
        if self.level is None:
            return state
        like = next(self.parameters())
        level = self.level.initial_state(batch, like)
        return {
            **state,
            **joined({"level": level}),
            "gains": like.new_ones(batch, self.latency or 0),
        }

    def step(
        self, chunk: Float[Tensor, "batch chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """The level, a frame for each hop, the level back."""
        if self.level is None or not self.causal:
            return super().step(chunk, state)
        gains, level = self._running_gains(chunk, parted(state)["level"])
        estimate, after = super().step(chunk * gains, state)
        late = torch.cat([state["gains"], gains], dim=-1)
        time = chunk.shape[-1]
        after |= {**joined({"level": level}), "gains": late[:, time:]}
        return estimate / late[:, :time], after

    def _running_gains(
        self, chunk: Float[Tensor, "batch chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        assert self.level is not None
        hop_length, sample_rate = self.stft.hop_length, self.sample_rate
        return self.level.past(chunk, state, hop_length=hop_length, sample_rate=sample_rate)

    def _gains(self, noisy: Waveform) -> Waveform | None:
        """What brings each sample to the level; None for no level."""
        if self.level is None:
            return None
        hop_length, sample_rate = self.stft.hop_length, self.sample_rate
        return self.level.gains(noisy, hop_length=hop_length, sample_rate=sample_rate)

    def interpret(self, output: Float[Tensor, "batch out frames"], noisy: Spectrum) -> Prediction:
        """What the network's output means, as the target says: a mask to apply, or the spectrum itself."""
        if not self.meaning.standardised:
            return self.meaning.interpret(output, noisy)
        if self.residual:
            output = output + self.standardised(self.meaning.ideal(noisy=noisy, target=noisy))
        plain = feature.unstandardise(output, self.target_mean, self.target_std)
        return replace(self.meaning.interpret(plain, noisy), output=output)

    def predict_windows(
        self,
        windows: Float[Tensor, "batch context feature"],
        noise: Float[Tensor, "batch feature"],
    ) -> Float[Tensor, "batch freq 1"]:
        """What the network puts out for single frames (`Prediction.output`), from features instead of audio.

        For the target log_power and networks without memory.

        Args:
            windows: features of each frame and its context, as `inputs` splices them
                (`InputStage.windows`).
            noise: the static noise estimate of each frame.
        """
        assert self.level is None, "frames have no level of a waveform"
        output, _ = self.network(self.inputs.windows(windows, noise), {})
        output = rearrange(output.float(), "batch frames out -> batch out frames")
        if self.residual:
            now = windows[:, self.inputs.settings.past_frames]
            output = output + self.standardised(self.log_power_of(now)[..., None])
        return output

    def log_power_of(self, values: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch freq"]:
        """The log-power among the features.

        Raises:
            RasedError: it is not among them.
        """
        return values[:, self.features.columns("log_power", self.stft.freq)]

    def standardised(
        self, values: Float[Tensor, "batch feature frames"]
    ) -> Float[Tensor, "batch feature frames"]:
        """A target in the domain of `Prediction.output`: standardised by the statistics of the training targets."""
        return feature.standardise(values, self.target_mean, self.target_std)

    def ideal(self, domain: Domain, *, noisy: Waveform, target: Waveform) -> Tensor:
        """See `Enhancer.ideal`; the output is what the network would put out if it knew the target.

        A real mask, the compressed complex mask, the magnitude, the log-power standardised by the
        statistics of the training targets, or the complex spectrum.
        """
        if domain != "output":
            return super().ideal(domain, noisy=noisy, target=target)
        pair = self._at_level(noisy, target)
        noisy_spectrum, spectrum = (self.stft.analysis(waveform) for waveform in pair)
        ideal = self.meaning.ideal(noisy=noisy_spectrum, target=spectrum)
        return self.standardised(ideal) if self.meaning.standardised else ideal

    def _at_level(self, noisy: Waveform, target: Waveform) -> tuple[Waveform, Waveform]:
        """Both with the gain that the noisy one gets."""
        gains = self._gains(noisy)
        return (noisy, target) if gains is None else (noisy * gains, target * gains)

    def refine_phase(self, spectrum: Spectrum) -> Spectrum:
        """Griffin-Lim iterations, where asked for."""
        iterations = self.phase.griffin_lim_iterations
        if not iterations:
            return spectrum
        length = spectrum.shape[-1] * self.stft.hop_length - self.stft.latency
        return griffin_lim(spectrum.abs(), spectrum, self.stft, length, iterations)

    @property
    def needs_statistics(self) -> bool:
        """Whether `fit_statistics` must be called before training."""
        uses = self.inputs.settings.normalisation == "global" or self.meaning.standardised
        return uses and not bool(self.fitted)

    @torch.no_grad()
    def fit_statistics(self, batches: Iterable[tuple[Waveform, Waveform]]) -> None:
        """Take mean and standard deviation of features and targets from (noisy, target) batches.

        They become buffers and travel with the weights. Memory stays that of one batch.

        Raises:
            RasedError: no batch was given.
        """
        of_features, of_targets = Moments(), Moments()
        for pair in batches:
            noisy, target = (self.stft.analysis(waveform) for waveform in self._at_level(*pair))
            of_features.add(self.features(noisy, self.sample_rate))
            if self.meaning.standardised:
                of_targets.add(self.meaning.ideal(noisy=noisy, target=target))
        if not of_features.count:
            raise RasedError(
                "fit_statistics got no batch; give it at least one pair of (noisy, target)."
            )
        self.set_statistics(of_features=of_features, of_targets=of_targets)

    @torch.no_grad()
    def set_statistics(self, *, of_features: Moments, of_targets: Moments) -> None:
        """Take mean and standard deviation of features and target log-powers as they are given."""
        if self.inputs.settings.normalisation == "global":
            self.inputs.mean.copy_(of_features.mean)
            self.inputs.std.copy_(of_features.std)
        if self.meaning.standardised:
            self.target_mean.copy_(of_targets.mean)
            self.target_std.copy_(of_targets.std)
        self.fitted.fill_(True)


def delayed(spectrum: Spectrum, state: State) -> tuple[Spectrum, State]:
    """The spectrum as many frames late as `memory` (batch, freq, late, 2) holds; no frame without one."""
    if not state:
        return spectrum.contiguous(), {}  # as after `cat`: sums later on round alike
    extended = torch.cat([torch.view_as_complex(state["memory"]), spectrum], dim=-1)
    frames = spectrum.shape[-1]
    return extended[..., :frames], {"memory": torch.view_as_real(extended[..., frames:])}


def _refuse_nonsense(
    features: Features, inputs: Inputs, name: str, target: Target, phase: Phase
) -> None:
    kinds = ", ".join(features.names)
    if inputs.noise != "none" and any(part.signed for part in features.parts):
        raise RasedError(
            f"inputs: noise '{inputs.noise}' estimates a level, which complex features do not "
            f"have (features: {kinds}); choose noise: none, or real features as [log_power]."
        )
    if inputs.noise == "dynamic" and not all(part.logarithmic for part in features.parts):
        logarithmic = ", ".join(sorted(kind for kind in FEATURES if FEATURES[kind].logarithmic))
        raise RasedError(
            f"inputs: noise 'dynamic' follows a floor in the log domain, and features are {kinds}; "
            f"choose noise: static, or features among {logarithmic}."
        )
    if inputs.normalisation == "running_unit" and len(features.kinds) > 1:
        raise RasedError(
            f"inputs: normalisation 'running_unit' is for one kind of feature, and features are {kinds}; choose "
            "normalisation: running, or one kind."
        )
    if target.phase == "predicted" and phase.source == "noisy":
        raise RasedError(
            f"target '{name}' brings its own phase; write phase: {{source: predicted}}."
        )
    if target.phase == "noisy" and phase.source == "predicted":
        brings = ", ".join(kind for kind in TARGETS if TARGETS[kind].phase == "predicted")
        raise RasedError(
            f"target '{name}' has no phase to predict; write phase: {{source: noisy}}, or choose "
            f"a target among {brings}."
        )
