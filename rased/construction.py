"""How an object was made, as data: what lets a module built by hand be written down and built again."""

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from rased.errors import RasedError

_GIVEN = "_given"


class Remembered:
    """Base of parts that remember the arguments they were made with."""

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        """Keep them; `__init__` follows with the same."""
        made = super().__new__(cls)
        object.__setattr__(made, _GIVEN, (arguments, options))
        return made


def spec_of(part: Any) -> dict[str, Any]:
    """Class path and arguments of an object, as a YAML would hold them.

    A part that is not `Remembered` (a loss of torch, say) is described by those of its attributes that are
    named as arguments of its class.

    Raises:
        RasedError: an argument cannot be written down.
    """
    cls = type(part)
    signature = inspect.signature(cls.__init__)
    if _GIVEN in vars(part):
        arguments, options = vars(part)[_GIVEN]
        bound = signature.bind(part, *arguments, **options).arguments
        given = {**bound, **bound.pop("kwargs", {})}
        given.pop(next(iter(signature.parameters)), None)
    else:
        given = {}
        for name, parameter in [*signature.parameters.items()][1:]:
            if name in vars(part):
                given[name] = vars(part)[name]
            elif parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            ):
                raise _cannot(cls, name)
    path = f"{cls.__module__}.{cls.__qualname__}"
    return {
        "class_path": path,
        "init_args": {name: _plain(value, cls, name) for name, value in given.items()},
    }


def _plain(value: Any, cls: type, name: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, nn.Module):
        return spec_of(value)
    if isinstance(value, functools.partial) and not value.args:
        return {**_plain(value.func, cls, name), "init_args": _plain(value.keywords, cls, name)}
    if isinstance(value, type):
        return {"class_path": f"{value.__module__}.{value.__qualname__}"}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {field: _plain(item, cls, name) for field, item in fields.items()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, cls, name) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, cls, name) for item in value]
    raise _cannot(cls, name)


def _cannot(cls: type, name: str) -> RasedError:
    return RasedError(
        f"the argument {name} of {cls.__name__} cannot be written into a checkpoint: give numbers, words, lists, or "
        "parts of rased, or build the module from a configuration (rased.training.checkpoint.build_module)."
    )
