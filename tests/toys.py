"""Small models of kinds that no architecture of configs/model is of yet: several channels, a condition, samples."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.models.base import Condition, Enhancer, Generators, Prediction, State


class FourChannels(Enhancer):
    """The mean of four microphones, times a gain; causal."""

    channels = 4
    latency = 0
    chunk_length = 100

    def __init__(self, start: float = 0.5) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(start))

    def predict(self, noisy: Float[Tensor, "batch channel time"]) -> Prediction:
        return Prediction(self.gain * noisy.mean(1))

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        return {"nothing": torch.zeros(batch, 1)}

    def step(
        self, chunk: Float[Tensor, "batch channel chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        return self.predict(chunk).estimate, state


class FourAtOnce(FourChannels):
    """The same, of whole utterances."""

    latency = None
    chunk_length = None


class _GainByCondition(Enhancer):
    """Base class: a gain that the condition determines; causal: the stream carries it in its state."""

    latency = 0
    chunk_length = 100

    def of(self, condition: Condition) -> Float[Tensor, "batch 1"]:
        raise NotImplementedError

    def predict(
        self,
        noisy: Float[Tensor, "batch time"],
        *,
        condition: Condition | None = None,
        generator: Generators | None = None,
    ) -> Prediction:
        assert condition is not None
        return Prediction(self.of(condition) * noisy)

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        assert condition is not None
        return {"gain": self.of(condition)}

    def step(
        self, chunk: Float[Tensor, "batch chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        return state["gain"] * chunk, {"gain": state["gain"].clone()}


class Conditional(_GainByCondition):
    """A gain that an embedding of the speaker chooses."""

    conditions = ("speaker",)

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.gain = nn.Linear(size, 1)

    def of(self, condition: Condition) -> Float[Tensor, "batch 1"]:
        return self.gain(condition["speaker"]).sigmoid()


class Sampler(Enhancer):
    """Half of the input and noise that it draws, as a diffusion model draws; not causal."""

    samples = True

    def __init__(self, level: float = 0.01) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def predict(
        self,
        noisy: Float[Tensor, "batch time"],
        *,
        condition: Condition | None = None,
        generator: Generators | None = None,
    ) -> Prediction:
        assert generator is not None
        return Prediction(0.5 * noisy + self.level * drawn(noisy.shape[-1], generator).to(noisy))


def drawn(time: int, generator: Sequence[torch.Generator]) -> Float[Tensor, "batch time"]:
    return torch.stack([torch.randn(time, generator=of_row) for of_row in generator])


class Enrolled(_GainByCondition):
    """A gain that depends on the level of an enrolment."""

    conditions = ("enrolment",)

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Linear(1, 1)
        nn.init.constant_(self.gain.weight, 3.0)
        nn.init.constant_(self.gain.bias, 0.2)

    def of(self, condition: Condition) -> Float[Tensor, "batch 1"]:
        return self.gain(condition["enrolment"].square().mean(-1, keepdim=True).sqrt())
