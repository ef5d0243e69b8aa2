"""What flows between the stages of the data path; every name, shape and unit in one place."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

from jaxtyping import Float, Int, Int16
from torch import Tensor

from rased.data.mixtures.distortions import Distortion


class Place(NamedTuple):
    """Where a crop belongs, row and first sample in the batch, and what it is: samples of a recording, going round."""

    role: Literal["speech", "noise"]
    row: int
    at: int
    recording: int
    start: int
    frames: int


class Cached(TypedDict):
    """What of a batch lies on the device already, and what is to be kept there; see `rased.data.mixtures.cache`.

    Attributes:
        split: of the corpora.
        found: crops of recordings that are there; `clean` and `noise` are zero in their place, or of no length where
            they come from there alone.
        fresh: recordings that the batch brings along, one behind the other in `samples`.
        samples: of 16 bits.
        frames: samples of `clean` and `noise`.
    """

    split: str
    found: list[Place]
    fresh: list[tuple[Literal["speech", "noise"], int]]
    samples: Int16[Tensor, " samples"]
    frames: dict[str, int]


class Batch(TypedDict):
    """Sources of a batch of mixtures, as the loader hands them over; nothing is mixed yet.

    It has no row where none of its samples could be read.

    Attributes:
        clean: dry speech, before it is brought to its speed.
        noise: noise, as long as the mixture; several are added up. With a channel for each microphone only where its
            recordings have several.
        rir: room impulse responses, zero-padded behind; a unit impulse where there is no room. With a channel for
            each microphone where there are several.
        direct_path: index in samples of the direct path in each rir, in its first channel.
        snr_db: wanted ratio of the active level of the reverberant speech to the noise level.
        level_dbfs: wanted level of the mixture (rms, dB re full scale).
        index: global index of the sample in the epoch.
        key: key of the speech in its shard; with `noise_key` and
            `rir_key` ("" for none, several joined by "+") what was drawn.
        speed: of the speech, only where the scene has speeds.
        shaping: filters of the speech and of the noise ahead of everything else; no taps where the
            scene shapes nothing.
        distortions: what happens to each mixture behind the microphone, in order.
        skipped: one sentence for each sample of the batch that could not be read and is missing.
        rooms_bytes: what the impulse responses take that the reader of this batch keeps.
        stored: only where recordings are kept on the device.
        noise_rir: responses that noise of one channel goes through, with `noise_direct_path` and `noise_rir_key` as
            for speech; only for several microphones.
        enrolment: another utterance of the speaker, only where the scene has enrolments.
    """

    clean: Float[Tensor, "batch source"]
    noise: Float[Tensor, "batch *channel time"]
    rir: Float[Tensor, "batch *channel taps"]
    direct_path: Int[Tensor, " batch"]
    snr_db: Float[Tensor, " batch"]
    level_dbfs: Float[Tensor, " batch"]
    index: Int[Tensor, " batch"]
    key: list[str]
    noise_key: list[str]
    rir_key: list[str]
    shaping: Float[Tensor, "batch 2 shaping_taps"]
    distortions: list[Sequence[Distortion]]
    skipped: list[str]
    rooms_bytes: int
    speed: NotRequired[Float[Tensor, " batch"]]
    stored: NotRequired[Cached]
    noise_rir: NotRequired[Float[Tensor, "batch channel taps"]]
    noise_direct_path: NotRequired[Int[Tensor, " batch"]]
    noise_rir_key: NotRequired[list[str]]
    enrolment: NotRequired[Float[Tensor, "batch enrolment_time"]]


class Mixture(TypedDict):
    """A batch of mixtures on the device.

    `early + late + noise` is the mixture before any distortion, to float precision. Where
    `distorted` is "", that is `noisy`; elsewhere `noisy` is what the named distortions made of it,
    and the target stays what it is without them.

    With several microphones noisy is (batch, channel, time). Target, parts, SNR and level are those of the reference,
    channel 0.

    Attributes:
        noisy: what the enhancer gets.
        target: what the enhancer should give; the mixing's explicit choice.
        early: speech by the direct path and its first reflections.
        late: the rest of the reverberation.
        noise: the scaled noise.
        snr_db: as asked for.
        index: global index of the sample in the epoch.
        key: key of the speech; `noise_key` and `rir_key` as in Batch.
        distorted: names of the distortions of each mixture in order, joined by "+"; "" for none.
        condition: what a model needs besides (`Enhancer.conditions`), by name, each (batch, ...): "enrolment", another
            utterance of the speaker, where the scene has enrolments.
    """

    condition: NotRequired[dict[str, Tensor]]
    noisy: Float[Tensor, "batch *channel time"]
    target: Float[Tensor, "batch time"]
    early: Float[Tensor, "batch time"]
    late: Float[Tensor, "batch time"]
    noise: Float[Tensor, "batch time"]
    snr_db: Float[Tensor, " batch"]
    index: Int[Tensor, " batch"]
    key: list[str]
    noise_key: list[str]
    rir_key: list[str]
    distorted: list[str]


def reference(noisy: Float[Tensor, "batch *channel time"]) -> Float[Tensor, "batch time"]:
    """Channel 0 of mixtures of several microphones; those of one as they are."""
    return noisy[:, 0] if noisy.ndim == 3 else noisy


class FrameBatch(TypedDict):
    """Single frames of mixtures as features, to learn a mapping from; nothing is normalised yet.

    Attributes:
        windows: noisy frames with their context, oldest first.
        noise: the static noise estimate beside each.
        target: the frame of the target.
        index: place of the frame in the epoch.
    """

    windows: Float[Tensor, "batch context feature"]
    noise: Float[Tensor, "batch feature"]
    target: Float[Tensor, "batch feature"]
    index: Int[Tensor, " batch"]


Details = dict[str, Any]
"""The plain-data side of a sample: {key}.json in a shard."""
