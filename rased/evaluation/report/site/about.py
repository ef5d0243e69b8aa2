"""List everything that a row is based on, and copy the result files next to the page."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rased.evaluation import result as results
from rased.evaluation.comparison.rows import Row
from rased.evaluation.result import Result
from rased.metrics import METRICS

_NAMES = {
    "sha256": "weights and settings, SHA-256",
    "checkpoint_sha256": "checkpoint, SHA-256",
    "manifest_sha256": "training data manifest, SHA-256",
    "recipe_sha256": "recipe without seeds, SHA-256",
    "list_sha256": "list of files, SHA-256",
    "macs_per_second": "MACs per second",
    "real_time_factor": "real-time factor",
    "peak_memory_mb": "peak memory in MB",
    "optimised": "metrics in its loss",
    "git.commit": "git commit",
    "git.dirty": "changed since that commit",
}
_UNITS = {
    "sample_rate": "Hz",
    "latency": "samples",
    "buffering": "samples",
    "look_ahead": "samples",
}
_HASH = re.compile(r"[0-9a-f]{40,64}")
_LARGE = 10_000
_VERBATIM = ("Configuration", "Versions of metrics")


@dataclass(frozen=True)
class Line:
    """One fact about a row.

    Attributes:
        name: what it is.
        value: formatted value.
    """

    name: str
    value: str

    @property
    def is_hash(self) -> bool:
        """Return whether the value is a hash."""
        return _HASH.fullmatch(self.value) is not None


@dataclass(frozen=True)
class Copy:
    """A copy of a result file.

    Attributes:
        name: name of the file.
        link: path relative to the page.
        sha256: SHA-256 of its content.
    """

    name: str
    link: str
    sha256: str


def sections(row: Row) -> list[tuple[str, list[Line]]]:
    """Return what a row is based on, by section; with several seeds, for the first one."""
    result = row.result
    system = {name: value for name, value in result.system.items() if row.kind or value is not None}
    if system.get("causal") is False and system["latency"] is None:
        system["latency"] = "all"
    untrained = "none, nothing is trained" if row.kind in ("", "classical") else None
    training = dict({"training data": untrained} if result.training is None else result.training)
    config = training.pop("config", {})
    protocol = {name: value for name, value in result.protocol.items() if name != "metrics"}
    versions = {
        METRICS[name].title if name in METRICS else name: declared["version"]
        for name, declared in result.protocol["metrics"].items()
    }
    found = {
        "System": system,
        "Training": training,
        "Configuration": config,
        "Test set": result.testset,
        "Protocol": protocol,
        "Versions of metrics": versions,
        "Cost": result.cost if row.kind else {},
        "Made with": result.environment | {"time": result.created},
    }
    return [
        (section, [_line(section, name, value) for name, value in _flat(content)])
        for section, content in found.items()
        if content
    ]


def copy_results(row: Row, rows: Sequence[Result], folder: Path) -> list[Copy]:
    """Copy the results of a row (one per seed) to folder/results; content and hash stay the same."""
    copies = []
    members = [r for r in rows if r.testset == row.result.testset and r.name in row.members]
    for result in members:
        # Two test sets may have one name.
        testset = f"{quote(result.testset['name'], safe='')}-{result.testset['list_sha256'][:8]}"
        name = results.file_name(result.name, result.testset["name"])
        path = folder / "results" / testset / quote(name, safe="")
        digest = results.save(result, path)
        copies.append(Copy(name, quote(path.relative_to(folder).as_posix()), digest))
    return copies


def _flat(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield leaves with their dotted names; a list of plain values counts as a leaf."""
    if isinstance(content, Mapping) and content:
        for name, value in content.items():
            yield from _flat(value, f"{path}.{name}" if path else str(name))
    elif isinstance(content, list) and any(isinstance(item, Mapping | list) for item in content):
        for number, item in enumerate(content):
            yield from _flat(item, f"{path}.{number}")
    else:
        yield path, content


def _line(section: str, name: str, value: Any) -> Line:
    if section in _VERBATIM:
        return Line(name, json.dumps(value) if value is None else str(value))
    own = name.removeprefix("stated.")
    title = _NAMES.get(own, own.replace("_", " ").replace(".", ", "))
    title += ", as stated by the submitter" if own != name else ""
    unit = _UNITS.get(name, "") if isinstance(value, int | float) else ""
    return Line(title, f"{_shown(value)} {unit}".rstrip())


def _shown(value: Any) -> str:
    if isinstance(value, list | Mapping):
        return ", ".join(map(str, value)) or "none"
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    large = isinstance(value, int) and value >= _LARGE
    return f"{value:,}".replace(",", "\u202f") if large else str(value)  # a narrow no-break space
