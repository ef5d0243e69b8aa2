"""Find the `pip install` command for a missing package."""

import importlib.metadata
import re
from functools import cache

_PROJECTS = {"pil": "pillow", "yaml": "pyyaml"}
"""Import names that differ from the name on PyPI."""

_ORDER = (
    "torch",
    "onnx",
    "train",
    "eval",
    "rooms",
    "remote",
    "ray",
    "gcs",
    "hub",
    "asr",
    "live",
    "tensorboard",
    "slurm",
    "export",
    "docs",
    "dev",
)
"""Extras in the order in which they are suggested, unless the caller prefers another."""


def install_command(*modules: str, prefer: str = "") -> str:
    """Return the command that installs these modules: an extra of rased if one contains them all.

    Args:
        modules: import names, or names on PyPI.
        prefer: the extra to suggest if several contain them.

    Returns:
        For example "pip install 'rased[torch]'"; "pip install --force-reinstall rased" for required dependencies; ""
        for modules that rased does not use.
    """
    wanted = {_project(module.partition(".")[0]) for module in modules}
    extras = _extras()
    for extra in filter(None, (prefer, *_ORDER)):
        if wanted <= extras.get(extra, frozenset()):
            return f"pip install 'rased[{extra}]'"
    if wanted <= extras.get("", frozenset()):
        return "pip install --force-reinstall rased"
    return ""


def missing_package(error: ModuleNotFoundError, *, prefer: str = "") -> str:
    """Return a sentence that names the missing package and the command that installs it."""
    module = (error.name or "").partition(".")[0]
    command = install_command(module, prefer=prefer)
    if not command:  # a module of the user, or a module that it imports
        return f"the Python module '{error.name}' cannot be found: install the package that provides it"
    return f"this needs the package '{module}': {command}"


@cache
def _extras() -> dict[str, frozenset[str]]:
    """Return the projects of each extra ("" for required dependencies), from the metadata of the installed package.

    There, an extra that contains another one lists the projects of both.
    """
    try:
        requirements = importlib.metadata.requires("rased") or []
    except importlib.metadata.PackageNotFoundError:  # run from a checkout without installation
        return {}
    found: dict[str, set[str]] = {}
    for line in requirements:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if name is not None:
            found.setdefault(extra[1] if extra else "", set()).add(_project(name[0]))
    return {extra: frozenset(projects) for extra, projects in found.items()}


def _project(name: str) -> str:
    """Return the normalised name of a project (PEP 503)."""
    plain = re.sub(r"[-_.]+", "-", name).lower()
    return _PROJECTS.get(plain, plain)
