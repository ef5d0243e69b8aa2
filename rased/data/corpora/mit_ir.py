"""MIT IR survey: 271 everyday places, one impulse response each."""

import re
from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora.base import Archive, Item, PublicCorpus, audio_below, below, split_by

_NAME = re.compile(r"(?P<place>h\d{3}_.*?)_(?:\d*txts)?$")
_LICENCE = "unknown (none stated)"


def walk(root: Path) -> Iterator[Item]:
    """Yield Audio/hNNN_PLACE_Ntxts.wav."""
    for path in audio_below(below(root, "Audio")):
        found = _NAME.match(path.stem)
        if found:
            name = path.relative_to(root).as_posix()
            place = found["place"]
            yield Item(name, "rir", split_by(place), place, _LICENCE, "MIT IR survey")


CORPUS = PublicCorpus(
    name="mit-ir",
    title="MIT IR survey",
    roles=("rir",),
    hours=None,
    sample_rate=32_000,
    licence=_LICENCE,
    citation="Traer, McDermott: Statistics of natural reverberation enable perceptual separation of "
    "sound and space. PNAS 113(48), 2016.",
    homepage="https://mcdermottlab.mit.edu/Reverb/IR_Survey.html",
    splits="by a hash of the place's name; each place has one response",
    layout="Audio/h114_Restaurant_1txts.wav",
    walk=walk,
    archives=(
        Archive(
            part="all",
            name="Audio.zip",
            urls=tuple(
                f"{scheme}://mcdermottlab.mit.edu/Reverb/IRMAudio/Audio.zip"
                for scheme in ("https", "http")
            ),
            holds="Audio",
        ),
    ),
)
