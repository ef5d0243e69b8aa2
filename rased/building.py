"""Build objects from specs (configuration data), with every value checked against the type annotations.

A spec is {"class_path": "package.module.Class", "init_args": {...}}. `rased.classes` decides which classes it may
name. A value must have the type of the parameter's annotation and is never converted from text. A parameter whose
annotation is a class takes a nested spec.
"""

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from rased.classes import OWN, Classes
from rased.errors import RasedError, cut, nearest, shown

T = TypeVar("T")
Spec = Mapping[str, Any]
"""Configuration of an object: {"class_path": "package.module.Class", "init_args": {...}}."""

_SPEC_KEYS = ("class_path", "init_args")
_MOST = 10_000
"""Maximum number of values in a spec."""
_DEEPEST = 32
_LONGEST = 10_000
"""Maximum number of characters in a text."""
_LARGEST = 2**53
"""Largest integer."""
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "null",
}


@dataclasses.dataclass(frozen=True)
class _Way:
    """How specs are converted.

    Attributes:
        classes: the classes that a spec may name.
        dry: check only; build nothing.
    """

    classes: Classes
    dry: bool = False


class _UnfitError(Exception):
    """A value does not fit its annotation. The message says what would fit."""


def build(
    kind: type[T], spec: Any, *, classes: Classes = OWN, where: str = "the configuration"
) -> T:
    """Build the object that a spec describes, including nested specs and dataclasses.

    Args:
        kind: class that the object must be an instance of.
        spec: {"class_path": ..., "init_args": {...}}.
        classes: the classes that it may name; `OWN` is for configurations that the user wrote.
        where: name of the spec in error messages.

    Raises:
        RasedError: a class or key does not exist (the message suggests the nearest name) or is not allowed, a value
            has the wrong type, the class is not a `kind`, or the class rejects the values.

    >>> from rased.signal.stft import STFT
    >>> spec = {"class_path": "rased.signal.stft.STFT", "init_args": {"hop_length": 128}}
    >>> build(STFT, spec).latency
    384
    """
    check_size(spec, where)
    return cast(T, _built(spec, kind, _Way(classes), where)())


def maker(
    kind: type[T], spec: Any, *, classes: Classes = OWN, where: str = "the configuration"
) -> Callable[..., T]:
    """Return a function that builds the object of a spec, given the arguments that a spec cannot contain.

    Raises:
        RasedError: see `build`. Calling the function may raise it, too.

    >>> from torch.optim import Optimizer
    >>> make = maker(Optimizer, {"class_path": "torch.optim.SGD", "init_args": {"momentum": 0.9}})
    """
    check_size(spec, where)
    return cast(Callable[..., T], _built(spec, kind, _Way(classes), where))


def verify(kind: type, spec: Any, *, classes: Classes, where: str = "the configuration") -> None:
    """Check everything that `build` checks, values included, without building anything.

    Raises:
        RasedError: see `build`.
    """
    check_size(spec, where)
    _built(spec, kind, _Way(classes, dry=True), where)


def check(spec: Any, *, classes: Classes = OWN, where: str = "") -> type:
    """Check class and keys of a spec and of nested specs, and return the class. Values are not checked.

    Args:
        spec: {"class_path": ..., "init_args": {...}}.
        classes: the classes that it may name.
        where: dotted position of the spec in its file, for error messages.

    Raises:
        RasedError: see `build`.
    """
    cls = _class_of(spec, _Way(classes), where or "the configuration")
    check_arguments(cls, spec.get("init_args") or {}, classes=classes, where=where)
    return cls


def check_arguments(cls: type, arguments: Any, *, classes: Classes = OWN, where: str = "") -> None:
    """Check the names of a class's arguments, and the specs nested in their values.

    Raises:
        RasedError: an unknown name; the message suggests the nearest one.
    """
    annotations = _arguments(cls, arguments, where)
    for key, value in arguments.items():
        _check_value(value, annotations[key], f"{where}.{key}".removeprefix("."), classes)


def check_size(spec: Any, where: str) -> None:
    """Reject a spec that is too large, also one that repeats the same part many times through aliases.

    Raises:
        RasedError: too many values, nesting too deep, a text too long, or an integer too large.
    """
    count = 0
    # A stack, not recursion: a spec of many levels must not exhaust that of Python.
    waiting = [(spec, 0)]
    while waiting:
        item, depth = waiting.pop()
        count += 1
        if count > _MOST or depth > _DEEPEST:
            raise RasedError(f"{where} has too many values, or nests them too deeply.")
        if isinstance(item, Mapping):
            # Keys count as well.
            waiting += [(one, depth + 1) for pair in item.items() for one in pair]
        elif isinstance(item, list | tuple):
            waiting += [(one, depth + 1) for one in item]
        elif isinstance(item, str) and len(item) > _LONGEST:
            raise RasedError(f"{where} has a text of {len(item)} characters, which is too long.")
        elif isinstance(item, int) and abs(item) > _LARGEST:
            raise RasedError(f"{where} has the number {shown(item)}; numbers may be at most 2^53.")


def _built(spec: Any, kind: Any, way: _Way, where: str) -> Callable[..., Any]:
    """Return a function that makes the object of a spec; its arguments are already converted."""
    cls = _class_of(spec, way, where)
    if isinstance(kind, type) and not issubclass(cls, kind):
        raise RasedError(
            f"{where}: '{cut(spec['class_path'])}' is not a {kind.__name__}, which is required here."
        )
    return _call(cls, spec.get("init_args") or {}, way, where)


def _call(cls: type, arguments: Any, way: _Way, where: str) -> Callable[..., Any]:
    """Return a function that makes an instance: the class with keyword arguments, and errors as one sentence."""
    annotations = _arguments(cls, arguments, where)
    given = {}
    for key, value in arguments.items():
        place = f"{where}.{key}" if where != "the configuration" else str(key)
        try:
            given[key] = _convert(value, annotations[key], way, place)
        except _UnfitError as unfit:
            raise RasedError(f"{place} is {shown(value)}; it must be {unfit}.") from None
    if way.dry:
        return _make_nothing
    # A partial: `construction` finds its class and its arguments in it.
    maker = _Maker(cls, **given)
    maker.where = where
    return maker


def _make_nothing(*_: Any, **__: Any) -> None:
    """Stand in for the object in a dry run."""


class _Maker(partial[Any]):
    """A class with its keyword arguments. An exception from its constructor becomes a RasedError of one sentence."""

    where: str

    def __call__(self, /, *positional: Any, **given: Any) -> Any:
        """Make an instance."""
        try:
            return super().__call__(*positional, **given)
        except RasedError:
            raise
        except Exception as error:
            name = cast(type, self.func).__name__
            lines = str(error).splitlines() or [""]
            # Python begins the message with the name of the constructor.
            reason = cut(lines[0].replace(f"{name}.__init__() ", ""))
            raise RasedError(
                f"{self.where}: {name} cannot be built from these values ({type(error).__name__}: {reason})."
            ) from error


def _class_of(spec: Any, way: _Way, where: str) -> type:
    if not isinstance(spec, Mapping) or "class_path" not in spec:
        found = "" if isinstance(spec, Mapping) else f", but is {shown(spec)}"
        raise RasedError(
            f"{where} needs a class_path{found}: write class_path: package.module.Class, and init_args: "
            "below it."
        )
    _check_keys(spec, _SPEC_KEYS, where)
    return way.classes.find(spec["class_path"], where=where)


def _arguments(cls: type, arguments: Any, where: str) -> dict[str, Any]:
    """Return the annotations of a class's parameters; check that every given argument is one of them."""
    if not isinstance(arguments, Mapping):
        raise RasedError(f"{where or cls.__name__} must be a mapping, but is {shown(arguments)}.")
    annotations = _parameters(cls)
    place = where or "the configuration"
    _check_keys(arguments, annotations, f"{place} ({cls.__name__})")
    return annotations


def _check_keys(given: Mapping[Any, Any], known: Collection[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise RasedError(f"{where} has no key {shown(key)}; {nearest(str(key), known)}")


def _check_value(value: Any, annotation: Any, where: str, classes: Classes) -> None:
    """Check nested specs, lists of specs, and dataclasses given by their fields."""
    if isinstance(value, Mapping):
        if "class_path" in value:
            check(value, classes=classes, where=where)
            return
        for cls in _classes(annotation):
            if issubclass(cls, Mapping):  # a mapping of anything
                return
            if dataclasses.is_dataclass(cls):
                check_arguments(cls, value, classes=classes, where=where)
                return
        if _classes(annotation):
            raise _needs_class(where)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if isinstance(item, Mapping) and "class_path" in item:
                check(item, classes=classes, where=f"{where}[{index}]")


def _needs_class(where: str) -> RasedError:
    return RasedError(
        f"{where} is a mapping without a class_path: write class_path: package.module.Class, and "
        "init_args: below it, or give a plain value."
    )


def _parameters(cls: type) -> dict[str, Any]:
    """Return names and annotations of a class's parameters; follow **kwargs into its base classes."""
    found: dict[str, Any] = {}
    for base in inspect.getmro(cls):
        if base is object or "__init__" not in vars(base):
            continue
        try:
            signature = inspect.signature(base.__init__, eval_str=True)
        except Exception:  # a quoted annotation that cannot be resolved
            signature = inspect.signature(base.__init__)
        open_ended = False
        for name, parameter in list(signature.parameters.items())[1:]:  # without self
            if parameter.kind is parameter.VAR_KEYWORD:
                open_ended = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                found.setdefault(name, parameter.annotation)
        # Only **kwargs lead to the arguments of the next class.
        if not open_ended:
            break
    return found


def _classes(annotation: Any) -> list[type]:
    """Return the classes in an annotation, including the members of unions and the items of lists."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return [] if annotation in _WORDS or annotation is inspect.Parameter.empty else [annotation]
    origin = typing.get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return [dict]
    return [cls for item in typing.get_args(annotation) for cls in _classes(item)]


def _convert(value: Any, annotation: Any, way: _Way, where: str) -> Any:
    """Convert a value to the type of an annotation.

    Raises:
        _UnfitError: the value does not fit; the message says what would.
        RasedError: a nested spec is wrong.
    """
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    # An annotation that could not be resolved is still a string.
    if annotation in (Any, object, inspect.Parameter.empty) or isinstance(
        annotation, TypeVar | str
    ):
        return value
    if annotation is None or annotation in _WORDS:
        return _scalar(value, type(None) if annotation is None else annotation)
    if origin is typing.Annotated:
        return _convert(value, inside[0], way, where)
    if origin is Literal:
        if any(type(value) is type(one) and value == one for one in inside):  # True == 1
            return value
        raise _UnfitError("one of " + ", ".join(repr(one) for one in inside))
    if origin in (typing.Union, types.UnionType):
        return _one_of(value, inside, way, where)
    if origin is Callable or annotation is Callable:
        return _maker(value, inside, way, where)
    if (origin or annotation) is type:
        raise _UnfitError("left out (a class cannot be given in a configuration)")
    if isinstance(origin or annotation, type):
        return _of_class(value, origin or annotation, inside, way, where)
    raise _UnfitError("left out")


def _scalar(value: Any, kind: type) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind or (kind is float and value != value):  # NaN
        raise _UnfitError(_WORDS[kind])
    return value


def _one_of(value: Any, kinds: Sequence[Any], way: _Way, where: str) -> Any:
    """Convert a value to the first type of a union that it fits; integers are tried before other types."""
    wanted: list[str] = []
    refusals: list[RasedError] = []
    for kind in sorted(kinds, key=lambda kind: kind is float):  # False sorts first: float last
        try:
            return _convert(value, kind, way, where)
        except _UnfitError as unfit:
            wanted.append(str(unfit))
        except RasedError as refusal:
            refusals.append(refusal)
    # What is wrong inside a nested spec says more than the kinds that it may be.
    if refusals and isinstance(value, Mapping | list | tuple):
        raise refusals[0]
    raise _UnfitError(" or ".join(dict.fromkeys(wanted)))


def _maker(value: Any, inside: Sequence[Any], way: _Way, where: str) -> Callable[..., Any]:
    """Return a factory: an annotation such as Callable[[int, int], Network] takes the spec of a Network."""
    # Of Callable[[int, int], Network]: ([int, int], Network).
    made = inside[1] if len(inside) == 2 else None
    if not isinstance(made, type):
        raise _UnfitError("left out (a function cannot be given in a configuration)")
    if not isinstance(value, Mapping):
        raise _UnfitError(f"a mapping with the class_path of a {made.__name__}")
    return _built(value, made, way, where)


def _of_class(value: Any, kind: type, inside: Sequence[Any], way: _Way, where: str) -> Any:
    """Convert a value to a list, mapping, path, dataclass (by its fields) or object (by its spec)."""
    if issubclass(kind, Mapping):
        if not isinstance(value, Mapping):
            raise _UnfitError("a mapping")
        of = inside[1] if len(inside) == 2 else Any
        return {key: _convert(one, of, way, f"{where}.{key}") for key, one in value.items()}
    if issubclass(kind, Path):
        return Path(_scalar(value, str))
    if issubclass(kind, Enum):
        if value not in kind.__members__:
            raise _UnfitError("one of " + ", ".join(kind.__members__))
        return kind[value]
    if issubclass(kind, tuple) or (issubclass(kind, Iterable) and kind in _LISTS):
        return _items(value, kind, inside, way, where)
    if not isinstance(value, Mapping):
        raise _UnfitError(f"a mapping with the class_path of a {kind.__name__}")
    if "class_path" in value:
        return _built(value, kind, way, where)()
    if dataclasses.is_dataclass(kind):
        return _call(kind, value, way, where)()
    raise _needs_class(where)


_LISTS: tuple[type, ...] = (
    list,
    set,
    frozenset,
    Sequence,
    Collection,
    Iterable,
)


def _items(value: Any, kind: type, inside: Sequence[Any], way: _Way, where: str) -> Any:
    """Convert a list or a tuple, each item to its annotation."""
    if not isinstance(value, list | tuple):
        raise _UnfitError("a list")
    # tuple[int, int], but not tuple[int, ...]
    fixed = issubclass(kind, tuple) and bool(inside) and inside[-1] is not Ellipsis
    if fixed and len(inside) != len(value):
        raise _UnfitError(f"a list of {len(inside)} items")
    # tuple[X, ...] or a list
    kinds = inside if fixed else [inside[0] if inside else Any] * len(value)
    items = []
    for index, (item, annotation) in enumerate(zip(value, kinds, strict=True)):
        try:
            items.append(_convert(item, annotation, way, f"{where}[{index}]"))
        except _UnfitError as unfit:
            raise _UnfitError(f"a list whose item {index} is {unfit}") from None
    if issubclass(kind, tuple):
        return tuple(items)
    return kind(items) if kind in (set, frozenset) else items
