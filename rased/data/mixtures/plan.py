"""Draw all random properties of a mixture, before anything is read."""

from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Float

from rased.data.mixtures import order
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.curriculum import Curriculum
from rased.data.mixtures.decays import Decays
from rased.data.mixtures.drawn import Drawn
from rased.data.mixtures.kinds import Distortion
from rased.data.mixtures.noises import Noises
from rased.data.mixtures.order import Stream
from rased.data.mixtures.pairs import Pairs
from rased.data.mixtures.rooms import ROOMS_MB, Rooms
from rased.data.mixtures.scene import Scene as Scene
from rased.data.mixtures.speed import source_frames
from rased.data.mixtures.turns import STREAMS, Nearby, Turns, by_blocks, samples
from rased.data.mixtures.voices import Voices
from rased.data.shards.block_cache import BlockCache
from rased.errors import RasedError
from rased.signal import room

Samples = Float[np.ndarray, " samples"]
Shuffle = Literal["auto", "samples", "blocks"]
_TRIES = 64
"""Rooms of a neighbourhood among which one within a range of reverberation times is chosen."""


class Plan:
    """The sources of a stream of mixtures, and how to draw from them.

    A plain shuffle may give any order. With a shuffle by blocks, runs of neighbouring recordings
    in a shard come at about the same time, `window` of them together, so bytes are read
    sequentially and once per epoch, as remote streaming needs. The disadvantages: the order is less random
    (increase `window` for shards with similar neighbours), a noise or room is repeated within
    a neighbourhood of `window` blocks rather than anywhere in the epoch, and a segment is filled
    with utterances of the same speaker from the same block.

    Attributes:
        speech, noise, rir: the sources; rir is None without rooms, noise is None if nothing needs it. If all samples
            are recorded pairs, speech is the corpus of pairs.
        pairs: the recorded pairs, or None.
        scene: how to draw.
        seed: the seed.
        count: samples in an epoch; every utterance is used once before any is used again.
        frames: samples of a mixture; `speech_frames`: samples of its speech before the change of speed.
        voices: the speech by speaker.
        noise_channels: channels of the noise when it is read: 1, or one per microphone.
    """

    def __init__(
        self,
        *,
        speech: Corpus | None,
        noise: Corpus | None,
        rir: Corpus | None,
        scene: Scene,
        seed: int,
        pairs: Corpus | None = None,
        count: int | None = None,
        shuffle: Shuffle = "auto",
        window: int = 32,
        rooms_mb: float = ROOMS_MB,
        curriculum: Curriculum | None = None,
    ) -> None:
        """Set the sources.

        Args:
            speech: utterances; None if all samples are recorded pairs.
            noise: noise recordings; None if, besides, no noise is added to the pairs.
            rir: impulse responses; None: no rooms.
            scene: how to draw.
            seed: the seed.
            pairs: recorded pairs; None: only mixtures.
            count: samples in an epoch; None: the number of utterances, or of pairs if there are only pairs.
            shuffle: by `samples` or by `blocks`; `auto`: by blocks for remote corpora.
            window: blocks of a corpus that are in use at the same time; the cache must hold some more of each corpus.
            rooms_mb: megabytes of decoded impulse responses that each process caches.
            curriculum: where the scene begins; None: it is the same in all epochs.

        Raises:
            RasedError: different sample rates, an invalid seed, a window without a block, or
                one larger than the cache; no speech or noise for mixtures; recordings with too few channels, a
                speaker without an enrolment, or no room in the range of reverberation times.
        """
        if not 0 <= seed < order.SEEDS:
            raise RasedError(f"The seed is {seed}; it must be between 0 and {order.SEEDS - 1}.")
        if window < 1:
            raise RasedError(f"window is {window}; it must be at least 1.")
        if curriculum is not None:
            curriculum.check(scene)
        self.scene, self.seed, self.curriculum = scene, seed, curriculum
        self._set_sources(speech, noise, rir, pairs)
        self.count = len(self.speech) if count is None else count
        rates = {corpus.sample_rate for corpus in self.corpora}
        if len(rates) != 1:
            raise RasedError(
                f"Speech, noise, rooms and pairs have different sample rates ({sorted(rates)} Hz): pack them with one."
            )
        self.sample_rate = rates.pop()
        scene.distortions.check(self.sample_rate)
        self.frames = self.speech_frames = round(scene.segment * self.sample_rate)
        if scene.speed != (1, 1):
            # Enough for the fastest speed; a slower one needs less.
            self.speech_frames = source_frames(self.frames, scene.speed[1])
        self.noise_channels = self._channels_of_noise()
        self._set_orders(shuffle, window, pairs)
        self._set_rooms(rooms_mb)

    def _set_sources(
        self, speech: Corpus | None, noise: Corpus | None, rir: Corpus | None, pairs: Corpus | None
    ) -> None:
        """Set the sources.

        Raises:
            RasedError: speech or noise is missing.
        """
        scene = self.scene
        mixes = pairs is None or scene.pair_probability < 1
        if (mixes and (speech is None or noise is None)) or (
            noise is None and scene.pair_noise_probability
        ):
            raise RasedError(
                "Speech or noise is missing: give both, or recorded pairs with scene.pair_probability 1 and "
                "pair_noise_probability 0."
            )
        found = speech if mixes else pairs
        assert found is not None
        self.speech, self.noise, self.rir, self._recorded = found, noise, rir, pairs

    @property
    def noises(self) -> Noises:
        """Return how noises are drawn; only for what needs noise."""
        assert self._noises is not None
        return self._noises

    def _set_rooms(self, rooms_mb: float) -> None:
        """Set how impulse responses are cut and cached, and their reverberation times if the scene needs them.

        Raises:
            RasedError: no room has a reverberation time in the range.
        """
        scene, curriculum = self.scene, self.curriculum
        self.tail = round(scene.rir_seconds * self.sample_rate)
        # Samples before the direct path, then those from it on.
        self.taps = round(room.BEFORE_MS * self.sample_rate / 1000) + self.tail
        self.rooms = self.decays = None
        if self.rir is None:
            return
        self.rooms = Rooms(
            self.rir,
            self.taps,
            self.tail,
            limit=round(rooms_mb * 1e6),
            microphones=scene.microphones,
        )
        if scene.t60 is not None:
            self.decays = Decays(self.rir)
            self.decays.check(scene.t60, "scene.t60")
            if curriculum is not None and curriculum.t60 is not None:
                self.decays.check(curriculum.t60, "curriculum.t60")

    def _set_orders(self, shuffle: Shuffle, window: int, pairs: Corpus | None) -> None:
        """Set how utterances, noises and rooms follow each other.

        Raises:
            RasedError: a window larger than the cache, or a speaker without an enrolment.
        """
        speech, seed = self.speech, self.seed

        def grouped(corpus: Corpus) -> bool:
            return shuffle == "blocks" or (shuffle == "auto" and corpus.remote)

        def turns(corpus: Corpus) -> Turns:
            stream = STREAMS[corpus.role]
            if grouped(corpus):
                found = by_blocks(seed, corpus.blocks(), stream, window)
            else:
                found = samples(seed, len(corpus), stream)
            return Turns(found, len(corpus))

        if shuffle != "samples":
            elsewhere = [corpus for corpus in self.corpora if corpus.remote]
            # Raises if the blocks of a window do not fit the cache: they would be fetched again and again.
            BlockCache().hold(sum(corpus.in_use(window) for corpus in elsewhere))
        self.pairs = None if pairs is None else Pairs(pairs, self.scene, turns(pairs))
        near = speech.blocks() if grouped(speech) else None
        self._noises = None
        if self.noise is not None:
            near_by = partial(self._any, self.noise)
            self._noises = Noises(
                self.noise, self.scene, seed=seed, frames=self.frames, recording=near_by
            )
        self.voices = Voices(speech, self.scene, seed=seed, near=near)
        self._utterance = turns(speech)
        self._nearby = {
            corpus.role: Nearby(
                corpus,
                seed=seed,
                window=window,
                # At least one pass while all speech is read, and one segment's worth of each recording per use.
                uses=max(
                    -(-len(speech) // len(corpus)),
                    round(corpus.seconds / len(corpus) / self.scene.segment),
                ),
            )
            for corpus in (self.noise, self.rir)
            if corpus is not None and grouped(corpus)
        }

    @property
    def enrolment_frames(self) -> int:
        """Return the samples of an enrolment, 0 for none."""
        return self.voices.enrolment_frames

    @property
    def corpora(self) -> tuple[Corpus, ...]:
        """Return all sources."""
        every = (self.speech, self.noise, self.rir, self._recorded)
        # The speech of a plan of pairs alone is that of the pairs.
        return tuple({id(corpus): corpus for corpus in every if corpus is not None}.values())

    def draw(self, epoch: int, index: int) -> Drawn:
        """Draw sample `index` of an epoch: a mixture, or a recorded pair."""
        paired, number = (False, index) if self.pairs is None else self.pairs.number(index)
        return self._pair(epoch, index, number) if paired else self._mixture(epoch, index, number)

    def _pair(self, epoch: int, index: int, number: int) -> Drawn:
        """Draw the crop of a pair, and what is done to it."""
        assert self.pairs is not None
        random = order.generator(self.seed, epoch, index, Stream.PAIR)
        scene = self._scene(epoch, index)
        piece = self.pairs.piece(epoch, number, self.frames, random)
        # Everything is drawn also if it is not used, so that no share moves the other draws.
        level = float(random.uniform(*scene.level_dbfs))
        noisy = random.random() < scene.pair_noise_probability
        noise_db = float(random.uniform(*scene.noise_level_db))
        in_room = random.random() < scene.pair_reverb_probability
        return Drawn(
            epoch=epoch,
            index=index,
            speech=(),
            noise=(self.noises.draw(epoch, index, random),) if noisy else (),
            noise_db=(noise_db,) if noisy else (),
            rir=self._room(scene, epoch, index, random)
            if in_room and self.rir is not None
            else None,
            snr_db=float("nan"),
            level_dbfs=level if scene.pair_level == "drawn" else float("nan"),
            shaping=(),
            distortions=(),
            pair=piece,
        )

    def _mixture(self, epoch: int, index: int, number: int) -> Drawn:
        """Draw a mixture of utterance `number` of an epoch, and of further ones of its speaker."""
        random = order.generator(self.seed, epoch, index)
        scene = self._scene(epoch, index)
        utterance = self._utterance(epoch, number)
        enrolment = self.voices.enrol(epoch, index, utterance) if self.enrolment_frames else None
        # Each draw from `random` moves all later ones: a new property needs a stream of its own.
        aside = enrolment.recording if enrolment else None
        speech, speed = self.voices.say(utterance, random, self.frames, aside), 1.0
        if scene.speed != (1, 1):
            voice = order.generator(self.seed, epoch, index, Stream.SPEED)
            # Uniform on a logarithmic scale: twice as fast is as frequent as half as fast.
            speed = float(np.exp(voice.uniform(*np.log(scene.speed))))
            # Again, for the length at this speed, from the other stream; the draw above keeps the later ones in place.
            speech = self.voices.say(utterance, voice, source_frames(self.frames, speed))
        in_room = self.rir is not None and random.random() < scene.reverb_probability
        # The noise is drawn also if it is not used, so that the share does not move the other draws.
        noisy = random.random() < scene.noise_probability
        noises = [(self.noises.draw(epoch, index, random), 0.0)]
        # The first number is the probability of a single noise.
        if scene.noises[0] < 1:
            noises += self.noises.further(epoch, index)
        babble = self.voices.babble(epoch, index, utterance, self.frames) if noisy else ()
        # The babble takes the place of the first noise.
        if babble:
            noises = noises[1:]
        rir = self._room(scene, epoch, index, random) if in_room else None
        # Noise of one channel gets a position of its own in the room.
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
            shaping=self._shaping(epoch, index),
            distortions=self._distortions(epoch, index),
            speed=speed,
            babble=babble,
            speaking=not noisy or self.voices.speaking(epoch, index),
            noise_rir=self._elsewhere_in(rir, scene, epoch, index)
            if moved and rir is not None
            else None,
            enrolment=enrolment,
        )

    def _distortions(self, epoch: int, index: int) -> tuple[Distortion, ...]:
        """Draw the distortions of a mixture."""
        if not self.scene.distortions.any:
            return ()
        random = order.generator(self.seed, epoch, index, Stream.DISTORTIONS)
        return self.scene.distortions.draw(random)

    def _shaping(self, epoch: int, index: int) -> tuple[tuple[float, float, float, float], ...]:
        """Draw the filters of speech and noise; nothing for a mixture without."""
        share = self.scene.shaping_probability
        if not share:
            return ()
        random = order.generator(self.seed, epoch, index, Stream.SHAPING)
        if random.random() >= share:
            return ()
        # Within 3/8 all poles stay below 0.83, so that the filters are stable.
        return tuple(tuple(map(float, random.uniform(-0.375, 0.375, 4))) for _ in range(2))

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
        if microphones == 1 or self.noise is None:
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

    def _room(self, scene: Scene, epoch: int, index: int, random: np.random.Generator) -> int:
        """Draw the room of the speech, within the range of reverberation times if there is one."""
        assert self.rir is not None
        room = self._any(self.rir, epoch, index, random)
        if scene.t60 is None:
            return room
        # The draw above stays, so that a range of T60 leaves SNR and level of the mixture as they are.
        return self._within(scene.t60, epoch, index, Stream.T60)

    def _elsewhere_in(self, rir: int, scene: Scene, epoch: int, index: int) -> int:
        """Draw the position of the noise: another response of the same room, else any other response."""
        assert self.rir is not None
        random = order.generator(self.seed, epoch, index, Stream.NOISE_ROOM)
        beside = self.rir.beside(rir)
        if len(beside):
            return int(random.choice(beside))
        if scene.t60 is not None:
            return self._within(scene.t60, epoch, index, Stream.NOISE_ROOM, other_than=rir)
        drawn = self._any(self.rir, epoch, index, random)
        # With a single response, this is the same one again.
        return drawn if drawn != rir else (drawn + 1) % len(self.rir)

    def _within(
        self,
        t60: tuple[float, float],
        epoch: int,
        index: int,
        stream: Stream,
        other_than: int | None = None,
    ) -> int:
        """Draw a room within a range of reverberation times, in the neighbourhood if rooms come by blocks."""
        assert self.decays is not None
        random = order.generator(self.seed, epoch, index, stream)
        nearby = self._nearby.get("rir")
        if nearby is None:
            return self.decays.draw(t60, random, other_than=other_than)
        near = (nearby(epoch, index, random) for _ in range(_TRIES))
        return self.decays.closest(near, t60, other_than=other_than)

    def _any(self, corpus: Corpus, epoch: int, index: int, random: np.random.Generator) -> int:
        """Draw a recording: near the sample, or from the whole corpus."""
        nearby = self._nearby.get(corpus.role)
        return nearby(epoch, index, random) if nearby else int(random.integers(len(corpus)))
