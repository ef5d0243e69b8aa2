"""Enhance one file into another, with constant memory: whatever runs the model."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rased import audio
from rased.errors import RasedError
from rased.rates import Progress, RateStream


@dataclass(frozen=True)
class Report:
    """Result of enhancing a file.

    Attributes:
        input: the input file.
        output: the output file.
        seconds: length of the audio.
        elapsed: processing time in seconds.
        notes: remarks on the output for the user, one sentence each.
    """

    input: Path
    output: Path
    seconds: float
    elapsed: float
    notes: tuple[str, ...] = ()

    @property
    def real_time_factor(self) -> float:
        """Return processing seconds per second of audio; below 1 is faster than real time."""
        return self.elapsed / self.seconds


def rewrite(
    source: Path,
    target: Path,
    opened: Callable[[audio.AudioInfo], RateStream],
    progress: Progress | None = None,
) -> Report:
    """Enhance a file of any rate, number of channels, length and format.

    The output has the rate and length of the input, and appears when it is complete.

    Args:
        source: the input.
        target: the output; its suffix determines the format, the input its bit depth.
        opened: called once with the facts of the input, after the output was found possible; loads the model.
        progress: called with the seconds of audio that were just read.

    Raises:
        RasedError: the input cannot be read, or the output cannot be written; an existing output is unchanged.
    """
    started = time.perf_counter()
    with audio.open_audio(source) as recording:
        info = recording.info
        # The output would replace the input.
        if target.exists() and target.samefile(source):
            raise RasedError(
                f"the output '{audio.printable(target)}' is the input; choose another output."
            )
        # Before the model is loaded: a wrong suffix is reported at once.
        video = target.suffix.lower() in audio.VIDEO and audio.has_picture(source)
        coding = None if video else audio.output_coding(target, info)
        stream, frames = opened(info), 0
        with _writer(target, info, stream.rows, coding) as writer:
            for block in stream.through(recording.blocks(), progress):
                writer.write(block)
                frames += block.shape[1]
    notes = [note for note in (info.note, _band(stream, info), _clipping(writer, info)) if note]
    seconds = frames / info.sample_rate
    return Report(source, target, seconds, time.perf_counter() - started, tuple(notes))


def _writer(
    target: Path, info: audio.AudioInfo, channels: int, coding: tuple[str, str] | None
) -> audio.AudioWriter | audio.VideoWriter:
    """Return a writer of container and coding; without them, of a video with the picture of the input."""
    rate = info.sample_rate
    if coding is None:
        return audio.VideoWriter(target, info.path, sample_rate=rate, channels=channels)
    return audio.AudioWriter(
        target,
        sample_rate=rate,
        channels=channels,
        container=coding[0],
        coding=coding[1],
        frames=info.frames,
    )


def _band(stream: RateStream, info: audio.AudioInfo) -> str:
    """Return a note on the frequencies above those of the model."""
    if info.sample_rate <= stream.model_rate:
        return ""
    top = stream.model_rate // 2
    what = f"the model works at {stream.model_rate} Hz: "
    if stream.band == "full":
        return f"{what}above {top} Hz, this {info.sample_rate} Hz file follows the gain of the model's highest band"
    return f"{what}the output of this {info.sample_rate} Hz file has no content above {top} Hz"


def _clipping(writer: audio.AudioWriter | audio.VideoWriter, info: audio.AudioInfo) -> str:
    """Return a note on the share of clipped samples, and how to avoid clipping."""
    if not writer.clipped:
        return ""
    floating = info.subtype in ("FLOAT", "DOUBLE")
    repair = (
        "write a .wav file, which can hold them" if floating else "lower the level of the input"
    )
    return f"{_percent(writer.clipped)} of its samples exceed full scale and were clipped: {repair}"


def _percent(share: float) -> str:
    """Format a small share with two digits.

    >>> _percent(0.374), _percent(0.00012), _percent(1.0)
    ('37 %', '0.012 %', '100 %')
    """
    percent = 100 * share
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"
