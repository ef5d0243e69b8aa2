"""Read the runs on this disk: model, progress, best scores, curves."""

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rased.config import load_yaml
from rased.errors import RasedError, nearest
from rased.training.folder import CONFIG, is_held
from rased.training.metrics import NAME as METRICS
from rased.training.metrics import read_metrics

_PAUSE_SECONDS = 1800.0


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        folder: folder of the run.
        model: class name of the architecture.
        loss: names of its losses.
        steps: number of steps in metrics.csv.
        seconds: duration of all launches, without the pauses between them.
        best: best value of each validation metric, and of `valid/loss`.
        state: "running" (a process trains in it now), "kept" (it has a checkpoint to resume from), or "empty".
        curves: steps and values of each metric.
        config: configuration of its last launch.
    """

    folder: Path
    model: str
    loss: str
    steps: int
    seconds: float
    best: dict[str, float]
    state: str
    curves: dict[str, tuple[list[int], list[float]]]
    config: dict[str, Any]

    @property
    def name(self) -> str:
        """Return the name of the folder."""
        return self.folder.name


def read_run(folder: Path) -> Run:
    """Read one run.

    Raises:
        RasedError: config.yaml is missing, or is not the configuration of a run.
    """
    if not (folder / CONFIG).is_file():
        known = [path.name for path in _folders(folder.parent)]
        raise RasedError(
            f"'{folder}' is not a run: {CONFIG} is missing"
            + (f"; {nearest(folder.name, known)}" if known else ".")
        )
    config = dict(load_yaml(folder / CONFIG, own=False))
    curves, times = _curves(folder / METRICS)
    model = _below(config, "model", "init_args")
    if not model:
        raise RasedError(f"'{folder / CONFIG}' is not the configuration of a run: it has no model.")
    enhancer = _below(model, "enhancer")
    network = _below(enhancer, "init_args", "network")
    # The network says more than the enhancer that wraps it.
    kind = network.get("class_path") or enhancer.get("class_path", "")
    return Run(
        folder=folder,
        model=str(kind).rpartition(".")[2],
        loss=" + ".join(_losses(model.get("loss"))) or "its own",
        # Steps are numbered from 0.
        steps=max((steps[-1] + 1 for steps, _ in curves.values()), default=0),
        seconds=math.fsum(gap for a, b in pairwise(times) if (gap := b - a) < _PAUSE_SECONDS),
        best={
            # Losses and distances of heads are better when lower: valid/loss/NAME, valid/heads/NAME.
            name: min(finite) if {"loss", "heads"} & {*name.split("/")} else max(finite)
            for name, (_, values) in curves.items()
            if name.startswith("valid/") and (finite := [*filter(math.isfinite, values)])
        },
        state=_state(folder),
        curves=curves,
        config=config,
    )


def list_runs(folder: Path) -> list[Run]:
    """Return all runs directly in a folder, newest last; report damaged ones on stderr.

    Raises:
        RasedError: the folder contains no run.
    """
    found, damaged = [], 0
    for path in _folders(folder):
        try:
            found.append(read_run(path))
        except RasedError as error:
            damaged += 1
            print(f"left out: {error}", file=sys.stderr)
    if not found and not damaged:
        raise RasedError(
            f"'{folder}' contains no runs: make one with `rased train`, or give the folder of your runs."
        )
    return sorted(found, key=lambda run: (run.folder / CONFIG).stat().st_mtime)


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return the settings that differ between runs: dotted name -> value in each run, "" if it is not set."""
    settings = [dict(flat(run.config)) for run in runs]
    names = sorted(set().union(*settings))
    table = {name: [str(own.get(name, "")) for own in settings] for name in names}
    return {name: values for name, values in table.items() if len(set(values)) > 1}


def draw_curves(runs: Sequence[Run], path: Path, *, metrics: Sequence[str] = ()) -> list[str]:
    """Plot curves over the steps into one image, one panel per metric; return the metrics plotted.

    Args:
        runs: at least one.
        path: a PNG file, or any other format of matplotlib, chosen by the suffix.
        metrics: columns of metrics.csv; empty: losses and all validation metrics.

    Raises:
        RasedError: no run has the metric, or there is nothing to plot.
    """
    from matplotlib.figure import Figure

    known = list(dict.fromkeys(name for run in runs for name in run.curves))
    for name in metrics:
        if name not in known:
            raise RasedError(f"no run has logged '{name}'; {nearest(name, known)}")
    chosen = list(metrics) or [n for n in known if n.startswith("valid/") or n == "train/loss"]
    if not chosen:
        raise RasedError("there is nothing to plot: no metric has been logged yet.")
    columns = min(2, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    figure = Figure(figsize=(5.5 * columns, 3.2 * rows), layout="constrained")
    for place, name in enumerate(chosen):
        axes = figure.add_subplot(rows, columns, place + 1)
        for run in runs:
            if name in run.curves:
                steps, values = run.curves[name]
                axes.plot(steps, values, label=run.name, marker="." if len(steps) < 30 else "")
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("step", fontsize=9)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    return chosen


def _folders(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))


def _curves(path: Path) -> tuple[dict[str, tuple[list[int], list[float]]], list[float]]:
    """Return the columns of metrics.csv with their steps, and the times of all rows."""
    curves: dict[str, tuple[list[int], list[float]]] = {}
    rows, _ = read_metrics(path)
    for row in rows:
        for name, value in row.values.items():
            # Lightning logs the epoch with every row.
            if name != "epoch":
                steps, values = curves.setdefault(name, ([], []))
                steps.append(row.step)
                values.append(value)
    return curves, [row.time for row in rows]


def _state(folder: Path) -> str:
    if is_held(folder):
        return "running"
    return "kept" if (folder / "checkpoints" / "last.ckpt").is_file() else "empty"


def _below(value: Any, *keys: str) -> dict[str, Any]:
    """Follow keys through nested mappings; return an empty mapping if one is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _losses(spec: Any) -> list[str]:
    """Return the names of the innermost losses of a configuration."""
    if not isinstance(spec, dict):
        return []
    arguments = _below(spec, "init_args")
    losses = arguments.get("losses")
    inner = losses if isinstance(losses, list) else [arguments.get("loss")]
    found = [name for part in inner for name in _losses(part)]
    return found or [str(spec.get("class_path", "")).rpartition(".")[2]]


def flat(value: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield the settings of a configuration with dotted names."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from flat(item, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, value
