"""Enhance files and folders: one after the other or several at a time, and those that arrive later."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TimeRemainingColumn

from rased import audio
from rased.cli.enhance.done import Done, Facts, facts, settings_key
from rased.cli.report import print_json
from rased.conditions import Condition, parse
from rased.errors import ProblemsFound, RasedError
from rased.files import Report, enhance
from rased.machine import cores
from rased.models.base import Enhancer
from rased.parallel import in_order
from rased.rates import Band
from rased.terminal import PlainColumn, open_console
from rased.zoo import load

POLL_SECONDS = 1.0
"""Time between two looks at a watched folder; a file that did not change meanwhile is complete."""

Pair = tuple[Path, Path]


@dataclass(frozen=True)
class Work:
    """What a process needs to enhance a file.

    Attributes:
        model: name of the model.
        allow: packages whose classes it may use.
        limit_db: largest attenuation.
        band: see `rased.enhance`.
        condition: words of --condition.
        threads: threads of PyTorch; 0: as many as it takes.
    """

    model: str
    allow: tuple[str, ...]
    limit_db: float | None
    band: Band
    condition: tuple[str, ...]
    threads: int = 0


def enhance_files(arguments: argparse.Namespace) -> int:
    """Enhance all inputs, except those that are done.

    Raises:
        ProblemsFound: some could not be enhanced.
    """
    plan = audio.plan(arguments.input, arguments.output)
    for sentence in plan.left_out:
        _say(sentence)
    if not plan.pairs:
        raise RasedError("there is nothing to enhance.")
    if len(plan.pairs) == 1:
        audio.inspect(plan.pairs[0][0])  # report a bad input before loading the model
    work = _work(arguments)
    done = _done(work) if _folders(arguments) else None
    skipped = [] if done is None or arguments.again else [p for p in plan.pairs if done.holds(*p)]
    if skipped:
        _say(
            f"{len(skipped)} files are skipped: input, model and options are those of an earlier run (--again "
            "enhances them)"
        )
    pairs = [pair for pair in plan.pairs if pair not in set(skipped)]
    reports, failures = _enhance_all(pairs, work, done, arguments, alone=len(plan.pairs) == 1)
    if arguments.json:
        left_out = plan.left_out
        names = [audio.printable(target) for _, target in skipped]
        rows = [_row(report) for report in reports]
        print_json({"files": rows, "failures": failures, "left_out": left_out, "skipped": names})
    if failures:
        raise ProblemsFound(
            f"{len(failures)} of {len(plan.pairs)} files could not be enhanced; see the messages above."
        )
    return 0


def watch_folder(arguments: argparse.Namespace) -> int:
    """Enhance what a folder holds and what arrives in it, until Ctrl-C.

    Raises:
        RasedError: the input is not one folder.
        ProblemsFound: some files could not be enhanced.
    """
    if len(arguments.input) != 1 or not Path(arguments.input[0]).is_dir():
        raise RasedError("--watch needs one folder: write `rased enhance FOLDER -o OUT --watch`.")
    work = _work(arguments)
    done = _done(work)
    _say(f"watching '{audio.printable(arguments.input[0])}'; Ctrl-C ends it")
    seen: dict[Path, Facts] = {}
    # By both names: an input gets another output if one arrives that would have the same.
    tried: dict[Pair, Facts] = {}
    failures: list[str] = []
    try:
        while True:
            now = {pair: facts(pair[0]) for pair in _planned(arguments)}
            ready = [
                pair
                for pair, found in now.items()
                if found is not None
                and found == seen.get(pair[0])
                and found != tried.get(pair)
                and (arguments.again or not done.holds(*pair))
            ]
            tried |= {pair: now[pair] for pair in ready}
            failures += _enhance_all(ready, work, done, arguments)[1]
            seen = {pair[0]: found for pair, found in now.items()}
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        if failures:
            raise ProblemsFound(f"{len(failures)} files could not be enhanced.") from None
        return 0


def _planned(arguments: argparse.Namespace) -> list[Pair]:
    return audio.plan(arguments.input, arguments.output, empty=True).pairs


def _folders(arguments: argparse.Namespace) -> bool:
    return any(Path(name).is_dir() for name in arguments.input)


def _work(arguments: argparse.Namespace) -> Work:
    # An earlier call in this process may have loaded the same name with other weights.
    _loaded.cache_clear()
    return Work(
        arguments.model,
        tuple(arguments.allow),
        arguments.limit_db,
        arguments.band,
        tuple(arguments.condition),
        max(1, cores() // arguments.jobs) if arguments.jobs > 1 else 0,
    )


@lru_cache(maxsize=1)
def _loaded(work: Work) -> tuple[Enhancer, Condition]:
    files = parse(list(work.condition))
    enhancer = load(work.model, allow=work.allow, limit_db=work.limit_db)
    return enhancer, enhancer.given(files)


def _done(work: Work) -> Done:
    return Done(settings_key(*_loaded(work), work.band))


def _enhance_one(
    work: Work, pair: Pair, progress: Callable[[float], None] | None = None
) -> Report | str:
    """Return the report of a file, or why there is none."""
    if work.threads:
        torch.set_num_threads(work.threads)
    enhancer, condition = _loaded(work)
    try:
        return enhance(
            *pair, model=enhancer, condition=condition, band=work.band, progress=progress
        )
    except RasedError as error:
        return str(error)


def _enhance_all(
    pairs: list[Pair],
    work: Work,
    done: Done | None,
    arguments: argparse.Namespace,
    *,
    alone: bool = False,
) -> tuple[list[Report], list[str]]:
    """Enhance files; return the reports and the failures.

    Raises:
        RasedError: the only file could not be enhanced.
    """
    if not pairs:
        return [], []
    reports: list[Report] = []
    failures: list[str] = []
    said: set[str] = set()
    # Before they are read: an input that changes meanwhile is not done.
    found = [facts(source) for source, _ in pairs]
    _loaded(work)  # a mistake in the options is reported before the first file
    jobs = min(arguments.jobs, len(pairs))
    with _progress() as bar:
        task = bar.add_task("enhancing", total=_total(pairs, bar))
        step = partial(bar.advance, task)
        # A function of this process cannot be sent to another one.
        function = partial(_enhance_one, work, progress=step if jobs == 1 else None)
        results = in_order(function, pairs, jobs=jobs, workers="processes")
        for (source, target), seen, result in zip(pairs, found, results, strict=True):
            bar.update(task, description=audio.printable(source.name))
            if isinstance(result, str):
                if alone:
                    raise RasedError(result)
                failures.append(result)
                bar.console.print(f"rased: {result}")
                continue
            if done is not None:
                done.add(seen, target)
            if jobs > 1:
                step(result.seconds)
            reports.append(result)
            for line in _lines(result, said, quiet=arguments.json):
                bar.console.print(line)
    return reports, failures


def _progress() -> Progress:
    """Return a progress bar on stderr; it draws nothing without a terminal."""
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


def _total(pairs: list[Pair], bar: Progress) -> float | None:
    """Return the length of all readable files in seconds; None without a terminal, where nobody sees the bar."""
    if not bar.console.is_terminal:
        return None
    total = 0.0
    for path, _ in pairs:
        try:
            total += audio.inspect(path).seconds or 0.0
        except RasedError:
            continue
    return total or None


def _lines(report: Report, said: set[str], *, quiet: bool) -> Iterator[str]:
    """Yield the lines to print for a file; a note that applies to all files of a sample rate is printed once."""
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


def _row(report: Report) -> dict[str, Any]:
    return {
        "input": audio.printable(report.input),
        "output": audio.printable(report.output),
        "seconds": report.seconds,
        "real_time_factor": report.real_time_factor,
        "notes": list(report.notes),
    }


def _say(sentence: str) -> None:
    print(f"rased: {sentence}.", file=sys.stderr)
