"""Draw noises: recordings and positions in them, and others instead of silent ones."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.drawn import Drawn, Piece
from rased.data.mixtures.order import Stream, generator
from rased.data.mixtures.scene import Scene
from rased.signal import levels

_OTHERS = 16
"""Recordings that are tried instead of a silent one before a mixture is given up."""


class Noises:
    """The noise recordings of a plan."""

    def __init__(
        self,
        corpus: Corpus,
        scene: Scene,
        *,
        seed: int,
        frames: int,
        recording: Callable[[int, int, np.random.Generator], int],
    ) -> None:
        """Set the noises.

        Args:
            corpus: noise recordings.
            scene: how to draw.
            seed: the seed.
            frames: samples of a mixture.
            recording: draws a recording by epoch, index and generator.
        """
        self.corpus, self.scene, self.seed, self.frames = corpus, scene, seed, frames
        self._recording = recording

    def draw(self, epoch: int, index: int, random: np.random.Generator) -> Piece:
        """Draw a recording and a position; a shorter recording wraps around."""
        recording = self._recording(epoch, index, random)
        length = int(self.corpus.frames[recording])
        start = int(random.integers(length if length < self.frames else length - self.frames + 1))
        return Piece(recording, start, self.frames, 0)

    def further(self, epoch: int, index: int) -> list[tuple[Piece, float]]:
        """Draw the noises after the first, and their levels."""
        random = generator(self.seed, epoch, index, Stream.FURTHER)
        # How many of the thresholds are passed: the number of noises after the first.
        count = int(np.searchsorted(np.cumsum(self.scene.noises[:-1]), random.random(), "right"))
        return [
            (self.draw(epoch, index, random), float(random.uniform(*self.scene.noise_level_db)))
            for _ in range(count)
        ]

    def elsewhere(self, drawn: Drawn, number: int) -> Piece | None:
        """Return a replacement for noise `number` of a mixture that is silent at the drawn position.

        The replacement is an audible position in the same recording, or else in one of some others. It is a
        function of the draw, independent of the reading process. None if all of them are silent.

        Raises:
            RasedError: a recording cannot be read.
        """
        random = generator(self.seed, drawn.epoch, drawn.index, Stream.ELSEWHERE + number)
        recording = drawn.noise[number].recording
        for _ in range(1 + _OTHERS):
            audible = _audible(self.corpus.read(recording), self.frames)
            if len(audible):
                start = int(audible[random.integers(len(audible))])
                return Piece(recording, start, self.frames, 0)
            recording = self._recording(drawn.epoch, drawn.index, random)
        return None


def _audible(waveform: Float[np.ndarray, " samples"], frames: int) -> np.ndarray:
    """Return the starts of all segments of a recording that are not silent; a shorter recording wraps around."""
    # Powers of all segments by differences of cumulated energies.
    length = min(frames, len(waveform))
    energy = np.concatenate([[0.0], np.square(waveform, dtype=np.float64).cumsum()])
    power = (energy[length:] - energy[: len(energy) - length]) / length
    # Twice the level of silence, so that the check after reading in single precision passes as well.
    return np.flatnonzero(power >= 4 * levels.SILENT**2)
