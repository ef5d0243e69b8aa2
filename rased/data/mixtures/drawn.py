"""The random properties of one mixture, as drawn; nothing has been read yet."""

from dataclasses import dataclass

from rased.data.mixtures.kinds import Distortion


@dataclass(frozen=True)
class Piece:
    """Samples [start, start + frames) of a recording, placed at `at` in the segment."""

    recording: int
    start: int
    frames: int
    at: int


@dataclass(frozen=True)
class Drawn:
    """All random properties of one mixture: a pure function of (seed, epoch, index).

    `noise_db` is the level of each noise relative to the first; `shaping` holds the coefficients
    for speech and noise, or nothing. If the first noise is babble, `babble` holds its voices, and `noise` the
    other noises. If not `speaking`, the speech is silent. `noise_rir` is the response for the
    noise with several microphones, `enrolment` a crop of another utterance of the speaker. A recorded `pair` has no
    `speech`; `noise` is what is added to it. Its `snr_db`, and its `level_dbfs` if that is as recorded, are NaN until
    the pair is read.
    """

    epoch: int
    index: int
    speech: tuple[Piece, ...]
    noise: tuple[Piece, ...]
    noise_db: tuple[float, ...]
    rir: int | None
    snr_db: float
    level_dbfs: float
    shaping: tuple[tuple[float, float, float, float], ...]
    distortions: tuple[Distortion, ...]
    speed: float = 1.0
    babble: tuple[tuple[Piece, ...], ...] = ()
    speaking: bool = True
    noise_rir: int | None = None
    enrolment: Piece | None = None
    pair: Piece | None = None
