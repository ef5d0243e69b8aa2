"""Your own files: a folder, or a folder with a manifest.csv, such as that of commons."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rased.data.corpora.base import Item, PublicCorpus, split_by
from rased.data.corpora.listing import SPLITS, UNDECIDED, NothingFound, collect
from rased.data.schemas import PARTS


def walk_manifest(root: Path) -> Iterator[Item]:
    """Yield what manifest.csv lists (columns: path, role, split, label, licence, source, note).

    A row without a split gets one by a hash of its label.
    """
    if not (root / "manifest.csv").is_file():
        return
    for role in PARTS:
        try:
            listing = collect([root / "manifest.csv"], role=role, split=UNDECIDED)
        except NothingFound:
            continue  # a manifest need not have all roles
        for found in listing.sources:
            split = split_by(found.label) if found.split == UNDECIDED else found.split
            yield Item(
                found.path,
                role,
                split,
                found.label,
                found.licence,
                found.source,
                found.note,
                sha256=found.sha256,
            )


def walk_folder(root: Path) -> Iterator[Item]:
    """Yield {speech,noise,rir}/[train|valid|test/][LABEL/]...

    Without folders for the splits, labels are split by a hash of their names; files without a
    label folder are in train.
    """
    for role in PARTS:
        if not (root / role).is_dir():
            continue
        for found in collect([root / role], role=role, split=UNDECIDED).sources:
            split = found.split
            if split == UNDECIDED:
                split = split_by(found.label) if "/" in found.path else "train"
            yield Item(f"{role}/{found.path}", role, split, found.label, "unknown", root.name)


FOLDER = PublicCorpus(
    name="folder",
    title="A folder of your own",
    roles=PARTS,
    hours=None,
    sample_rate=0,
    licence="yours",
    citation="",
    homepage="",
    splits=f"folders or columns named {', '.join(SPLITS)}; else by a hash of the label",
    layout="speech/anna/0001.wav, noise/rain/0001.wav, rir/kitchen/0001.wav",
    walk=walk_folder,
    by_hand="use your own files: --root is the folder that contains speech/, noise/ or rir/",
)

MANIFEST = replace(
    FOLDER,
    name="manifest",
    title="A folder with a manifest.csv",
    licence="one for each file",
    layout="manifest.csv with the columns path, role, split, label, licence, source, note",
    walk=walk_manifest,
    by_hand="use your own files: --root is the folder with manifest.csv",
    texts=("LICENSES.md",),
)

COMMONS = replace(
    MANIFEST,
    name="commons",
    title="Commons, permissively licensed recordings",
    hours=7.7,
    sample_rate=16_000,
    licence="one for each file: CC0, public domain, CC-BY, CC-BY-SA, Apache-2.0, MIT, BSD",
    splits="by its manifest: no speaker, recording or room is in two of them",
    layout="manifest.csv, and as it says speech/train/SPEAKER/ID.opus, noise/..., rir/...",
    by_hand="it is not distributed: --root is the folder with manifest.csv",
)
