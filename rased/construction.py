"""Record how an object was made, so that a module built in Python can be saved as configuration and rebuilt."""

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from rased.errors import RasedError

_GIVEN = "_given"


class Remembered:
    """Base class of parts that remember their constructor arguments."""

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        """Store the arguments; Python calls `__init__` with the same ones."""
        made = super().__new__(cls)
        # Not by assignment: a frozen dataclass has none, and that of `nn.Module` needs its `__init__` first.
        object.__setattr__(made, _GIVEN, (arguments, options))
        return made


def spec_of(part: Any) -> dict[str, Any]:
    """Return class path and arguments of an object, in the form of a YAML spec.

    A part that does not derive from `Remembered` (such as a loss of torch) is described by its attributes that have
    the name of a constructor argument.

    Raises:
        RasedError: an argument cannot be stored.
    """
    cls = type(part)
    return {
        "class_path": f"{cls.__module__}.{cls.__qualname__}",
        "init_args": {name: _plain(value, cls, name) for name, value in _given(part).items()},
    }


def settings_of(part: Any) -> dict[str, Any]:
    """Return {class name: arguments that differ from their defaults}, the identity of an object.

    The identity does not contain the module of the class, and a new argument with a default does not change it.

    Raises:
        RasedError: an argument cannot be stored.
    """
    return _telling(type(part), _given(part))


def _telling(cls: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: _value(value, cls, name) for name, value in sorted(given.items())}
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in told and parameter.default is not parameter.empty:
            # Compared as plain values: parts with equal settings are equal.
            if told[name] == _value(parameter.default, cls, name):
                del told[name]
    return {cls.__qualname__: told}


def _value(value: Any, cls: type, name: str) -> Any:
    """Convert an argument for `settings_of`."""
    if isinstance(value, nn.Module | Remembered):
        return settings_of(value)
    if isinstance(value, functools.partial) and not value.args:
        return _telling(value.func, value.keywords)
    if isinstance(value, type):
        return _telling(value, {})
    if dataclasses.is_dataclass(value):
        return _telling(type(value), _fields(value))
    if isinstance(value, Mapping):
        return {str(key): _value(item, cls, name) for key, item in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [_value(item, cls, name) for item in value]
    return _plain(value, cls, name)


def _fields(value: Any) -> dict[str, Any]:
    return {
        field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init
    }


def _given(part: Any) -> dict[str, Any]:
    """Return the arguments that an object was made with."""
    cls = type(part)
    signature = inspect.signature(cls.__init__)
    given: dict[str, Any] = {}
    if _GIVEN in vars(part):
        arguments, options = vars(part)[_GIVEN]
        bound = signature.bind(part, *arguments, **options).arguments
        for name, value in [*bound.items()][1:]:  # without self
            options_of = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
            given.update(value if options_of else {name: value})
    else:
        for name, parameter in [*signature.parameters.items()][1:]:  # without self
            if name in vars(part):
                given[name] = vars(part)[name]
            elif parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            ):
                raise _cannot(cls, name)
    return given


def _plain(value: Any, cls: type, name: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, nn.Module | Remembered):
        return spec_of(value)
    if isinstance(value, functools.partial) and not value.args:
        return {**_plain(value.func, cls, name), "init_args": _plain(value.keywords, cls, name)}
    if isinstance(value, type):
        return {"class_path": f"{value.__module__}.{value.__qualname__}"}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field: _plain(item, cls, name) for field, item in _fields(value).items()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, cls, name) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, cls, name) for item in value]
    raise _cannot(cls, name)


def _cannot(cls: type, name: str) -> RasedError:
    return RasedError(
        f"the argument {name} of {cls.__name__} cannot be stored in a checkpoint: give numbers, strings, lists, or "
        "parts of rased, or build the module from a configuration (rased.training.checkpoint.build_module)."
    )
