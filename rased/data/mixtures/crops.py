"""Read crops of recordings for a batch, or note that they are cached on the device (see `cache`)."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from rased.data.mixtures.cache import runs
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.drawn import Piece
from rased.data.mixtures.plan import Plan, Samples
from rased.data.mixtures.sample import Batch, Cached, Place
from rased.data.schemas import Role
from rased.signal import levels

Heard = Float[np.ndarray, "*channel time"]


class OnDevice:
    """Bookkeeping of the parts of a batch that are cached on the device; see `rased.data.mixtures.cache`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.used = any(corpus.kept and corpus.kept.device for corpus in plan.corpora)
        self._found: list[Place] = []
        self._fresh: dict[tuple[Literal["speech", "noise"], int], np.ndarray] = {}
        self._streamed: set[str] = set()

    def read(self, corpus: Corpus, piece: Piece, out: Heard, row: int) -> bool:
        """Write a crop like `stream`, or note that it is stored on the device; return whether it is.

        Raises:
            RasedError: it cannot be read.
        """
        number, kept, role = piece.recording, corpus.kept, corpus.role
        if kept is None or not kept.device or out.ndim > 1 or role == "rir" or role == "pairs":
            self.stream(corpus, piece, out)
            return False
        if kept.has(number):
            self._found.append(Place(role, row, piece.at, number, piece.start, piece.frames))
            out[:] = 0
            return True
        # The first draw sends the whole recording along; the crop of this batch is still sent as audio.
        if kept.takes(number) and (role, number) not in self._fresh:
            whole = corpus.whole(number)
            if role == "noise" and whole is not None and self._has_silence(whole):
                # A recording with silent parts has to be checked in each draw.
                kept.leave(number)
                whole = None
            samples = None if whole is None else kept.exact(number, whole)
            if samples is not None:
                self._fresh[role, number] = samples
        self.stream(corpus, piece, out)
        return False

    def _has_silence(self, waveform: Samples) -> bool:
        """Return whether a segment of the recording may be silent; a segment that wraps around contains all of it."""
        frames = min(self.plan.frames, len(waveform))
        energy = np.concatenate([[0.0], np.square(waveform, dtype=np.float64).cumsum()])
        # By differences of cumulated energies.
        quietest = float((energy[frames:] - energy[: len(energy) - frames]).min())
        # A segment that wraps around holds its recording k times in less than k + 1 lengths, so its power is at
        # least half of that of the recording; the rest is for rounding.
        return quietest < 2.1 * frames * levels.SILENT**2

    def stream(self, corpus: Corpus, piece: Piece, out: Heard, part: Role | None = None) -> None:
        """Write a crop, which wraps around if its recording is shorter; `part` is its role in the mixture."""
        self._streamed.add(part or corpus.role)
        write(corpus, piece, out)

    def read_pair(self, corpus: Corpus, piece: Piece) -> Float[np.ndarray, "2 time"]:
        """Return a crop of a pair, clean and noisy; pairs are never stored on the device."""
        both = np.empty((2, piece.frames), np.float32)
        self._streamed |= {"speech", "noise"}
        write(corpus, piece, both)
        return both

    def hand_over(self, batch: Batch, rows: list[int]) -> None:
        """Add the bookkeeping to the batch, whose rows these are."""
        place = {row: at for at, row in enumerate(rows)}
        batch["stored"] = Cached(
            split=self.plan.speech.split,
            found=[p._replace(row=place[p.row]) for p in self._found if p.row in place],
            fresh=list(self._fresh),
            # The empty array gives the type if there is none.
            samples=torch.from_numpy(
                np.concatenate([np.empty(0, np.int16), *self._fresh.values()])
            ),
            frames={"clean": self.plan.speech_frames, "noise": self.plan.frames},
        )
        if "speech" not in self._streamed:
            # Nothing to send; cloned, or the message would hold all of the memory.
            batch["clean"] = batch["clean"][:, :0].clone()
        if "noise" not in self._streamed and batch["noise"].ndim == 2:
            batch["noise"] = batch["noise"][:, :0].clone()


def write(corpus: Corpus, piece: Piece, out: Heard) -> None:
    """Write a crop, which wraps around if its recording is shorter; all channels if `out` has several."""
    length = int(corpus.frames[piece.recording])
    fits = piece.start + piece.frames <= length
    if out.ndim == 2:
        # -1: to the end.
        where = (piece.start, piece.frames) if fits else (0, -1)
        whole = corpus.read_channels(piece.recording, *where)[: len(out)]
        if fits:
            out[:] = whole
            return
    elif fits:
        corpus.read(piece.recording, piece.start, piece.frames, out=out)
        return
    else:
        whole = corpus.read(piece.recording)
    for at, start, frames in runs(piece.start, piece.frames, length):
        out[..., at : at + frames] = whole[..., start : start + frames]
