"""Recorded pairs among the mixtures of an epoch: which samples they are, and what is drawn of them.

A pair is a recording of two channels: clean, then noisy. Its noise is their difference, so that a pair is a mixture
like any other; unless something else is configured, it keeps the ratio of noise to speech with which it was recorded.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Float

from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.drawn import Piece
from rased.data.mixtures.scene import Scene
from rased.data.schemas import Role
from rased.errors import RasedError
from rased.signal import levels

_FINEST = 10**6
"""Largest denominator of the share of pairs."""


class Pairs:
    """The recorded pairs of a plan.

    They are spread evenly over an epoch. In an epoch of several passes, each pair is used once before any is used
    again, and so is each utterance of the mixtures between them.

    Attributes:
        corpus: recordings of role pairs.
        alone: all samples of an epoch are pairs.
    """

    def __init__(self, corpus: Corpus, scene: Scene, turns: Callable[[int, int], int]) -> None:
        """Set the pairs.

        Args:
            corpus: recordings of role pairs.
            scene: how to draw.
            turns: order of the pairs, a function of the epoch and the number of a pair in it.

        Raises:
            RasedError: a recording without two channels, or a setting that pairs cannot have.
        """
        self.corpus, self._turns = corpus, turns
        self._share = Fraction(scene.pair_probability).limit_denominator(_FINEST)
        self.alone = self._share == 1
        corpus.refuse_fewer(2)
        for name, wanted in (
            ("microphones", scene.microphones > 1),
            ("enrolment", scene.enrolment),
        ):
            if wanted:
                raise RasedError(
                    f"{name} is {getattr(scene, name)}, but recorded pairs have neither several microphones nor "
                    f"enrolments: remove pairs, or scene.{name}."
                )

    def number(self, index: int) -> tuple[bool, int]:
        """Return whether sample `index` of an epoch is a pair, and its number among the pairs or the mixtures."""
        before, until = int(index * self._share), int((index + 1) * self._share)
        return (True, before) if until > before else (False, index - before)

    def piece(self, epoch: int, number: int, frames: int, random: np.random.Generator) -> Piece:
        """Draw a crop of a pair; a shorter recording is repeated from its beginning."""
        recording = self._turns(epoch, number)
        spare = int(self.corpus.frames[recording]) - frames
        return Piece(recording, int(random.integers(spare + 1)) if spare > 0 else 0, frames, 0)


def in_use(sources: Mapping[Role, Sequence[str]], *scenes: Scene) -> dict[Role, Sequence[str]]:
    """Return the sources that are needed: if all samples are pairs, only what is added to them."""
    used = {*sources}
    if sources.get("pairs") and all(scene.pair_probability == 1 for scene in scenes):
        used = {"pairs"}
        if any(scene.pair_noise_probability for scene in scenes):
            used.add("noise")
        if any(scene.pair_reverb_probability for scene in scenes):
            used.add("rir")
    return {role: names for role, names in sources.items() if names and role in used}


def ratio_db(clean: Float[np.ndarray, " time"], noise: Float[np.ndarray, " time"]) -> float:
    """Return the ratio of the active level of speech to the level of noise, as it was recorded.

    Speech counts as at least one 16-bit step, so the ratio of a pause is finite; without noise it is infinite.
    """
    speech, rest = torch.from_numpy(clean), torch.from_numpy(noise)
    heard = max(float(levels.active_rms(speech)), levels.SILENT)
    noisy = float(levels.rms(rest))
    return 20 * float(np.log10(heard / noisy)) if noisy else float("inf")


def level_dbfs(waveform: Float[np.ndarray, " time"]) -> float:
    """Return the level of a waveform."""
    return float(levels.dbfs(levels.rms(torch.from_numpy(waveform))))
