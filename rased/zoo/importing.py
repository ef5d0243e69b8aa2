"""Import third-party weights into the zoo: read them as data, compare with the recorded output, write an entry."""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rased import disk, fetch
from rased.classes import STRANGERS
from rased.errors import RasedError, nearest
from rased.models.base import Enhancer
from rased.shelves import cache
from rased.zoo.assembly import assemble
from rased.zoo.card import CARD, read_card
from rased.zoo.importable import Importable, read_importable
from rased.zoo.loading import TOLERANCE, facts_of, golden_excerpt
from rased.zoo.publish import write_entry
from rased.zoo.sources import Progress, obtain, shown, take

_IMPORTED = "imported"
"""Key in a card's `training`: source, file and sha256 of what was imported."""


def import_weights(architecture: str, file: Path, folder: Path, *, replace: bool = False) -> Path:
    """Write an entry from the published weights of an architecture.

    Raises:
        RasedError: no importer for the architecture, or the file does not contain its weights.
    """
    enhancer, spec, facts = read_weights(architecture, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return write_entry(
        folder,
        enhancer=enhancer,
        spec=spec,
        summary=facts["summary"],
        paper=facts["paper"],
        licence=facts["licence"],
        training={
            **facts["training"],
            _IMPORTED: {"source": facts["source"], "file": file.name, "sha256": digest},
        },
        replace=replace,
    )


def read_weights(architecture: str, file: Path) -> tuple[Enhancer, dict[str, Any], dict[str, Any]]:
    """Return the enhancer in a file of its authors, its spec, and facts for the card.

    Raises:
        RasedError: no importer for the architecture, no such file, or the file does not contain its weights.
    """
    from rased.zoo.importers import IMPORTERS

    if architecture not in IMPORTERS:
        raise RasedError(f"no importer for '{architecture}'; {nearest(architecture, IMPORTERS)}")
    if not file.is_file():
        raise RasedError(f"the file '{file}' does not exist.")
    spec, weights, facts = IMPORTERS[architecture](file)
    return assemble(spec, weights, classes=STRANGERS, where=f"'{file}'"), spec, facts


def pull_importable(
    name: str,
    *,
    folder: Path | None = None,
    given: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Fetch the weights of an importable entry, and write them as an entry of the zoo; return its folder.

    A line on stderr shows source, size and licence before anything is fetched. Weights that were pulled before are not
    fetched again. The entry appears when it is complete and gives the recorded output.

    Args:
        name: name of the importable entry.
        folder: folder of entries; None: the user's cache.
        given: the authors' file, or a folder with their files, if the user already has them.
        progress: called after each block that arrives.

    Raises:
        RasedError: unknown entry, a licence that is missing or restricts the use, a file that nobody has verified,
            RASED_OFFLINE, no source that answers, or other bytes or another output than recorded.
    """
    entry = read_importable(name)
    # Before anything is fetched: an entry that is refused causes no traffic.
    refusal = entry.refusal()
    if refusal:
        raise RasedError(
            f"'{name}' cannot be pulled: {refusal}. To import your own copy, run `rased zoo import "
            f"{entry.architecture} FILE --out FOLDER`."
        )
    place = (cache() if folder is None else folder) / name
    if _is_here(entry, place):
        return place
    if given is None:
        fetch.refuse_offline(name)
        print(announcement(entry), file=sys.stderr)
    try:
        # In the folder of the entry, not in /tmp, which is often too small for weights.
        with disk.scratch_folder(place) as scratch:
            files = [
                obtain(file, scratch, progress) if given is None else take(file, given)
                for file in entry.files
            ]
            return _written(entry, files, place)
    except OSError as error:
        raise RasedError(f"cannot write '{place}': {error.strerror or error}.") from None


def announcement(entry: Importable) -> str:
    """Return one line on what is about to be fetched."""
    data = entry.licence.data or "not stated"
    return (
        f"rased: fetching {entry.name}: {entry.bytes / 1e6:.1f} MB from {shown(entry.files[0].sources[0])} "
        f"(licence of the weights: {entry.licence.weights}; of their training data: {data})."
    )


def _is_here(entry: Importable, place: Path) -> bool:
    """Return whether a folder holds an import of the same files.

    Raises:
        RasedError: it holds something else.
    """
    if not place.exists():
        return False
    try:
        imported = read_card(place)["training"].get(_IMPORTED, {})
    except RasedError:
        imported = {}
    if imported.get("sha256") != entry.sha256:
        raise RasedError(
            f"'{place}' exists already and came from elsewhere; remove or rename it first."
        )
    return True


def _written(entry: Importable, files: Sequence[Path], place: Path) -> Path:
    """Write the entry, after checking its facts and its output."""
    enhancer, spec, facts = read_weights(entry.architecture, files[0])
    # The entry was written by people: what it says must be what the file gives, before it becomes a card.
    _check_facts(entry, enhancer)
    _check_golden(entry, enhancer)
    imported = {
        "source": " ".join(shown(file.sources[0]) for file in entry.files),
        "file": " ".join(file.name for file in entry.files),
        "sha256": entry.sha256,
    }
    licence = entry.licence
    try:
        return write_entry(
            place,
            enhancer=enhancer,
            spec=spec,
            summary=entry.summary,
            purpose=entry.purpose,
            paper=entry.paper,
            licence={"code": licence.code, "weights": licence.weights, "data": licence.data},
            training={**facts["training"], _IMPORTED: imported},
            scores=entry.scores,
        )
    except RasedError:
        if (place / CARD).is_file() and _is_here(entry, place):  # another process was faster
            return place
        raise


def _check_facts(entry: Importable, enhancer: Enhancer) -> None:
    for field, fact in facts_of(enhancer).items():
        told = getattr(entry, field)
        if told != fact and not (field == "parameters" and told is None):
            raise RasedError(
                f"'{entry.name}' says {field} {told}, but its file has {fact}: nothing was kept."
            )


def _check_golden(entry: Importable, enhancer: Enhancer) -> None:
    """Compare the output with the recorded one.

    Raises:
        RasedError: they differ.
    """
    if entry.golden is None:
        print(
            f"rased: the output of {entry.name} cannot be checked: none is recorded.",
            file=sys.stderr,
        )
        return
    with torch.inference_mode():
        estimate = enhancer(golden_excerpt(enhancer.sample_rate))[0, :: entry.golden.every]
    wanted = torch.tensor(entry.golden.values())
    same = wanted.shape == estimate.shape
    difference = float((estimate - wanted).abs().max()) if same else float("inf")
    # Written this way round so that NaN is an error, too.
    if not difference <= TOLERANCE:
        raise RasedError(
            f"'{entry.name}' does not give the recorded output (largest difference {difference:.1e}): "
            "nothing was kept; please report this to the project."
        )
