"""Log the metrics of a run: always to metrics.csv, and to Weights & Biases without prompts or waiting."""

import csv
import os
import re
import socket
import sys
import time
import urllib.parse
import urllib.request
import uuid
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from rased.disk import on_disk, replacing
from rased.errors import cut
from rased.training.metrics import NAME, read_metrics

if TYPE_CHECKING:
    from wandb import Run

_STAGING = "WANDB_DATA_DIR"
_CONNECT_SECONDS = 4.0
_INIT_SECONDS = 30.0
_KEPT = "The checkpoints are untouched: make room, resume"


class MetricsCSV(Logger):
    """Writes metrics.csv: one row for all values that are logged together, written immediately.

    Its columns are step, time (seconds since 1970) and the metrics. A metric that was not logged
    in a row is empty.

    Args:
        folder: folder of the run.
        steps: number of steps done by a run that is resumed; rows of later steps are removed.
    """

    def __init__(self, folder: str | Path, steps: int = 0) -> None:
        super().__init__()
        self.path = Path(folder) / NAME
        rows, self.columns = read_metrics(self.path)
        # Lightning numbers steps from 0: a run with N steps has rows 0 to N - 1.
        self.rows: list[dict[str, Any]] = [dict(row.text) for row in rows if row.step < steps]
        if self.path.is_file():
            self._rewrite()

    @property
    def name(self) -> str:
        """Return the name of the run."""
        return self.path.parent.name

    @property
    def version(self) -> str:
        """Return an empty version: runs are identified by name."""
        return ""

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Do nothing: config.yaml holds the hyperparameters."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write a row."""
        row = {"step": step or 0, "time": round(time.time(), 1), **metrics}
        self.rows.append(row)
        new = [name for name in row if name not in self.columns]
        self.columns += new
        # A new metric changes the first line, so the whole file is written again.
        if new or not self.path.is_file():
            self._rewrite()
            return
        with (
            on_disk(self.path, _KEPT),
            self.path.open("a", newline="", encoding="utf-8") as file,
        ):
            csv.DictWriter(file, self.columns).writerow(row)

    @rank_zero_only
    def _rewrite(self) -> None:
        with (
            on_disk(self.path, _KEPT),
            replacing(self.path) as part,
            part.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)


def wandb_logger(folder: Path, config: dict[str, Any]) -> WandbLogger | None:
    """Start a Weights & Biases run in `folder`/wandb; it is offline unless WANDB_API_KEY is set.

    WANDB_MODE overrides this; "disabled" returns None. A resumed run keeps its id. There are no prompts and no
    waiting: if the server cannot be reached or rejects the key, the run is offline, and a line on stderr
    says so.
    """
    mode = os.environ.get("WANDB_MODE", "online" if os.environ.get("WANDB_API_KEY") else "offline")
    # Lightning sets this rank; other ranks log nothing.
    if mode == "disabled" or vars(rank_zero_only).get("rank", 0):
        return None
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    reason = _unreachable() if mode == "online" else ""
    if mode == "online" and not reason:
        try:
            return WandbLogger(experiment=_begin(folder, config, "online"))
        except wandb.Error as error:
            reason = cut(str(error))
            wandb.teardown()
    if reason:
        print(
            f"Weights & Biases: {reason}. The run is kept offline; `wandb sync {folder}/wandb/offline-*` uploads it.",
            file=sys.stderr,
        )
    return WandbLogger(experiment=_begin(folder, config, "offline" if reason else mode))


def _begin(folder: Path, config: dict[str, Any], mode: Any) -> "Run":
    import wandb

    (folder / "wandb").mkdir(parents=True, exist_ok=True)
    identity = folder / "wandb" / "id"
    if not identity.is_file():
        identity.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
    # No capture of the terminal, no upload of the source code.
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        init_timeout=_INIT_SECONDS,
    )
    return wandb.init(
        project="rased",
        name=folder.name,
        id=identity.read_text(encoding="utf-8"),
        dir=str(folder),
        config=config,
        mode=mode,
        resume="allow" if mode == "online" else None,
        settings=settings,
    )


def _unreachable() -> str:
    """Return why the server, or its proxy, cannot be reached; "" if it can."""
    address = urllib.parse.urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai")
    # Behind a proxy, only the proxy can be reached directly.
    proxy = urllib.request.getproxies().get(address.scheme)
    if proxy and not urllib.request.proxy_bypass(address.hostname or ""):
        address = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    try:
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname or "", port), _CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        return f"{address.hostname} cannot be reached ({getattr(error, 'strerror', None) or error})"
    return ""


def log_table(
    run: "Run",
    folder: Path,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    means: Mapping[str, float],
) -> None:
    """Log rows as a table, and their means as NAME/KEY in the summary of the run.

    Args:
        run: the Weights & Biases run.
        folder: folder of the run.
        name: name of the table.
        rows: at least one; all with the same columns, of numbers or of text.
        means: means by key.
    """
    import wandb

    table = wandb.Table(columns=[*rows[0]], data=[list(row.values()) for row in rows])
    with _staged_inside(folder):
        run.log({name: table})
    run.summary.update({f"{name}/{key}": value for key, value in means.items()})


def log_files(
    run: "Run", folder: Path, files: Sequence[Path], *, metadata: Mapping[str, Any]
) -> None:
    """Log files as an artifact of type "model" with the name of the run; changed contents become a new version.

    Args:
        run: the Weights & Biases run.
        folder: folder of the run.
        files: files of the artifact; they are copied.
        metadata: values that are shown with the artifact.
    """
    import wandb

    name = re.sub(r"[^\w.-]", "-", folder.resolve().name)
    artifact = wandb.Artifact(name, type="model", metadata=dict(metadata))
    with _staged_inside(folder):
        for path in files:
            # Or wandb keeps another copy in the home folder.
            artifact.add_file(str(path), skip_cache=True)
        run.log_artifact(artifact)


@contextmanager
def _staged_inside(folder: Path) -> Iterator[None]:
    """Keep the copies that wait for `wandb sync` in the folder of the run instead of the home folder."""
    before = os.environ.get(_STAGING)
    os.environ.setdefault(_STAGING, str((folder / "wandb").resolve()))
    try:
        yield
    finally:
        if before is None:
            del os.environ[_STAGING]
