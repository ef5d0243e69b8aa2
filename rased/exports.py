"""Names that a package offers, each imported from its module when it is first used (PEP 562)."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

Homes = Mapping[str, Sequence[str]]
"""Module below the package -> the names that it has."""


def names_of(homes: Homes) -> list[str]:
    """All names, sorted: for `__all__` and `__dir__`."""
    return sorted(name for names in homes.values() for name in names)


def fetch(package: str, name: str, homes: Homes) -> Any:
    """Import a name for the `__getattr__` of a package, and keep it there.

    Raises:
        AttributeError: the package offers no such name.
    """
    home = next((module for module, names in homes.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module '{package}' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"{package}.{home}"), name)
    setattr(sys.modules[package], name, value)
    return value
