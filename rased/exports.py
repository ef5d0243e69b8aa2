"""Lazy exports of a package: a name is imported from its module when it is first used (PEP 562)."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

Homes = Mapping[str, Sequence[str]]
"""Mapping from a module below the package to the names that it exports."""


def names_of(homes: Homes) -> list[str]:
    """Return all exported names, sorted, for `__all__` and `__dir__`."""
    return sorted(name for names in homes.values() for name in names)


def fetch(package: str, name: str, homes: Homes) -> Any:
    """Import a name for the `__getattr__` of a package, and store it in the package.

    Raises:
        AttributeError: the package does not export the name.
    """
    home = next((module for module, names in homes.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module '{package}' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"{package}.{home}"), name)
    setattr(sys.modules[package], name, value)
    return value
