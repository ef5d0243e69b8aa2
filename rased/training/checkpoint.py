"""Build training modules from specs, and load them from checkpoints."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.core.mixins.hparams_mixin import _given_hyperparameters_context

from rased.building import build, check_size
from rased.classes import OWN, Classes, allowing
from rased.errors import RasedError, cut
from rased.tensors import read_checkpoint
from rased.training.base import Enhancement

_INSTANTIATOR = "pytorch_lightning.cli.instantiate_module"


def build_module(spec: Mapping[str, Any], *, classes: Classes = OWN) -> Enhancement:
    """Build a training module from {"class_path": ..., "init_args": {...}}, like the command line does.

    Raises:
        RasedError: see `rased.building.build`.
    """
    arguments = {"_class_path": spec["class_path"], **spec.get("init_args", {})}
    # Private: as in LightningCLI, `save_hyperparameters` stores this configuration instead of the built objects.
    with _given_hyperparameters_context(copy.deepcopy(arguments), _INSTANTIATOR):
        return build(Enhancement, spec, classes=classes)


def load_module(path: str | Path, *, allow: Sequence[str] = ()) -> Enhancement:
    """Load the training module of a checkpoint: rebuild it from the stored configuration and load its weights.

    Args:
        path: checkpoint of a run.
        allow: packages, besides rased, whose classes may be built.

    Raises:
        RasedError: not a checkpoint of a run of rased, or it names a class that is not allowed.
    """
    content = read_checkpoint(path)
    settings = content.get("hyper_parameters")
    if not isinstance(settings, Mapping) or "_class_path" not in settings:
        raise RasedError(f"'{path}' is not a checkpoint of a run of rased.")
    check_size(settings, f"'{path}'")
    arguments = {key: value for key, value in settings.items() if key != "_instantiator"}
    spec = {"class_path": arguments.pop("_class_path"), "init_args": arguments}
    module = build_module(spec, classes=allowing(allow))
    try:
        module.load_state_dict(content["state_dict"])
    except Exception as error:  # torch raises various exceptions for tensors that do not fit
        raise RasedError(f"'{path}' does not fit its configuration: {cut(str(error))}") from None
    return module
