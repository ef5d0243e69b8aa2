"""Enhance a raw PCM stream from stdin to stdout, with as little delay as possible."""

import argparse
import sys
from collections.abc import Iterator
from io import BufferedReader
from typing import cast

import numpy as np

from rased.cli.enhance import RAW
from rased.conditions import parse
from rased.errors import ProblemsFound, RasedError
from rased.rates import Block
from rased.streaming import open_rates
from rased.zoo import load

_TYPES = {"s16": "i2", "s32": "i4", "f32": "f4"}
_AT_ONCE = 1 << 16
_MAGIC = {
    b"RIFF": "WAV",
    b"RF64": "WAV",
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b"FORM": "AIFF",
    b"caff": "CAF",
    b".snd": "AU",
    b"\x1a\x45\xdf\xa3": "WebM",
}
"""First bytes of audio files, by kind."""


def stream(arguments: argparse.Namespace) -> int:
    """Enhance stdin until it ends.

    Raises:
        RasedError: stdin is a file with a header.
        ProblemsFound: the stream ended within a sample.
    """
    files = parse(arguments.condition)
    enhancer = load(arguments.model, allow=arguments.allow, limit_db=arguments.limit_db)
    rate = enhancer.sample_rate if arguments.rate is None else arguments.rate
    channels = _checked("--channels", arguments.channels, 1024)
    opened = open_rates(
        enhancer,
        _checked("--rate", rate, 768_000),
        channels,
        condition=files,
        band=arguments.band,
        live=True,
    )
    kind = _dtype(arguments.raw)
    source, sink = cast(BufferedReader, sys.stdin.buffer), sys.stdout.buffer

    def give(block: Block) -> None:
        sink.write(_encoded(block, kind))
        sink.flush()

    width, left = kind.itemsize * channels, b""
    for part in _content(source, arguments):
        content = left + part
        # A pipe may cut a sample: its first bytes wait for the next part.
        whole = len(content) // width * width
        left = content[whole:]
        give(opened.push(_decoded(content[:whole], kind, channels)))
    give(opened.finish())
    if left:
        what = "a 16-bit sample" if (width, kind.itemsize) == (2, 2) else "a sample"
        raise ProblemsFound(f"the stream ended in the middle of {what}, which was dropped.")
    return 0


def _checked(option: str, number: int, most: int) -> int:
    if not 1 <= number <= most:
        raise RasedError(f"{option} is {number}; allowed are 1 to {most}.")
    return number


def _dtype(name: str) -> np.dtype:
    return np.dtype(("<" if name.endswith("le") else ">") + _TYPES[name[:3]])


def _decoded(content: bytes, kind: np.dtype, channels: int) -> Block:
    """Return samples of full scale 1.

    Raises:
        RasedError: some are NaN or infinite.
    """
    samples = np.frombuffer(content, kind).reshape(-1, channels).T
    if kind.kind == "f":
        if not np.isfinite(samples).all():
            raise RasedError(
                "stdin contains NaN or infinite samples: give the format of the stream with --raw "
                f"({', '.join(RAW)}), or repair it."
            )
        return np.array(samples, np.float32, order="C")  # a copy: bytes cannot be written
    return (samples.astype(np.float64) / _full_scale(kind)).astype(np.float32)


def _encoded(block: Block, kind: np.dtype) -> bytes:
    samples = block.T
    if kind.kind == "i":
        full = _full_scale(kind)
        samples = np.rint(samples.astype(np.float64) * full).clip(-full, full - 1)
    return samples.astype(kind).tobytes()


def _full_scale(kind: np.dtype) -> float:
    return 2.0 ** (8 * kind.itemsize - 1)


def _content(source: BufferedReader, arguments: argparse.Namespace) -> Iterator[bytes]:
    """Yield bytes from stdin as soon as they arrive.

    Raises:
        RasedError: the stream is a file with a header, not raw samples.
    """
    # Twelve bytes show the type of a file; as raw samples they are less than a millisecond.
    first = source.read(12)
    kind = next((kind for magic, kind in _MAGIC.items() if first.startswith(magic)), None)
    # MPEG-4 files begin with a length; their type follows.
    if first[4:8] == b"ftyp":
        kind = "MPEG-4"
    if kind is not None:
        plain = (arguments.raw, arguments.rate, arguments.channels) == ("s16le", None, 1)
        wanted = "16-bit mono PCM at the model's rate" if plain else f"PCM ({arguments.raw})"
        raise RasedError(
            f"stdin contains a {kind} file, but must contain raw {wanted}: give the name of the file, or convert it "
            f"(ffmpeg -i FILE -f {arguments.raw} -ac {arguments.channels} -ar {arguments.rate or 16_000} -)."
        )
    yield first
    while content := source.read1(_AT_ONCE):  # `read` would wait for all of them
        yield content
