"""What a frequency-domain network is shown: features, normalisation, noise estimate, context.

The first two of the five parts of `rased.models.frequency`, with state, so that a stream is shown
what a file is.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rased.errors import RasedError, nearest, shown
from rased.layers.features import FEATURES, Feature, FeatureKind
from rased.signal import features as feature
from rased.signal.domains import Spectrum
from rased.signal.state import State


@dataclass(frozen=True)
class Features:
    """What the network sees of a frame.

    Attributes:
        kinds: one feature or several put together (multi-objective input, Xu 2017): names of
            `features.FEATURES`, or features of one's own.
        bands: number of bands of log_mel, log_erb and, below its DCT, mfcc.
        coefficients: number of coefficients of mfcc.
        floor: power under the logarithm of log_power.
        exponent: of the magnitudes of compressed_complex.
    """

    kinds: tuple[FeatureKind | Feature, ...] = ("log_power",)
    bands: int = 40
    coefficients: int = 20
    floor: float = feature.FLOOR
    exponent: float = 0.3

    def __post_init__(self) -> None:
        """Check once, where the value is made."""
        if (
            not self.kinds
            or self.bands < 1
            or not 1 <= self.coefficients <= self.bands
            or not self.floor > 0
            or not self.exponent > 0
        ):
            raise RasedError(
                f"features: kinds {list(self.kinds)}, bands {self.bands}, coefficients "
                f"{self.coefficients}, floor {self.floor}, exponent {self.exponent}: needed are at least one kind, say "
                "[log_power], 1 <= coefficients <= bands, a floor and an exponent above 0."
            )
        for kind in self.kinds:
            if isinstance(kind, str) and kind not in FEATURES:
                raise RasedError(f"there is no feature {shown(kind)}; {nearest(kind, FEATURES)}")

    @property
    def parts(self) -> tuple[Feature, ...]:
        """The features, with their settings."""
        return tuple(
            kind if isinstance(kind, Feature) else self._named(kind) for kind in self.kinds
        )

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called."""
        return tuple(kind if isinstance(kind, str) else type(kind).__name__ for kind in self.kinds)

    def size(self, freq: int) -> int:
        """Numbers in a frame, for a spectrum of `freq` bins."""
        return sum(self._sizes(freq))

    def columns(self, kind: FeatureKind, freq: int) -> slice:
        """Where a kind lies among the numbers of a frame.

        Raises:
            RasedError: it is none of the kinds.
        """
        if kind not in self.kinds:
            raise RasedError(f"{kind} is not among the features {', '.join(self.names)}.")
        place, sizes = self.kinds.index(kind), self._sizes(freq)
        return slice(sum(sizes[:place]), sum(sizes[: place + 1]))

    def _sizes(self, freq: int) -> list[int]:
        return [part.size(freq) for part in self.parts]

    def _named(self, kind: str) -> Feature:
        """A feature of the table, with those of these settings that it has fields for."""
        cls: Any = FEATURES[kind]
        return cls(**{field.name: getattr(self, field.name) for field in fields(cls)})

    def __call__(
        self, spectrum: Spectrum, sample_rate: int
    ) -> Float[Tensor, "batch feature frames"]:
        """All kinds above each other, in the order given."""
        return torch.cat([part(spectrum, sample_rate) for part in self.parts], dim=1)


@dataclass(frozen=True)
class Inputs:
    """How the features are normalised, with how much context, and what stands beside them.

    Attributes:
        normalisation: "global" takes statistics of the training data (`fit_statistics`),
            "utterance" those of the whole input (not causal), "running" those of the past,
            forgetting with `seconds`; "running_mean" takes only the mean of the past out, "running_unit" brings
            each bin to a root mean square of 1 over the past.
        seconds: time constant of the running normalisations.
        past_frames: frames of context before the current one.
        future_frames: frames of context behind it; each adds a hop to the latency.
        noise: noise-aware input (Xu 2014): "static" is the mean of the first `noise_frames` frames
            (of the frames so far, until then), "dynamic" a floor that follows minima at once and
            rises by `noise_rise` a second.
        noise_frames: frames taken for noise alone.
        noise_rise: nats of power a second; 2 is about 9 dB.
    """

    normalisation: Literal[
        "none", "global", "utterance", "running", "running_mean", "running_unit"
    ] = "global"
    seconds: float = 3.0
    past_frames: int = 0
    future_frames: int = 0
    noise: Literal["none", "static", "dynamic"] = "none"
    noise_frames: int = 6
    noise_rise: float = 2.0

    def __post_init__(self) -> None:
        """Check once, where the value is made."""
        if (
            min(self.past_frames, self.future_frames) < 0
            or self.noise_frames < 1
            or self.seconds <= 0
        ):
            raise RasedError(
                f"inputs: past_frames {self.past_frames}, future_frames {self.future_frames}, "
                f"noise_frames {self.noise_frames} and seconds {self.seconds} must be at least "
                "0, 0, 1 and above 0."
            )


class InputStage(nn.Module):
    """Normalise, put the noise estimate beside, splice context."""

    mean: Float[Tensor, " feature"]
    std: Float[Tensor, " feature"]

    def __init__(
        self, inputs: Inputs, size: int, frames_per_second: float, *, parts: int = 1
    ) -> None:
        """Take the settings.

        Args:
            inputs: the settings.
            size: features of a frame.
            frames_per_second: of the transform.
            parts: numbers of a bin, which share a level in "running_unit": 2 for complex features.
        """
        super().__init__()
        self.parts = parts
        self.settings = inputs
        self.future_frames = inputs.future_frames
        self.context = inputs.past_frames + 1 + inputs.future_frames
        self.size = size
        self.decay = 1.0 - 1.0 / (inputs.seconds * frames_per_second)
        self.rise = inputs.noise_rise / frames_per_second
        if inputs.normalisation == "global":
            self.register_buffer("mean", torch.zeros(size))
            self.register_buffer("std", torch.ones(size))

    @property
    def outputs(self) -> int:
        """Numbers that the network sees for a frame: all spliced frames and one noise estimate."""
        return self.size * (self.context + (self.settings.noise != "none"))

    def forward(
        self, values: Float[Tensor, "batch feature frames"], state: State
    ) -> tuple[Float[Tensor, "batch frames inputs"], State]:
        """Inputs of the network, `future_frames` frames late."""
        values, statistics = self.normalise(values, state)
        noise, floor = self.estimate_noise(values, state)
        memory = state.get("memory", values[..., :0])
        spliced, memory = feature.splice(values, memory, self.context)
        after = {**statistics, **floor, **({"memory": memory} if memory.numel() else {})}
        inputs = rearrange(
            torch.cat([spliced, noise], dim=1), "batch inputs frames -> batch frames inputs"
        )
        return inputs, after

    def windows(
        self,
        windows: Float[Tensor, "batch context feature"],
        noise: Float[Tensor, "batch feature"],
    ) -> Float[Tensor, "batch 1 inputs"]:
        """Inputs for single frames, each given with its context and the static noise estimate beside it.

        As `forward` gives them for the whole utterance, where the mean stands before its first frame
        and silence behind its last. For normalisation "none" (then zeros before the first) and "global".
        """
        if self.settings.noise != "none":
            windows = torch.cat([windows, noise[:, None]], dim=1)
        values = rearrange(windows, "batch context feature -> batch feature context")
        values, _ = self.normalise(values, {})
        return rearrange(values, "batch feature context -> batch 1 (context feature)")

    def normalise(
        self, values: Float[Tensor, "batch feature frames"], state: State
    ) -> tuple[Float[Tensor, "batch feature frames"], State]:
        """Normalised features, and what of the state is the running `statistics`."""
        match self.settings.normalisation:
            case "none":
                return values, {}
            case "global":
                return feature.standardise(values, self.mean, self.std), {}
            case "utterance":
                real_frames = values.shape[-1] - self.future_frames  # the rest is padding
                return feature.utterance_cmvn(values, real_frames), {}
            case "running":
                values, statistics = feature.running_cmvn(values, state["statistics"], self.decay)
            case "running_mean":
                values, statistics = feature.running_mean(values, state["statistics"], self.decay)
            case "running_unit":
                values, statistics = feature.running_unit(
                    values, state["statistics"], self.decay, self.parts
                )
        return values, {"statistics": statistics}

    def estimate_noise(
        self, values: Float[Tensor, "batch feature frames"], state: State
    ) -> tuple[Float[Tensor, "batch noise frames"], State]:
        """Noise as of the newest frame seen, no rows (noise = 0) where none is asked for; and its state."""
        match self.settings.noise:
            case "none":
                return values[:, :0], {}
            case "static":
                before, count = (state["noise"], state["count"]), self.settings.noise_frames
                noise, (total, seen) = feature.first_frames_mean(values, before, count)
                return noise, {"noise": total, "count": seen}
            case "dynamic":
                noise, floor = feature.rising_minimum(values, state["floor"], self.rise)
                return noise, {"floor": floor}

    def initial_state(self, batch: int, like: Tensor) -> State:
        """State before the first frame: no statistics, no noise, silence in the memory."""
        state: State = {}
        moments = {
            "running": 2 * self.size + 1,
            "running_mean": self.size + 1,
            "running_unit": self.size // self.parts + 1,
        }
        if self.settings.normalisation in moments:
            state["statistics"] = like.new_zeros(batch, moments[self.settings.normalisation])
        if self.settings.noise == "static":
            state["noise"], state["count"] = like.new_zeros(batch, self.size), like.new_zeros(())
        elif self.settings.noise == "dynamic":
            state["floor"] = like.new_full((batch, self.size), torch.inf)
        if self.context > 1:
            state["memory"] = like.new_zeros(batch, self.size, self.context - 1)
        return state


class Moments:
    """Mean and variance of features over any number of batches, in float64.

    Merged batch by batch from the deviations within each (Chan, Golub and LeVeque, "Updating formulae and a pairwise
    algorithm for computing sample variances", 1979): no difference of large sums, whatever the mean.

    Args:
        count: frames so far.
        mean: of each feature.
        variance: of each feature, over all frames so far (divided by their number).
    """

    def __init__(
        self,
        count: int = 0,
        mean: Float[Tensor, "*feature"] = torch.zeros(()),  # noqa: B008 (never changed in place)
        variance: Float[Tensor, "*feature"] = torch.zeros(()),  # noqa: B008
    ) -> None:
        self.count, self.mean, self.variance = count, mean.double(), variance.double()

    def add(self, values: Float[Tensor, "batch feature frames"]) -> None:
        """Count these frames in."""
        precise = rearrange(values.double(), "batch feature frames -> (batch frames) feature")
        mean = precise.mean(0)
        variance = (precise - mean).square().mean(0)
        shift = mean - self.mean
        self.count += len(precise)
        share = len(precise) / self.count
        between = share * (1 - share) * shift.square()
        self.mean = self.mean + share * shift
        self.variance = torch.lerp(self.variance, variance, share) + between

    @property
    def std(self) -> Float[Tensor, " feature"]:
        """Standard deviation, at least a thousandth."""
        return self.variance.clamp(min=1e-6).sqrt()
