"""The result of an evaluation: one JSON file per system and test set, with scores, protocol, cost and origin.

The hash in it is a checksum, not a signature: it detects a truncated file or a careless edit. Whoever recomputes it
can write anything; only scoring the outputs again proves the scores (`recheck`).
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rased import documents
from rased.disk import write_text
from rased.errors import RasedError, shown
from rased.evaluation.plausible import refuse_impossible
from rased.evaluation.schema import ResultFields
from rased.metrics import METRICS, Score
from rased.names import component

SCHEMA = 3
_DIGITS = 5
_LARGEST = 64 << 20  # 64 MiB
_HASH = "content_sha256"


@dataclass
class Utterance:
    """One utterance of the test set.

    Attributes:
        id: its name in the test set.
        seconds: its length.
        facts: what the test set states of it: condition, snr_db, speaker, ...
        scores: by metric; a metric that has not been computed is absent.
        measured: delay_ms, the delay of the estimate after the target (after the input, if there is no target), and
            level_db, its rms level relative to the input; None if one of them is silent.
    """

    id: str
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    measured: dict[str, float | None] = field(default_factory=dict)


@dataclass
class Result:
    """One system on one test set.

    Attributes:
        system: name, kind, sha256 (of weights and settings), checkpoint_sha256, parameters,
            macs_per_second, sample_rate, latency (delay of a stream's output in samples; None: whole utterances),
            buffering (samples of a hop), look_ahead (samples of latency beyond those of the transform), causal.
            For enhanced files with a system.yaml also stated: what the submitter states, not measured.
            For weights that others published also imported: their source.
        testset: name, count, sample_rate, target, list_sha256.
        training: the training data and method, what of them was compared with the test set, and
            the configuration (`training.training_of`); None if nothing was trained.
        protocol: sample_rate of scoring, resampler, alignment, length, and for each metric its
            version, unit, direction and range. Rows are comparable if these agree.
        cost: real_time_factor (processor seconds per second of audio, one file at a time, one thread),
            batch_gain (speed-up by batches), both on `processor`; peak_memory_mb (memory that loading
            and enhancing 10 s adds to a process with PyTorch). Each is None if nothing is enhanced, and the
            last while an evaluation is running.
        environment: versions, hardware, git state.
        created: UTC, ISO 8601.
        utterances: in the order of the test set.
    """

    system: dict[str, Any]
    testset: dict[str, Any]
    training: dict[str, Any] | None
    protocol: dict[str, Any]
    cost: dict[str, Any]
    environment: dict[str, Any]
    created: str
    utterances: list[Utterance]

    @property
    def name(self) -> str:
        """Return the name of the system."""
        return str(self.system["name"])

    @property
    def metrics(self) -> list[str]:
        """Return the metrics that any utterance has, in the order of METRICS."""
        present = set().union(*(utterance.scores for utterance in self.utterances))
        return [name for name in METRICS if name in present]

    @property
    def stated(self) -> dict[str, Any]:
        """Return what the submitter of enhanced files states about the system; see `stated.read_stated`."""
        return dict(self.system.get("stated") or {})

    def missing(self, metric: str) -> int:
        """Return the number of utterances for which the metric has not been computed."""
        done = sum(metric in utterance.scores for utterance in self.utterances)
        return int(self.testset["count"]) - done

    def values(self, metric: str) -> dict[str, float]:
        """Return the values of a metric by utterance; utterances without a value are omitted."""
        return {
            utterance.id: score.value
            for utterance in self.utterances
            if (score := utterance.scores.get(metric)) is not None and score.value is not None
        }


def file_name(system: str, testset: str) -> str:
    """Return the file name of a result: `<system>--<testset>.json`.

    Raises:
        RasedError: a name is not allowed in a path.
    """
    component(system, what="the name of the system")
    component(testset, what="the name of the test set")
    return f"{system}--{testset}.json"


def save(result: Result, path: Path) -> str:
    """Write a result with the hash of its content, atomically; return the hash.

    Raises:
        RasedError: the file cannot be written.
    """
    content: dict[str, Any] = {"schema": SCHEMA, **asdict(result)}
    for utterance in content["utterances"]:
        for score in utterance["scores"].values():
            if score["value"] is not None:
                # Before hashing, so that a result that is loaded and saved again keeps its hash.
                score["value"] = round(score["value"], _DIGITS)
    digest = content[_HASH] = _digest(content)
    # One line per utterance: results are kept in git, and a diff then shows which scores changed.
    rows = ",\n  ".join(json.dumps(row) for row in content.pop("utterances"))
    # The last brace is left out here, and follows the utterances.
    head = json.dumps(content, indent=1).removesuffix("\n}")
    text = f'{head},\n "utterances": [\n  {rows}\n ]\n}}\n'
    try:
        write_text(path, text)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RasedError(f"cannot write '{path}': {reason}.") from None
    return digest


def load(path: Path) -> Result:
    """Read a result.

    Raises:
        RasedError: no such file, not a result, another schema, changed since it was written, or impossible
            values (`plausible`).
    """
    repair = "Evaluate again with `rased evaluate`."
    content = documents.plain(
        documents.read_bytes(path, repair=repair, largest=_LARGEST), of=path, repair=repair
    )
    if not isinstance(content, dict) or "schema" not in content:
        raise RasedError(f"'{path}' is not a result of `rased evaluate`: it has no schema.")
    if content["schema"] != SCHEMA:
        raise RasedError(
            f"'{path}' has schema {shown(content['schema'])}, but this version of rased reads {SCHEMA}: update rased, "
            "or evaluate again."
        )
    found = content.pop(_HASH, None)
    if found != _digest(content):
        raise RasedError(
            f"'{path}' was changed after it was written (its content hash differs): evaluate again."
        )
    fields: ResultFields = documents.fit(content, ResultFields, of=path, repair=repair)
    try:
        refuse_impossible(fields)
    except RasedError as error:
        raise RasedError(f"'{path}' cannot be a result: {error}. {repair}") from None
    del content["schema"]
    utterances = [
        Utterance(
            str(row.id),
            row.seconds,
            # Only the facts in the file: the struct has a default for all others.
            {name: getattr(row.facts, name) for name in given["facts"]},
            {name: Score(score.value, score.status) for name, score in row.scores.items()},
            row.measured,
        )
        for row, given in zip(fields.utterances, content.pop("utterances"), strict=True)
    ]
    return Result(**content, utterances=utterances)


def mean_scores(paths: Iterable[Path]) -> dict[str, dict[str, float]]:
    """Return the mean of each metric over the utterances that have a value, by test set.

    Raises:
        RasedError: a file that is not a result, or was changed since it was written.
    """
    means: dict[str, dict[str, float]] = {}
    for result in map(load, paths):
        of_set = means.setdefault(str(result.testset["name"]), {})
        scored = (name for utterance in result.utterances for name in utterance.scores)
        for metric in dict.fromkeys(scored):
            values = result.values(metric)
            if values:
                of_set[metric] = round(sum(values.values()) / len(values), 4)
    return means


def _digest(content: dict[str, Any]) -> str:
    # One spelling for equal content: sorted keys, no spaces, ASCII.
    plain = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(plain.encode()).hexdigest()
