"""Finish a training: score the run, publish it as a zoo entry, and send both to Weights & Biases."""

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
from rased.zoo.runs import CHECKPOINTS, load_run

if TYPE_CHECKING:
    from wandb import Run

RESULTS = "results"
ZOO = "zoo"
BASELINE = "noisy"
_BEST = "best.ckpt"


def check(testsets: Sequence[str], metrics: Sequence[str], enhancer: Enhancer) -> None:
    """Check before a training that everything needed at its end is available.

    Raises:
        RasedError: no such test set or metric, or the test set lacks a condition of the enhancer.
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
        raise RasedError("run.metrics is empty: give for example quick, or remove run.evaluate.")


def close(
    folder: Path,
    *,
    testsets: Sequence[str],
    metrics: Sequence[str],
    jobs: int,
    tracker: "Run | None",
) -> None:
    """Score the best checkpoint of a run together with the noisy input, and make a zoo entry of it.

    FOLDER/results gets the results, FOLDER/zoo/NAME the entry, whose card has the mean scores. Weights &
    Biases gets a table for each test set, its means, and the entry as an artifact of type "model". A run that
    cannot become an entry (for example because of a user-defined data module) is uploaded as checkpoint and
    configuration. Tables are printed; anything that is skipped is explained on stderr.

    Args:
        folder: folder of the run.
        testsets: folders, or `bundle`.
        metrics: see `evaluate`.
        jobs: number of processes.
        tracker: run of Weights & Biases, or None.

    Raises:
        ProblemsFound: some parts failed; the message has the commands to run them again. The other parts are done.
    """
    if not (folder / CHECKPOINTS / _BEST).is_file():
        print(f"no validation has saved a {_BEST} in '{folder}': not evaluated.", file=sys.stderr)
        return
    # The configuration is the user's own, so its packages are trusted.
    end = _End(folder, packages(load_yaml(folder / "config.yaml").get("model")))
    for name in testsets:
        end.score(name, metrics, jobs)
    end.publish(testsets)
    if tracker is not None:
        end.upload(tracker)
    if end.failures:
        listed = " ".join(sentence for sentence, _ in end.failures)
        raise ProblemsFound(f"'{folder}' is trained and kept, but {listed}") from end.failures[0][1]


class _End:
    """The end of one run, part by part; a part that fails is recorded, and the others are still done.

    Attributes:
        failures: a sentence for each part that failed, and its exception.
    """

    def __init__(self, folder: Path, trusted: Sequence[str]) -> None:
        self.failures: list[tuple[str, Exception]] = []
        self._folder = folder
        self._trusted = trusted
        self._where = shlex.quote(str(folder))
        self._rows: list[tuple[Result, Result]] = []
        self._entry: Path | None = None

    def score(self, testset: str, metrics: Sequence[str], jobs: int) -> None:
        """Score the run and the noisy input on a test set, and print both."""
        results = self._folder / RESULTS
        again = (
            f"rased evaluate {BASELINE} {self._where} --on {shlex.quote(testset)} --out {self._where}/{RESULTS} "
            f"--metrics {' '.join(metrics)}"
        )
        with self._survived(f"the evaluation on '{testset}'", again):
            noisy, own = evaluate(
                [BASELINE, str(self._folder)],
                locate(testset),
                results,
                metrics=metrics,
                jobs=jobs,
                allow=self._trusted,
            )
            print_table([noisy, own])
            self._rows.append((noisy, own))

    def publish(self, testsets: Sequence[str]) -> None:
        """Make a zoo entry of the run, or explain why that is not possible."""
        folder = self._folder
        entry = folder / ZOO / plain_name(folder.resolve().name)
        # --replace, because the failed attempt may have been the second end of a resumed run.
        again = f"rased zoo publish {self._where} --name {shlex.quote(entry.name)} --out {self._where}/{ZOO} --replace"
        with self._survived("the zoo entry", again):
            condition = _condition(load_run(folder, allow=self._trusted), testsets)
            obstacle = _obstacle(folder, condition)
            if obstacle:
                print(f"'{folder}' does not become a zoo entry: {obstacle}", file=sys.stderr)
                return
            names = [file_name(own.name, own.testset["name"]) for _, own in self._rows]
            publish(
                folder,
                entry.name,
                entry.parent,
                scores=mean_scores([folder / RESULTS / name for name in names]),
                replace=True,
                allow=self._trusted,
                condition=condition,
            )
            self._entry = entry
            reason = read_card(entry)["training"].get("not_repeatable")
            if reason:
                print(
                    f"the training of '{folder}' cannot be reproduced by a command: {reason}.",
                    file=sys.stderr,
                )

    def upload(self, tracker: "Run") -> None:
        """Send tables, means and the zoo entry to Weights & Biases; without an entry, the checkpoint."""
        folder = self._folder
        with self._survived(
            "the upload to Weights & Biases", f"rased train --resume {self._where}"
        ):
            for noisy, own in self._rows:
                name = f"evaluation/{own.testset['name']}"
                log_table(tracker, folder, name, _table(noisy, own), means(noisy, own))
            # Not "if the folder of the entry exists": it may be that of an earlier end of this run, with old weights.
            if self._entry is not None:
                files = sorted(self._entry.iterdir())
                log_files(tracker, folder, files, metadata=read_card(self._entry))
            else:
                files = [folder / CHECKPOINTS / _BEST, folder / "config.yaml"]
                log_files(tracker, folder, files, metadata={})

    @contextmanager
    def _survived(self, what: str, again: str) -> Iterator[None]:
        """Record a failure and the command that repeats this part, and continue."""
        try:
            yield
        except Exception as error:
            told = isinstance(error, RasedError)
            said = str(error) if told else f"{type(error).__name__}: {error}"
            sentence = f"{what} failed: {said.rstrip('.')}. By hand: {again}."
            self.failures.append((sentence, error))


def plain_name(name: str) -> str:
    """Derive a name that a card allows from the name of a folder.

    >>> plain_name("Exp#3 (äö)")
    'Exp-3'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-") or "run"


def means(noisy: Result, own: Result) -> dict[str, float]:
    """Return the mean of each metric for the run and, as .../noisy, for the input, where both have a value."""
    found = {}
    for metric in own.metrics:
        values, before = own.values(metric), noisy.values(metric)
        # Over the same utterances, so that the two means can be compared.
        both = values.keys() & before.keys()
        if both:
            found[metric] = sum(values[one] for one in both) / len(both)
            found[f"{metric}/{BASELINE}"] = sum(before[one] for one in both) / len(both)
    return found


def _table(noisy: Result, own: Result) -> list[dict[str, Any]]:
    """Return one row per utterance: facts, each metric of the run and of the noisy input, and missing values."""
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
    """Return the condition for an enhancer's golden output, from the first utterance; None if no test set has it."""
    if not enhancer.conditions:
        return {}
    if not testsets:
        return None
    return given(enhancer, read_testset(locate(testsets[0])).items[0])


def _obstacle(folder: Path, condition: Condition | None) -> str:
    """Return why a run cannot become a zoo entry; "" if it can."""
    if read_manifest(folder) is None:
        return "its data module does not report what it trained on."
    if condition is None:
        return (
            "no test set has the condition of its model: make the entry with rased zoo publish RUN --name NAME "
            "--condition NAME=FILE."
        )
    return ""
