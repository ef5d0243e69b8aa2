"""Settings of how mixtures are drawn: probabilities and ranges."""

import math
from dataclasses import dataclass
from typing import Literal

from rased.data.mixtures.distortions import Distortions
from rased.errors import RasedError

SHORTEST = 0.01
"""Minimum seconds of a segment or a room."""
SPEEDS = (0.5, 2.0)
"""Allowed range of speeds."""


@dataclass(frozen=True)
class Scene:
    """How mixtures are drawn; ranges are uniform and include both ends.

    Attributes:
        segment: seconds in a mixture.
        snr_db: range of the speech-to-noise ratio, with the active level of the speech.
        level_dbfs: range of the level of the mixture.
        reverb_probability: share of mixtures in a room (if there are rooms).
        noise_probability: share of mixtures with noise.
        noises: probabilities of one, two, ... noises at once, in mixtures with noise; they add up to 1.
        noise_level_db: range of the level of each additional noise relative to the first.
        pause: range of the seconds between utterances, if several of one speaker fill a segment.
        rir_seconds: longest part of an impulse response that is used, from its direct path; longer ones are faded out.
            Samples more than 5 ms before the direct path are left out.
        shaping_probability: share of mixtures whose speech and noise are filtered by random second-order filters
            before mixing, (1 + a z^-1 + b z^-2) / (1 + c z^-1 + d z^-2) with all four uniform in [-3/8, 3/8]. This
            imitates more voices, microphones and noises than were recorded (Valin, "A hybrid DSP/deep learning
            approach to real-time full-band speech enhancement", MMSP 2018).
        speed: range of the speed of the speech, drawn on a logarithmic scale. The speech is resampled, so that pitch
            and formants change, too, like other speakers (Ko et al., "Audio augmentation for speech recognition",
            Interspeech 2015). (1, 1): no change.
        babble_probability: share of the noisy mixtures whose first noise is speech of other speakers from the same
            split.
        babble_voices: range of their number.
        speech_probability: share of the noisy mixtures with speech; in the others, the target is silent.
        distortions: distortions after the microphone, and their frequency.
        microphones: channels of a mixture: the first ones of the impulse responses. Noise of at least as many channels
            is used directly; noise of one channel is placed at another position of the same room (of another room if
            the room has no other response). Without a room, speech and such noise are the same at all microphones.
        enrolment: seconds of another utterance of the same speaker, dry and as recorded, for models
            with the condition "enrolment"; a shorter utterance is repeated. None: no enrolment.
        t60: range of the reverberation time of the rooms in seconds, as measured from their responses; None: all rooms.
            Each room within the range is as frequent as the others. With a shuffle by blocks, a room of the
            neighbourhood is chosen that is within the range or, if there is none, closest to it.
        pair_probability: share of the samples of an epoch that are recorded pairs (if there are pairs), evenly spread;
            with 1, neither speech nor noise is needed. Pairs have no shaping, speed, babble and distortions.
        pair_level: "drawn" from `level_dbfs`, or "recorded": pairs keep their level.
        pair_reverb_probability: share of the pairs whose speech is moved into a room; the noise keeps its ratio to it.
        pair_noise_probability: share of the pairs with one further noise, at `noise_level_db` relative to that of the
            recording.
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
    speed: tuple[float, float] = (1.0, 1.0)
    babble_probability: float = 0.0
    babble_voices: tuple[int, int] = (6, 8)
    speech_probability: float = 1.0
    distortions: Distortions = Distortions()  # noqa: RUF009 - a frozen value
    microphones: int = 1
    enrolment: float | None = None
    t60: tuple[float, float] | None = None
    pair_probability: float = 1.0
    pair_level: Literal["drawn", "recorded"] = "drawn"
    pair_reverb_probability: float = 0.0
    pair_noise_probability: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        for name in ("snr_db", "level_dbfs", "pause", "noise_level_db", "speed", "babble_voices"):
            low, high = getattr(self, name)
            if not (low <= high and math.isfinite(low) and math.isfinite(high)):
                raise RasedError(
                    f"{name} is [{low}, {high}]; the lower end must come first, and both must be finite."
                )
        if self.t60 is not None and not 0 <= self.t60[0] <= self.t60[1] < math.inf:
            raise RasedError(
                f"t60 is {list(self.t60)}; give seconds of 0 or more, the lower end first, such as [0.2, 1.0]."
            )
        if self.pause[0] < 0:
            raise RasedError(f"pause is {list(self.pause)}; it must be 0 s or more.")
        shares = ["reverb", "noise", "shaping", "babble", "speech"]
        shares += ["pair", "pair_reverb", "pair_noise"]
        for name in (f"{share}_probability" for share in shares):
            if not 0 <= getattr(self, name) <= 1:
                raise RasedError(f"{name} is {getattr(self, name)}; it must be between 0 and 1.")
        if not SPEEDS[0] <= self.speed[0] <= self.speed[1] <= SPEEDS[1]:
            raise RasedError(
                f"speed is {list(self.speed)}; give speeds from {SPEEDS[0]:g} to {SPEEDS[1]:g}, such as [0.8, 1.25]."
            )
        if self.babble_voices[0] < 1:
            raise RasedError(f"babble_voices is {list(self.babble_voices)}; give 1 voice or more.")
        if not self.noises or min(self.noises) < 0 or abs(sum(self.noises) - 1) > 1e-6:
            raise RasedError(
                f"noises is {list(self.noises)}; give the probabilities of one, two, ... noises, which "
                "add up to 1, such as [0.7, 0.2, 0.1]."
            )
        self._check_microphones()
        self._check_enrolment()
        for name in ("segment", "rir_seconds"):
            if not SHORTEST <= getattr(self, name) < math.inf:
                raise RasedError(
                    f"{name} is {getattr(self, name)}; it must be {SHORTEST} s or more."
                )

    def _check_microphones(self) -> None:
        if self.microphones < 1:
            raise RasedError(f"microphones is {self.microphones}; give 1 or more.")
        if self.microphones > 1 and self.distortions.any:
            raise RasedError(
                f"distortions need a single microphone, but microphones is {self.microphones}: remove one of them."
            )

    def _check_enrolment(self) -> None:
        if self.enrolment is None:
            return
        if not SHORTEST <= self.enrolment < math.inf:
            raise RasedError(f"enrolment is {self.enrolment}; give {SHORTEST} s or more.")
        if self.speed != (1, 1):
            raise RasedError(
                f"speed is {list(self.speed)}, which changes the voice, but an enrolment must have the same voice: "
                "remove speed or enrolment."
            )
