"""What flows between the stages of the data path; every name, shape and unit in one place."""

from collections.abc import Sequence
from typing import Any, TypedDict

from jaxtyping import Float, Int
from torch import Tensor

from rased.data.distortions import Distortion


class Batch(TypedDict):
    """Sources of a batch of mixtures, as the loader hands them over; nothing is mixed yet.

    Attributes:
        clean: dry speech.
        noise: noise, already as long as the speech; several are added up.
        rir: room impulse responses, zero-padded behind; a unit impulse where there is no room.
        direct_path: index in samples of the direct path in each rir.
        snr_db: wanted ratio of the active level of the reverberant speech to the noise level.
        level_dbfs: wanted level of the mixture (rms, dB re full scale).
        index: global index of the sample in the epoch.
        key: key of the speech in its shard; with `noise_key` and
            `rir_key` ("" for none, several joined by "+") what was drawn.
        shaping: filters of the speech and of the noise ahead of everything else; no taps where the
            scene shapes nothing.
        distortions: what happens to each mixture behind the microphone, in order.
        skipped: one sentence for each sample of the batch that could not be read and is missing.
    """

    clean: Float[Tensor, "batch time"]
    noise: Float[Tensor, "batch time"]
    rir: Float[Tensor, "batch taps"]
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


class Mixture(TypedDict):
    """A batch of mixtures on the device.

    `early + late + noise` is the mixture before any distortion, to float precision. Where
    `distorted` is "", that is `noisy`; elsewhere `noisy` is what the named distortions made of it,
    and the target stays what it is without them.

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
    """

    noisy: Float[Tensor, "batch time"]
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


Details = dict[str, Any]
"""The plain-data side of a sample: {key}.json in a shard."""
