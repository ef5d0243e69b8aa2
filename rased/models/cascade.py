"""Several enhancers in sequence: each enhances the estimate of the one before.

For trainings in stages, such as progressive learning (Gao et al., Interspeech 2016) and denoising followed by
dereverberation (Zhao et al., ICASSP 2017); any enhancers can be stages. A stream equals the file: a later stage waits
until the estimate of the first sample reaches it, so that it starts from its own initial state, as with a file.
Parameters and MACs: the sums of those of the stages.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rased.errors import RasedError
from rased.models.base import Condition, Enhancer, Generators, Prediction, Several, State
from rased.signal.state import joined, numbered, parted
from rased.signal.stft import STFT


class Cascade(Several):
    """Runs enhancers one after the other; causal if all of them are.

    Args:
        stages: at least one enhancer, all with the same sample rate; only the first may take several channels.

    Raises:
        RasedError: no stage, or stages that do not fit together.
    """

    def __init__(self, stages: Sequence[Enhancer]) -> None:
        super().__init__()
        _check(stages)
        self.stages = nn.ModuleList(stages)
        self.sample_rate, self.channels = stages[0].sample_rate, stages[0].channels
        self.conditions = tuple(dict.fromkeys(name for one in stages for name in one.conditions))
        self.samples = any(one.samples for one in stages)
        self.domains = tuple(domain for domain in stages[-1].domains if domain != "output")
        self.paper = "; ".join(dict.fromkeys(one.paper for one in stages if one.paper))
        self._waits: list[int] = []  # chunks by which each stage but the last delays the next one
        self._tail = 0  # samples after the end that later stages hear
        if all(one.causal for one in stages):
            self._synchronise(stages)

    def _synchronise(self, stages: Sequence[Enhancer]) -> None:
        """Find a chunk that suits all stages, and delay each estimate to a whole number of chunks."""
        chunk = math.lcm(*(one.chunk_length or 1 for one in stages))
        self._waits = [-(-(one.latency or 0) // chunk) for one in stages[:-1]]
        # Each later stage needs the samples that its delay pushes beyond the end.
        self._tail = sum((one.latency or 0) + chunk for one in stages[1:])
        self.chunk_length = chunk
        self.latency = sum(self._waits) * chunk + (stages[-1].latency or 0)

    @property
    def parts(self) -> list[Enhancer]:
        """Return the stages."""
        return [cast(Enhancer, stage) for stage in self.stages]

    @property
    def transform(self) -> STFT | None:
        """Return the transform of the last stage."""
        return self.parts[-1].transform

    def predict(
        self,
        noisy: Float[Tensor, "batch *channel time"],
        *,
        condition: Condition | None = None,
        generator: Generators = None,
    ) -> Prediction:
        """Return the prediction of the last stage."""
        return self.predictions(noisy, condition=condition, generator=generator)[-1]

    def predictions(
        self,
        noisy: Float[Tensor, "batch *channel time"],
        *,
        condition: Condition | None = None,
        generator: Generators = None,
        count: int | None = None,
        fixed: int = 0,
    ) -> list[Prediction]:
        """Return the predictions of the first stages, as long as the input, without masks.

        Args:
            noisy: see `predict`.
            condition: see `predict`.
            generator: see `predict`.
            count: number of stages; None: all.
            fixed: number of stages at the beginning that get no gradient.
        """
        time, found = noisy.shape[-1], []
        heard = functional.pad(noisy, (0, self._tail))
        for index, stage in enumerate(self.parts[:count]):
            own, drawn = _own(stage, condition), generator if stage.samples else None
            options = stage.options(len(noisy), condition=own, generator=drawn)
            with torch.set_grad_enabled(torch.is_grad_enabled() and index >= fixed):
                heard = stage.predict(heard, **options).estimate
            estimate = heard[:, :time]
            # Computed anew: that of the stage also covers the tail.
            spectrum = None if stage.transform is None else stage.transform.analysis(estimate)
            found.append(Prediction(estimate, spectrum))
        return found

    def initial_state(self, batch: int = 1, *, condition: Condition | None = None) -> State:
        """Return the states of all stages, silence in the delay lines, and the number of chunks so far."""
        if not self.causal:
            return super().initial_state(batch)
        chunk, like = self.chunk_length or 1, next(self.parameters(), torch.zeros(()))
        states, lines = [], {}
        for index, stage in enumerate(self.parts):
            own = _own(stage, condition)
            states.append(stage.initial_state(batch, **({"condition": own} if own else {})))
            if index < len(self._waits):
                # What its latency lacks to whole chunks.
                late = self._waits[index] * chunk - (stage.latency or 0)
                if late:
                    lines[str(index)] = like.new_zeros(batch, late)
        return {**numbered(states), **joined({"delay": lines}), "chunks": like.new_zeros(())}

    def step(
        self, chunk: Float[Tensor, "batch *channel chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """Enhance the first chunks one by one, until every stage has begun, and the others together."""
        if not self.causal:
            return super().step(chunk, state)
        size = self.chunk_length or 1
        # A single chunk is right in either case, so that the count need not be read from the device.
        alone = 1
        if chunk.shape[-1] > size:
            alone = max(0, sum(self._waits) - int(state["chunks"]))
        first, rest = chunk[..., : alone * size], chunk[..., alone * size :]
        outputs = []
        for piece in (*first.split(size, dim=-1), rest):
            if piece.shape[-1]:
                output, state = self._step(piece, state)
                outputs.append(output)
        return torch.cat(outputs, dim=-1), state

    def _step(
        self, heard: Float[Tensor, "batch *channel chunk"], state: State
    ) -> tuple[Float[Tensor, "batch chunk"], State]:
        """Enhance a chunk, or any number once all stages have begun; until then, a stage keeps its initial state."""
        parts, done, due = parted(state), state["chunks"], 0
        states, lines = [], {}
        for index, stage in enumerate(self.parts):
            before = parts[str(index)]
            heard, after = stage.step(heard, before)
            if due:
                after = {
                    name: torch.where(done >= due, value, before[name])
                    for name, value in after.items()
                }
            states.append(after)
            if index < len(self._waits):
                due += self._waits[index]
                late = parts["delay"].get(str(index))
                if late is not None:
                    line, size = torch.cat([late, heard], dim=-1), heard.shape[-1]
                    heard, lines[str(index)] = line[:, :size], line[:, size:]
        # Only compared with `due`, and must not overflow.
        chunks = (done + heard.shape[-1] // (self.chunk_length or 1)).clamp(max=due)
        return heard, {**numbered(states), **joined({"delay": lines}), "chunks": chunks}


def _own(stage: Enhancer, condition: Condition | None) -> dict[str, Tensor] | None:
    """Return the conditions of a stage; None if it has none."""
    return {name: (condition or {})[name] for name in stage.conditions} or None


def _check(stages: Sequence[Enhancer]) -> None:
    if not stages:
        raise RasedError("Cascade got no stage: give at least one enhancer.")
    rates = sorted({stage.sample_rate for stage in stages})
    if len(rates) > 1:
        raise RasedError(
            f"the stages of Cascade work at {' and '.join(map(str, rates))} Hz: choose stages of one sample rate."
        )
    for number, stage in enumerate(stages[1:], 2):
        if stage.channels != 1:
            raise RasedError(
                f"stage {number} of Cascade, {type(stage).__name__}, takes {stage.channels} channels, but the stage "
                "before returns one: choose an enhancer of one channel."
            )
