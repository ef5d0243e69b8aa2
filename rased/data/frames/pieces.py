"""Compute the frames of a source in pieces, in any process, in order."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from numpy.typing import NDArray

from rased.data.frames.file import Framing
from rased.data.frames.sources import FrameSource, Position, Samples
from rased.errors import RasedError
from rased.parallel import Cluster, in_order

BLOCK = 4096
"""Frames computed at once: a minute of audio."""
_ALL = 1 << 62


class Values(NamedTuple):
    """Some of the frames of an utterance: the first of them and their features by stream, and its row in the index."""

    key: str
    label: str
    split: str
    sha256: str
    frames: int
    first: int
    features: Mapping[str, NDArray[np.floating]]


class Computed(NamedTuple):
    """What a piece gives.

    Attributes:
        group: number of the group that it is a piece of.
        done: frames of its utterances.
        bad: utterances that cannot be read, one sentence each.
        position: position after the group.
        last: it is the last piece of the group.
    """

    group: int
    done: list[Values]
    bad: list[str]
    position: Position
    last: bool


class _Piece(NamedTuple):
    """Frames [first, stop) of all utterances of a group, which the source makes from `part`."""

    group: int
    part: Any
    first: int
    stop: int
    last: bool


def compute(
    source: FrameSource,
    framing: Framing,
    position: Position,
    *,
    jobs: int = 1,
    engine: Cluster | None = None,
) -> Iterator[Computed]:
    """Yield the frames of a source from a position; see `rased.parallel.in_order`."""
    return in_order(
        partial(_compute, source=source, framing=framing),
        _pieces(source, framing, position),
        jobs=jobs,
        workers="processes",
        engine=engine,
        share=lambda piece: (piece.stop - piece.first) / BLOCK,
        folders=source.folders,
    )


def _pieces(source: FrameSource, framing: Framing, position: Position) -> Iterator[_Piece]:
    for number, part in enumerate(source.parts(position)):
        longest = source.longest(part)
        if longest is None:
            yield _Piece(number, part, 0, _ALL, True)
            continue
        frames = framing.stft.frames(longest) if longest else 1
        for first in range(0, frames, BLOCK):
            stop = min(first + BLOCK, frames)
            yield _Piece(number, part, first, stop, stop == frames)


def _compute(piece: _Piece, *, source: FrameSource, framing: Framing) -> Computed:
    # Several threads may add up in another order.
    torch.set_num_threads(1)
    group = source.group(piece.part)
    done, bad = [], list(group.bad)
    for item in group.items:
        frames = framing.stft.frames(item.length)
        stop = min(piece.stop, frames)
        try:
            features = {
                name: frames_of(samples, item.length, piece.first, stop, framing).numpy()
                for name, samples in item.audio.items()
            }
        except RasedError as error:
            bad.append(str(error))
            continue
        row = (item.key, item.label, item.split, item.sha256)
        done.append(Values(*row, frames, piece.first, features))
    return Computed(piece.group, done, bad, group.position, piece.last)


def frames_of(
    samples: Samples, length: int, first: int, last: int, framing: Framing
) -> Float[torch.Tensor, "frames feature"]:
    """Compute frames [first, last) of a recording as stored; read only the samples that they need."""
    stft = framing.stft
    # Frame n ends with sample (n + 1) * hop_length; the first frames begin before the recording, in silence.
    start, stop = (first + 1) * stft.hop_length - stft.win_length, last * stft.hop_length
    begin, end = max(start, 0), min(stop, length)
    waveform = torch.zeros(1, stop - start)
    waveform[0, begin - start : end - start] = torch.from_numpy(samples(begin, end - begin))
    # The first `latency` samples are the state that a stream would have kept.
    spectrum, _ = stft.analysis_step(waveform[:, stft.latency :], waveform[:, : stft.latency])
    values = framing.features(spectrum, framing.sample_rate).to(framing.dtype)
    return rearrange(values, "1 feature frames -> frames feature").contiguous()
