"""CPU seconds and peak memory of `rased data pack` on Ray against the local engine, with two workers each.

    python experiments/0002-data-engine/on_ray.py FOLDER --files 600

Both engines pack the same files in turn in one process, after a warm-up, so the seconds are those of the work
itself: those of this process and, with Ray, of all its processes. What Ray's start costs is printed by itself.
"""

import argparse
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile

from rased.data.mixtures.corpus import Corpus
from rased.data.preparation.pack import pack
from rased.parallel import Cluster, cluster

RATE, SECONDS = 48_000, 10
WORKERS = 2


def write(folder: Path, files: int) -> None:
    """Write recordings of 10 s at 48 kHz from bundled speech."""
    corpus = Corpus(["bundle"], role="speech", split="train")
    speech = np.concatenate([corpus.read(number) for number in range(len(corpus))])
    rng = np.random.default_rng(0)
    for number in range(files):
        path = folder / f"speaker{number % 20}" / f"{number:06d}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = rng.integers(len(speech) - RATE * SECONDS // 3)
        audio = np.repeat(speech[start : start + RATE * SECONDS // 3], 3)
        soundfile.write(path, audio, RATE)


def processes(mark: str) -> list[Path]:
    """Return the folders in /proc of this process and those that have a word in their environment."""
    found = [Path("/proc") / str(os.getpid())]
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (entry / "environ").read_bytes() and entry not in found:
                found.append(entry)
    return found


def seconds(mark: str) -> float:
    """Return the processor seconds so far."""
    total = 0.0
    for entry in processes(mark):
        with suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def peaks(mark: str) -> dict[str, int]:
    """Return the largest peak of resident memory in MB of this process, and of a worker."""
    found = {"command": 0, "worker": 0}
    for entry in processes(mark):
        with suppress(OSError):
            status = (entry / "status").read_text()
            if entry.name != str(os.getpid()) and "ray::" not in (entry / "cmdline").read_text():
                continue
            if "Agent" in status.partition("\n")[0]:
                continue
            peak = int(status.partition("VmHWM:")[2].split()[0]) // 1000
            name = "command" if entry.name == str(os.getpid()) else "worker"
            found[name] = max(found[name], peak)
    return found


def measured(given: Path, out: Path, engine: Cluster | None, mark: str) -> float:
    """Return the processor seconds of packing."""
    shutil.rmtree(out, ignore_errors=True)
    before = seconds(mark)
    pack([given], out, role="speech", jobs=WORKERS, engine=engine)
    return seconds(mark) - before


def main(folder: Path, files: int, rounds: int) -> None:
    """Print the figures."""
    small, large, out = folder / "small", folder / "large", folder / "out"
    write(small, files // 4)
    write(large, files)
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as mark:
        os.environ["RAY_TMPDIR"] = mark
        measured(small, out, None, mark)
        with cluster("local", jobs=WORKERS) as engine:
            print(f"start and first use: {measured(small, out, engine, mark):.1f} s", flush=True)
            print(f"peaks after {files // 4} files: {peaks(mark)}", flush=True)
            for _ in range(rounds):
                here, ray = (measured(large, out, one, mark) for one in (None, engine))
                print(f"local {here:.2f} s, Ray {ray:.2f} s: {ray / here:.3f}", flush=True)
            print(f"peaks after {files} files: {peaks(mark)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    main(arguments.folder, arguments.files, arguments.rounds)
