"""The architectures in configs/model, by name."""

import dataclasses
import fnmatch
import inspect
from collections.abc import Mapping
from typing import Any

from rased.building import build
from rased.config import config_folder, load_yaml, merge
from rased.errors import RasedError, nearest
from rased.models.base import Enhancer


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the architectures that match a shell pattern, sorted.

    >>> list_models("conv-tasnet-causal*")
    ['conv-tasnet-causal', 'conv-tasnet-causal-small']
    """
    names = (path.stem for path in (config_folder() / "model").glob("*.yaml"))
    return sorted(name for name in names if fnmatch.fnmatchcase(name, pattern))


def model_config(name: str) -> dict[str, Any]:
    """Return the section `model` of configs/model/NAME.yaml: the training class and the enhancer.

    Raises:
        RasedError: unknown architecture.
    """
    known = list_models()
    if name not in known:
        raise RasedError(f"unknown architecture '{name}'; {nearest(name, known)}")
    found: dict[str, Any] = load_yaml(config_folder() / "model" / f"{name}.yaml")["model"]
    return found


def create_model(name: str, **overrides: Any) -> Enhancer:
    """Build an untrained network of configs/model.

    Args:
        name: a name from `list_models`.
        overrides: arguments of the enhancer that replace those of the YAML. Mappings are merged with those of the
            YAML, such as `stft={"hop_length": 128}`. An argument that the enhancer does not have is passed to its
            network, such as `hidden=128` for lstm-psm.

    Raises:
        RasedError: unknown architecture or argument, or invalid values.

    >>> create_model("gtcrn", channels=8).latency
    256
    """
    spec = model_config(name)["init_args"]["enhancer"]
    for key, value in overrides.items():
        # The specification is that of a YAML, which holds mappings.
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        spec = _laid_over(spec, key, value)
    return build(Enhancer, spec, where=f"the model {name}")


def _laid_over(spec: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    arguments = spec["init_args"]
    network = arguments.get("network")
    if network is not None and key not in _known(spec["class_path"]):
        changed = merge(network, {"init_args": {key: value}})
        return {**spec, "init_args": {**arguments, "network": changed}}
    if isinstance(value, Mapping) and isinstance(arguments.get(key), Mapping):
        value = merge(arguments[key], value)
    return {**spec, "init_args": {**arguments, key: value}}


def _known(class_path: str) -> set[str]:
    from rased.classes import OWN

    return set(inspect.signature(OWN.find(class_path)).parameters)
