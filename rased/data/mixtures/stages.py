"""The stages between an order and a batch, each a generator function: draw, read, collate."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypedDict

import numpy as np
import torch
from jaxtyping import Float
from torch.utils.data import get_worker_info

from rased.data.mixtures import order, pairs
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.crops import Heard, OnDevice, write
from rased.data.mixtures.drawn import Drawn, Piece
from rased.data.mixtures.order import Span
from rased.data.mixtures.plan import Plan, Samples, Scene
from rased.data.mixtures.sample import Batch
from rased.data.shards.address import RemoteError
from rased.data.shards.reader import ShardError
from rased.errors import RasedError
from rased.signal import levels

SHAPING_TAPS = 64
"""Samples in the response of a shaping filter; its slowest pole, 0.83, has decayed by 100 dB there."""


class Sources(TypedDict):
    """The sources of a batch of mixtures, one row each; `bad` is the reason why a row could not be read, or "".

    `more` holds parts that only some scenes have, by their names in Batch.
    """

    drawn: list[Drawn]
    clean: Float[np.ndarray, "batch time"]
    noise: Float[np.ndarray, "batch *channel time"]
    rir: Float[np.ndarray, "batch *channel taps"]
    direct_path: list[int]
    more: dict[str, np.ndarray]
    bad: list[str]
    rooms_bytes: int
    device: OnDevice


def spans(
    *, position: int, count: int, batch_size: int, rank: int, world_size: int
) -> Iterator[Span]:
    """Yield the batches of this rank for the current DataLoader worker, in order."""
    info = get_worker_info()
    worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
    yield from order.batches(
        position,
        count,
        batch_size=batch_size,
        world_size=world_size,
        rank=rank,
        worker=worker,
        workers=workers,
    )


def draw(batches: Iterable[Span], *, plan: Plan, epoch: int) -> Iterator[list[Drawn]]:
    """Draw all random properties of the mixtures of each batch."""
    for span in batches:
        yield [plan.draw(epoch, index) for index in range(span.start, span.stop)]


def fetch(batches: Iterable[list[Drawn]], *, plan: Plan) -> Iterator[Sources]:
    """Read and decode exactly what was drawn. If that fails, record the reason; never use another sample instead."""
    for batch in batches:
        clean = np.empty((len(batch), plan.speech_frames), np.float32)
        microphones = plan.scene.microphones
        noise = _empty(len(batch), plan.noise_channels, plan.frames)
        rir = _empty(len(batch), microphones, plan.taps)
        more = _more(len(batch), plan)
        direct_path, bad = [0] * len(batch), [""] * len(batch)
        device = OnDevice(plan)
        for row, drawn in enumerate(batch):
            try:
                # With the pieces that replaced silent ones, so that the names in the batch are true.
                batch[row] = drawn = _sound(drawn, plan, clean[row], noise[row], row, device)
                if drawn.rir is None or plan.rooms is None:
                    rir[row] = 0.0
                    # A unit impulse: no room.
                    rir[row, ..., 0] = 1.0
                else:
                    rir[row], direct_path[row] = plan.rooms[drawn.rir]
                _read_more(drawn, plan, row, more)
            # All samples would fail: stop, instead of skipping one after the other.
            except (RemoteError, ShardError):
                raise
            except RasedError as error:
                bad[row] = str(error)
        yield Sources(
            drawn=batch,
            clean=clean,
            noise=noise,
            rir=rir,
            direct_path=direct_path,
            more=more,
            bad=bad,
            rooms_bytes=plan.rooms.bytes if plan.rooms else 0,
            device=device,
        )


def _empty(rows: int, channels: int, time: int) -> Float[np.ndarray, "rows *channel time"]:
    return np.empty((rows, time) if channels == 1 else (rows, channels, time), np.float32)


def _more(rows: int, plan: Plan) -> dict[str, np.ndarray]:
    """Allocate the parts that only some scenes have."""
    more: dict[str, np.ndarray] = {}
    if plan.scene.microphones > 1 and plan.noise_channels == 1:
        more["noise_rir"] = np.zeros((rows, plan.scene.microphones, plan.taps), np.float32)
        more["noise_direct_path"] = np.zeros(rows, np.int64)
    if plan.enrolment_frames:
        more["enrolment"] = np.empty((rows, plan.enrolment_frames), np.float32)
    return more


def _read_more(drawn: Drawn, plan: Plan, row: int, more: dict[str, np.ndarray]) -> None:
    """Read the parts that only some scenes have."""
    if drawn.noise_rir is not None and plan.rooms is not None:
        more["noise_rir"][row], more["noise_direct_path"][row] = plan.rooms[drawn.noise_rir]
    if drawn.enrolment is not None:
        write(plan.speech, drawn.enrolment, more["enrolment"][row])


def collate(batches: Iterable[Sources], *, plan: Plan) -> Iterator[Batch]:
    """Make batches of the good samples (possibly with no rows), with the reasons for the bad ones."""
    for sources in batches:
        good = [row for row, reason in enumerate(sources["bad"]) if not reason]
        if len(good) < len(sources["bad"]):
            for part in ("clean", "noise", "rir"):
                sources[part] = sources[part][good]
            sources["more"] = {name: part[good] for name, part in sources["more"].items()}
        drawn = [sources["drawn"][row] for row in good]
        taps = SHAPING_TAPS if plan.scene.shaping_probability else 0
        shaping = np.empty((len(good), 2, taps), np.float32)
        for row, of in enumerate(drawn):
            shaping[row] = _filters(of.shaping, plan.scene)
        batch = Batch(
            clean=torch.from_numpy(sources["clean"]),
            noise=torch.from_numpy(sources["noise"]),
            rir=torch.from_numpy(sources["rir"]),
            direct_path=torch.tensor(
                [sources["direct_path"][row] for row in good], dtype=torch.int64
            ),
            snr_db=torch.tensor([d.snr_db for d in drawn]),
            level_dbfs=torch.tensor([d.level_dbfs for d in drawn]),
            index=torch.tensor([d.index for d in drawn], dtype=torch.int64),
            key=[_key(plan, d) for d in drawn],
            noise_key=[_noise_key(plan, d) for d in drawn],
            rir_key=[
                "" if d.rir is None or plan.rir is None else str(plan.rir.key[d.rir]) for d in drawn
            ],
            shaping=torch.from_numpy(shaping),
            distortions=[d.distortions for d in drawn],
            skipped=[reason for reason in sources["bad"] if reason],
            rooms_bytes=sources["rooms_bytes"],
        )
        if plan.pairs is not None:
            paired = torch.tensor([d.pair is not None for d in drawn], dtype=torch.bool)
            batch["paired"] = paired
            batch["unscaled"] = paired & (plan.scene.pair_level == "recorded")
        if plan.scene.speed != (1, 1):
            batch["speed"] = torch.tensor([d.speed for d in drawn], dtype=torch.float32)
        for name, samples in sources["more"].items():
            batch[name] = torch.from_numpy(samples)  # type: ignore[literal-required]
        if "noise_rir" in batch:
            batch["noise_rir_key"] = [
                "" if d.noise_rir is None or plan.rir is None else str(plan.rir.key[d.noise_rir])
                for d in drawn
            ]
        if sources["device"].used:
            sources["device"].hand_over(batch, good)
        yield batch


def _sound(
    drawn: Drawn, plan: Plan, clean: Samples, noise: Heard, row: int, device: OnDevice
) -> Drawn:
    """Write speech and noise of a mixture or a pair; return the draw that was really used."""
    if drawn.pair is not None:
        return _make_pair(drawn, plan, clean, noise, device)
    _speak(drawn, plan.speech, clean, row, device)
    return _make_noise(drawn, plan, noise, row, device)


def _make_pair(drawn: Drawn, plan: Plan, clean: Samples, noise: Heard, device: OnDevice) -> Drawn:
    """Write the speech of a pair, and what its recording has besides; return the draw with measured ratio and level.

    The samples have 16 bits, so the difference is exact in single precision, and clean + noise is the recording.
    """
    assert plan.pairs is not None
    assert drawn.pair is not None
    # Speech that changes its speed is longer; pairs do not.
    clean[plan.frames :] = 0
    clean = clean[: plan.frames]
    clean[:], noise[:] = device.read_pair(plan.pairs.corpus, drawn.pair)
    noise -= clean
    drawn = replace(drawn, noise=_add(drawn, 0, plan, noise, device))
    level = drawn.level_dbfs
    return replace(
        drawn,
        snr_db=pairs.ratio_db(clean, noise),
        level_dbfs=pairs.level_dbfs(clean + noise) if np.isnan(level) else level,
    )


def _speak(drawn: Drawn, corpus: Corpus, out: Samples, row: int, device: OnDevice) -> None:
    """Write the pieces of a segment of speech, with silence between them."""
    if not drawn.speaking or drawn.speech[0].frames < len(out):
        out[:] = 0
    for piece in drawn.speech if drawn.speaking else ():
        device.read(corpus, piece, out[piece.at : piece.at + piece.frames], row)


def _make_noise(drawn: Drawn, plan: Plan, out: Heard, row: int, device: OnDevice) -> Drawn:
    """Write the first noise, and the others at their levels relative to it; return the draw that was really used.

    Several noises are summed when they are read; none of them is stored on the device. A noise that is silent at its
    drawn position is taken from another position, so that every mixture has its stated SNR.

    Raises:
        RasedError: all positions that were tried are silent.
    """
    if drawn.babble:
        return _make_babble(drawn, plan, out, device)
    if not drawn.noise:
        out[:] = 0
        return drawn
    if len(drawn.noise) == 1:
        if device.read(plan.noises.corpus, drawn.noise[0], out, row):
            return drawn  # recordings on the device have no silent segments
        return replace(drawn, noise=(_audible(drawn, 0, plan, out, device),))
    device.stream(plan.noises.corpus, drawn.noise[0], out)
    first = _audible(drawn, 0, plan, out, device)
    return replace(drawn, noise=(first, *_add(drawn, 1, plan, out, device)))


def _make_babble(drawn: Drawn, plan: Plan, out: Samples, device: OnDevice) -> Drawn:
    """Write voices of equal level, and additional noises at their levels relative to the sum.

    Raises:
        RasedError: all voices are silent.
    """
    out[:] = 0
    for pieces in drawn.babble:
        voice = np.zeros_like(out)
        for piece in pieces:
            device.stream(plan.speech, piece, voice[piece.at : piece.at + piece.frames], "noise")
        # A silent voice stays silent.
        out += voice / np.float32(max(_rms(voice), levels.SILENT))
    if _rms(out) < levels.SILENT:
        keys = ", ".join(str(plan.speech.key[pieces[0].recording]) for pieces in drawn.babble)
        raise RasedError(f"the voices of a babble are silent ({keys}); remove these recordings.")
    return replace(drawn, noise=_add(drawn, 0, plan, out, device))


def _add(drawn: Drawn, start: int, plan: Plan, out: Heard, device: OnDevice) -> tuple[Piece, ...]:
    """Add the noises from number `start` at their levels relative to `out`; return their pieces."""
    wanted = _rms(out)
    noise, pieces = np.empty_like(out), []
    for number in range(start, len(drawn.noise)):
        device.stream(plan.noises.corpus, drawn.noise[number], noise)
        pieces.append(_audible(drawn, number, plan, noise, device))
        scale = wanted / _rms(noise) * 10 ** (drawn.noise_db[number] / 20)
        out += noise * np.float32(scale)
    return tuple(pieces)


def _audible(drawn: Drawn, number: int, plan: Plan, out: Heard, device: OnDevice) -> Piece:
    """Return an audible piece for a noise: the one in `out`, or another one that is written to it."""
    piece = drawn.noise[number]
    if _rms(out) >= levels.SILENT:
        return piece
    other = plan.noises.elsewhere(drawn, number)
    if other is not None:
        device.stream(plan.noises.corpus, other, out)
        return other
    raise RasedError(
        f"the noise '{plan.noises.corpus.key[piece.recording]}' is silent, and so are the others that were tried; "
        "remove silent recordings."
    )


def _key(plan: Plan, drawn: Drawn) -> str:
    if drawn.pair is not None and plan.pairs is not None:
        return _names(plan.pairs.corpus, [drawn.pair])
    return _names(plan.speech, drawn.speech) if drawn.speaking else ""


def _noise_key(plan: Plan, drawn: Drawn) -> str:
    parts = [_names(plan.speech, pieces) for pieces in drawn.babble]
    if drawn.pair is not None:
        parts.append(_key(plan, drawn))
    if drawn.noise and plan.noise is not None:
        parts.append(_names(plan.noise, drawn.noise))
    return "+".join(parts)


def _names(corpus: Corpus, pieces: Iterable[Piece]) -> str:
    return "+".join(str(corpus.key[piece.recording]) for piece in pieces)


def _rms(samples: Heard) -> float:
    """Return the rms; for several channels, that of the first, the reference."""
    heard = samples[0] if samples.ndim == 2 else samples
    return float(np.square(heard).mean()) ** 0.5


def _filters(
    shaping: tuple[tuple[float, float, float, float], ...], scene: Scene
) -> Float[np.ndarray, "2 taps"]:
    """Return the responses of the filters: impulses for a mixture without, nothing for a scene without filters."""
    if not scene.shaping_probability:
        return np.zeros((2, 0), np.float32)
    impulse = np.zeros(SHAPING_TAPS)
    impulse[0] = 1.0
    if not shaping:
        return np.stack([impulse] * 2).astype(np.float32)
    import scipy.signal  # takes 64 MB, only needed for shaping

    responses = [scipy.signal.lfilter((1.0, a, b), (1.0, c, d), impulse) for a, b, c, d in shaping]
    return np.stack(responses).astype(np.float32)
