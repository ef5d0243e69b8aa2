"""The frequency-domain enhancer in five parts: features, inputs, network, phase, post-processing.

In addition, `target` selects what the network predicts. Each part is one line of YAML. Any meaningful
combination works; others are rejected when the model is built. The structure follows H. Shi, "Research and
analysis of speech enhancement or dereverberation" (RA-SED), 2020.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from rased.errors import RasedError
from rased.layers.conditioning import Conditioning, ConditionStage
from rased.layers.features import FEATURES
from rased.layers.frontend import Features, FeatureStage, Inputs, InputStage, Moments
from rased.layers.level import Level
from rased.layers.network import Network
from rased.layers.targets import TARGETS, LogPower, Target, TargetName
from rased.models.base import Condition, Generators, Prediction, SpectralEnhancer, State
from rased.signal import features as feature
from rased.signal.domains import Domain, Spectrum, Waveform
from rased.signal.gains import floored
from rased.signal.phase import griffin_lim, project_consistent
from rased.signal.state import initial_past, joined, parted, with_past
from rased.signal.stft import STFT


@dataclass(frozen=True)
class Phase:
    """Phase of the output.

    Attributes:
        source: "noisy" for real masks and mappings, "predicted" for complex targets, which have their
            own phase.
        griffin_lim_iterations: iterations that adapt the phase to the magnitude (not causal); 0 for
            none.
        consistent: losses see the spectrum of the output waveform (Wisdom 2019)
            instead of the network's own spectrum; the waveform is the same.
    """

    source: Literal["noisy", "predicted"] = "noisy"
    griffin_lim_iterations: int = 0
    consistent: bool = False


@dataclass(frozen=True)
class PostProcessing:
    """Post-processing of the output.

    Attributes:
        attenuation_limit_db: largest attenuation of any bin; the remaining noise
            masks musical noise. None for no limit.
        floor_db: level below the input under which no bin falls; unlike the limit, it leaves louder bins as they are.
            None for no floor.
    """

    attenuation_limit_db: float | None = None
    floor_db: float | None = None

    def __call__(self, estimate: Spectrum, noisy: Spectrum) -> Spectrum:
        """Return the spectrum of the output."""
        if self.floor_db is not None:
            estimate = floored(estimate, noisy, self.floor_db)
        if self.attenuation_limit_db is None:
            return estimate
        # dB to a factor of the amplitude; part by part, as ONNX has no complex numbers
        parts = (torch.view_as_real(estimate), torch.view_as_real(noisy))
        return torch.view_as_complex(
            torch.lerp(*parts, 10.0 ** (-self.attenuation_limit_db / 20.0))
        )


class FrequencyDomainEnhancer(SpectralEnhancer):
    """An enhancer made of features, inputs, network, phase and post-processing.

    Args:
        network: maps inputs to outputs; called with their sizes (`Network`).
        features: features of a frame.
        inputs: normalisation, context, noise estimate.
        target: what the network predicts: a name in `targets.TARGETS`, or your own target.
        phase: phase of the output.
        post_processing: post-processing of the output.
        stft: the transform.
        sample_rate: Hz.
        residual: predict the difference from the noisy log-power (Tu and Zhang, "Speech enhancement
            based on deep neural networks with skip connections", ICASSP 2017); this trains fast.
        level: normalise the level of the waveform, and undo it at the output. None: no normalisation.
        conditioning: how the network gets side information, such as an enrolment of the speaker. None: it gets none.

    Raises:
        RasedError: the parts do not fit together.
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
        conditioning: Conditioning | None = None,
    ) -> None:
        meaning = TARGETS[target]() if isinstance(target, str) else target
        name = target if isinstance(target, str) else type(target).__name__
        _refuse_nonsense(features, inputs, name, meaning, phase)
        if residual and not isinstance(meaning, LogPower):
            raise RasedError(
                f"residual needs the target log_power, but target is '{name}': write residual: false."
            )
        super().__init__(stft=stft, sample_rate=sample_rate, lookahead=inputs.future_frames)
        self.features = features
        self.extraction = FeatureStage(features, stft.freq, sample_rate)
        # Real and imaginary part of a bin must be scaled by one factor, or its phase changes.
        parts = 2 if all(part.signed for part in features.parts) else 1
        self.inputs = InputStage(
            inputs, features.size(stft.freq), sample_rate / stft.hop_length, parts=parts
        )
        size = self.inputs.outputs
        self.conditioning: ConditionStage | None = None
        if conditioning is not None:
            self.conditioning = ConditionStage(conditioning, size, sample_rate)
            self.conditions, size = (conditioning.name,), self.conditioning.outputs
        self.network = network(size, meaning.size(stft.freq))
        self.target, self.meaning = target, meaning
        self.residual = residual
        self.level = level
        self.phase = phase
        self.post_processing = post_processing
        self.paper = self.network.paper
        self.published_parameters = self.network.published_parameters
        self.published_in = self.network.published_in
        self.register_buffer("fitted", torch.tensor(False))
        if meaning.standardised:
            self.register_buffer("target_mean", torch.zeros(stft.freq))
            self.register_buffer("target_std", torch.ones(stft.freq))
        # Each of these needs the whole file.
        whole = inputs.normalisation == "utterance" or phase.griffin_lim_iterations > 0
        whole = whole or (level is not None and not level.running)
        if whole or not self.network.causal:
            self.latency = self.chunk_length = None

    @property
    def is_all_spectral(self) -> bool:
        """Return whether no level of the waveform is normalised."""
        return self.level is None

    def process(self, spectrum: Spectrum, state: State) -> tuple[Prediction, State]:
        """Apply the five parts; the result is `future_frames` frames late."""
        parts = parted(state)
        values = self.extraction(spectrum)
        inputs, inputs_state = self.inputs(values, parts["inputs"])
        if self.conditioning is not None:
            inputs = self.conditioning(inputs, parts["condition"])
        output, network_state = self.network(inputs, parts["network"])
        past, future = self.meaning.context
        around, delay = with_past(spectrum, parts["delay"])
        last = past + spectrum.shape[-1]
        noisy = around[..., past:last]
        prediction = self.interpret(
            rearrange(output.float(), "batch frames out -> batch out frames"),
            around[..., : last + future],
        )
        assert prediction.spectrum is not None
        refined = self.post_processing(self.refine_phase(prediction.spectrum), noisy)
        known = {name: value.clone() for name, value in parts["condition"].items()}
        after = joined(
            {"inputs": inputs_state, "network": network_state, "delay": delay, "condition": known}
        )
        return replace(prediction, spectrum=refined), after

    def initial_process_state(self, batch: int) -> State:
        """Return the states of inputs and network, and silence in the delay line and before the first frame."""
        like = next(self.parameters())
        late = self.meaning.context[0] + self.inputs.future_frames
        return joined(
            {
                "inputs": self.inputs.initial_state(batch, like),
                "network": self.network.initial_state(batch, like),
                "delay": initial_past(batch, self.stft.freq, late, like),
            }
        )

    def predict(
        self, noisy: Waveform, *, condition: Condition | None = None, generator: Generators = None
    ) -> Prediction:
        """Enhance like every `SpectralEnhancer`, with silence after the end.

        With a `level`, `output` is at that level, and `spectrum` at the level of the estimate.
        """
        time, gains = noisy.shape[-1], self._gains(noisy)
        noisy_spectrum = self.stft.analysis(noisy if gains is None else noisy * gains)
        spectral = self.predict_spectrum(noisy_spectrum, self._known(condition))
        spectrum = spectral.spectrum
        assert spectrum is not None
        estimate = self.stft.synthesis(spectrum, time)
        if gains is not None:
            estimate = estimate / gains
            # Losses compare with the spectrum of the target, which is at the level of the input.
            noisy_spectrum, spectrum = self.stft.analysis(noisy), self.stft.analysis(estimate)
        elif self.phase.consistent:
            spectrum = project_consistent(spectrum, self.stft, time)
        return Prediction(estimate, spectrum, noisy_spectrum, spectral.mask, spectral.output)

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        """Return the initial state, including that of the level and its gains for the delayed frames."""
        state = {**super().initial_state(batch), **joined({"process": self._known(condition)})}
        if self.level is None:
            return state
        like = next(self.parameters())
        level = self.level.initial_state(batch, like)
        return {
            **state,
            **joined({"level": level}),
            # Silence until the first output, whatever the gain.
            "gains": like.new_ones(batch, self.latency or 0),
        }

    def _known(self, condition: Condition | None) -> State:
        """Return what `process` has to know of the condition, as a part of its state."""
        if self.conditioning is None:
            return {}
        assert condition is not None, "forward and streams check that the condition is given"
        return joined({"condition": self.conditioning.embed(condition)})

    def step(
        self, chunk: Float[Tensor, "batch chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """Normalise the level, process one frame per hop, and undo the level."""
        if self.level is None or not self.causal:
            return super().step(chunk, state)
        gains, level = self._running_gains(chunk, parted(state)["level"])
        estimate, after = super().step(chunk * gains, state)
        # The output is late: divide it by the gains of its own time, not by those of the newest samples.
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
        """Return the gain of each sample; None without level normalisation."""
        if self.level is None:
            return None
        hop_length, sample_rate = self.stft.hop_length, self.sample_rate
        return self.level.gains(noisy, hop_length=hop_length, sample_rate=sample_rate)

    def interpret(
        self,
        output: Float[Tensor, "batch out frames"],
        noisy: Complex[Tensor, "batch freq more_frames"],
    ) -> Prediction:
        """Convert the network's output by the target: apply a mask, or build the spectrum.

        Args:
            output: of the network.
            noisy: the same frames of the input, with the `context` of the target around them.
        """
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
        """Return the network's output for single frames (`Prediction.output`), from features instead of audio.

        For the target log_power and networks without memory.

        Args:
            windows: features of each frame with its context, spliced as in `inputs`
                (`InputStage.windows`).
            noise: static noise estimate for each frame.
        """
        assert self.level is None, "single frames have no waveform whose level could be measured"
        output, _ = self.network(self.inputs.windows(windows, noise), {})
        output = rearrange(output.float(), "batch frames out -> batch out frames")
        if self.residual:
            # The current frame among its context.
            now = windows[:, self.inputs.settings.past_frames]
            output = output + self.standardised(self.log_power_of(now)[..., None])
        return output

    def log_power_of(self, values: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch freq"]:
        """Return the log-power from the features.

        Raises:
            RasedError: the features do not contain it.
        """
        return values[:, self.features.columns("log_power", self.stft.freq)]

    def standardised(
        self, values: Float[Tensor, "batch feature frames"]
    ) -> Float[Tensor, "batch feature frames"]:
        """Normalise a target by the statistics of the training targets, as in `Prediction.output`."""
        return feature.standardise(values, self.target_mean, self.target_std)

    def ideal(self, domain: Domain, *, noisy: Waveform, target: Waveform) -> Tensor:
        """See `Enhancer.ideal`; the output is that of a perfect network.

        It is a real mask, the compressed complex mask, the magnitude, the log-power normalised by the
        statistics of the training targets, or the complex spectrum.
        """
        if domain != "output":
            return super().ideal(domain, noisy=noisy, target=target)
        pair = self._at_level(noisy, target)
        noisy_spectrum, spectrum = (self.stft.analysis(waveform) for waveform in pair)
        ideal = self.meaning.ideal(noisy=noisy_spectrum, target=spectrum)
        return self.standardised(ideal) if self.meaning.standardised else ideal

    def _at_level(self, noisy: Waveform, target: Waveform) -> tuple[Waveform, Waveform]:
        """Apply the gain of the noisy waveform to both."""
        gains = self._gains(noisy)
        return (noisy, target) if gains is None else (noisy * gains, target * gains)

    def refine_phase(self, spectrum: Spectrum) -> Spectrum:
        """Run the Griffin-Lim iterations, if any."""
        iterations = self.phase.griffin_lim_iterations
        if not iterations:
            return spectrum
        # The longest waveform that has this number of frames.
        length = spectrum.shape[-1] * self.stft.hop_length - self.stft.latency
        return griffin_lim(spectrum.abs(), spectrum, self.stft, length, iterations)

    @property
    def needs_statistics(self) -> bool:
        """Return whether `fit_statistics` must be called before training."""
        uses = self.inputs.settings.normalisation == "global" or self.meaning.standardised
        return uses and not bool(self.fitted)

    @torch.no_grad()
    def fit_statistics(self, batches: Iterable[tuple[Waveform, Waveform]]) -> None:
        """Compute mean and standard deviation of features and targets from (noisy, target) batches.

        They are stored as buffers, with the weights. One batch at a time is held in memory.

        Raises:
            RasedError: no batch was given.
        """
        of_features, of_targets = Moments(), Moments()
        for pair in batches:
            noisy, target = (self.stft.analysis(waveform) for waveform in self._at_level(*pair))
            of_features.add(self.extraction(noisy))
            if self.meaning.standardised:
                of_targets.add(self.meaning.ideal(noisy=noisy, target=target))
        if not of_features.count:
            raise RasedError(
                "fit_statistics got no batch; give at least one pair of (noisy, target)."
            )
        self.set_statistics(of_features=of_features, of_targets=of_targets)

    @torch.no_grad()
    def set_statistics(self, *, of_features: Moments, of_targets: Moments) -> None:
        """Set mean and standard deviation of features and targets."""
        if self.inputs.settings.normalisation == "global":
            self.inputs.mean.copy_(of_features.mean)
            self.inputs.std.copy_(of_features.std)
        if self.meaning.standardised:
            self.target_mean.copy_(of_targets.mean)
            self.target_std.copy_(of_targets.std)
        self.fitted.fill_(True)


def _refuse_nonsense(
    features: Features, inputs: Inputs, name: str, target: Target, phase: Phase
) -> None:
    kinds = ", ".join(features.names)
    if inputs.noise != "none" and any(part.signed for part in features.parts):
        raise RasedError(
            f"inputs: noise '{inputs.noise}' estimates a level, which complex features do not "
            f"have (features: {kinds}); choose noise: none, or real features such as [log_power]."
        )
    if inputs.noise == "dynamic" and not all(part.logarithmic for part in features.parts):
        logarithmic = ", ".join(sorted(kind for kind in FEATURES if FEATURES[kind].logarithmic))
        raise RasedError(
            f"inputs: noise 'dynamic' tracks a floor in the log domain, but features are {kinds}; "
            f"choose noise: static, or features among {logarithmic}."
        )
    if inputs.normalisation == "global" and any(part.learned for part in features.parts):
        raise RasedError(
            f"inputs: normalisation 'global' is computed before the training, which then changes learned features "
            f"(features: {kinds}); choose normalisation: running, utterance or none."
        )
    if inputs.normalisation == "running_unit" and any(part.logarithmic for part in features.parts):
        raise RasedError(
            f"inputs: normalisation 'running_unit' divides by a level, but in the log domain a level is a sum "
            f"(features: {kinds}); choose normalisation: running_mean."
        )
    if inputs.normalisation == "running_unit" and len(features.kinds) > 1:
        raise RasedError(
            f"inputs: normalisation 'running_unit' needs exactly one kind of feature, but features are {kinds}; choose "
            "normalisation: running, or one kind."
        )
    if target.context[1] > inputs.future_frames:
        raise RasedError(
            f"target '{name}' filters {target.context[1]} future frames, but the inputs have {inputs.future_frames}: "
            f"write inputs: {{future_frames: {target.context[1]}}}."
        )
    if target.phase == "predicted" and phase.source == "noisy":
        raise RasedError(
            f"target '{name}' contains its own phase; write phase: {{source: predicted}}."
        )
    if target.phase == "noisy" and phase.source == "predicted":
        brings = ", ".join(kind for kind in TARGETS if TARGETS[kind].phase == "predicted")
        raise RasedError(
            f"target '{name}' contains no phase; write phase: {{source: noisy}}, or choose "
            f"a target among {brings}."
        )
