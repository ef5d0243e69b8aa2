"""The end of a training: the run is scored, becomes a zoo entry, and both go to Weights & Biases."""

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rased.classes import packages
from rased.conditions import Condition
from rased.config import load_yaml
from rased.errors import ProblemsFound, RasedError
from rased.evaluation.report.terminal import print_table
from rased.evaluation.result import Result, file_name, mean_scores
from rased.evaluation.scoring.run import evaluate, metric_names
from rased.evaluation.testset import given, locate, read_testset
from rased.models.base import Enhancer
from rased.training.history import read_manifest
from rased.training.tracking import log_files, log_table
from rased.zoo.card import read_card
from rased.zoo.publish import publish
from rased.zoo.runs import load_run

if TYPE_CHECKING:
    from wandb import Run

RESULTS = "results"
ZOO = "zoo"
BASELINE = "noisy"


def check(testsets: Sequence[str], metrics: Sequence[str], enhancer: Enhancer) -> None:
    """See before a training whether its end will find what it needs.

    Raises:
        RasedError: no such test set or metric, or a test set without what the enhancer is given.
    """
    for name in testsets:
        found = read_testset(locate(name))
        try:
            given(enhancer, found.items[0])
        except RasedError as error:
            said = str(error).rstrip(".")
            raise RasedError(
                f"{said}. Name other test sets with --run.evaluate '[FOLDER]', or none with --run.evaluate '[]'."
            ) from None
    if testsets and not metric_names(metrics):
        raise RasedError("run.metrics names none: give quick, say, or take run.evaluate away.")


def close(
    folder: Path,
    *,
    testsets: Sequence[str],
    metrics: Sequence[str],
    jobs: int,
    tracker: "Run | None",
) -> None:
    """Score the best checkpoint of a run beside the noisy input, and make a zoo entry of it.

    FOLDER/results gets the results, FOLDER/zoo/NAME the entry, whose card has the mean scores. Weights &
    Biases gets a table for each test set, its means, and the entry as an artifact of type model. What
    cannot be an entry (a data module of the caller's own) goes there as checkpoint and
    configuration. Tables are printed; what a run does not get, and why, is said on stderr.

    Args:
        folder: of the run.
        testsets: folders, or `bundle`.
        metrics: see `evaluate`.
        jobs: processes.
        tracker: of Weights & Biases; None: none.

    Raises:
        ProblemsFound: parts of it failed, and the commands that do them by hand; the others are done.
    """
    trusted = packages(load_yaml(folder / "config.yaml").get("model"))
    best = folder / "checkpoints" / "best.ckpt"
    if not best.is_file():
        print(f"no validation chose a best.ckpt in '{folder}': not evaluated.", file=sys.stderr)
        return
    failures: list[tuple[str, Exception]] = []
    rows: list[tuple[Result, Result]] = []
    where = shlex.quote(str(folder))
    for name in testsets:
        again = (
            f"rased evaluate {BASELINE} {where} --on {shlex.quote(name)} --out {where}/{RESULTS} "
            f"--metrics {' '.join(metrics)}"
        )
        with _survived(failures, f"the evaluation on '{name}'", again):
            systems = [BASELINE, str(folder)]
            noisy, own = evaluate(
                systems, locate(name), folder / RESULTS, metrics=metrics, jobs=jobs, allow=trusted
            )
            print_table([noisy, own])
            rows.append((noisy, own))
    entry = folder / ZOO / plain_name(folder.resolve().name)
    condition = _condition(load_run(folder, allow=trusted), testsets)
    obstacle = _obstacle(folder, condition)
    if obstacle:
        print(f"no zoo entry of '{folder}': {obstacle}", file=sys.stderr)
    else:
        results = [file_name(own.name, own.testset["name"]) for _, own in rows]
        again = f"rased zoo publish {where} --name {shlex.quote(entry.name)} --out {where}/{ZOO} --replace"
        with _survived(failures, "the zoo entry", again):
            paths = tuple(folder / RESULTS / name for name in results)
            publish(
                folder,
                entry.name,
                entry.parent,
                scores=mean_scores(paths),
                replace=True,
                allow=trusted,
                condition=condition,
            )
            reason = read_card(entry)["training"].get("not_repeatable")
            if reason:
                print(f"no command repeats '{folder}': {reason}.", file=sys.stderr)
    if tracker is not None:
        again = f"rased train --resume {where}"
        with _survived(failures, "what goes to Weights & Biases at the end", again):
            for noisy, own in rows:
                name = f"evaluation/{own.testset['name']}"
                log_table(tracker, folder, name, _table(noisy, own), means(noisy, own))
            if (entry / "card.yaml").is_file() and not obstacle:
                card = read_card(entry)
                files = sorted(entry.iterdir())
                log_files(tracker, folder, files, metadata=card)
            else:
                log_files(tracker, folder, [best, folder / "config.yaml"], metadata={})
    if failures:
        listed = " ".join(sentence for sentence, _ in failures)
        raise ProblemsFound(f"'{folder}' is trained and kept, but {listed}") from failures[0][1]


def plain_name(name: str) -> str:
    """A name that a card allows, made of that of a folder.

    >>> plain_name("Exp#3 (äö)")
    'Exp-3'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-") or "run"


def means(noisy: Result, own: Result) -> dict[str, float]:
    """Mean of each metric, of the run and `.../noisy`, over the utterances where both have a value."""
    found = {}
    for metric in own.metrics:
        values, before = own.values(metric), noisy.values(metric)
        both = values.keys() & before.keys()
        if both:
            found[metric] = sum(values[one] for one in both) / len(both)
            found[f"{metric}/{BASELINE}"] = sum(before[one] for one in both) / len(both)
    return found


def _table(noisy: Result, own: Result) -> list[dict[str, Any]]:
    """A row an utterance: what is known of it, each metric of the run and of the noisy input, what has no value."""
    before = {utterance.id: utterance.scores for utterance in noisy.utterances}
    facts = list(dict.fromkeys(name for utterance in own.utterances for name in utterance.facts))
    rows = []
    for utterance in own.utterances:
        row: dict[str, Any] = {"id": utterance.id, "seconds": utterance.seconds}
        row |= {name: utterance.facts.get(name) for name in facts}
        told = []
        for metric in own.metrics:
            for name, scores in (
                (metric, utterance.scores),
                (f"{metric} noisy", before[utterance.id]),
            ):
                score = scores.get(metric)
                row[name] = None if score is None else score.value
                if score is not None and score.value is None:
                    told.append(f"{name}: {score.status}")
        rows.append({**row, "status": "; ".join(told) or "ok"})
    return rows


def _condition(enhancer: Enhancer, testsets: Sequence[str]) -> Condition | None:
    """What an enhancer is given for its golden output: that of the first utterance; None where no test set has it."""
    if not enhancer.conditions:
        return {}
    if not testsets:
        return None
    return given(enhancer, read_testset(locate(testsets[0])).items[0])


def _obstacle(folder: Path, condition: Condition | None) -> str:
    """Why a run cannot be a zoo entry; "" where it can."""
    if read_manifest(folder) is None:
        return "its data module does not say what it trained on."
    if condition is None:
        return (
            "no test set has the condition of its model: rased zoo publish RUN --name NAME --condition NAME=FILE "
            "makes it."
        )
    return ""


@contextmanager
def _survived(failures: list[tuple[str, Exception]], what: str, again: str) -> Iterator[None]:
    """Note a failure and the command that does the same by hand, and go on."""
    try:
        yield
    except Exception as error:
        said = str(error) if isinstance(error, RasedError) else f"{type(error).__name__}: {error}"
        failures.append((f"{what} failed: {said.rstrip('.')}. By hand: {again}.", error))
