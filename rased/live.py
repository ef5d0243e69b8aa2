"""Enhance audio as it arrives, in blocks of a fixed length: what a sound card, or a test, calls for each block.

The output is what `rased.enhance` returns for the same audio, `delay` samples later: the latency of the model, its
chunks, the resampling, and the blocks. Switched off, the input is returned with the same delay, so that both can be
compared.
"""

import math
import time
from collections.abc import Callable

import numpy as np

from rased.conditions import Given
from rased.errors import RasedError
from rased.models.base import Enhancer
from rased.rates import Band, Block, RateStream
from rased.streaming import open_rates

BLOCK_SECONDS = 0.01
_LEARN_SECONDS = 0.5
"""Shortest silence from which the delay is learned: longer than the filters of the resampling."""
_MEMORY = 0.9
"""Share of the load that the next block keeps."""
_SILENT_DB = -100.0


class Live:
    """Enhances block by block, with a constant delay.

    Args:
        enhancer: a causal enhancer.
        sample_rate: of input and output, in Hz.
        channels: of the input.
        block_length: samples in a block; None: 10 ms.
        condition: see `rased.enhance`.
        band: see `rased.enhance`.
        clock: seconds of processor or real time; for the load.

    Attributes:
        on: whether the output is enhanced. May be changed at any time; the change is a fade of one block.
        block_length: samples in a block.
        delay: samples by which the output lags the input.
        load: processing time relative to the length of the blocks, a running mean; above 1 is too slow.
        late: blocks that were not ready before the next one arrived.
        lost: samples that were missing in the output.
        input_db: level of the last block of the input, relative to full scale.
        output_db: level of the last block of the output.

    Raises:
        RasedError: the enhancer is not causal, or does not take these channels or this condition.
    """

    def __init__(
        self,
        enhancer: Enhancer,
        sample_rate: int,
        channels: int,
        *,
        block_length: int | None = None,
        condition: Given | None = None,
        band: Band = "full",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if block_length is not None and block_length < 1:
            raise RasedError(f"a block has {block_length} samples; give 1 or more.")
        self.sample_rate, self._clock = sample_rate, clock
        self.block_length = block_length or max(1, round(BLOCK_SECONDS * sample_rate))

        def opened() -> RateStream:
            return open_rates(
                enhancer, sample_rate, channels, condition=condition, band=band, live=True
            )

        self.delay = self._learned(opened(), enhancer, channels)
        self._stream = opened()
        self._dry = np.zeros((channels, self.delay), np.float32)
        rows = channels if enhancer.channels == 1 else 1
        self._wet = np.zeros((rows, self.delay), np.float32)
        self.on, self._was_on = True, True
        self.load = self._behind = 0.0
        self.late = self.lost = 0
        self.input_db = self.output_db = _SILENT_DB

    def push(self, block: Block) -> Block:
        """Take the next block of `block_length` samples; return one of the output."""
        assert block.shape[1] == self.block_length, "the delay is that of blocks of one length"
        begun = self._clock()
        time = block.shape[1]
        self._dry = np.concatenate([self._dry, block], axis=1)
        self._wet = np.concatenate([self._wet, self._stream.push(block)], axis=1)
        missing = max(0, time - self._wet.shape[1])
        if missing:
            self.lost += missing
            self._wet = np.pad(self._wet, [(0, 0), (0, missing)])
        dry, wet = self._dry[: len(self._wet), :time], self._wet[:, :time]
        out = self._mixed(wet, dry)
        self._dry, self._wet = self._dry[:, time:], self._wet[:, time:]
        self.input_db, self.output_db = _level_db(block), _level_db(out)
        self._measure(self._clock() - begun, time / self.sample_rate)
        return out

    def _mixed(self, wet: Block, dry: Block) -> Block:
        before, self._was_on = self._was_on, self.on
        if self._was_on == before:
            return wet if before else dry
        share = np.linspace(float(before), float(not before), wet.shape[1], dtype=np.float32)
        return share * wet + (1 - share) * dry

    def _measure(self, spent: float, seconds: float) -> None:
        """Count blocks that are late: a block may take as long as it lasts, and what it lacks is lost for the next."""
        self.load = _MEMORY * self.load + (1 - _MEMORY) * spent / seconds
        self._behind = max(0.0, self._behind + spent - seconds)
        if self._behind > 0:
            self.late += 1
            self._behind = 0.0  # the sound card has gone on

    def _learned(self, stream: RateStream, enhancer: Enhancer, channels: int) -> int:
        """Return the largest number of samples that a stream ever holds back."""
        block = np.zeros((channels, self.block_length), np.float32)
        held = most = 0
        # Blocks and chunks meet again after as many blocks as a chunk has samples, or a part of it.
        step = round(self.block_length * enhancer.sample_rate / self.sample_rate)
        chunk = enhancer.chunk_length or 1
        period = chunk // math.gcd(chunk, step)
        usual = round(_LEARN_SECONDS * self.sample_rate / self.block_length)
        for _ in range(max(usual, 2 * period)):
            held += self.block_length - stream.push(block).shape[1]
            most = max(most, held)
        return most


def _level_db(block: Block) -> float:
    power = float(np.square(block, dtype=np.float64).mean()) if block.size else 0.0
    return max(_SILENT_DB, 10 * float(np.log10(power + 1e-12)))
