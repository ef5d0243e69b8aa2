"""Enhance files, folders, or a raw PCM stream.

The output has the rate, length, channels and level of the input; its suffix determines the format. Files in a
folder keep their names (a lossy file becomes FLAC). Memory does not grow with the length of a file. The band above
half the model's sample rate is kept under a gain that follows the model.
"""

import argparse
import sys
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rased.cli.options import add_allow, add_choice, add_condition, add_limit
from rased.errors import ProblemsFound, RasedError

if TYPE_CHECKING:
    from rich.progress import Progress

    from rased.conditions import Condition
    from rased.files import Report
    from rased.models.base import Enhancer

EXAMPLES = """\
examples:
  rased enhance noisy.wav                                  write noisy.enhanced.wav to the same folder
  rased enhance noisy.mp3 -o clean.flac                    choose name and format of the output
  rased enhance recordings/ -o enhanced/ --model NAME      enhance a folder with its subfolders, with another model
  rased enhance a.wav b.flac -o enhanced/                  enhance several files
  rased enhance noisy.wav --band model                     remove what lies above half the sample rate of the model
  rased enhance noisy.wav --limit-db 12                    keep some of the noise: 12 dB below the input
  rased enhance noisy.wav --model NAME --condition enrolment=anna.wav
                                                           use a model that needs a recording of the speaker
  arecord -t raw -f S16_LE -r 16000 | rased enhance - -o - | aplay -t raw -f S16_LE -r 16000
                                                           enhance live: 16-bit mono PCM at the model's rate

WAV, FLAC, MP3, Ogg Vorbis, Opus, AIFF and others are read directly; M4A, AAC, MP4, WebM, WMA and others need
ffmpeg. A file that cannot be read to its end is reported, and the exit code is 1.
"""

DEFAULT_MODEL = "gtcrn-tuned-16k"
"""Same as `rased.files.DEFAULT_MODEL`, without importing torch for the help text."""

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased enhance`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "input", nargs="+", metavar="IN", help="files, folders, or - for raw PCM from stdin"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="file, folder, or - for stdout (default: NAME.enhanced.wav in the folder of NAME.wav)",
    )
    parser.add_argument(
        "-m",
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="name in the zoo (`rased zoo list`), folder of an entry or of a run, URL of a card, hf://ORG/NAME, "
        f"or a classical method such as log-mmse (default: {DEFAULT_MODEL})",
    )
    add_limit(parser)
    add_choice(
        parser,
        "--band",
        ["full", "model"],
        "full: keep what lies above half the model's sample rate, under a gain that follows it; model: remove it",
    )
    add_condition(parser)
    add_allow(parser)
    parser.add_argument("--json", action="store_true", help="print a summary as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Enhance files or a stream; a bad file in a folder does not stop the others."""
    if "-" in (*arguments.input, arguments.output):
        if arguments.input != ["-"] or arguments.output != "-":
            raise RasedError("'-' streams from stdin to stdout: write `rased enhance - -o -`.")
        return _stream(arguments)
    return _files(arguments)


def _files(arguments: argparse.Namespace) -> int:
    from rased import audio
    from rased.cli.report import print_json
    from rased.conditions import parse
    from rased.zoo import load

    plan = audio.plan(arguments.input, arguments.output)
    for sentence in plan.left_out:
        _say(sentence)
    if not plan.pairs:
        raise RasedError("there is nothing to enhance.")
    if len(plan.pairs) == 1:
        audio.inspect(plan.pairs[0][0])  # report a bad input before loading the model
    files = parse(arguments.condition)
    enhancer = load(arguments.model, allow=arguments.allow, limit_db=arguments.limit_db)
    condition = enhancer.given(files)
    reports, failures = _enhance_all(plan.pairs, enhancer, condition, arguments)
    if arguments.json:
        rows = [
            {
                "input": audio.printable(report.input),
                "output": audio.printable(report.output),
                "seconds": report.seconds,
                "real_time_factor": report.real_time_factor,
                "notes": list(report.notes),
            }
            for report in reports
        ]
        print_json({"files": rows, "failures": failures, "left_out": plan.left_out})
    if failures:
        raise ProblemsFound(
            f"{len(failures)} of {len(plan.pairs)} files could not be enhanced; see the messages above."
        )
    return 0


def _enhance_all(
    pairs: list[tuple[Path, Path]],
    enhancer: "Enhancer",
    condition: "Condition",
    arguments: argparse.Namespace,
) -> tuple[list["Report"], list[str]]:
    """Enhance one file after the other; return the reports and the failures."""
    from rased import audio
    from rased.files import enhance

    reports: list[Report] = []
    failures: list[str] = []
    said: set[str] = set()
    with _progress() as bar:
        terminal = bar.console.is_terminal
        # Only for the bar: opening all files first takes time that nobody sees without a terminal.
        total = _seconds([source for source, _ in pairs]) if terminal else None
        task = bar.add_task("enhancing", total=total)
        for source, target in pairs:
            bar.update(task, description=audio.printable(source.name))
            try:
                report = enhance(
                    source,
                    target,
                    model=enhancer,
                    condition=condition,
                    band=arguments.band,
                    progress=lambda seconds: bar.advance(task, seconds),
                )
            except RasedError as error:
                if len(pairs) == 1:
                    raise
                failures.append(str(error))
                bar.console.print(f"rased: {error}")
                continue
            reports.append(report)
            for line in _lines(report, said, quiet=arguments.json):
                bar.console.print(line)
    return reports, failures


def _progress() -> "Progress":
    """Return a progress bar on stderr; it draws nothing without a terminal."""
    from rich.progress import BarColumn, Progress, TimeRemainingColumn

    from rased.terminal import PlainColumn, open_console

    console = open_console(stderr=True, soft_wrap=True)
    return Progress(
        PlainColumn("{task.description}"),
        BarColumn(),
        PlainColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _lines(report: "Report", said: set[str], *, quiet: bool) -> Iterator[str]:
    """Yield the lines to print for a file; a note that applies to all files of a sample rate is printed once."""
    from rased import audio

    name = audio.printable(report.output)
    for note in report.notes:
        if note not in said:
            yield f"rased: '{name}': {note}."
        # Such a note holds for every file of this sample rate.
        if note.startswith("the model"):
            said.add(note)
    if not quiet:
        factor = report.real_time_factor
        yield f"{name}  {report.seconds:.1f} s, real-time factor {factor:.3f}"


def _say(sentence: str) -> None:
    print(f"rased: {sentence}.", file=sys.stderr)


def _seconds(paths: list[Path]) -> float | None:
    """Return the total length of all readable files, for the progress bar."""
    from rased import audio

    total = 0.0
    for path in paths:
        try:
            total += audio.inspect(path).seconds or 0.0
        except RasedError:
            continue
    return total or None


def _raw(source: BufferedReader, count: int) -> Iterator[bytes]:
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
        raise RasedError(
            f"stdin contains a {kind} file, but must contain raw 16-bit mono PCM at the model's rate: "
            "give the name of the file, or convert it (ffmpeg -i FILE -f s16le -ac 1 -ar 16000 -)."
        )
    yield first
    while content := source.read1(count):  # `read` would wait for `count` bytes
        yield content


def _stream(arguments: argparse.Namespace) -> int:
    """Enhance 16-bit little-endian mono PCM at the model's rate, with as little delay as possible."""
    import numpy as np
    import torch

    from rased.conditions import parse
    from rased.streaming import CausalStream
    from rased.zoo import load

    files = parse(arguments.condition)
    enhancer = load(arguments.model, allow=arguments.allow, limit_db=arguments.limit_db)
    stream = CausalStream(enhancer, condition=files)
    source, sink = cast(BufferedReader, sys.stdin.buffer), sys.stdout.buffer

    def give(estimate: torch.Tensor) -> None:
        steps = (estimate[0].double() * 32768).round().clamp(-32768, 32767)
        sink.write(steps.numpy().astype("<i2").tobytes())
        sink.flush()

    left = b""
    for part in _raw(source, 1 << 16):
        content = left + part
        # A pipe may cut between the two bytes of a sample: the odd one waits for the next part.
        whole = len(content) // 2 * 2
        left = content[whole:]
        samples = np.frombuffer(content[:whole], dtype="<i2").astype(np.float32) / 32768
        give(stream.push(torch.from_numpy(samples)[None]))
    give(stream.finish())
    if left:
        raise ProblemsFound("the stream ended in the middle of a 16-bit sample, which was dropped.")
    return 0
