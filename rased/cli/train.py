"""`rased train`: train by YAML files in a run folder; resume an interrupted run with the next batch."""

import argparse
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rased import yaml_reader
from rased.classes import packages
from rased.cli.options import add_allow
from rased.config import KEEP, load_configs, load_yaml, merge, override, public
from rased.errors import RasedError, nearest, worker_died
from rased.machine import cores
from rased.names import plain

if TYPE_CHECKING:
    from rased.training.launch import RunCLI
    from rased.training.origin import Origin

DESCRIPTION = """\
Train an enhancer. YAML files are merged left to right, on top of configs/trainer/default.yaml. Any key can be
set after them: --trainer.KEY, --model.KEY, --data.KEY, --run.KEY. A name such as model/gru-mask stands for
configs/model/gru-mask.yaml. At the end, the best checkpoint is scored together with the noisy input on the bundled
test set, or on the test sets of run.evaluate, and becomes an entry that `rased.load` can load."""

EXAMPLES = """\
examples:
  rased train -c model/gru-mask -c data/bundle -c trainer/quick
  rased train -c model/gru-mask -c data/bundle --trainer.max_epochs 50 --model.lr 5e-4 --name mine
  rased train -c my-model.yaml -c data/bundle --trainer.max_epochs -1 --trainer.max_steps 20000
  rased train -c my-model.yaml -c data/bundle --print-config                    show the merged configuration
  rased train -c my-model.yaml -c data/bundle --run.evaluate '[bundle, my/testset]' --run.metrics '[default]'
  rased train -c my-model.yaml -c data/bundle --run.evaluate '[]'               skip the evaluation
  rased train --from gru-mask-16k -c data/bundle                                start from a checkpoint's weights
  rased train --from runs/mine -c data/bundle --model.lr 1e-4 --freeze 'network.decoder.*'
  rased train -c model/refinement -c data/bundle --from ul-unas-fine-16k --into first --freeze 'first.*'
  rased train --resume runs/mine                                                continue where the run stopped
  rased train --resume runs/mine --trainer.max_epochs 100                       train longer
  rased train -c model/gru-mask -c data/bundle --name big --submit nodes=2 gpus_per_node=4     queue a job of Slurm
  torchrun --nproc-per-node 4 -m rased train -c model/gru-mask -c data/bundle -c trainer/ddp --name big

A run is a folder runs/NAME: config.yaml, metrics.csv, checkpoints/{best,last}.ckpt, audio/,
figures/, results/ (of the evaluation), zoo/NAME/ (card and weights), and wandb/ with a copy of all of them
(offline unless WANDB_API_KEY is set; WANDB_MODE=disabled turns it off).
--from starts with the weights and statistics of a checkpoint; its training data count as training data of the
new run. Without -c MODEL, the model is that of the checkpoint. With --into, the weights are those of one or more parts.
Ctrl-C, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 save last.ckpt and stop; a second Ctrl-C stops at once.
"""

_FOLDER = "RASED_RUN_FOLDER"
_IN_JOB = "SUBMITIT_EXECUTOR"
"""Variable that submitit sets in its jobs, which repeat the command: there, --submit trains."""
_MOST_JOBS = 8
_EXAMPLE = "rased train -c model/gru-mask -c data/bundle --trainer.max_epochs 50"

_KNOWN_WARNINGS = (
    # rased's loader resumes from its own position, and its workers are single-threaded.
    "You're resuming from a checkpoint that ended before the epoch ended",
    "The '\\w+_dataloader' does not have many workers",
    "The number of training batches .* is smaller than the logging interval",
    "Checkpoint directory .* exists and is not empty",
    "Found \\d+ module\\(s\\) in eval mode at the start of training",
    "It is recommended to use `self.log\\(.*sync_dist=True",  # the means are those of all ranks
    "\\s*By default only one JsonargparseDeprecationWarning",  # Lightning of jsonargparse's
    "\\s*.* was deprecated in v4\\.",
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning of torch's trees
)


def main(argv: list[str]) -> int:
    """Run `rased train`; return 0, or 128 and the number of the signal that stopped it.

    Raises:
        RasedError: see the message.
    """
    try:
        words, overrides = _parser().parse_known_args(argv)
    except SystemExit as leaving:
        return int(leaving.code or 0)

    if words.resume and words.source:
        raise RasedError("--resume uses the weights of the run: remove --from.")
    folder = find_run(words.resume, words.runs) if words.resume else None
    start = _start(words.source, words.runs, words.allow, into=words.into)
    for name in ("freeze", "change", "into"):
        if getattr(words, name):
            start = merge(start, {"run": {name: getattr(words, name)}})
    config = _collect(words.config, overrides, folder, start)
    if words.print_config:
        print(yaml_reader.dump(public(config)), end="")
        return 0
    if words.submit and _IN_JOB not in os.environ:
        return _submit(words, argv, config, folder)
    if _FOLDER in os.environ:  # a child process of a distributed run
        return _train(config, Path(os.environ[_FOLDER]))
    with _taken(words, folder) as (run, again):
        # Lightning's child processes find the folder there, instead of making one of their own.
        os.environ[_FOLDER] = str(run)
        try:
            return _train(config, run, again=again)
        finally:
            del os.environ[_FOLDER]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rased train",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        default=[],
        metavar="YAML",
        help="file, or name of one in configs/; later ones win",
    )
    parser.add_argument("--name", help="name of the run (default: name of the model's YAML)")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), help="folder that holds all runs"
    )
    parser.add_argument("--resume", metavar="RUN", help="folder or name of a run to continue")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="NAME|RUN|FOLDER",
        help="start from the weights of a checkpoint or a run",
    )
    parser.add_argument(
        "--freeze",
        nargs="+",
        metavar="GLOB",
        help="patterns of parameter names of the enhancer to keep fixed",
    )
    parser.add_argument(
        "--change",
        nargs="+",
        metavar="SETTING",
        help="settings of the checkpoint's architecture that you change on purpose, such as stft",
    )
    parser.add_argument(
        "--into",
        nargs="+",
        metavar="PART",
        help="load the weights of --from into these parts of the enhancer, such as first or stages.0; give the model "
        "with -c",
    )
    add_allow(parser)
    parser.add_argument(
        "--submit",
        nargs="+",
        metavar="KEY=VALUE",
        help="queue the training as a job of Slurm: nodes=2 gpus_per_node=4 timeout_min=720 slurm_partition=NAME, "
        "and other settings of submitit",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the merged YAML and exit"
    )
    return parser


def _submit(
    words: argparse.Namespace, argv: list[str], config: dict[str, Any], folder: Path | None
) -> int:
    """Queue the training; print where its log is."""
    from rased.cli.slurm import FOLDER, submit
    from rased.training.launch import check_config

    if folder is None and words.name is None:
        raise RasedError("--submit: a job may start several times, so give the run a --name.")
    check_config(config)  # an error shows here, before the job waits in the queue
    run = folder or words.runs / plain(words.name, what="--name")
    job = submit(["train", *argv], words.submit, run)
    print(f"job {job}: {run / FOLDER}/{job}_0_log.err")
    return 0


@contextmanager
def _taken(words: argparse.Namespace, folder: Path | None) -> Iterator[tuple[Path, bool]]:
    """Give the folder of the run, locked by rank 0, and whether the same command continues the run.

    torchrun and Slurm repeat the command after a failure, so the run may exist already.
    """
    from rased.training.cluster import cluster, rank
    from rased.training.folder import PATIENCE_SECONDS, hold, new

    launcher, number = cluster(), rank()
    named = folder or (words.runs / plain(words.name, what="--name") if words.name else None)
    if named is None and (number or (launcher is not None and launcher.several)):
        raise RasedError(
            "torchrun, Slurm or another launcher starts several processes, and all must know the run: give it a --name."
        )
    again = launcher is not None and folder is None
    if number:
        yield cast(Path, named), again
    elif named is not None and (folder or launcher):
        # The process that wrote the run before the restart may still be ending, perhaps on another node.
        with hold(named, patience=PATIENCE_SECONDS if launcher else 0.0):
            yield named, again
    else:
        with new(words.runs, words.name, _stem(words.config, words.source)) as run:
            yield run, False


def train(config: dict[str, Any], folder: Path) -> int:
    """Train with a merged config in a run folder, from its last.ckpt if there is one, and score the result.

    Raises:
        RasedError: another process trains there, or see the message.
        ProblemsFound: the training succeeded, but its evaluation or its zoo entry failed.
    """
    from rased.training.folder import hold

    with hold(folder):
        return _train(config, folder)


def _train(config: dict[str, Any], folder: Path, *, again: bool = False) -> int:
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    from rased.evaluation import closing
    from rased.training.launch import RunCLI, refused_by_lightning

    origin = _origin(config, folder)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in _KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        launch = RunCLI(
            config,
            folder,
            lambda run, enhancer: closing.check(run.evaluate, run.metrics, enhancer),
            origin,
            again=again,
        )
        try:
            code = _fit(launch)
            if code is None and launch.trainer.is_global_zero:
                launch.print_summary()
                code = _close(launch)
        except MisconfigurationException as error:
            raise refused_by_lightning(error) from error
        except ValueError as error:
            # Lightning checks this one when the number of batches is known.
            if "val_check_interval" not in str(error):
                raise
            raise refused_by_lightning(error) from error
        finally:
            launch.close()
    return code or 0


def _fit(launch: "RunCLI") -> int | None:
    """Train; return the exit code if something stopped the training early, None if it finished."""
    from rased.training.resume import rank_lost
    from rased.training.stopping import Interrupted

    hint = f"continue with: rased train --resume {launch.folder}"
    try:
        launch.fit()
    except Interrupted as stop:
        if launch.trainer.is_global_zero:
            print(f"{stop} and saved; {hint}", file=sys.stderr)
        return stop.code
    except SystemExit:  # how Lightning stops at a Ctrl-C that KeepLast did not handle
        print(f"interrupted; {hint}", file=sys.stderr)
        return 130
    except Exception as error:
        if rank_lost(error):
            raise RasedError(
                f"another process of the training has ended or cannot be reached; {hint} (torchrun and Slurm repeat "
                "the command, which continues from last.ckpt)."
            ) from error
        if not worker_died(error):
            raise
        raise RasedError(
            "a data loader process died; nothing is lost. If memory was exhausted, lower "
            f"data.num_workers or data.batch_size, then {hint}"
        ) from error
    launch.warn_of_the_clock()
    return None


def _close(launch: "RunCLI") -> int:
    from rased.evaluation import closing

    options, tracker = launch.options, launch.tracker
    jobs = min(cores(), _MOST_JOBS)
    try:
        closing.close(
            launch.folder,
            testsets=options.evaluate,
            metrics=options.metrics,
            jobs=jobs,
            tracker=tracker,
        )
    except KeyboardInterrupt:
        hint = f"evaluate it with: rased train --resume {launch.folder}"
        print(f"interrupted; the run is trained and kept; {hint}", file=sys.stderr)
        return 130
    return 0


def _start(
    source: str | None, runs: Path, allow: list[str], *, into: Sequence[str] | None
) -> dict[str, Any]:
    """Return what follows from a checkpoint: its model, unless it becomes a part of one, and run.start_from."""
    if source is None:
        if into:
            raise RasedError("--into needs a checkpoint: add --from NAME.")
        return {}
    from rased.zoo import origin

    folder = origin.find(source, runs)
    found, model = origin.read(folder, allow=allow)
    # The name of a zoo entry also holds on another machine; a path does not.
    name = found.name if found.kind == "zoo" and not Path(source).exists() else str(folder)
    return {**({} if into else {"model": model}), "run": {"start_from": name}}


def _origin(config: dict[str, Any], folder: Path) -> "Origin | None":
    """Return the stored origin of a run that has started, else the checkpoint that its config names."""
    source = (config.get("run") or {}).get("start_from")
    if (folder / "checkpoints" / "last.ckpt").is_file() or source is None:
        return None
    from rased.training.origin import read_origin
    from rased.zoo import origin

    trusted = packages(config.get("model"))  # packages in the user's own configuration are allowed
    return read_origin(folder) or origin.read(origin.find(str(source)), allow=trusted)[0]


def _collect(
    names: list[str], overrides: list[str], folder: Path | None, start: dict[str, Any]
) -> dict[str, Any]:
    """Merge the default trainer, or the config of the run, with the files and the command line."""
    if folder is None:
        if not names and not start.get("model"):
            raise RasedError("nothing to train: give -c MODEL -c DATA, such as " + _EXAMPLE)
        config = load_configs(["trainer/default"])
    else:
        config = load_yaml(folder / "config.yaml")
        if isinstance(config.get("run"), dict):
            # The stop of the previous launch does not apply to this one.
            config["run"].pop("stop_after", None)
    # Later ones win: the defaults or the run's configuration, the checkpoint of --from, the files, the command line.
    config = merge(merge(config, start), load_configs(names))
    words = iter(overrides)
    for word in words:
        key, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not key:
            raise RasedError(f"unknown argument '{word}': write --KEY VALUE, such as {_EXAMPLE}")
        value = text if equals else next(words, None)
        if value is None:
            raise RasedError(f"--{key} needs a value: write --{key} VALUE.")
        config = override(config, key, yaml_reader.parse(value.encode(), of=f"--{key}", own=True))
    if KEEP in (config.get("model") or {}):
        raise RasedError(
            "a way of training needs a model before it: write -c model/NAME first, such as "
            "-c model/gtcrn -c training/adversarial."
        )
    return config


def find_run(name: str, runs: Path) -> Path:
    """Return the folder of a run: the path NAME itself, or NAME in the folder of all runs.

    Raises:
        RasedError: it does not exist; the message suggests similar names.
    """
    for folder in (Path(name), runs / name):
        if (folder / "config.yaml").is_file():
            return folder
    known = [path.parent.name for path in runs.glob("*/config.yaml")]
    raise RasedError(f"the run '{name}' does not exist (no config.yaml); {nearest(name, known)}")


def _stem(configs: list[str], source: str | None) -> str:
    """Return the default name of a run: the YAML of its model, or the checkpoint it starts from."""
    model = next((Path(item).stem for item in configs if "model" in Path(item).parts), None)
    if model is None and source is not None:
        model = f"{Path(source).resolve().name}-tuned"
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", model or Path(configs[0]).stem).lstrip("._-")
    return word or "run"
