"""Make a small corpus of 44.1 and 48 kHz from the sounds of 0 A.D., with a manifest that `rased data pack` reads.

    apt-get download 0ad-data && dpkg-deb -x 0ad-data_*.deb 0ad
    python experiments/0017-full-band/prepare.py 0ad/usr/share/games/0ad/mods/public/public.zip --out local/wide/source

Voices speak ancient languages, a command each, and become speech; music and all other sounds become noise. Cries of
people and animals are left out. Two of eight voices, and every eighth noise, are the split valid.

The sounds to measure on come from other packages, with other voices, languages and noises:

    apt-get download ktuberling-data flare-game unknown-horizons && for p in *.deb; do dpkg-deb -x $p debs; done
    python experiments/0017-full-band/prepare.py --test debs/usr/share --out local/wide/test-source
"""

import argparse
import csv
import hashlib
import io
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import soundfile

LICENCE = "CC-BY-SA-3.0"
SOURCE = "0 A.D., Wildfire Games (Debian: 0ad-data)"
ATTRIBUTION = """# 0 A.D.

Sounds, music and voices of 0 A.D., (c) Wildfire Games, play0ad.com, CC-BY-SA 3.0, resampled and mixed.
"""
VALID = ("latin_male", "persian_female")
TEST = {
    "speech": ("ktuberling/sounds/*/*.wav", "ktuberling/sounds/*/*.ogg"),
    "noise": (
        "games/flare/mods/*/soundfx/environment/*.ogg",
        "unknown-horizons/content/audio/sounds/*.ogg",
    ),
}
NO_NOISE = re.compile(r"audio/(voice/|actor/(human|fauna)/)")
Found = tuple[Path, tuple[str, str, str], bytes]
"""Path to write; role, split and label; content."""
COLUMNS = ("path", "role", "split", "label", "seconds", "source", "licence", "sha256")


def place(name: str) -> tuple[str, str, str] | None:
    """Return role, split and label of a file in the archive; None for one that is not used."""
    voice = re.match(r"audio/voice/(\w+)/civ/civ_(female|male)_", name)
    if voice and voice[1] != "global":
        label = f"{voice[1]}_{voice[2]}"
        return "speech", "valid" if label in VALID else "train", label
    if NO_NOISE.match(name):
        return None
    # All takes of a sound are in one split: they differ in the digits at the end.
    kind = re.sub(r"[_\d]*\.\w+$", "", name)
    share = int(hashlib.sha256(kind.encode()).hexdigest(), 16) % 8
    return "noise", "train" if share else "valid", kind.split("/")[1]


def of_archive(file: Path) -> Iterator[Found]:
    """Yield the sounds of 0 A.D."""
    with zipfile.ZipFile(file) as archive:
        for name in sorted(archive.namelist()):
            found = place(name) if re.match(r"audio/.*\.(ogg|wav)$", name) else None
            if found is not None:
                path = Path(*found, name.removeprefix("audio/").replace("/", "-"))
                yield path, found, archive.read(name)


def to_measure_on(share: Path) -> Iterator[Found]:
    """Yield the sounds of the other packages: a language is a voice, a package is a kind of noise."""
    for role, patterns in TEST.items():
        for path in sorted(one for pattern in patterns for one in share.glob(pattern)):
            label = path.parent.name if role == "speech" else path.relative_to(share).parts[0]
            name = Path(role, "test", label, path.name)
            yield name, (role, "test", label), path.read_bytes()


def main() -> int:
    """Write the files and the manifest."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path, nargs="?", help="public.zip")
    parser.add_argument("--test", type=Path, metavar="SHARE", help="folder with the other packages")
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    told = parser.parse_args()
    if (told.archive is None) == (told.test is None):
        parser.error("give either an archive or --test")
    rows, seconds, known = [], {}, set()
    for path, found, content in to_measure_on(told.test) if told.test else of_archive(told.archive):
        info = soundfile.info(io.BytesIO(content))
        if info.samplerate < 44_100 or info.duration < 0.3:
            continue
        # Some files have the same samples and another header; the two must not be in two splits.
        samples = hashlib.sha256(soundfile.read(io.BytesIO(content))[0].tobytes()).digest()
        if samples in known:
            continue
        known.add(samples)
        (told.out / path).parent.mkdir(parents=True, exist_ok=True)
        (told.out / path).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        origin = ("", "") if told.test else (SOURCE, LICENCE)
        rows.append((path, *found, round(info.duration, 2), *origin, digest))
        seconds[found[:2]] = seconds.get(found[:2], 0.0) + info.duration
    if told.archive:
        (told.out / "LICENSES.md").write_text(ATTRIBUTION)
    with (told.out / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    for (role, split), total in sorted(seconds.items()):
        print(f"{role} {split}: {total / 60:.1f} min")
    return 0


if __name__ == "__main__":
    sys.exit(main())
