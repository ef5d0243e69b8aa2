"""Draw all random properties of a mixture, before anything is read."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Float

from rased.data.mixtures import order
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.curriculum import Curriculum
from rased.data.mixtures.distortions import Distortion
from rased.data.mixtures.rooms import ROOMS_MB, Rooms
from rased.data.mixtures.scene import Scene as Scene
from rased.data.mixtures.speed import source_frames
from rased.data.schemas import Role
from rased.data.shards.remote import BlockCache
from rased.errors import RasedError
from rased.signal import levels, room

Samples = Float[np.ndarray, " samples"]
Shuffle = Literal["auto", "samples", "blocks"]
_SPEED, _BABBLE, _SPEECH = (1 << 16) + 1, (1 << 16) + 2, (1 << 16) + 3
_NOISE_ROOM, _ENROLMENT = (1 << 16) + 4, (1 << 16) + 5
"""Streams of a sample's generator; those of its noises follow from 4."""
_STREAMS: dict[Role, int] = {"speech": 0, "noise": 1, "rir": 2}
"""Streams of the generators of orders."""

_OTHERS = 16
"""Recordings that are tried instead of a silent one before a mixture is given up."""


@dataclass(frozen=True)
class Piece:
    """Samples [start, start + frames) of a recording, placed at `at` in the segment."""

    recording: int
    start: int
    frames: int
    at: int


@dataclass(frozen=True)
class Drawn:
    """All random properties of one mixture: a pure function of (seed, epoch, index); nothing has been read yet.

    `noise_db` is the level of each noise relative to the first; `shaping` holds the coefficients
    for speech and noise, or nothing. If the first noise is babble, `babble` holds its voices, and `noise` the
    other noises. If not `speaking`, the speech is silent. `noise_rir` is the response for the
    noise with several microphones, `enrolment` a crop of another utterance of the speaker.
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


class Turns:
    """The orders of a corpus, pass after pass; the last two are cached."""

    def __init__(self, order: Callable[[int, int], np.ndarray], length: int) -> None:
        """Store an order, a function of (epoch, pass), and its length."""
        self.order, self.length = order, length
        self._kept: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()

    def __call__(self, epoch: int, index: int) -> int:
        """Return the recording at a position that counts through all passes of an epoch."""
        turn, place = divmod(index, self.length)
        found = self._kept.get((epoch, turn))
        if found is None:
            found = self._kept[epoch, turn] = self.order(epoch, turn)
            if len(self._kept) > 2:
                self._kept.popitem(last=False)
        return int(found[place])


class Nearby:
    """Draws recordings from a neighbourhood of blocks that moves over the whole corpus with the index.

    It moves by one recording per `uses` samples. This is fast enough to read the whole corpus at most once
    while all speech is read, and slow enough not to read more bytes than a segment per sample needs.
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


class Plan:
    """The sources of a stream of mixtures, and how to draw from them.

    A plain shuffle may give any order. With a shuffle by blocks, runs of neighbouring recordings
    in a shard come at about the same time, `window` of them together, so bytes are read
    sequentially and once per epoch, as remote streaming needs. The disadvantages: the order is less random
    (increase `window` for shards with similar neighbours), a noise or room is repeated within
    a neighbourhood of `window` blocks rather than anywhere in the epoch, and a segment is filled
    with utterances of the same speaker from the same block.

    Attributes:
        speech, noise, rir: the sources; rir is None without rooms.
        scene: how to draw.
        seed: the seed.
        count: samples in an epoch; every utterance is used once before any is used again.
        frames: samples of a mixture; `speech_frames`: samples of its speech before the change of speed;
            `enrolment_frames`: samples of an enrolment, 0 for none.
        noise_channels: channels of the noise when it is read: 1, or one per microphone.
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
        curriculum: Curriculum | None = None,
    ) -> None:
        """Set the sources.

        Args:
            speech: utterances.
            noise: noise recordings.
            rir: impulse responses; None: no rooms.
            scene: how to draw.
            seed: the seed.
            count: samples in an epoch; None: the number of utterances.
            shuffle: by `samples` or by `blocks`; `auto`: by blocks for remote corpora.
            window: blocks of a corpus that are in use at the same time; the cache must hold some more of each corpus.
            rooms_mb: megabytes of decoded impulse responses that each process caches.
            curriculum: where the scene begins; None: it is the same in all epochs.

        Raises:
            RasedError: different sample rates, an invalid seed, a window without a block, or
                one larger than the cache; recordings with too few channels, or a speaker without an enrolment.
        """
        if not 0 <= seed < order.SEEDS:
            raise RasedError(f"The seed is {seed}; it must be between 0 and {order.SEEDS - 1}.")
        if window < 1:
            raise RasedError(f"window is {window}; it must be at least 1.")
        self.speech, self.noise, self.rir = speech, noise, rir
        self.scene, self.seed, self.curriculum = scene, seed, curriculum
        self.count = len(speech) if count is None else count
        rates = {corpus.sample_rate for corpus in self.corpora}
        if len(rates) != 1:
            raise RasedError(
                f"Speech, noise and rooms have different sample rates ({sorted(rates)} Hz): pack them with one."
            )
        self.sample_rate = rates.pop()
        scene.distortions.check(self.sample_rate)
        self.frames = self.speech_frames = round(scene.segment * self.sample_rate)
        if scene.speed != (1, 1):
            self.speech_frames = source_frames(self.frames, scene.speed[1])
        self.noise_channels = self._channels_of_noise()
        self.enrolment_frames = round((scene.enrolment or 0) * self.sample_rate)
        _, self._group = np.unique(speech.label.encoded, return_inverse=True)
        self._speaker = self._group
        self._check_speakers()
        in_order: Callable[[int, int], np.ndarray] = partial(
            order.permutation, seed, count=len(speech)
        )
        if shuffle == "blocks" or (shuffle == "auto" and speech.remote):
            blocks = speech.blocks()
            # Fillers then share speaker and block, so that a mixture does not fetch blocks that are not in
            # use.
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
            self.rooms = Rooms(
                rir,
                self.taps,
                self.tail,
                limit=round(rooms_mb * 1e6),
                microphones=scene.microphones,
            )
        by_group = np.argsort(self._group, kind="stable")
        # Utterances by group: sort by group, and split where the group changes.
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
        """Return all sources."""
        return tuple(c for c in (self.speech, self.noise, self.rir) if c is not None)

    def draw(self, epoch: int, index: int) -> Drawn:
        """Draw mixture `index` of an epoch."""
        random = order.generator(self.seed, epoch, index)
        scene = self._scene(epoch, index)
        utterance = self._utterance(epoch, index)
        enrolment = self._enrol(epoch, index, utterance) if self.enrolment_frames else None
        aside = enrolment.recording if enrolment else None
        speech, speed = self._speech(utterance, random, self.frames, aside), 1.0
        if scene.speed != (1, 1):
            # A stream of its own: enabling the speed does not change the other draws of the mixture.
            voice = order.generator(self.seed, epoch, index, _SPEED)
            speed = float(np.exp(voice.uniform(*np.log(scene.speed))))
            speech = self._speech(utterance, voice, source_frames(self.frames, speed))
        in_room = self.rir is not None and random.random() < scene.reverb_probability
        noisy = random.random() < scene.noise_probability
        noises = [(self._noise(epoch, index, random), 0.0)]
        if scene.noises[0] < 1:
            noises += self._further(epoch, index)
        babble = self._babble(epoch, index, utterance) if noisy else ()
        if babble:
            noises = noises[1:]
        distortions: tuple[Distortion, ...] = ()
        if scene.distortions.any:
            distortions = scene.distortions.draw(order.generator(self.seed, epoch, index, 2))
        shaping: tuple[tuple[float, float, float, float], ...] = ()
        if scene.shaping_probability:
            # Draw the filters in a separate stream as well.
            filters = order.generator(self.seed, epoch, index, 3)
            if filters.random() < scene.shaping_probability:
                shaping = tuple(
                    tuple(map(float, filters.uniform(-0.375, 0.375, 4))) for _ in range(2)
                )
        rir = self._any(self.rir, epoch, index, random) if self.rir and in_room else None
        moved = noisy and scene.microphones > 1 and self.noise_channels == 1
        return Drawn(
            epoch=epoch,
            index=index,
            speech=speech,
            noise=tuple(piece for piece, _ in noises if noisy),
            noise_db=tuple(level for _, level in noises if noisy),
            rir=rir,
            snr_db=float(random.uniform(*scene.snr_db)) if noisy else float("inf"),
            level_dbfs=float(random.uniform(*scene.level_dbfs)),
            shaping=shaping,
            distortions=distortions,
            speed=speed,
            babble=babble,
            speaking=not noisy or self._is_speaking(epoch, index),
            noise_rir=self._elsewhere_in(rir, epoch, index) if moved and rir is not None else None,
            enrolment=enrolment,
        )

    def _scene(self, epoch: int, index: int) -> Scene:
        """Return the settings of a mixture."""
        if self.curriculum is None:
            return self.scene
        return self.curriculum.scene(self.scene, epoch + index / self.count)

    def _channels_of_noise(self) -> int:
        """Return the number of microphones if the noise recordings have several channels, else 1.

        Raises:
            RasedError: recordings have too few channels.
        """
        microphones = self.scene.microphones
        if microphones == 1:
            return 1
        if self.rir is not None:
            self.rir.refuse_fewer(microphones)
        if int(self.noise.channels.max()) == 1:
            return 1
        self.noise.refuse_fewer(microphones)
        if self.scene.babble_probability:
            raise RasedError(
                "babble needs noise of one channel, but the noise has several: use babble_probability 0, or pack the "
                "noise without --keep-channels."
            )
        return microphones

    def _check_speakers(self) -> None:
        """Check that each speaker has another utterance for the enrolment."""
        alone = np.flatnonzero(np.bincount(self._speaker)[self._speaker] == 1)
        if self.enrolment_frames and len(alone):
            first = int(alone[0])
            raise RasedError(
                f"enrolment needs another utterance of the same speaker, but {len(alone)} speakers of the split "
                f"'{self.speech.split}' have only one, such as '{self.speech.label[first]}' with "
                f"'{self.speech.key[first]}': remove them from the shards, or set scene.enrolment to null."
            )

    def _enrol(self, epoch: int, index: int, utterance: int) -> Piece:
        """Draw a crop of another utterance of the speaker, near this one if possible."""
        random = order.generator(self.seed, epoch, index, _ENROLMENT)
        near = self._fillers[self._group[utterance]]
        if len(near) == 1:
            near = np.flatnonzero(self._speaker == self._speaker[utterance])
        recording = int(random.choice(near[near != utterance]))
        length, frames = int(self.speech.frames[recording]), self.enrolment_frames
        # A short recording is repeated, so it may start anywhere; a long one must fit.
        start = int(random.integers(length if length < frames else length - frames + 1))
        return Piece(recording, start, frames, 0)

    def _elsewhere_in(self, rir: int, epoch: int, index: int) -> int:
        """Draw the position of the noise: another response of the same room, else any other response."""
        assert self.rir is not None
        random = order.generator(self.seed, epoch, index, _NOISE_ROOM)
        beside = self.rir.beside(rir)
        if len(beside):
            return int(random.choice(beside))
        drawn = self._any(self.rir, epoch, index, random)
        return drawn if drawn != rir else (drawn + 1) % len(self.rir)

    def _is_speaking(self, epoch: int, index: int) -> bool:
        """Draw whether a noisy mixture has speech."""
        share = self.scene.speech_probability
        return share == 1 or order.generator(self.seed, epoch, index, _SPEECH).random() < share

    def _babble(self, epoch: int, index: int, utterance: int) -> tuple[tuple[Piece, ...], ...]:
        """Draw the voices of a babble; none if the first noise is not babble."""
        share = self.scene.babble_probability
        if not share:
            return ()
        random = order.generator(self.seed, epoch, index, _BABBLE)
        others = [group for group in range(len(self._fillers)) if group != self._group[utterance]]
        if random.random() >= share or not others:
            return ()
        low, high = self.scene.babble_voices
        count = int(random.integers(low, high + 1))
        groups = random.choice(others, count, replace=count > len(others))
        leads = [int(random.choice(self._fillers[group])) for group in groups]
        return tuple(self._speech(lead, random, self.frames) for lead in leads)

    def _any(self, corpus: Corpus, epoch: int, index: int, random: np.random.Generator) -> int:
        """Draw a recording: near the sample, or from the whole corpus."""
        nearby = self._nearby.get(corpus.role)
        return nearby(epoch, index, random) if nearby else int(random.integers(len(corpus)))

    def _noise(self, epoch: int, index: int, random: np.random.Generator) -> Piece:
        recording = self._any(self.noise, epoch, index, random)
        length = int(self.noise.frames[recording])
        start = int(random.integers(length if length < self.frames else length - self.frames + 1))
        return Piece(recording, start, self.frames, 0)

    def elsewhere(self, drawn: Drawn, number: int) -> Piece | None:
        """Return a replacement for noise `number` of a mixture that is silent at the drawn position.

        The replacement is an audible position in the same recording, or else in one of some others. It is a
        function of the
        draw, independent of the reading process. None if all of them are silent.

        Raises:
            RasedError: a recording cannot be read.
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
        """Draw the noises after the first, and their levels."""
        random = order.generator(self.seed, epoch, index, 1)
        count = int(np.searchsorted(np.cumsum(self.scene.noises[:-1]), random.random(), "right"))
        return [
            (self._noise(epoch, index, random), float(random.uniform(*self.scene.noise_level_db)))
            for _ in range(count)
        ]

    def _speech(
        self, utterance: int, random: np.random.Generator, reach: int, aside: int | None = None
    ) -> tuple[Piece, ...]:
        """Return a crop of `reach` samples, or the whole utterance, with more of the same speaker after pauses.

        The recording `aside` is not used.
        """
        pieces: list[Piece] = []
        fillers = self._fillers[self._group[utterance]]
        if aside is not None:
            fillers = fillers[fillers != aside]
        at = 0
        while at < reach:
            length, left = int(self.speech.frames[utterance]), reach - at
            start = int(random.integers(length - left + 1)) if length > left and not pieces else 0
            pieces.append(Piece(utterance, start, min(length, left), at))
            at += length + round(random.uniform(*self.scene.pause) * self.sample_rate)
            utterance = int(fillers[random.integers(len(fillers))])
        return tuple(pieces)


def _audible(waveform: Samples, frames: int) -> np.ndarray:
    """Return the starts of all segments of a recording that are not silent; a shorter recording wraps around."""
    length = min(frames, len(waveform))
    energy = np.concatenate([[0.0], np.square(waveform, dtype=np.float64).cumsum()])
    power = (energy[length:] - energy[: len(energy) - length]) / length
    return np.flatnonzero(power >= 4 * levels.SILENT**2)
