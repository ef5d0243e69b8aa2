"""YAML in, objects out: merged files, one way to build a class, nearest names for misspelt keys."""

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import os
import re
import typing
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from rased.errors import RasedError, nearest

T = TypeVar("T")
Spec = Mapping[str, Any]
"""An object as data: {"class_path": "package.module.Class", "init_args": {...}}."""

_PACKAGE = Path(__file__).parent
_SPEC_KEYS = {"class_path", "init_args"}
_SCALARS = (int, float, str, bool, type(None), inspect.Parameter.empty)


def cache_folder() -> Path:
    """Where fetched checkpoints and shards are kept: $RASED_CACHE, $XDG_CACHE_HOME/rased or ~/.cache/rased."""
    given, base = os.environ.get("RASED_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else (Path(base) if base else Path.home() / ".cache") / "rased"


def config_folder() -> Path:
    """Folder of the project's YAMLs: configs/ of a checkout, rased/assets/configs of a wheel.

    Raises:
        RasedError: neither is there.
    """
    for folder in (_PACKAGE.parent / "configs", _PACKAGE / "assets" / "configs"):
        if folder.is_dir():
            return folder
    raise RasedError(
        "the configuration files of rased are missing from this installation: reinstall it."
    )


def config_names() -> list[str]:
    """Short names of the project's YAMLs: "model/gtcrn" for configs/model/gtcrn.yaml."""
    folder = config_folder()
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")
    )


def find_config(name: str) -> Path:
    """Path of a YAML given as a path or by its short name, such as "model/gtcrn".

    Raises:
        RasedError: there is no such file.
    """
    path = Path(name)
    if path.is_file():
        return path
    short = name.removeprefix("configs/").removesuffix(".yaml")
    within = config_folder() / f"{short}.yaml"
    if within.is_file():
        return within
    raise RasedError(f"there is no configuration file '{name}'; {nearest(short, config_names())}")


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping (nothing that can run code is read).

    Raises:
        RasedError: not readable, not YAML, or no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RasedError(f"'{path}' cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RasedError(f"'{path}' is not YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise RasedError(f"'{path}' must hold a mapping of keys to values at its top.")
    return content


def load_configs(names: Sequence[str]) -> dict[str, Any]:
    """Merge YAMLs left to right; see `merge`."""
    merged: dict[str, Any] = {}
    for name in names:
        merged = merge(merged, load_yaml(find_config(name)))
    return merged


def merge(under: Spec, over: Spec) -> dict[str, Any]:
    """Lay `over` on `under`: mappings merge; a new class_path drops old init_args.

    >>> merge({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    >>> merge({"class_path": "x.A", "init_args": {"b": 1}}, {"class_path": "x.C"})
    {'class_path': 'x.C'}
    """
    if "class_path" in over and over["class_path"] != under.get("class_path"):
        return dict(over)
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def override(config: Spec, key: str, value: Any) -> dict[str, Any]:
    """Set a dotted key; init_args may be left out where the config already names a class.

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
    elif head == "class_path" and value != node:
        return {head: value}
    return {**config, head: value}


def build(kind: type[T], spec: Spec, *, allow: Sequence[str] | None = None) -> T:
    """Make the object that a spec describes, nested specs and dataclasses included.

    Args:
        kind: class that the object must be an instance of.
        spec: {"class_path": ..., "init_args": {...}}.
        allow: prefixes such as ("rased.",): any other class_path, however deep, is refused before
            anything is imported.

    Raises:
        RasedError: a class or key that does not exist (with the nearest name), a value of the wrong
            type, a class that is no `kind`, a class_path that is not allowed.

    >>> from rased.signal.stft import STFT
    >>> spec = {"class_path": "rased.signal.stft.STFT", "init_args": {"hop_length": 128}}
    >>> build(STFT, spec).latency
    384
    """
    cls = check(spec, allow=allow)
    if not issubclass(cls, kind):
        raise RasedError(f"'{spec['class_path']}' is no {kind.__name__}; one is needed here.")
    parser = ArgumentParser(exit_on_error=False)
    try:
        parser.add_class_arguments(cls, "object")
        parsed = parser.parse_object({"object": _plain(spec.get("init_args") or {})})
        return cast(T, parser.instantiate(parsed).object)
    except (ArgumentError, ValueError) as error:
        raise as_rased_error(error) from error


def check(spec: Spec, *, allow: Sequence[str] | None = None, where: str = "") -> type:
    """Check the class and the keys of a spec, nested ones too, and return the class.

    The values are for `build` to check.

    Args:
        spec: {"class_path": ..., "init_args": {...}}.
        allow: prefixes of allowed class paths; None allows all.
        where: dotted place of the spec in its file, for the message.

    Raises:
        RasedError: see `build`.
    """
    if allow is not None:
        _check_allowed(spec, tuple(allow))
    place = where or "the configuration"
    if not isinstance(spec, Mapping) or not isinstance(spec.get("class_path"), str):
        raise RasedError(
            f"{place} needs a class_path: write class_path: package.module.Class and init_args: "
            "below it."
        )
    _check_keys(spec, _SPEC_KEYS, place)
    cls = find_class(spec["class_path"], allow=allow)
    check_arguments(cls, spec.get("init_args") or {}, where=where, allow=allow)
    return cls


def check_arguments(
    cls: type, arguments: Spec, *, where: str = "", allow: Sequence[str] | None = None
) -> None:
    """Check the names of a class's arguments, and what is nested in their values.

    A misspelt key is an error whatever it holds (jsonargparse accepts one with an empty mapping).

    Raises:
        RasedError: with the nearest name.
    """
    if not isinstance(arguments, Mapping):
        raise RasedError(f"{where or cls.__name__} must hold a mapping, and holds {arguments!r}.")
    annotations = _parameters(cls)
    _check_keys(arguments, annotations, f"{where or 'the configuration'} ({cls.__name__})")
    for key, value in arguments.items():
        _check_value(value, annotations[key], f"{where}.{key}".removeprefix("."), allow)


def find_class(class_path: str, *, allow: Sequence[str] | None = None) -> type:
    """Import the class that a dotted path names.

    Raises:
        RasedError: there is none (with the nearest class of rased), or it is not from `allow`.
    """
    module_name, _, name = class_path.rpartition(".")
    found = None
    if module_name and _has_module(module_name):
        found = getattr(importlib.import_module(module_name), name, None)
    if not isinstance(found, type):
        hint = nearest(class_path, _class_paths())
        if hint.startswith("known"):
            hint = "see `rased models` for models, and the API pages for the rest."
        raise RasedError(f"there is no class '{class_path}'; {hint}")
    if allow is not None and not found.__module__.startswith(tuple(allow)):
        raise RasedError(
            f"the class '{class_path}' is not allowed here: it comes from {found.__module__}."
        )
    return found


def as_rased_error(error: Exception) -> RasedError:
    """What went wrong inside jsonargparse: the RasedError of ours that it wraps, or its own words.

    Its own words come without the values that it repeats and the types that it tried.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RasedError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return RasedError(_sentence(str(error)))


def _check_value(value: Any, annotation: Any, where: str, allow: Sequence[str] | None) -> None:
    """Follow nested specs, lists of them, and dataclasses given by their fields."""
    if isinstance(value, Mapping):
        if "class_path" in value:
            check(value, allow=allow, where=where)
            return
        for cls in _classes(annotation):
            if issubclass(cls, Mapping):
                return
            if dataclasses.is_dataclass(cls):
                check_arguments(cls, value, where=where, allow=allow)
                return
        if _classes(annotation):
            raise RasedError(
                f"{where} holds a mapping without a class_path: write class_path: "
                "package.module.Class and init_args: below it, or a plain value."
            )
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, Mapping) and "class_path" in item:
                check(item, allow=allow, where=f"{where}[{index}]")


def _check_keys(given: Mapping[Any, Any], known: Collection[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise RasedError(f"{where} has no key '{key}'; {nearest(str(key), known)}")


def _check_allowed(value: Any, allow: tuple[str, ...]) -> None:
    if isinstance(value, Mapping):
        path = value.get("class_path", "")
        if "class_path" in value and not (isinstance(path, str) and path.startswith(allow)):
            raise RasedError(
                f"the class '{path}' is not allowed here: only those below {', '.join(allow)} are."
            )
        for item in value.values():
            _check_allowed(item, allow)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_allowed(item, allow)


def _parameters(cls: type) -> dict[str, Any]:
    """Names and annotations of what a class can be given, through **kwargs to its bases."""
    found: dict[str, Any] = {}
    for base in inspect.getmro(cls):
        if base is object or "__init__" not in vars(base):
            continue
        signature = inspect.signature(base.__init__)
        open_ended = False
        for name, parameter in list(signature.parameters.items())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:
                open_ended = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                found.setdefault(name, parameter.annotation)
        if not open_ended:
            break
    return found


def _classes(annotation: Any) -> list[type]:
    """The classes that an annotation names: those of a union, of a list's items and so on."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return [] if annotation in _SCALARS else [annotation]
    origin = typing.get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return [dict]
    return [cls for item in typing.get_args(annotation) for cls in _classes(item)]


def _has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):
        return False


@cache
def _class_paths() -> tuple[str, ...]:
    """Dotted paths of every public class in rased, read without importing anything."""
    paths = []
    for file in sorted(_PACKAGE.rglob("*.py")):
        parts = file.relative_to(_PACKAGE.parent).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                paths.append(f"{module}.{node.name}")
    return tuple(paths)


def _sentence(report: str) -> str:
    """What jsonargparse reports over many lines, in one: the key, its value, what it must be."""
    keys = re.findall(r'Parser key "([^"]+)"', report)
    reasons = re.findall(r"Expected a (.+?)(?:\. Got value: (.*))?$", report, re.MULTILINE)
    if not keys or not reasons:
        return " ".join(report.split())
    exact = next(((kind, value) for kind, value in reasons if value), None)
    if exact is None:
        given = re.findall(r"Given value: (.*)$", report, re.MULTILINE)
        exact = (" or ".join(kind for kind, _ in reasons), given[-1] if given else "something else")
    kind = re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1", exact[0]).replace("NoneType", "null")
    kind = re.sub(r"typing\.Literal\[(.*)\]", r"one of \1", kind)
    return f"{'.'.join(keys).removeprefix('object.')} is {exact[1]}, and must be {kind}."


def _plain(value: Any) -> Any:
    """Mappings as dicts and tuples as lists, the way that a YAML file gives them."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
