"""Lazy exports of a package: a name is imported from its module when it is first used (PEP 562)."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Homes = Mapping[str, Sequence[str]]
"""Mapping from a module below the package to the names that it exports."""


def lazily(
    package: str, homes: Homes
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__all__`, `__getattr__` and `__dir__` of a package, which imports a name when it is first used."""
    home_of = {name: home for home, names in homes.items() for name in names}

    def fetch(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        value = getattr(importlib.import_module(f"{package}.{home_of[name]}"), name)
        setattr(sys.modules[package], name, value)  # Python does not call `fetch` for it again
        return value

    return sorted(home_of), fetch, lambda: sorted(home_of)
