"""Configuration: find YAML files by short names, merge them left to right, and override single keys."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rased import yaml_reader
from rased.building import Spec
from rased.errors import RasedError, nearest
from rased.fetch import without_credentials

_PACKAGE = Path(__file__).parent
KEEP = "keep_init_args"
"""Key next to a class_path: keep the init_args of the class that it replaces."""
_SPEC_KEYS = {"class_path", "init_args"}


def config_folder() -> Path:
    """Return the folder of the YAMLs that come with rased: configs/ of a checkout, rased/assets/configs of a wheel.

    Raises:
        RasedError: neither exists.
    """
    # A checkout comes first.
    for folder in (_PACKAGE.parent / "configs", _PACKAGE / "assets" / "configs"):
        if folder.is_dir():
            return folder
    raise RasedError(
        "the configuration files of rased are missing from this installation: reinstall it."
    )


def config_names() -> list[str]:
    """Return the short names of the YAMLs that come with rased, such as "model/gtcrn" for configs/model/gtcrn.yaml."""
    folder = config_folder()
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")
    )


def find_config(name: str) -> Path:
    """Return the path of a YAML, given its path or its short name such as "model/gtcrn".

    Raises:
        RasedError: no such file; the message suggests similar names.
    """
    path = Path(name)
    if path.is_file():
        return path
    # "configs/model/gtcrn.yaml" also names the file of the package.
    short = name.removeprefix("configs/").removesuffix(".yaml")
    within = config_folder() / f"{short}.yaml"
    if within.is_file():
        return within
    raise RasedError(f"no configuration file '{name}'; {nearest(short, config_names())}")


def load_yaml(path: Path, *, own: bool = True) -> dict[str, Any]:
    """Read a YAML file that contains a mapping. Nothing in the file can run code.

    Args:
        path: the file.
        own: the user wrote the file, so anchors are allowed.

    Raises:
        RasedError: the file cannot be read, is not YAML, or is not a mapping.
    """
    content = yaml_reader.read(path, own=own)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise RasedError(f"'{path}' must contain a mapping of keys to values.")
    return content


def load_configs(names: Sequence[str]) -> dict[str, Any]:
    """Load YAMLs and merge them left to right; see `merge`."""
    merged: dict[str, Any] = {}
    for name in names:
        merged = merge(merged, load_yaml(find_config(name)))
    return merged


def merge(under: Spec, over: Spec) -> dict[str, Any]:
    """Merge `over` into `under`, mapping by mapping.

    A new class_path drops the old init_args, unless `keep_init_args: true` is next to it. Keys of init_args may be
    given directly, without `init_args`.

    >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    >>> merge({"class_path": "x.A", "init_args": {"b": 1}}, {"class_path": "x.C"})
    {'class_path': 'x.C'}
    >>> merge({"class_path": "x.A", "init_args": {"b": 1}}, {"class_path": "x.C", "keep_init_args": True})
    {'class_path': 'x.C', 'init_args': {'b': 1}}
    >>> merge({"class_path": "x.A", "init_args": {"b": 1}}, {"c": 2})
    {'class_path': 'x.A', 'init_args': {'b': 1, 'c': 2}}
    """
    if "class_path" in under and over and not _SPEC_KEYS & over.keys():
        over = {"init_args": over}
    if "class_path" in under and over.get(KEEP) is True:
        over = {key: value for key, value in over.items() if key != KEEP}
        # Now both name the same class, so that they are merged below.
        under = {**under, "class_path": over.get("class_path")}
    if "class_path" in over and over["class_path"] != under.get("class_path"):
        return dict(over)
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def override(config: Spec, key: str, value: Any) -> dict[str, Any]:
    """Set the value of a dotted key. `init_args` may be left out of the key if the config already names a class.

    >>> override({"model": {"class_path": "x.A", "init_args": {"b": 1}}}, "model.b", 2)
    {'model': {'class_path': 'x.A', 'init_args': {'b': 2}}}
    >>> override({"model": {"class_path": "x.A", "init_args": {"b": 1}}}, "model", "x.C")
    {'model': {'class_path': 'x.C'}}
    """
    head, _, rest = key.partition(".")
    node = config.get(head)
    if rest:
        below = node if isinstance(node, Mapping) else {}
        if "class_path" in below and rest.partition(".")[0] not in _SPEC_KEYS:
            rest = f"init_args.{rest}"
        return {**config, head: override(below, rest, value)}
    if isinstance(node, Mapping) and "class_path" in node and isinstance(value, str):
        value = {"class_path": value}
    if isinstance(node, Mapping) and isinstance(value, Mapping):
        value = merge(node, value)
    elif head == "class_path" and value != node:  # the other settings belong to another class
        return {head: value}
    return {**config, head: value}


def portable(value: Any) -> Any:
    """Return a configuration that may leave this machine: no folders of absolute paths, no credentials in URLs."""
    if isinstance(value, Mapping):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    if isinstance(value, str) and value.startswith("/"):
        return Path(value).name
    return without_credentials(value) if isinstance(value, str) else value


def public(value: Any) -> Any:
    """Return a configuration that may be written to a file: URLs without credentials."""
    if isinstance(value, Mapping):
        return {key: public(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [public(item) for item in value]
    return without_credentials(value) if isinstance(value, str) else value
