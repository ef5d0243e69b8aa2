"""Enhance files, folders, or a raw PCM stream.

The output has the input's rate, length, channels and level, and the format that its name says; in a
folder every file keeps its name (a lossy one becomes FLAC). Files of any length go through in flat
memory. What lies above half the model's sample rate is not in the output.
"""

import argparse
import sys
from io import BufferedReader
from pathlib import Path
from typing import cast

from rased.errors import ProblemsFound, RasedError

EXAMPLES = """\
examples:
  rased enhance noisy.wav -o clean.wav --model NAME        one file
  rased enhance noisy.mp3 -o clean.flac --model NAME       another format
  rased enhance recordings/ -o enhanced/ --model NAME      a folder and all folders in it
  rased enhance a.wav b.flac -o enhanced/ --model NAME     several files
  arecord -t raw -f S16_LE -r 16000 | rased enhance - -o - --model NAME | aplay -t raw -f S16_LE -r 16000
                                                           live: 16-bit mono PCM at the model's rate
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the words of `rased enhance`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "input", nargs="+", metavar="IN", help="files, folders, or - for raw PCM from stdin"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="file, folder, or - for stdout"
    )
    parser.add_argument(
        "-m",
        "--model",
        required=True,
        metavar="NAME",
        help="name in the zoo (`rased zoo list`), folder of an entry or of a run, URL of a card, "
        "or log-mmse, wpe",
    )
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Stream or enhance files; a bad file in a folder does not stop the others."""
    if "-" in (*arguments.input, arguments.output):
        if arguments.input != ["-"] or arguments.output != "-":
            raise RasedError(
                "'-' streams from stdin to stdout: write `rased enhance - -o - --model NAME`."
            )
        return _stream(arguments.model)
    return _files(arguments)


def _files(arguments: argparse.Namespace) -> int:
    import json

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from rased import audio
    from rased.files import Report, enhance, plan, resolve

    pairs = plan(arguments.input, arguments.output)
    if len(pairs) == 1:
        audio.inspect(pairs[0][0])  # a bad input is known before the model is loaded
    enhancer = resolve(arguments.model)
    reports: list[Report] = []
    failures: list[str] = []
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        total = _seconds([source for source, _ in pairs])
        task = bar.add_task("enhancing", total=total)
        for source, target in pairs:
            bar.update(task, description=source.name)
            try:
                report = enhance(
                    source,
                    target,
                    model=enhancer,
                    progress=lambda seconds: bar.advance(task, seconds),
                )
            except RasedError as error:
                if len(pairs) == 1:
                    raise
                failures.append(str(error))
                continue
            reports.append(report)
            if not arguments.json:
                bar.console.print(
                    f"{report.output}  {report.seconds:.1f} s, real-time factor "
                    f"{report.real_time_factor:.3f}",
                    highlight=False,
                    soft_wrap=True,
                )
    if arguments.json:
        rows = [
            {
                "input": str(report.input),
                "output": str(report.output),
                "seconds": report.seconds,
                "real_time_factor": report.real_time_factor,
            }
            for report in reports
        ]
        print(json.dumps({"files": rows, "failures": failures}, indent=1))
    if failures:
        raise ProblemsFound(
            f"{len(failures)} of {len(pairs)} files were left out: " + " ".join(failures)
        )
    return 0


def _seconds(paths: list[Path]) -> float | None:
    """Length of all files, for the progress bar; files that cannot be read count nothing."""
    from rased import audio

    total = 0.0
    for path in paths:
        try:
            total += audio.inspect(path).seconds or 0.0
        except RasedError:
            continue
    return total or None


def _stream(model: str) -> int:
    """16-bit little-endian mono at the model's rate, chunk by chunk, as soon as it can be given."""
    import numpy as np
    import torch

    from rased.files import resolve
    from rased.streaming import ChunkStream

    enhancer = resolve(model)
    stream = ChunkStream(enhancer)
    source, sink = cast(BufferedReader, sys.stdin.buffer), sys.stdout.buffer

    def give(estimate: torch.Tensor) -> None:
        steps = (estimate[0].double() * 32768).round().clamp(-32768, 32767)
        sink.write(steps.numpy().astype("<i2").tobytes())
        sink.flush()

    left = b""
    while content := source.read1(2 * stream.chunk_length):
        content = left + content
        whole = len(content) // 2 * 2
        left = content[whole:]
        samples = np.frombuffer(content[:whole], dtype="<i2").astype(np.float32) / 32768
        give(stream.push(torch.from_numpy(samples)[None]))
    give(stream.finish())
    if left:
        raise ProblemsFound("the stream ended in the middle of a 16-bit sample; it was left out.")
    return 0
