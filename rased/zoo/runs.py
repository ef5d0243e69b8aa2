"""Load an enhancer from the folder of a run; its checkpoint is read as data, without running code."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rased.building import check_size
from rased.classes import allowing
from rased.errors import RasedError
from rased.models.base import Enhancer
from rased.tensors import read_checkpoint
from rased.zoo.assembly import assemble

CHECKPOINTS = "checkpoints"
_AVERAGE = "average."


def is_run(folder: Path) -> bool:
    """Return whether a folder is the folder of a run."""
    return (folder / CHECKPOINTS).is_dir()


def load_run(run: str | Path, checkpoint: str = "best", *, allow: Sequence[str] = ()) -> Enhancer:
    """Return the enhancer that a run trained, with its averaged weights, in eval mode.

    Args:
        run: folder with checkpoints/, such as runs/gtcrn.
        checkpoint: "best" (on the validation set) or "last".
        allow: packages, besides rased, whose classes may be built.

    Raises:
        RasedError: the checkpoint does not exist, is not from a run, or names a class that is not allowed.
    """
    path = checkpoint_path(run, checkpoint)
    return enhancer_of(read_checkpoint(path), path, allow=allow)


def checkpoint_path(run: str | Path, checkpoint: str = "best") -> Path:
    """Return the path of a checkpoint of a run.

    Raises:
        RasedError: it does not exist.
    """
    path = Path(run) / CHECKPOINTS / f"{checkpoint}.ckpt"
    if not path.is_file():
        raise RasedError(
            f"'{run}' has no {CHECKPOINTS}/{checkpoint}.ckpt: give the folder of a run that has finished "
            "at least one validation, such as runs/NAME."
        )
    return path


def enhancer_of(
    checkpoint: Mapping[str, Any], path: Path, *, allow: Sequence[str] = ()
) -> Enhancer:
    """Return the enhancer of a checkpoint that has been read.

    Raises:
        RasedError: the checkpoint is not from a run of rased, or names a class that is not allowed.
    """
    spec, state = spec_of(checkpoint, path), checkpoint.get("state_dict")
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise _no_run(path)
    weights = {
        name.removeprefix(_AVERAGE): value
        for name, value in state.items()
        if name.startswith(_AVERAGE)
    }
    return assemble(spec, weights, classes=allowing(allow), where=f"'{path}'")


def spec_of(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return class_path and init_args of the enhancer of a checkpoint.

    Raises:
        RasedError: the checkpoint does not contain them.
    """
    settings = checkpoint.get("hyper_parameters")
    spec = settings.get("enhancer") if isinstance(settings, Mapping) else None
    if not isinstance(spec, Mapping):
        raise _no_run(path)
    check_size(spec, f"'{path}': enhancer")
    return dict(spec)


def _no_run(path: Path) -> RasedError:
    return RasedError(
        f"'{path}' is not a checkpoint of a run of rased: it has no configuration of the enhancer."
    )
