"""The attributions that the licences of training data require beside weights."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rased.data.schemas import ROLES, Role, read_index_head
from rased.data.shards.index import INDEX, locate
from rased.errors import RasedError

ATTRIBUTIONS = "ATTRIBUTIONS.md"


def of_data(configs: Sequence[Mapping[str, Any]], *, gone: bool = False) -> list[str]:
    """Return the LICENSES.md of every folder of data.

    Args:
        configs: configurations of trainings.
        gone: folders may be missing, as those of an earlier run.

    Raises:
        RasedError: a folder is missing or damaged.
    """
    found: list[str] = []
    for config in configs:
        arguments = config.get("data", {}).get("init_args", {})
        for role in ROLES:
            for name in arguments.get(role, ()):
                try:
                    found += _texts(name, role)
                except RasedError:
                    if not gone:
                        raise
    return found


def together(texts: Sequence[str]) -> str:
    """Join texts; one that is contained in an earlier one is left out."""
    kept = ""
    for text in (text.strip() for text in texts):
        if text not in kept:
            kept = f"{kept}\n\n{text}" if kept else text
    return f"{kept}\n" if kept else ""


def _texts(name: str, role: Role) -> Iterator[str]:
    folder = locate(name, role)
    mend = f"Repair it with `rased data verify {folder} --repair`."
    attribution = read_index_head(folder / INDEX, repair=mend).attribution
    # Roles of one corpus share the file, one folder above.
    for place in (folder, folder.parent) if attribution else ():
        path = place / str(attribution)
        if path.is_file():
            yield path.read_text(encoding="utf-8")
            break
