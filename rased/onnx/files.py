"""Audio of any rate through an exported enhancer, as `rased enhance` treats it, without PyTorch."""

from pathlib import Path

import numpy as np

from rased import audio
from rased.onnx.runtime import Enhancer
from rased.rates import Band, Block, RateStream
from rased.rewriting import Report, rewrite


class Rows:
    """One stream for each channel, as `rased.rates.ModelStream`."""

    def __init__(self, enhancer: Enhancer, channels: int) -> None:
        self.name, self.sample_rate = str(enhancer.facts["name"]), enhancer.sample_rate
        self.rows = channels
        self._streams = [enhancer.stream() for _ in range(channels)]

    def push(self, block: Block) -> Block:
        """Take the next samples of all channels; return those that are ready."""
        pairs = zip(self._streams, block, strict=True)
        return np.stack([stream.push(row) for stream, row in pairs])

    def finish(self) -> Block:
        """Return the remaining samples."""
        return np.stack([stream.finish() for stream in self._streams])


def open_rates(
    enhancer: Enhancer, sample_rate: int, channels: int, *, band: Band = "full", where: str = ""
) -> RateStream:
    """Return a stream of arrays of any sample rate; see `rased.rates.RateStream`."""
    return RateStream(Rows(enhancer, channels), sample_rate, channels, band=band, where=where)


def enhance_file(source: Path, target: Path, enhancer: Enhancer, *, band: Band = "full") -> Report:
    """Enhance a file of any rate, number of channels, length and format; see `rased.enhance`.

    Raises:
        RasedError: the input cannot be read, or the output cannot be written.
    """

    def opened(info: audio.AudioInfo) -> RateStream:
        where = f" for '{audio.printable(info.path)}'; nothing was written"
        return open_rates(enhancer, info.sample_rate, info.channels, band=band, where=where)

    return rewrite(source, target, opened)
