"""Where the numbers of a run go: metrics.csv always, Weights & Biases without asking or waiting."""

import csv
import os
import re
import time
import uuid
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

if TYPE_CHECKING:
    from wandb import Run

_STAGING = "WANDB_DATA_DIR"


class MetricsCSV(Logger):
    """metrics.csv: a row for everything that is logged together, written at once.

    Its columns are step, time (seconds since 1970) and the metrics; a metric that was not logged
    with the others is empty.

    Args:
        folder: folder of the run.
        steps: where a run continues, the number of steps done: rows of later steps are dropped.
    """

    def __init__(self, folder: str | Path, steps: int = 0) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.rows: list[dict[str, Any]] = []
        self.columns = ["step", "time"]
        if self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                self.rows = [row for row in reader if int(row["step"]) < steps]
                self.columns = list(reader.fieldnames or self.columns)
            self._rewrite()

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.path.parent.name

    @property
    def version(self) -> str:
        """Runs are told apart by name."""
        return ""

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Nothing: config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write a row."""
        row = {"step": step or 0, "time": round(time.time(), 1), **metrics}
        self.rows.append(row)
        new = [name for name in row if name not in self.columns]
        self.columns += new
        if new or not self.path.is_file():
            self._rewrite()
        else:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns).writerow(row)

    @rank_zero_only
    def _rewrite(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(".metrics.csv.partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)
        partial.replace(self.path)


def wandb_logger(folder: Path, config: dict[str, Any]) -> WandbLogger | None:
    """A Weights & Biases run below `folder`/wandb: offline unless WANDB_API_KEY is set.

    WANDB_MODE, where it is set, has the last word; "disabled" gives None. A resumed run keeps its
    id. Nothing is printed, asked or waited for.
    """
    mode = os.environ.get("WANDB_MODE", "online" if os.environ.get("WANDB_API_KEY") else "offline")
    if mode == "disabled" or vars(rank_zero_only).get("rank", 0):
        return None
    os.environ["WANDB_MODE"] = mode
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    (folder / "wandb").mkdir(parents=True, exist_ok=True)
    identity = folder / "wandb" / "id"
    if not identity.is_file():
        identity.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
    run = wandb.init(
        project="rased",
        name=folder.name,
        id=identity.read_text(encoding="utf-8"),
        dir=str(folder),
        config=config,
        resume="allow" if mode == "online" else None,
        settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True),
    )
    return WandbLogger(experiment=run)


def log_table(
    run: "Run",
    folder: Path,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    means: Mapping[str, float],
) -> None:
    """Log rows as a table, and what they come to as NAME/KEY in the summary of the run.

    Args:
        run: where to.
        folder: of the run.
        name: of the table.
        rows: at least one; all with the same columns, of numbers or of text.
        means: by key.
    """
    import wandb

    table = wandb.Table(columns=[*rows[0]], data=[list(row.values()) for row in rows])
    with _staged_inside(folder):
        run.log({name: table})
    run.summary.update({f"{name}/{key}": value for key, value in means.items()})


def log_files(
    run: "Run", folder: Path, files: Sequence[Path], *, metadata: Mapping[str, Any]
) -> None:
    """Log files as an artifact of type model with the name of the run; other contents make another version.

    Args:
        run: where to.
        folder: of the run.
        files: what it holds, each under its own name; copied.
        metadata: what is shown beside it.
    """
    import wandb

    name = re.sub(r"[^\w.-]", "-", folder.resolve().name)
    artifact = wandb.Artifact(name, type="model", metadata=dict(metadata))
    with _staged_inside(folder):
        for path in files:
            artifact.add_file(str(path), skip_cache=True)
        run.log_artifact(artifact)


@contextmanager
def _staged_inside(folder: Path) -> Iterator[None]:
    """Let the copies that wait for `wandb sync` lie in the run, not in the home folder."""
    before = os.environ.get(_STAGING)
    os.environ.setdefault(_STAGING, str((folder / "wandb").resolve()))
    try:
        yield
    finally:
        if before is None:
            del os.environ[_STAGING]
