"""Draw speech: an utterance, more of the same speaker after it, babble of other speakers, and enrolments."""

import numpy as np

from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.drawn import Piece
from rased.data.mixtures.order import Stream, generator
from rased.data.mixtures.scene import Scene
from rased.errors import RasedError


class Voices:
    """The utterances of a corpus by speaker.

    Attributes:
        enrolment_frames: samples of an enrolment, 0 for none.
    """

    def __init__(self, speech: Corpus, scene: Scene, *, seed: int, near: np.ndarray | None) -> None:
        """Group the utterances.

        Args:
            speech: utterances.
            scene: how to draw.
            seed: the seed.
            near: block of each utterance if they are shuffled by blocks, else None. Fillers then share speaker and
                block, so that a mixture does not fetch blocks that are not in use.

        Raises:
            RasedError: a speaker without another utterance for the enrolment.
        """
        self.speech, self.scene, self.seed = speech, scene, seed
        self.enrolment_frames = round((scene.enrolment or 0) * speech.sample_rate)
        _, self._speaker = np.unique(speech.label.encoded, return_inverse=True)
        self._check_speakers()
        self._group = self._speaker
        if near is not None:
            # One number for each pair of speaker and block.
            pair = self._speaker * (int(near.max()) + 1) + near
            _, self._group = np.unique(pair, return_inverse=True)
        # Utterances by group: sort by group, and split where the group changes.
        by_group = np.argsort(self._group, kind="stable")
        _, starts = np.unique(self._group[by_group], return_index=True)
        self._fillers = np.split(by_group, starts[1:])

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

    def say(
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
            # Only the first utterance starts at random: the others are heard from their beginning.
            start = int(random.integers(length - left + 1)) if length > left and not pieces else 0
            pieces.append(Piece(utterance, start, min(length, left), at))
            # A crop of the first utterance fills the segment, so its full length ends the loop as well.
            at += length + round(random.uniform(*self.scene.pause) * self.speech.sample_rate)
            utterance = int(fillers[random.integers(len(fillers))])
        return tuple(pieces)

    def enrol(self, epoch: int, index: int, utterance: int) -> Piece:
        """Draw a crop of another utterance of the speaker, near this one if possible."""
        random = generator(self.seed, epoch, index, Stream.ENROLMENT)
        near = self._fillers[self._group[utterance]]
        if len(near) == 1:
            near = np.flatnonzero(self._speaker == self._speaker[utterance])
        recording = int(random.choice(near[near != utterance]))
        length, frames = int(self.speech.frames[recording]), self.enrolment_frames
        # A short recording is repeated, so it may start anywhere; a long one must fit.
        start = int(random.integers(length if length < frames else length - frames + 1))
        return Piece(recording, start, frames, 0)

    def babble(
        self, epoch: int, index: int, utterance: int, reach: int
    ) -> tuple[tuple[Piece, ...], ...]:
        """Draw the voices of a babble; none if the first noise is not babble."""
        share = self.scene.babble_probability
        if not share:
            return ()
        random = generator(self.seed, epoch, index, Stream.BABBLE)
        others = [group for group in range(len(self._fillers)) if group != self._group[utterance]]
        if random.random() >= share or not others:
            return ()
        low, high = self.scene.babble_voices
        count = int(random.integers(low, high + 1))
        # The same group twice only if there are fewer groups than voices.
        groups = random.choice(others, count, replace=count > len(others))
        leads = [int(random.choice(self._fillers[group])) for group in groups]
        return tuple(self.say(lead, random, reach) for lead in leads)

    def speaking(self, epoch: int, index: int) -> bool:
        """Draw whether a noisy mixture has speech."""
        share = self.scene.speech_probability
        return share == 1 or generator(self.seed, epoch, index, Stream.SPEECH).random() < share
