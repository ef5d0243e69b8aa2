"""What mixtures are drawn from and how: everything that chance decides about one, before anything is read."""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from rased.data import order
from rased.data.corpus import Corpus
from rased.data.distortions import Distortion, Distortions
from rased.data.remote import BlockCache
from rased.data.schemas import Role
from rased.errors import RasedError
from rased.signal import levels, room

Samples = Float[np.ndarray, " samples"]
Shuffle = Literal["auto", "samples", "blocks"]
_STREAMS: dict[Role, int] = {"speech": 0, "noise": 1, "rir": 2}
"""Of the generators that orders are drawn from."""

ROOMS_MB = 64.0
"""Megabytes of decoded rooms that a process keeps, where nothing else is said."""


SHORTEST = 0.01
"""Seconds of a segment or a room."""

_OTHERS = 16
"""Recordings that are tried in place of a silent one before a mixture is given up."""


@dataclass(frozen=True)
class Scene:
    """How mixtures are drawn; ranges are uniform, both ends included.

    Attributes:
        segment: seconds in a mixture.
        snr_db: range of the speech-to-noise ratio on the active level of the speech.
        level_dbfs: range of the level of the mixture.
        reverb_probability: share of mixtures in a room (where there are any).
        noise_probability: share of mixtures with noise.
        noises: probabilities of one, two, ... noises at once, where there is noise; they add up to 1.
        noise_level_db: range of the level of each further noise over that of the first.
        pause: range of the seconds between utterances, where several of one speaker fill a segment.
        rir_seconds: longest impulse response that is used, from its direct path on; longer ones are faded out
            before it. What lies 5 ms and more before the direct path is left out.
        shaping_probability: share of mixtures whose speech and whose noise go through random filters of second order
        before they are mixed, (1 + a z^-1 + b z^-2) / (1 + c z^-1 + d z^-2) with all four uniform in [-3/8, 3/8]: other
        voices, microphones and noises than there are recordings of (Valin, "A hybrid DSP/deep learning approach
        to real-time full-band speech enhancement", MMSP 2018).
        distortions: what happens to the mixture behind the microphone, and how often.
    """

    segment: float = 4.0
    snr_db: tuple[float, float] = (-5.0, 15.0)
    level_dbfs: tuple[float, float] = (-38.0, -16.0)
    reverb_probability: float = 0.5
    noise_probability: float = 1.0
    noises: tuple[float, ...] = (1.0,)
    noise_level_db: tuple[float, float] = (-10.0, 0.0)
    pause: tuple[float, float] = (0.1, 0.5)
    rir_seconds: float = 1.0
    shaping_probability: float = 0.0
    distortions: Distortions = Distortions()  # noqa: RUF009 - a frozen value

    def __post_init__(self) -> None:
        """Check once, where the value is made."""
        for name in ("snr_db", "level_dbfs", "pause", "noise_level_db"):
            low, high = getattr(self, name)
            if not (low <= high and math.isfinite(low) and math.isfinite(high)):
                raise RasedError(
                    f"{name} is [{low}, {high}]; the lower end comes first, both are finite."
                )
        if self.pause[0] < 0:
            raise RasedError(f"pause is {list(self.pause)}; a pause takes 0 s or more.")
        for name in ("reverb_probability", "noise_probability", "shaping_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise RasedError(f"{name} is {getattr(self, name)}; a share lies between 0 and 1.")
        if not self.noises or min(self.noises) < 0 or abs(sum(self.noises) - 1) > 1e-6:
            raise RasedError(
                f"noises is {list(self.noises)}; give the probabilities of one, two, ... noises, which "
                "add up to 1, as [0.7, 0.2, 0.1]."
            )
        for name in ("segment", "rir_seconds"):
            if not SHORTEST <= getattr(self, name) < math.inf:
                raise RasedError(f"{name} is {getattr(self, name)}; it takes {SHORTEST} s or more.")


@dataclass(frozen=True)
class Piece:
    """Samples [start, start + frames) of a recording, placed at `at` in the segment."""

    recording: int
    start: int
    frames: int
    at: int


@dataclass(frozen=True)
class Drawn:
    """All that chance decides about one mixture: a pure function of (seed, epoch, index); nothing is read yet.

    `noise_db` is the level of each noise over that of the first; `shaping` holds the coefficients
    for the speech and the noise, or nothing.
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


class Turns:
    """The orders of a corpus, turn after turn; the last two are kept."""

    def __init__(self, order: Callable[[int, int], np.ndarray], length: int) -> None:
        """Name an order, a function of (epoch, turn), and its length."""
        self.order, self.length = order, length
        self._kept: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()

    def __call__(self, epoch: int, index: int) -> int:
        """What comes at a place that counts through all turns of an epoch."""
        turn, place = divmod(index, self.length)
        found = self._kept.get((epoch, turn))
        if found is None:
            found = self._kept[epoch, turn] = self.order(epoch, turn)
            if len(self._kept) > 2:
                self._kept.popitem(last=False)
        return int(found[place])


class Nearby:
    """Recordings drawn from a neighbourhood of blocks that moves on with the index and over all of a corpus.

    It moves by a recording in `uses` samples: enough that all of the corpus is read at most once
    while all speech is, and that no more bytes are read than a segment of each sample needs.
    """

    def __init__(self, corpus: Corpus, *, seed: int, window: int, uses: int) -> None:
        blocks = corpus.blocks()
        self.length, self.uses = uses * len(corpus), uses
        self.reach = min(self.length, -(-self.length * window // (int(blocks.max()) + 1)))
        self._order = Turns(
            partial(
                order.blockwise, seed, blocks=np.repeat(blocks, uses), stream=_STREAMS[corpus.role]
            ),
            self.length,
        )

    def __call__(self, epoch: int, index: int, random: np.random.Generator) -> int:
        """Draw a recording near a sample."""
        return self._order(epoch, index + int(random.integers(self.reach))) // self.uses


class Rooms:
    """Impulse responses, decoded once, in `taps` samples, of which `tail` count from the direct path.

    At most `limit` bytes are kept, in each process its own.
    """

    def __init__(self, rir: Corpus, taps: int, tail: int, *, limit: int) -> None:
        self.rir, self.taps, self.tail, self.limit = rir, taps, tail, limit
        self._kept: OrderedDict[int, tuple[Samples, int]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """What is kept stays behind."""
        return self.__dict__ | {"_kept": OrderedDict()}

    @property
    def bytes(self) -> int:
        """What is kept now."""
        return len(self._kept) * self.taps * np.dtype(np.float32).itemsize

    def __getitem__(self, number: int) -> tuple[Samples, int]:
        """Response (taps,), zero-padded or faded out over its last 50 ms, and its direct path.

        Raises:
            RasedError: it cannot be read, or is silent.
        """
        found = self._kept.pop(number, None)
        if found is None:
            found = self._cut(number)
            while self._kept and (len(self._kept) + 1) * found[0].nbytes > self.limit:
                self._kept.popitem(last=False)
        self._kept[number] = found
        return found

    def _cut(self, number: int) -> tuple[Samples, int]:
        stored = torch.from_numpy(self.rir.read(number))
        if not bool(stored.any()):
            raise RasedError(
                f"the impulse response '{self.rir.key[number]}' is silent; leave it out."
            )
        heard, direct = room.from_direct_path(stored, sample_rate=self.rir.sample_rate)
        end = min(len(heard), direct + self.tail)
        response = np.zeros(self.taps, np.float32)
        response[:end] = heard[:end].numpy()
        if end < len(heard):
            fade = min(self.tail // 2, self.rir.sample_rate // 20)
            response[end - fade : end] *= np.linspace(1, 0, fade, dtype=np.float32)
        return response, direct


class Plan:
    """The sources of a stream and how it is drawn from them.

    The order of a plain shuffle is any. With a shuffle by blocks, runs of recordings that lie side by
    side in a shard come at about the same time, `window` of them together: bytes are read
    sequentially and once an epoch, which streaming from elsewhere needs. The price: the order is less random
    (shards in which neighbours are alike want more `window`), a noise or a room comes again within
    its neighbourhood of `window` blocks rather than anywhere in the epoch, and a segment is filled
    up with utterances of the same speaker from the same block.

    Attributes:
        speech, noise, rir: what to draw from; rir is None where there are no rooms.
        scene: how to draw.
        seed: of everything.
        count: samples in an epoch; every utterance comes once before any comes again.
    """

    def __init__(
        self,
        *,
        speech: Corpus,
        noise: Corpus,
        rir: Corpus | None,
        scene: Scene,
        seed: int,
        count: int | None = None,
        shuffle: Shuffle = "auto",
        window: int = 32,
        rooms_mb: float = ROOMS_MB,
    ) -> None:
        """Join the sources.

        Args:
            speech: utterances.
            noise: recordings of noise.
            rir: impulse responses, None for no rooms.
            scene: how to draw.
            seed: of everything.
            count: samples in an epoch; None for one of each utterance.
            shuffle: by `samples` or by `blocks`; `auto`: by blocks in corpora that lie elsewhere.
            window: blocks of a corpus that are in use together; the cache must hold some more of each.
            rooms_mb: megabytes of decoded impulse responses that each process keeps.

        Raises:
            RasedError: several sample rates, a seed that names no generator, a window without a block, or
                one that the cache cannot hold.
        """
        if not 0 <= seed < order.SEEDS:
            raise RasedError(f"The seed is {seed}; it lies between 0 and {order.SEEDS - 1}.")
        if window < 1:
            raise RasedError(f"window is {window}; at least one block is in use.")
        self.speech, self.noise, self.rir = speech, noise, rir
        self.scene, self.seed = scene, seed
        self.count = len(speech) if count is None else count
        rates = {corpus.sample_rate for corpus in self.corpora}
        if len(rates) != 1:
            raise RasedError(
                f"Speech, noise and rooms have several sample rates ({sorted(rates)} Hz): pack them with one."
            )
        self.sample_rate = rates.pop()
        scene.distortions.check(self.sample_rate)
        self.frames = round(scene.segment * self.sample_rate)
        _, self._group = np.unique(speech.label.encoded, return_inverse=True)
        in_order: Callable[[int, int], np.ndarray] = partial(
            order.permutation, seed, count=len(speech)
        )
        if shuffle == "blocks" or (shuffle == "auto" and speech.remote):
            blocks = speech.blocks()
            group = self._group * (int(blocks.max()) + 1) + blocks
            _, self._group = np.unique(group, return_inverse=True)
            in_order = partial(order.blockwise, seed, blocks=blocks, window=window)
        if shuffle != "samples":
            elsewhere = [corpus for corpus in self.corpora if corpus.remote]
            BlockCache().hold(sum(corpus.in_use(window) for corpus in elsewhere))
        self._utterance = Turns(in_order, len(speech))
        self.tail = round(scene.rir_seconds * self.sample_rate)
        self.taps = round(room.BEFORE_MS * self.sample_rate / 1000) + self.tail
        self.rooms = None
        if rir is not None:
            self.rooms = Rooms(rir, self.taps, self.tail, limit=round(rooms_mb * 1e6))
        by_group = np.argsort(self._group, kind="stable")
        _, starts = np.unique(self._group[by_group], return_index=True)
        self._fillers = np.split(by_group, starts[1:])
        self._nearby = {
            corpus.role: Nearby(
                corpus,
                seed=seed,
                window=window,
                uses=max(
                    -(-len(speech) // len(corpus)),
                    round(corpus.seconds / len(corpus) / scene.segment),
                ),
            )
            for corpus in (noise, rir)
            if corpus is not None and (shuffle == "blocks" or (shuffle == "auto" and corpus.remote))
        }

    @property
    def corpora(self) -> tuple[Corpus, ...]:
        """All that is drawn from."""
        return tuple(c for c in (self.speech, self.noise, self.rir) if c is not None)

    def draw(self, epoch: int, index: int) -> Drawn:
        """Draw mixture `index` of an epoch."""
        random = order.generator(self.seed, epoch, index)
        scene = self.scene
        speech = self._speech(self._utterance(epoch, index), random)
        in_room = self.rir is not None and random.random() < scene.reverb_probability
        noisy = random.random() < scene.noise_probability
        noises = [(self._noise(epoch, index, random), 0.0)]
        if scene.noises[0] < 1:
            noises += self._further(epoch, index)
        distortions: tuple[Distortion, ...] = ()
        if scene.distortions.any:
            distortions = scene.distortions.draw(order.generator(self.seed, epoch, index, 2))
        shaping: tuple[tuple[float, float, float, float], ...] = ()
        if scene.shaping_probability:
            filters = order.generator(self.seed, epoch, index, 3)
            if filters.random() < scene.shaping_probability:
                shaping = tuple(
                    tuple(map(float, filters.uniform(-0.375, 0.375, 4))) for _ in range(2)
                )
        return Drawn(
            epoch=epoch,
            index=index,
            speech=speech,
            noise=tuple(piece for piece, _ in noises if noisy),
            noise_db=tuple(level for _, level in noises if noisy),
            rir=self._any(self.rir, epoch, index, random) if self.rir and in_room else None,
            snr_db=float(random.uniform(*scene.snr_db)) if noisy else float("inf"),
            level_dbfs=float(random.uniform(*scene.level_dbfs)),
            shaping=shaping,
            distortions=distortions,
        )

    def _any(self, corpus: Corpus, epoch: int, index: int, random: np.random.Generator) -> int:
        """Draw a recording: near the sample, or anywhere."""
        nearby = self._nearby.get(corpus.role)
        return nearby(epoch, index, random) if nearby else int(random.integers(len(corpus)))

    def _noise(self, epoch: int, index: int, random: np.random.Generator) -> Piece:
        recording = self._any(self.noise, epoch, index, random)
        length = int(self.noise.frames[recording])
        start = int(random.integers(length if length < self.frames else length - self.frames + 1))
        return Piece(recording, start, self.frames, 0)

    def elsewhere(self, drawn: Drawn, number: int) -> Piece | None:
        """Where to take noise `number` of a mixture from, where it is silent in the place that was drawn.

        A place where it sounds in the same recording, else in one of some others: a function of what was drawn,
        whoever reads it. None where all of them are silent.

        Raises:
            RasedError: one cannot be read.
        """
        random = order.generator(self.seed, drawn.epoch, drawn.index, 4 + number)
        recording = drawn.noise[number].recording
        for _ in range(1 + _OTHERS):
            audible = _audible(self.noise.read(recording), self.frames)
            if len(audible):
                start = int(audible[random.integers(len(audible))])
                return Piece(recording, start, self.frames, 0)
            recording = self._any(self.noise, drawn.epoch, drawn.index, random)
        return None

    def _further(self, epoch: int, index: int) -> list[tuple[Piece, float]]:
        """The noises behind the first and their levels."""
        random = order.generator(self.seed, epoch, index, 1)
        count = int(np.searchsorted(np.cumsum(self.scene.noises[:-1]), random.random(), "right"))
        return [
            (self._noise(epoch, index, random), float(random.uniform(*self.scene.noise_level_db)))
            for _ in range(count)
        ]

    def _speech(self, utterance: int, random: np.random.Generator) -> tuple[Piece, ...]:
        """A crop of the utterance, or the whole of it and more of the same speaker behind pauses."""
        pieces: list[Piece] = []
        fillers = self._fillers[self._group[utterance]]
        at = 0
        while at < self.frames:
            length, left = int(self.speech.frames[utterance]), self.frames - at
            start = int(random.integers(length - left + 1)) if length > left and not pieces else 0
            pieces.append(Piece(utterance, start, min(length, left), at))
            at += length + round(random.uniform(*self.scene.pause) * self.sample_rate)
            utterance = int(fillers[random.integers(len(fillers))])
        return tuple(pieces)


def _audible(waveform: Samples, frames: int) -> np.ndarray:
    """First samples of the segments of a recording that are not silent; a shorter one goes round from its start."""
    length = min(frames, len(waveform))
    energy = np.concatenate([[0.0], np.square(waveform, dtype=np.float64).cumsum()])
    power = (energy[length:] - energy[: len(energy) - length]) / length
    return np.flatnonzero(power >= 4 * levels.SILENT**2)
