"""ESC-50: 2000 clips of 50 classes of sound, in five folds, with a licence for each clip."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora.base import Archive, Item, PublicCorpus, below

_SPLIT_OF_FOLD = {"1": "train", "2": "train", "3": "train", "4": "valid", "5": "test"}
_WHOLE = "CC-BY-NC-3.0"
"""Licence of the collection; used for a clip that the licence file does not list."""
_CLIP = re.compile(r"- \[(?P<clip>[\w-]+)\.ogg\]:.*\[(?P<licence>CC[^\]]*)\]\s*$")


def walk(root: Path) -> Iterator[Item]:
    """Yield audio/FOLD-RECORDING-TAKE-CLASS.wav of meta/esc50.csv.

    A recording with clips in folds of different splits is left out.
    """
    base = below(root, "ESC-50-master", "ESC-50")
    table = base / "meta" / "esc50.csv"
    if not table.is_file():
        return
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    licences = _licences(base / "LICENSE")
    # Splits of each Freesound recording, of which there may be several clips.
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        splits[row["src_file"]].add(_SPLIT_OF_FOLD[row["fold"]])
    for row in rows:
        if len(splits[row["src_file"]]) == 1:
            clip = row["filename"].rpartition("-")[0]
            yield Item(
                (base / "audio" / row["filename"]).relative_to(root).as_posix(),
                "noise",
                _SPLIT_OF_FOLD[row["fold"]],
                row["category"],
                licences.get(clip, _WHOLE),
                f"ESC-50 (freesound.org/s/{row['src_file']})",
            )


def _licences(file: Path) -> dict[str, str]:
    """Return the licence of each clip by its name without class: 1-100032-A."""
    if not file.is_file():
        return {}
    found = map(_CLIP.match, file.read_text(encoding="utf-8", errors="replace").splitlines())
    return {match["clip"]: match["licence"] for match in found if match}


CORPUS = PublicCorpus(
    name="esc50",
    title="ESC-50",
    roles=("noise",),
    hours=2.8,
    sample_rate=44_100,
    licence=f"{_WHOLE}; clips CC0, CC-BY, CC-Sampling+ and others",
    citation="Piczak: ESC: dataset for environmental sound classification. ACM Multimedia 2015.",
    homepage="https://github.com/karolpiczak/ESC-50",
    splits="folds 1 to 3 are train, 4 valid, 5 test; a recording in two splits is left out",
    layout="ESC-50-master/audio/1-100032-A-0.wav",
    walk=walk,
    archives=(
        Archive(
            part="all",
            name="ESC-50-master.zip",
            urls=(
                "https://github.com/karolpiczak/ESC-50/archive/master.zip",
                "https://github.com/karoldvl/ESC-50/archive/master.zip",
            ),
            holds="ESC-50-master",
        ),
    ),
    texts=("ESC-50-master/LICENSE", "ESC-50/LICENSE", "LICENSE"),
)
