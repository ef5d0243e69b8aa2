"""Measure storage at scale: python experiments/0015-storage/run.py [STAGE ...] writes results.json and prints tables.

Each measurement runs in a process of its own, so that memory is that of the measured work. CPU seconds are those of
this process: they do not depend on what else the machine does.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
HOUR = 360
"""Utterances in an hour."""
Row = dict[str, Any]


def memory() -> Row:
    """Return the memory of this process in MB: private, of mapped files, and the largest sum so far."""
    text = Path("/proc/self/status").read_text()
    fields = {"private_mb": "RssAnon", "mapped_mb": "RssFile", "peak_mb": "VmHWM"}
    return {
        name: int(re.search(rf"{field}:\s+(\d+)", text)[1]) // 1024  # type: ignore[index]
        for name, field in fields.items()
    }


class Clock:
    """CPU and wall seconds since the last call."""

    def __init__(self) -> None:
        self.cpu, self.wall = time.process_time(), time.monotonic()

    def __call__(self) -> Row:
        """Return the seconds."""
        before = self.cpu, self.wall
        self.cpu, self.wall = time.process_time(), time.monotonic()
        return {"cpu_s": round(self.cpu - before[0], 3), "wall_s": round(self.wall - before[1], 3)}


def pack(minutes: int) -> Row:
    """Pack recordings: 64 files, and names that lead to them, so that the input takes no disk."""
    import numpy as np
    import soundfile

    from rased.data.preparation.pack import pack

    random, folder = np.random.default_rng(0), Path(tempfile.mkdtemp(dir=os.environ["SCRATCH"]))
    for number in range(64):
        audio = 0.1 * random.standard_normal(160_000).astype(np.float32)
        soundfile.write(folder / f"{number}.wav", audio, 16_000)
    (folder / "in").mkdir()
    for number in range(6 * minutes):
        place = folder / "in" / "train" / f"speaker{number // 40:05d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.wav").symlink_to(folder / f"{number % 64}.wav")
    before, clock = memory(), Clock()
    packed = pack(
        [folder / "in"], folder / "out", role="speech", codec="pcm16", jobs=1, shard_mb=64
    )
    row = {"hours": round(packed.seconds / 3600, 3), "mb": packed.bytes // 10**6, **clock()}
    children = os.times()
    return {
        **row,
        "cpu_s": round(row["cpu_s"] + children.children_user + children.children_system, 2),
        "grown_mb": memory()["peak_mb"] - before["private_mb"] - before["mapped_mb"],
    }


def write(rows: int) -> Row:
    """Collect the rows of an index as `rased data pack` does, and write index.json."""
    from rased.data.schemas import Shard
    from rased.data.shards.index import write_index
    from rased.data.shards.tars import Rows

    before, clock, folder = memory(), Clock(), Path(tempfile.mkdtemp(dir=os.environ["SCRATCH"]))
    found = Rows()
    for row in range(rows):
        details = {"key": f"u{row}", "split": "train", "label": f"s{row // 40}", "frames": 160_000}
        found.add(
            {**details, "licence": "CC0"}, offset=row * 320_000, size=320_000, digest="0" * 64
        )
    found.shards.append(Shard("train-000000.tar", rows * 320_000, "0" * 64))
    write_index(
        folder,
        role="speech",
        codec="pcm16",
        sample_rate=16_000,
        shards=found.shards,
        licences=found.licences,
        columns=found.columns,
    )
    size = (folder / "index.json").stat().st_size // 10**6
    grown = memory()["peak_mb"] - before["private_mb"] - before["mapped_mb"]
    return {"rows": rows, "json_mb": size, **clock(), "grown_mb": grown}


def index(rows: int) -> list[Row]:
    """Read an index for the first time, open it again, and access rows at random."""
    from synthetic import Corpus

    folder = Path(os.environ["SCRATCH"]) / f"index-{rows}"
    folder.mkdir(exist_ok=True)
    corpus = Corpus(rows)
    if not (folder / "index.json").exists():
        corpus.write_index(folder / "index.json")
        for shard in range(corpus.shards()):
            # As long as a shard, without content.
            with (folder / f"train-{shard:06d}.tar").open("wb") as file:
                file.truncate(corpus.shard_bytes)
    size = (folder / "index.json").stat().st_size // 10**6
    return [
        {"rows": rows, "json_mb": size, "opened": how, **_child("opened", str(folder))}
        for how in ("first", "again")
    ]


def opened(folder: str) -> Row:
    """Open an index and access rows at random."""
    import numpy as np

    from rased.data.shards.index import read_index

    before, clock = memory(), Clock()
    found = read_index(Path(folder))
    row = clock()
    after = memory()
    train = found.only("train")
    split = clock()["cpu_s"]
    rows = np.random.default_rng(0).integers(len(train), size=10_000).tolist()
    for place in rows:
        _ = (train.columns["key"][place], int(train.columns["offset"][place]))
        bytes(train.columns["sha256"][place])
    access = clock()["cpu_s"]
    columns = sum(
        of.encoded.nbytes if hasattr(of, "encoded") else of.nbytes for of in found.columns.values()
    )
    return {
        **row,
        "columns_mb": (columns - found.columns["channels"].nbytes) // 10**6,
        "private_mb": after["private_mb"] - before["private_mb"],
        "mapped_mb": after["mapped_mb"] - before["mapped_mb"],
        "peak_mb": after["peak_mb"],
        "split_s": split,
        "access_us": round(access / len(rows) * 1e6, 1),
    }


def stream(hours: int) -> list[Row]:
    """Serve a corpus that is made while it is sent, and read mixtures from all over an epoch."""
    from synthetic import Corpus, Server

    corpus = Corpus(hours * HOUR)
    path = Path(os.environ["SCRATCH"]) / f"index-{hours * HOUR}.json"
    if not path.exists():
        corpus.write_index(path)
    server = Server(corpus, path)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return [
        {
            "hours": hours,
            "start": how,
            **_child("streamed", server.url, how),
            "sent_mb": server.sent // 10**6,
        }
        for how in ("first", "again")
    ]


def streamed(url: str, how: str) -> Row:
    """Start a stream; the second time, read batches from its beginning, middle and end."""
    from rased.data import Corpus, Plan, Scene
    from rased.data.mixtures.loader import Loader

    before, clock = memory(), Clock()
    speech = Corpus([url], role="speech", split="train")
    noise = Corpus(["bundle"], role="noise", split="train")
    plan = Plan(speech=speech, noise=noise, rir=None, scene=Scene(segment=4.0), seed=1)
    plan.draw(0, 0)
    row = {**clock(), "private_mb": memory()["private_mb"] - before["private_mb"]}
    loader = Loader(plan, batch_size=8, num_workers=0, rank=0, world_size=1)
    clock()
    first = next(iter(loader))
    row["batch_s"] = clock()["cpu_s"]
    row["kind"] = type(plan._utterance.order(0, 0)).__name__
    del first
    if how == "first":
        return row
    reached = []
    for part in range(3):
        loader.position = plan.count * part // 3
        for number, _ in enumerate(loader):
            if number == 12:
                break
        reached.append(memory()["private_mb"] - before["private_mb"])
    return {**row, "after_mb": reached, "mixtures": 3 * 13 * 8, "read_s": clock()["cpu_s"]}


def order(rows: int) -> list[Row]:
    """Compare an order as a list with an order as a function."""
    import tracemalloc

    import numpy as np

    from rased.data.mixtures import order

    blocks = np.arange(rows) // 26
    found = []
    for kind, made in (
        ("list", lambda: order.blockwise(1, 0, 0, blocks=blocks, window=32)),
        ("function", lambda: order.Shuffled(1, 0, 0, count=rows, group=26, window=16)),
    ):
        clock = Clock()
        tracemalloc.start()
        one = made()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        begun = clock()["cpu_s"]
        for place in range(0, rows, rows // 1000):
            one[place]
        each = round(clock()["cpu_s"] / 1000 * 1e6, 1)
        found.append(
            {
                "rows": rows,
                "order": kind,
                "begin_s": begun,
                "place_us": each,
                "peak_mb": round(peak / 1e6, 2),
            }
        )
    return found


STAGES: dict[str, tuple[Callable[[int], Row | list[Row]], tuple[int, ...]]] = {
    "pack": (pack, (15, 30, 60, 120)),
    "write": (write, (36_000, 360_000)),
    "stream": (stream, (10, 100, 1000)),
    "order": (order, (360_000, 10_000_000)),
    "index": (index, (100_000, 1_000_000, 10_000_000)),
}


def _child(*words: str) -> Any:
    done = subprocess.run(
        [sys.executable, __file__, "--inside", *words], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def table(results: dict[str, list[Row]]) -> str:
    """Return one Markdown table for each stage."""
    parts = []
    for stage, rows in results.items():
        names = list(dict.fromkeys(name for row in rows for name in row))
        lines = [" | ".join(names), " | ".join("--:" for _ in names)]
        lines += [" | ".join(str(row.get(name, "")) for name in names) for row in rows]
        parts.append(f"{stage}:\n\n" + "\n".join(f"| {line} |" for line in lines))
    return "\n\n".join(parts)


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", default=list(STAGES))
    parser.add_argument("--inside", nargs="+")
    given = parser.parse_args()
    if given.inside:
        name, *words = given.inside
        print(json.dumps(globals()[name](*(int(w) if w.isdigit() else w for w in words))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"SCRATCH": scratch, "RASED_CACHE": f"{scratch}/cache", "RASED_CACHE_GB": "1"}
        for stage in given.stages:
            rows: list[Row] = []
            for size in STAGES[stage][1]:
                found = _child(stage, str(size))
                rows += found if isinstance(found, list) else [found]
            stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            stored[stage] = rows
            ordered = {name: stored[name] for name in STAGES if name in stored}
            RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")
    print(table(ordered))


if __name__ == "__main__":
    main()
