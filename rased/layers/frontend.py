"""Inputs of a frequency-domain network: features, normalisation, noise estimate, context.

These are the first two of the five parts of `rased.models.frequency`. They have state, so that a stream gets the
same inputs as a file.
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
    """Features of a frame that the network gets.

    Attributes:
        kinds: one or more features, concatenated (multi-objective input, Xu 2017): names of
            `features.FEATURES`, or your own features.
        bands: number of bands of log_mel, log_erb, log_gammatone, learned and mfcc (before its DCT).
        coefficients: number of coefficients of mfcc.
        floor: lower bound of the power in log_power.
        exponent: exponent of the magnitudes in compressed_complex.
    """

    kinds: tuple[FeatureKind | Feature, ...] = ("log_power",)
    bands: int = 40
    coefficients: int = 20
    floor: float = feature.FLOOR
    exponent: float = 0.3

    def __post_init__(self) -> None:
        """Check the settings."""
        if (
            not self.kinds
            or self.bands < 1
            or not 1 <= self.coefficients <= self.bands
            or not self.floor > 0
            or not self.exponent > 0
        ):
            raise RasedError(
                f"features: kinds {list(self.kinds)}, bands {self.bands}, coefficients "
                f"{self.coefficients}, floor {self.floor}, exponent {self.exponent}: give at least one kind, such as "
                "[log_power], 1 <= coefficients <= bands, and a floor and an exponent above 0."
            )
        for kind in self.kinds:
            if isinstance(kind, str) and kind not in FEATURES:
                raise RasedError(f"unknown feature {shown(kind)}; {nearest(kind, FEATURES)}")

    @property
    def parts(self) -> tuple[Feature, ...]:
        """Return the features with their settings."""
        return tuple(
            kind if isinstance(kind, Feature) else self._named(kind) for kind in self.kinds
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the features."""
        return tuple(kind if isinstance(kind, str) else type(kind).__name__ for kind in self.kinds)

    def size(self, freq: int) -> int:
        """Return the size of a frame, for a spectrum of `freq` bins."""
        return sum(self._sizes(freq))

    def columns(self, kind: FeatureKind, freq: int) -> slice:
        """Return the position of a kind within a frame.

        Raises:
            RasedError: the kind is not one of the features.
        """
        if kind not in self.kinds:
            raise RasedError(f"{kind} is not among the features {', '.join(self.names)}.")
        place, sizes = self.kinds.index(kind), self._sizes(freq)
        return slice(sum(sizes[:place]), sum(sizes[: place + 1]))

    def _sizes(self, freq: int) -> list[int]:
        return [part.size(freq) for part in self.parts]

    def _named(self, kind: str) -> Feature:
        """Build a feature of the table, with those of these settings that it has fields for."""
        cls: Any = FEATURES[kind]
        return cls(**{field.name: getattr(self, field.name) for field in fields(cls)})

    def __call__(
        self, spectrum: Spectrum, sample_rate: int
    ) -> Float[Tensor, "batch feature frames"]:
        """Compute all kinds and concatenate them in the given order."""
        return torch.cat([part(spectrum, sample_rate) for part in self.parts], dim=1)


class FeatureStage(nn.Module):
    """Computes the features of a frame; it holds the weights of those that are learned.

    Args:
        features: the features.
        freq: number of bins of the spectrum.
        sample_rate: Hz.
    """

    def __init__(self, features: Features, freq: int, sample_rate: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.kinds = features.parts
        self.learned = nn.ModuleDict(
            {
                str(place): part.module(freq, sample_rate)
                for place, part in enumerate(self.kinds)
                if part.learned
            }
        )

    def forward(self, spectrum: Spectrum) -> Float[Tensor, "batch feature frames"]:
        """Compute all kinds and concatenate them in the given order."""
        return torch.cat(
            [
                self.learned[str(place)](spectrum)
                if part.learned
                else part(spectrum, self.sample_rate)
                for place, part in enumerate(self.kinds)
            ],
            dim=1,
        )


@dataclass(frozen=True)
class Inputs:
    """How features are normalised, how much context they get, and whether a noise estimate is added.

    Attributes:
        normalisation: "global" uses statistics of the training data (`fit_statistics`),
            "utterance" those of the whole input (not causal), "running" those of the past with the
            time constant `seconds`. "running_mean" only subtracts the mean of the past; "running_unit" scales
            each bin to a root mean square of 1 over the past.
        seconds: time constant of the running normalisations.
        past_frames: frames of context before the current one.
        future_frames: frames of context after it; each adds a hop to the latency.
        noise: noise-aware input (Xu 2014): "static" is the mean of the first `noise_frames` frames
            (until then, of the frames so far), "dynamic" a floor that drops to a new minimum at once and
            rises by `noise_rise` per second.
        noise_frames: number of initial frames that are assumed to be noise only.
        noise_rise: rise of the noise floor in nats of power per second; 2 is about 9 dB.
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
        """Check the settings."""
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
    """Normalises features, appends the noise estimate, and splices context frames."""

    mean: Float[Tensor, " feature"]
    std: Float[Tensor, " feature"]

    def __init__(
        self, inputs: Inputs, size: int, frames_per_second: float, *, parts: int = 1
    ) -> None:
        """Build the stage.

        Args:
            inputs: the settings.
            size: features of a frame.
            frames_per_second: frame rate of the transform.
            parts: numbers per bin that share a level in "running_unit": 2 for complex features.
        """
        super().__init__()
        self.parts = parts
        self.settings = inputs
        self.future_frames = inputs.future_frames
        self.context = inputs.past_frames + 1 + inputs.future_frames
        self.size = size
        # Weight of the past in an exponential average, per frame.
        self.decay = 1.0 - 1.0 / (inputs.seconds * frames_per_second)
        self.rise = inputs.noise_rise / frames_per_second
        if inputs.normalisation == "global":
            self.register_buffer("mean", torch.zeros(size))
            self.register_buffer("std", torch.ones(size))

    @property
    def outputs(self) -> int:
        """Return the input size of the network: all spliced frames and one noise estimate."""
        return self.size * (self.context + (self.settings.noise != "none"))

    def forward(
        self, values: Float[Tensor, "batch feature frames"], state: State
    ) -> tuple[Float[Tensor, "batch frames inputs"], State]:
        """Return the inputs of the network, `future_frames` frames late."""
        values, statistics = self.normalise(values, state)
        noise, floor = self.estimate_noise(values, state)
        memory = state.get("memory", values[..., :0])
        spliced, memory = feature.splice(values, memory, self.context)
        # A state holds no empty tensors.
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
        """Return the inputs for single frames, given their context and the static noise estimate.

        The result equals that of `forward` on the whole utterance, which has the mean before its first frame
        and silence after its last. For normalisation "none" (zeros before the first frame) and "global".
        """
        # In the order of `forward`: context, then noise. The mean of normalised frames is the normalised mean.
        if self.settings.noise != "none":
            windows = torch.cat([windows, noise[:, None]], dim=1)
        values = rearrange(windows, "batch context feature -> batch feature context")
        values, _ = self.normalise(values, {})
        return rearrange(values, "batch feature context -> batch 1 (context feature)")

    def normalise(
        self, values: Float[Tensor, "batch feature frames"], state: State
    ) -> tuple[Float[Tensor, "batch feature frames"], State]:
        """Return the normalised features, and the running `statistics` as state."""
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
        """Return the noise estimate up to the newest frame (no rows if noise = 0), and its state."""
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
        """Return the state before the first frame: no statistics, no noise, silence as context."""
        state: State = {}
        moments = {
            # Columns: means, mean squares if the normalisation has any, and the weight of the average.
            "running": 2 * self.size + 1,
            "running_mean": self.size + 1,
            "running_unit": self.size // self.parts + 1,
        }
        if self.settings.normalisation in moments:
            state["statistics"] = like.new_zeros(batch, moments[self.settings.normalisation])
        if self.settings.noise == "static":
            state["noise"], state["count"] = like.new_zeros(batch, self.size), like.new_zeros(())
        elif self.settings.noise == "dynamic":
            # The first frame becomes the floor.
            state["floor"] = like.new_full((batch, self.size), torch.inf)
        if self.context > 1:
            state["memory"] = like.new_zeros(batch, self.size, self.context - 1)
        return state


class Moments:
    """Mean and variance of features over any number of batches, in float64.

    Batches are merged by the deviations within each of them (Chan, Golub and LeVeque, "Updating formulae and a pairwise
    algorithm for computing sample variances", 1979). This avoids the difference of large sums if the mean is large.

    Args:
        count: frames so far.
        mean: mean of each feature.
        variance: variance of each feature over all frames so far (divided by their number).
    """

    def __init__(
        self,
        count: int = 0,
        mean: Float[Tensor, "*feature"] = torch.zeros(()),  # noqa: B008 (never changed in place)
        variance: Float[Tensor, "*feature"] = torch.zeros(()),  # noqa: B008
    ) -> None:
        self.count, self.mean, self.variance = count, mean.double(), variance.double()

    def add(self, values: Float[Tensor, "batch feature frames"]) -> None:
        """Add the frames of a batch."""
        precise = rearrange(values.double(), "batch feature frames -> (batch frames) feature")
        mean = precise.mean(0)
        variance = (precise - mean).square().mean(0)
        shift = mean - self.mean
        self.count += len(precise)
        share = len(precise) / self.count
        # The variance between the two groups: their means differ by `shift`.
        between = share * (1 - share) * shift.square()
        self.mean = self.mean + share * shift
        # Unlike `lerp`, products take the first, empty one on the CPU with those of a batch on a GPU.
        self.variance = (1 - share) * self.variance + share * variance + between

    @property
    def std(self) -> Float[Tensor, " feature"]:
        """Return the standard deviation, at least 0.001."""
        return self.variance.clamp(min=1e-6).sqrt()
