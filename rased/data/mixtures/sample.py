"""Types of the data between the stages of the data path, with names, shapes and units."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

from jaxtyping import Bool, Float, Int, Int16
from torch import Tensor

from rased.data.mixtures.kinds import Distortion


class Place(NamedTuple):
    """A crop of a recording (which may wrap around), and its place in the batch: row and first sample."""

    role: Literal["speech", "noise"]
    row: int
    at: int
    recording: int
    start: int
    frames: int


class Cached(TypedDict):
    """Parts of a batch that are stored on the device, or are to be stored there; see `rased.data.mixtures.cache`.

    Attributes:
        split: split of the corpora.
        found: crops of stored recordings; `clean` and `noise` are zero in their place, or have length 0 if
            all of it is stored.
        fresh: new recordings in the batch, one after the other in `samples`.
        samples: 16-bit samples.
        frames: samples of `clean` and `noise`.
    """

    split: str
    found: list[Place]
    fresh: list[tuple[Literal["speech", "noise"], int]]
    samples: Int16[Tensor, " samples"]
    frames: dict[str, int]


class Batch(TypedDict):
    """Sources of a batch of mixtures, as returned by the loader, before mixing.

    It has no rows if none of its samples could be read.

    Attributes:
        clean: dry speech, before the change of speed.
        noise: noise, as long as the mixture; the sum if there are several. With a channel per microphone only if its
            recordings have several channels.
        rir: room impulse responses, zero-padded at the end; a unit impulse without a room. With a channel per
            microphone if there are several.
        direct_path: index of the direct path in each rir (in its first channel), in samples.
        snr_db: ratio of the active level of the reverberant speech to the noise level.
        level_dbfs: level of the mixture (rms, dB relative to full scale).
        index: index of the sample in the epoch.
        key: key of the speech in its shard; `noise_key` and
            `rir_key` are those of noise and room ("" for none; several are joined by "+").
        speed: speed of the speech; only if the scene has speeds.
        shaping: filters of speech and noise, applied before everything else; no taps if the
            scene has no shaping.
        distortions: distortions of each mixture after the microphone, in order.
        skipped: one sentence for each sample of the batch that could not be read and is missing.
        rooms_bytes: size of the cached impulse responses in the process that read this batch.
        stored: only if recordings are stored on the device.
        noise_rir: responses for noise of one channel, with `noise_direct_path` and `noise_rir_key` as
            for speech; only for several microphones.
        enrolment: another utterance of the speaker; only if the scene has enrolments.
        paired: rows that are recorded pairs; only if the plan has pairs. Their SNR, as recorded, is stated; their
            `noise_key` begins with their own key.
        unscaled: rows that keep the level of their recording.
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
    paired: NotRequired[Bool[Tensor, " batch"]]
    unscaled: NotRequired[Bool[Tensor, " batch"]]


class Mixture(TypedDict):
    """A batch of mixtures on the device.

    `early + late + noise` is the mixture before any distortion, to float precision. If
    `distorted` is "", this is `noisy`; otherwise `noisy` is the distorted mixture,
    and the target is not affected by the distortions.

    With several microphones, noisy is (batch, channel, time). Target, parts, SNR and level refer to
    channel 0.

    Attributes:
        noisy: input of the enhancer.
        target: desired output of the enhancer, as chosen in `Mixing`.
        early: speech through the direct path and early reflections.
        late: late reverberation of the speech.
        noise: the scaled noise.
        snr_db: as in Batch.
        index: index of the sample in the epoch.
        key: key of the speech; `noise_key` and `rir_key` as in Batch.
        distorted: names of the distortions of each mixture in order, joined by "+"; "" for none.
        condition: additional inputs of a model (`Enhancer.conditions`), by name, each (batch, ...):
            "enrolment", another utterance of the speaker, if the scene has enrolments.
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
    """Return channel 0 of mixtures of several microphones; others unchanged."""
    return noisy[:, 0] if noisy.ndim == 3 else noisy


def unpaired(signal: Float[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
    """Return the signal of another mixture for each row; for a single row its own, shifted by half of its length."""
    # Row n gets the signal of row n - 1.
    return signal.roll(1, 0) if len(signal) > 1 else signal.roll(signal.shape[-1] // 2, -1)


def further_noise(batch: Mixture) -> Float[Tensor, "batch time"]:
    """Return the noise of another mixture for each row; see `unpaired`."""
    return unpaired(batch["noise"])


class FrameBatch(TypedDict):
    """Single frames of mixtures as features, for training a mapping; not normalised.

    Attributes:
        windows: noisy frames with their context, oldest first.
        noise: the static noise estimate for each.
        target: the frame of the target.
        index: position of the frame in the epoch.
    """

    windows: Float[Tensor, "batch context feature"]
    noise: Float[Tensor, "batch feature"]
    target: Float[Tensor, "batch feature"]
    index: Int[Tensor, " batch"]


Details = dict[str, Any]
"""Metadata of a sample: {key}.json in a shard."""
