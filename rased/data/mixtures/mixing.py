"""Mix x = r * s + n with tensors, on the CPU or an accelerator, with one gain for all parts.

On a CPU, filters and rooms are applied row by row, with cached spectra of rooms, so that a mixture has the same bits
in any batch. On other devices, all rows are processed at once (see `batched`), since single rows would
need many small calls.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Complex, Float, Shaped
from torch import Tensor

from rased.data.mixtures import batched, microphones
from rased.data.mixtures.distortions import distort, names
from rased.data.mixtures.sample import Batch, Mixture
from rased.data.mixtures.speed import at_speed
from rased.errors import RasedError
from rased.signal import convolution, levels, room

Target = Literal["anechoic", "direct", "early", "reverberant"]
PEAK = 0.99
"""A mixture that would exceed this amplitude at its level is attenuated as a whole, so that nothing clips."""

SPECTRA_MB = 256.0
"""Default megabytes of the cache of room spectra."""


@dataclass(frozen=True)
class Mixing:
    """How mixtures are made, and which target the enhancer gets.

    Every target is a filtered version of the dry speech, aligned to the direct path, with
    the gain of the mixture: `anechoic` is the dry speech at the level of its direct path, `direct`
    what arrives within 2.5 ms of the direct path, `early` what arrives within `early_ms` after it,
    `reverberant` everything (only noise is removed).

    Attributes:
        target: see above.
        early_ms: end of the early reflections and beginning of the late reverberation, in milliseconds after
            the direct path.
        sample_rate: Hz.
        snr_of: speech that the SNR of a mixture refers to: "reverberant" (all of it), or "target" (in a room, the
            noise is then quieter).
    """

    target: Target = "early"
    early_ms: float = 50.0
    sample_rate: int = 16_000
    snr_of: Literal["reverberant", "target"] = "reverberant"

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.early_ms < 0:
            raise RasedError(
                f"early_ms is {self.early_ms}; it must be a time after the direct path, 0 or more."
            )

    def responses(
        self, rir: Float[Tensor, "*channel taps"], direct: int, length: int
    ) -> Complex[Tensor, "parts ..."]:
        """Return transfer functions of early, late and, if it is the target, direct (see `convolution.response`).

        They belong to the first channel; the complete transfer functions of the other channels follow.
        """
        first = rir[0] if rir.ndim == 2 else rir

        def until(milliseconds: float) -> Float[Tensor, " taps"]:
            return room.early_part(
                first, direct, early_ms=milliseconds, sample_rate=self.sample_rate
            )

        early = until(self.early_ms)
        # The late part is the rest, so that early and late add up.
        parts = [early, first - early]
        if self.target == "direct":
            parts.append(until(room.DIRECT_MS))
        reference = [convolution.response(part, direct, length) for part in parts]
        return torch.stack([*reference, *microphones.further(rir, direct, length)])


_Speech = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
_APART: tuple[Target, ...] = ("anechoic", "direct")
"""Targets that are not a sum of the parts of a mixture."""


class Mixer:
    """Turns batches into mixtures on their device; on a CPU, it caches the spectra of rooms."""

    def __init__(
        self,
        mixing: Mixing,
        *,
        limit: int = round(SPECTRA_MB * 1e6),
        by_rows: bool | None = None,
    ) -> None:
        """Cache at most `limit` bytes of spectra; `by_rows` None means row by row only on a CPU."""
        self.mixing, self.limit, self.by_rows = mixing, limit, by_rows
        self._kept: OrderedDict[tuple[str, int, torch.device], tuple[Tensor, Tensor]] = (
            OrderedDict()
        )

    @property
    def bytes(self) -> int:
        """Return the bytes of the cached spectra."""
        return sum(responses.nbytes for responses, _ in self._kept.values())

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Mixture:
        """Mix a batch.

        The parts add up: `noisy == early + late + noise` to float precision, unless `distorted`
        names distortions of noisy. The noise is `snr_db` below the active level of
        the speech (`Mixing.snr_of`). The mixture has the level `level_dbfs` (rms), unless it would clip, by itself or
        with wind and a microphone response; then its peak is 0.99. An infinite snr_db means no noise. Without speech,
        the mixture is the noise. Silence stays silent. With several microphones, this applies to the first one,
        but the peak is that of all channels.
        """
        by_rows = self.by_rows
        if by_rows is None:
            by_rows = batch["clean"].device.type == "cpu"
        # Speech and noise at the microphones.
        batch = _as_recorded(batch, _shaped(_at_speed(batch, by_rows=by_rows), by_rows=by_rows))
        early, late, target, others = self._by_rows(batch) if by_rows else self._at_once(batch)
        everywhere = microphones.noise_everywhere(batch, by_rows=by_rows)
        heard = everywhere if others is None else everywhere[:, 0]
        # One tensor with two names: `speech` is needed only until the noise is added.
        noisy = speech = early + late
        if self.mixing.snr_of == "target" and self.mixing.target != "reverberant":
            speech = early if target is None else target
        # The noise at its SNR.
        noise_gain = levels.gain_for_snr(speech=speech, noise=heard, snr_db=batch["snr_db"])
        # Without speech there is no reference for the noise: it keeps its own level.
        silent = levels.rms(speech) == 0
        noise_gain = torch.where(silent & batch["snr_db"].isfinite(), 1.0, noise_gain)
        if "paired" in batch:
            # As recorded; in a room, speech has another level.
            dry = batch["paired"] & ~_in_room(batch)
            noise_gain = torch.where(dry, 1.0, noise_gain)
        noise = heard * _column(noise_gain)
        if others is not None:
            others.add_(everywhere[:, 1:] * noise_gain[:, None, None])
        # One gain for all parts brings the mixture to its level.
        gain = _column(_gain(noisy.add_(noise), batch["level_dbfs"], others, batch.get("unscaled")))
        for part in (early, late, noise):
            part.mul_(gain)
        if target is not None:
            target.mul_(gain)
        else:
            # A copy, because below all parts are scaled in place: one tensor would be scaled twice.
            target = early.clone() if self.mixing.target == "early" else early + late
        # Summed again from the scaled parts: a scaled sum would differ from them in the last bits.
        torch.add(early, late, out=noisy).add_(noise)
        if others is not None:
            noisy = torch.cat([noisy[:, None], others * gain[:, None]], dim=1)
        # Microphone, converter and network.
        if any(batch["distortions"]):
            noisy, lowered = distort(
                noisy,
                batch["distortions"],
                sample_rate=self.mixing.sample_rate,
                peak=PEAK,
                by_rows=by_rows,
            )
            # The attenuation before the converter applies to all parts; what distortions do later only to `noisy`.
            for part in (early, late, noise, target):
                part.mul_(_column(lowered))
        mixture = Mixture(
            noisy=noisy,
            target=target,
            early=early,
            late=late,
            noise=noise,
            snr_db=batch["snr_db"],
            index=batch["index"],
            key=batch["key"],
            noise_key=batch["noise_key"],
            rir_key=batch["rir_key"],
            distorted=[names(distortions) for distortions in batch["distortions"]],
        )
        if "enrolment" in batch:
            mixture["condition"] = {"enrolment": batch["enrolment"]}
        return mixture

    def _by_rows(self, batch: Batch) -> _Speech:
        """Return early, late and a target that is not a sum of them, before any gain; and the other channels."""
        early, late = torch.empty_like(batch["clean"]), torch.empty_like(batch["clean"])
        target = torch.empty_like(early) if self.mixing.target in _APART else None
        targets = [None] * len(early) if target is None else target.unbind()
        others = _other_channels(batch)
        for row, parts in enumerate(zip(early.unbind(), late.unbind(), targets, strict=True)):
            self._speak(batch, row, *parts, () if others is None else others[row].unbind())
        return early, late, target, others

    def _at_once(self, batch: Batch) -> _Speech:
        """Do the same for all rows with a room together."""
        early, late = batch["clean"].clone(), torch.zeros_like(batch["clean"])
        target = early.clone() if self.mixing.target in _APART else None
        others = _other_channels(batch)
        if others is not None:
            others.copy_(early[:, None])
        inside = [row for row, key in enumerate(batch["rir_key"]) if key]
        if not inside:
            return early, late, target, others
        rows = batched.to_device(inside, early)
        clean, rir, direct = (batch[name][rows] for name in ("clean", "rir", "direct_path"))
        if others is not None:
            others.index_copy_(0, rows, microphones.arrive(clean, rir[:, 1:], direct))
            rir = rir[:, 0]
        rate = self.mixing.sample_rate
        times = [self.mixing.early_ms]
        if self.mixing.target == "direct":
            times.append(room.DIRECT_MS)
        ends = [round(milliseconds * rate / 1000) for milliseconds in times]
        # What arrives before each of the `ends`, then what arrives after the first one.
        parts = batched.speak(clean, rir, direct, ends)
        early.index_copy_(0, rows, parts[0])
        late.index_copy_(0, rows, parts[-1])
        if target is not None and self.mixing.target == "direct":
            target.index_copy_(0, rows, parts[1])
        elif target is not None:
            # 0.5 ms.
            amplitude = batched.direct_amplitude(rir, direct, rate // 2000)
            target.index_copy_(0, rows, clean * _column(amplitude))
        return early, late, target, others

    def _speak(
        self,
        batch: Batch,
        row: int,
        early: Float[Tensor, " time"],
        late: Float[Tensor, " time"],
        target: Float[Tensor, " time"] | None,
        others: Sequence[Float[Tensor, " time"]],
    ) -> None:
        """Write early, late and a target that is not a sum of them, before any gain; without a room, all is early.

        Row by row, so that a mixture has the same bits in any batch.
        """
        clean = batch["clean"][row]
        if not batch["rir_key"][row]:
            early.copy_(clean)
            late.zero_()
            if target is not None:
                target.copy_(clean)
            for channel in others:
                channel.copy_(clean)
            return
        length = convolution.grid_length(clean.shape[-1] + batch["rir"].shape[-1])
        # One transform of the speech serves all parts and channels.
        responses, amplitude = self._responses(batch, row, length)
        parts = [early, late]
        if target is not None and self.mixing.target == "direct":
            parts.append(target)
        elif target is not None:
            torch.mul(clean, amplitude, out=target)
        parts += others
        convolution.restore(convolution.transform(clean, length) * responses, out=parts)

    def _responses(self, batch: Batch, row: int, length: int) -> tuple[Tensor, Tensor]:
        """Return the transfer functions of a room, and the amplitude of its direct path."""
        rir = batch["rir"][row]
        key = (batch["rir_key"][row], length, rir.device)
        # Popped and put back at the end: the order of the dictionary is that of the last use.
        found = self._kept.pop(key, None)
        if found is None:
            direct = int(batch["direct_path"][row])
            responses = self.mixing.responses(rir, direct, length)
            first = rir[0] if rir.ndim == 2 else rir
            found = (responses, _direct_amplitude(first, direct, self.mixing.sample_rate))
            # All entries have the same size.
            while self._kept and (len(self._kept) + 1) * responses.nbytes > self.limit:
                self._kept.popitem(last=False)
        self._kept[key] = found
        return found


def _at_speed(batch: Batch, *, by_rows: bool) -> Batch:
    """Return the batch with speech at its speed."""
    if "speed" not in batch:
        return batch
    frames, rows = batch["noise"].shape[-1], len(batch["noise"])
    clean, speed = batch["clean"], batch["speed"]
    if by_rows and rows > 1:
        each = [at_speed(clean[n : n + 1], speed[n : n + 1], frames) for n in range(rows)]
        clean = torch.cat(each)
    else:
        clean = at_speed(clean, speed, frames)
    return {**batch, "clean": clean}


def _as_recorded(before: Batch, batch: Batch) -> Batch:
    """Return a batch whose pairs are those before any change, bit for bit."""
    if "paired" not in batch:
        return batch
    paired, time = _column(batch["paired"]), batch["clean"].shape[-1]
    clean = torch.where(paired, before["clean"][:, :time], batch["clean"])
    return {**batch, "clean": clean, "noise": torch.where(paired, before["noise"], batch["noise"])}


def _in_room(batch: Batch) -> Bool[Tensor, " batch"]:
    inside = [bool(key) for key in batch["rir_key"]]
    return torch.tensor(inside, dtype=torch.bool, device=batch["clean"].device)


def _shaped(batch: Batch, *, by_rows: bool) -> Batch:
    """Return the batch with filtered speech and noise; all channels of a noise get the same filter."""
    if not batch["shaping"].shape[-1]:
        return batch
    if not by_rows and batch["noise"].ndim == 2:
        both = torch.stack([batch["clean"], batch["noise"]])
        clean, noise = batched.shape(both, batch["shaping"].transpose(0, 1))
        return {**batch, "clean": clean, "noise": noise}
    clean, noise = torch.empty_like(batch["clean"]), torch.empty_like(batch["noise"])
    for row, (for_clean, for_noise) in enumerate(batch["shaping"]):
        clean[row] = convolution.convolve(batch["clean"][row], for_clean, 0)
        channels = torch.atleast_2d(batch["noise"][row])
        for channel, out in zip(channels, torch.atleast_2d(noise[row]), strict=True):
            out.copy_(convolution.convolve(channel, for_noise, 0))
    return {**batch, "clean": clean, "noise": noise}


def _other_channels(batch: Batch) -> Float[Tensor, "batch channel time"] | None:
    """Allocate the speech at all microphones but the first; None for a single microphone."""
    clean, rir = batch["clean"], batch["rir"]
    if rir.ndim == 2:
        return None
    return clean.new_empty(len(clean), rir.shape[1] - 1, clean.shape[-1])


def _column(factor: Shaped[Tensor, " batch"]) -> Shaped[Tensor, "batch 1"]:
    return factor[:, None]


def _gain(
    noisy: Float[Tensor, "batch time"],
    level_dbfs: Float[Tensor, " batch"],
    others: Float[Tensor, "batch channel time"] | None = None,
    unscaled: Bool[Tensor, " batch"] | None = None,
) -> Float[Tensor, " batch"]:
    level = levels.rms(noisy)
    wanted = levels.amplitude(level_dbfs) / level.clamp_min(levels.FLOOR)
    # Without a temporary tensor for the absolute values.
    peak = torch.maximum(noisy.amax(-1), -noisy.amin(-1))
    if others is not None:
        peak = torch.maximum(peak, others.abs().amax((1, 2)))
    loudest = PEAK / peak.clamp_min(levels.FLOOR)
    one = torch.ones_like(level)
    gain = torch.where(level > levels.FLOOR, torch.minimum(wanted, loudest), one)
    if unscaled is not None:
        # A recording may reach full scale; only what was added to it can exceed that.
        gain = torch.where(unscaled, torch.where(peak > 1, loudest, one), gain)
    return gain


def _direct_amplitude(
    rir: Float[Tensor, " taps"], direct: int, sample_rate: int
) -> Float[Tensor, ""]:
    """Return the signed amplitude of the direct path: root of its energy within 0.5 ms, sign of its peak."""
    half = sample_rate // 2000
    near = rir[max(0, direct - half) : direct + half + 1]
    return near.square().sum().sqrt() * rir[direct].sign()
