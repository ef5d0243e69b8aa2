"""Audio files through an exported enhancer, with constant memory, as `rased enhance` treats them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rased import audio
from rased.errors import RasedError
from rased.onnx.runtime import Enhancer

Block = NDArray[np.float32]


def enhance_file(source: Path, target: Path, enhancer: Enhancer) -> float:
    """Enhance a file of any rate, number of channels, length and format; return its seconds.

    The output has the rate, channels and length of the input, and appears when it is complete.

    Raises:
        RasedError: the input cannot be read, or the output cannot be written.
    """
    with audio.open_audio(source) as recording:
        info = recording.info
        if target.exists() and target.samefile(source):
            raise RasedError(
                f"the output '{audio.printable(target)}' is the input; choose another output."
            )
        container, coding = audio.output_coding(target, info)
        frames = 0
        with audio.AudioWriter(
            target,
            sample_rate=info.sample_rate,
            channels=info.channels,
            container=container,
            coding=coding,
            frames=info.frames,
        ) as writer:
            for block in enhanced_blocks(
                enhancer, recording.blocks(), info.sample_rate, info.channels
            ):
                writer.write(block)
                frames += block.shape[1]
    return frames / info.sample_rate


def enhanced_blocks(
    enhancer: Enhancer, blocks: Iterable[Block], sample_rate: int, channels: int
) -> Iterator[Block]:
    """Resample, enhance each channel, resample back; the output is aligned with the input and as long."""
    inward = audio.Resampler(sample_rate, enhancer.sample_rate, channels)
    outward = audio.Resampler(enhancer.sample_rate, sample_rate, channels)
    streams = [enhancer.stream() for _ in range(channels)]

    def through(block: Block) -> Block:
        return np.stack([stream.push(row) for stream, row in zip(streams, block, strict=True)])

    taken = given = 0
    for block in blocks:
        taken += block.shape[1]
        out = outward.push(through(inward.push(block)))[:, : taken - given]
        given += out.shape[1]
        if out.shape[1]:
            yield out
    # In order: what the inward resampler holds, then the model, then the outward resampler.
    last = through(inward.finish())
    rest = np.concatenate([last, np.stack([stream.finish() for stream in streams])], axis=1)
    yield np.concatenate([outward.push(rest), outward.finish(taken)], axis=1)[:, : taken - given]
