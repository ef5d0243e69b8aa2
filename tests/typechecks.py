"""Types are checked in all tests; arrays only where a function names their shapes, as that check costs most."""

from collections.abc import Callable
from inspect import isclass
from typing import Any, get_args

import jaxtyping

_jaxtyped = jaxtyping.jaxtyped


def _has_shapes(annotation: Any) -> bool:
    """Return whether an annotation contains an array of a shape; a name that is not resolved yet may."""
    if isinstance(annotation, str):
        return True
    if isclass(annotation) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return any(_has_shapes(part) for part in get_args(annotation))


def _checked(*, typechecker: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(given: Any) -> Any:
        shapes = isclass(given) or any(
            _has_shapes(one) for one in getattr(given, "__annotations__", {"?": "?"}).values()
        )
        return _jaxtyped(typechecker=typechecker)(given) if shapes else typechecker(given)

    return decorate


def install() -> None:
    """Let the import hook of jaxtyping use these checks; call it before rased is imported."""
    jaxtyping.jaxtyped = _checked
