"""Shards small enough to be carried to another machine, and large enough to be read fast there.

  python experiments/gpu/carry.py code SRC... --out DIR --speech-kbits 26 --noise-kbits 31   shards of any codec as Opus
  python experiments/gpu/carry.py parts DIR --out DIR --mb 50                                as tar files of that size
  python experiments/gpu/carry.py open PART... --out DIR                                     there: as 16-bit samples

SRC holds a folder each for speech, noise and rir, as `rased data pack` writes them. The splits train and valid travel,
responses as FLAC. Each part holds whole shards of every corpus.
"""

import argparse
import tarfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from rased.data.preparation.encoding import encode
from rased.data.schemas import ROLES, Codec
from rased.data.shards.folder import Writer
from rased.data.shards.index import INDEX, read_index, write_index
from rased.data.shards.reader import decode
from rased.data.shards.tars import Rows, StoredSample, read_shard
from rased.parallel import in_order

SPLITS = ("train", "valid")
SHARD_MB = 3.0
OPEN_MB = 256.0


def recode(
    folders: Sequence[Path], out: Path, codec: Codec, *, kbits: float, shard_mb: float
) -> None:
    """Write the splits train and valid of shard folders of one role as one folder of another codec."""
    first = next(read_shard(min(folders[0].glob("*.tar")))).details
    sample_rate = first["sample_rate"]
    out.mkdir(parents=True)
    rows = Rows()

    def code(stored: StoredSample) -> bytes:
        samples = decode(stored.audio, stored.codec, 0, stored.details["frames"])
        return encode(np.rint(samples * 32768).astype(np.int16), codec, sample_rate, kbits)

    with Writer(out, rows, codec, shard_mb=shard_mb) as writer:
        for split in SPLITS:
            shards = [tar for folder in folders for tar in sorted(folder.glob(f"{split}-*.tar"))]
            samples = [stored for shard in shards for stored in read_shard(shard)]
            for stored, audio in zip(samples, in_order(code, samples), strict=True):
                writer.write(stored.details, audio)
    write_index(
        out,
        role=first["role"],
        codec=codec,
        sample_rate=sample_rate,
        shards=rows.shards,
        licences=rows.licences,
        columns=rows.columns,
    )


def parts(folder: Path, out: Path, mb: float) -> list[Path]:
    """All shards below a folder in tar files of at most so many megabytes, those of valid first."""
    files = sorted(
        folder.rglob("*.tar"), key=lambda path: (not path.name.startswith("valid"), path.name, path)
    )
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    while files:
        path = out / f"part{len(written)}.tar.gz"
        size = 0
        with tarfile.open(path, "w:gz", compresslevel=1) as tar:
            while files and size + files[0].stat().st_size < mb * 1e6:
                size += files[0].stat().st_size
                tar.add(files[0], files.pop(0).relative_to(folder).as_posix())
        written.append(path)
    return written


def unpack(given: Sequence[Path], out: Path) -> None:
    """Unpack parts, and write what is in them as 16-bit samples to OUT/NAME/ROLE."""
    carried = out / "carried"
    for path in given:
        with tarfile.open(path) as tar:
            tar.extractall(carried, filter="data")
    for folder in _shard_folders(carried):
        target = out / folder.relative_to(carried)
        recode([folder], target, "pcm16", kbits=0.0, shard_mb=OPEN_MB)


def _shard_folders(root: Path) -> Iterator[Path]:
    yield from sorted({path.parent for path in root.rglob("*.tar")})


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("code", "parts", "open"))
    parser.add_argument("given", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--speech-kbits", type=float, default=26.0)
    parser.add_argument("--noise-kbits", type=float, default=31.0)
    parser.add_argument("--mb", type=float, default=50.0)
    arguments = parser.parse_args()
    begun = time.perf_counter()
    if arguments.verb == "parts":
        for path in parts(arguments.given[0], arguments.out, arguments.mb):
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    elif arguments.verb == "open":
        unpack(arguments.given, arguments.out)
    else:
        kbits = {"speech": arguments.speech_kbits, "noise": arguments.noise_kbits, "rir": 0.0}
        for source in arguments.given:
            for role in ROLES:
                folder = source / role
                folder = folder if folder.is_dir() else source
                if not (folder / INDEX).is_file() or read_index(folder).role != role:
                    continue
                target = arguments.out / source.name / role
                if target.exists():
                    continue
                code = partial(recode, [folder], target, shard_mb=SHARD_MB, kbits=kbits[role])
                code("flac" if role == "rir" else "opus")
                size = sum(path.stat().st_size for path in target.glob("*.tar"))
                seconds = read_index(target).seconds
                print(f"{target}: {seconds / 60:.1f} min, {size / 1e6:.1f} MB", flush=True)
    print(f"{arguments.verb}: {time.perf_counter() - begun:.1f} s")


if __name__ == "__main__":
    main()
