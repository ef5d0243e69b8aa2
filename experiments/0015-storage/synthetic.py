"""A corpus that exists as a function only: its index is written once, and its shards are made while they are served.

Utterances repeat 64 recordings, so sizes and SHA-256 in the index are true for every sample. Headers of the tar files
are zeros, and the SHA-256 of a shard is that of its name: readers of samples use neither.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

RATE, SECONDS, DISTINCT = 16_000, 10, 64
PER_SHARD = 800
"""Utterances in a shard: about 256 MB."""
SPEAKERS = 2000
_HEADER, _JSON = 512, 1024
_PIECE = 100_000


class Corpus:
    """Utterances of about ten seconds in 16-bit samples.

    Attributes:
        count: number of utterances.
        stored: the bytes of the distinct recordings; digests: their SHA-256.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        random = np.random.default_rng(0)
        frames = random.integers((SECONDS - 5) * RATE, (SECONDS + 5) * RATE, DISTINCT)
        self.stored = [
            (1000 * random.standard_normal(size)).astype("<i2").tobytes() for size in frames
        ]
        self.digests = [hashlib.sha256(data).hexdigest() for data in self.stored]
        sizes = np.array([len(data) for data in self.stored])
        places = (
            _HEADER + _JSON + _HEADER + (sizes[np.arange(PER_SHARD) % DISTINCT] + 511) // 512 * 512
        )
        ends = np.cumsum(places)
        # The same in every shard: each begins with the first recording.
        self.offsets = ends - places + _HEADER
        self.shard_bytes = int(ends[-1]) + 1024
        self.sizes = sizes

    def shards(self) -> int:
        """Return the number of shards."""
        return -(-self.count // PER_SHARD)

    def write_index(self, path: Path) -> None:
        """Write index.json in the layout of `rased data pack`, piece by piece."""
        names = [f"train-{number:06d}.tar" for number in range(self.shards())]
        shards = [
            {
                "name": name,
                "bytes": self.shard_bytes,
                "sha256": hashlib.sha256(name.encode()).hexdigest(),
            }
            for name in names
        ]
        frames = self.sizes // 2
        rows = np.arange(self.count) % PER_SHARD % DISTINCT
        head = {
            "schema": 1,
            "role": "speech",
            "codec": "pcm16",
            "sample_rate": RATE,
            "seconds": float(frames[rows].sum()) / RATE,
            "samples": self.count,
            "licences": ["CC0"],
            "attribution": None,
            "shards": shards,
        }
        digests = [f'"{digest}"' for digest in self.digests]
        columns: dict[str, Callable[[int, int], int | str]] = {
            "key": lambda row, _: f'"utterance_{row:010d}"',
            "split": lambda *_: '"train"',
            "label": lambda row, _: f'"speaker{row // 40 % SPEAKERS:05d}"',
            "shard": lambda row, _: row // PER_SHARD,
            "offset": lambda row, _: offsets[row % PER_SHARD],
            "bytes": lambda _, kind: sizes[kind],
            "frames": lambda _, kind: halves[kind],
            "licence": lambda *_: 0,
            "sha256": lambda _, kind: digests[kind],
        }
        offsets, sizes, halves = self.offsets.tolist(), self.sizes.tolist(), frames.tolist()
        with path.open("w") as file:
            file.write(json.dumps(head, separators=(",", ":"))[:-1] + ',"columns":{')
            for place, (name, value) in enumerate(columns.items()):
                file.write(f'{"," if place else ""}"{name}":[')
                for start in range(0, self.count, _PIECE):
                    file.write("," if start else "")
                    span = range(start, min(start + _PIECE, self.count))
                    file.write(
                        ",".join([str(value(row, row % PER_SHARD % DISTINCT)) for row in span])
                    )
                file.write("]")
            file.write("}}\n")

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield bytes [start, stop) of any shard."""
        row, at = int(np.searchsorted(self.offsets, start, "right")) - 1, start
        while at < stop:
            data = self.stored[max(row, 0) % DISTINCT]
            begin = int(self.offsets[row]) if row >= 0 else -_HEADER - len(data)
            inside = data[max(at - begin, 0) : stop - begin] if row >= 0 else b""
            after = int(self.offsets[row + 1]) if row + 1 < PER_SHARD else self.shard_bytes
            after = min(after, stop)
            yield inside.ljust(after - at, b"\0")
            at, row = after, row + 1


class Server(ThreadingHTTPServer):
    """Serves a folder with index.json, and the shards beside it from nothing; counts what it sends."""

    def __init__(self, corpus: Corpus, index: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.corpus, self.index, self.sent = corpus, index, 0
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers with the index or a range of a shard."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        """Answer."""
        if self.path.endswith("/index.json"):
            size = self.server.index.stat().st_size
            tag = f'"{size}"'
            if self.headers.get("If-None-Match") == tag:
                return self._begin(304, 0, {"ETag": tag})
            self._begin(200, size, {"ETag": tag})
            with self.server.index.open("rb") as file:
                while data := file.read(1 << 20):
                    self.wfile.write(data)
            return None
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not self.path.endswith(".tar") or not wanted:
            return self._begin(404, 0, {})
        start, stop = int(wanted[1]), int(wanted[2]) + 1
        span = f"bytes {start}-{stop - 1}/{self.server.corpus.shard_bytes}"
        self._begin(206, stop - start, {"Content-Range": span})
        for data in self.server.corpus.read(start, stop):
            self.wfile.write(data)
        self.server.sent += stop - start
        return None

    def _begin(self, status: int, size: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(size), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""
