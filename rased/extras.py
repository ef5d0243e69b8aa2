"""Which `pip install` brings a package that is missing."""

import importlib.metadata
import re
from functools import cache

_PROJECTS = {"pil": "pillow", "yaml": "pyyaml"}
"""Modules whose project on PyPI has another name."""

_ORDER = ("train", "eval", "rooms", "remote", "asr", "onnx", "dev")
"""The first of these that holds a package is offered, unless the caller prefers another."""


def install_command(*modules: str, prefer: str = "") -> str:
    """The command that installs these modules or packages: an extra of rased where one holds them all.

    Args:
        modules: names as they are imported, or as pip knows them.
        prefer: the extra to offer where several hold them.

    Returns:
        For example "pip install 'rased[eval]'"; "pip install --force-reinstall rased" for what rased cannot do without;
        "" for modules that rased does not know.
    """
    wanted = {_project(module.partition(".")[0]) for module in modules}
    extras = _extras()
    for extra in filter(None, (prefer, *_ORDER)):
        if wanted <= extras.get(extra, frozenset()):
            return f"pip install 'rased[{extra}]'"
    if wanted <= extras.get("", frozenset()):
        return "pip install --force-reinstall rased"
    return ""


@cache
def _extras() -> dict[str, frozenset[str]]:
    """Projects by extra ("" for what every installation has), as the metadata of this installation says."""
    try:
        requirements = importlib.metadata.requires("rased") or []
    except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
        return {}
    found: dict[str, set[str]] = {}
    for line in requirements:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if name is not None:
            found.setdefault(extra[1] if extra else "", set()).add(_project(name[0]))
    return {extra: frozenset(projects) for extra, projects in found.items()}


def _project(name: str) -> str:
    """The name as PyPI compares it (PEP 503)."""
    plain = re.sub(r"[-_.]+", "-", name).lower()
    return _PROJECTS.get(plain, plain)
