"""Damaged documents: seeded mutations of bytes and of structure, and what must be true of whatever reads them."""

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rased.errors import RasedError

PAYLOADS: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        1.5,
        -0.0,
        1e308,
        10**9,
        2**31,
        2**53,
        2**63,
        10**18,
        10**30,
        -(10**18),
    ),
    *(
        "",
        "x",
        "0" * 64,
        "../../fuzz-escaped",
        "/tmp/rased-fuzz-escaped",
        "..",
        ".",
        "a/b",
        "a\\b",
        "a\0b",
    ),
    *(
        "a\nb",
        "\x1b[31m",
        "é",
        "\u202e",
        "x" * 300,
        "x" * 100_000,
        "nan",
        "-inf",
        "1e999",
        "{}",
        "[]",
        "~",
    ),
    "{class_path: os.system, init_args: {command: 'touch fuzz-escaped'}}",
    *(
        "os.system",
        "__import__('os').system('touch fuzz-escaped')",
        "$(touch fuzz-escaped)",
        "`id`",
        "%n%s",
    ),
    *(
        [],
        {},
        [[]],
        [None],
        {"": 1},
        {"a": {}},
        [1, "x"],
        {"class_path": "os.system"},
        [[[[[[]]]]]],
    ),
)
"""Values of every wrong kind: wrong types, numbers out of all bounds, paths, and what would run."""
_BITS = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-1",
    b"99999999999999999999",
    b"\xff",
    b"\0",
    b"[" * 40,
    b'"',
    b"}",
)


def mutated_bytes(data: bytes, random: np.random.Generator) -> bytes:
    """Some bytes changed, removed, repeated or replaced by others."""
    out = bytearray(data)
    for _ in range(int(random.integers(1, 4))):
        place = int(random.integers(len(out) + 1))
        length = int(2 ** random.uniform(0, 8))
        kind = int(random.integers(6))
        if kind == 0:
            for at in range(place, min(place + int(random.integers(1, 5)), len(out))):
                out[at] = int(random.integers(256))
        elif kind == 1:
            del out[place : place + length]
        elif kind == 2:
            out[place:place] = out[place : place + length]
        elif kind == 3:
            del out[place:]
        elif kind == 4:
            bits = _BITS[int(random.integers(len(_BITS)))]
            out[place : place + int(random.integers(0, 12))] = bits
        else:
            out[place : place + 1] = (
                bytes([out[place] ^ (1 << int(random.integers(8)))]) if place < len(out) else b""
            )
    return bytes(out)


def places(content: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of plain data, of long lists to the first and the last few."""
    if way:
        yield way
    if isinstance(content, dict):
        for key, value in content.items():
            yield from places(value, (*way, key))
    elif isinstance(content, list):
        for at in sorted(
            {*range(min(3, len(content))), max(0, len(content) - 1)} & set(range(len(content)))
        ):
            yield from places(content[at], (*way, at))


def with_value(content: Any, way: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at the end of a way."""
    out = copy.deepcopy(content)
    inner = out
    for part in way[:-1]:
        inner = inner[part]
    inner[way[-1]] = value
    return out


def mutated_json(content: Any, random: np.random.Generator) -> Any:
    """Plain data with one to three values replaced, removed, or put where others were."""
    out = copy.deepcopy(content)
    for _ in range(int(random.integers(1, 4))):
        ways = list(places(out))
        if not ways:
            return out
        way = ways[int(random.integers(len(ways)))]
        inner = out
        for part in way[:-1]:
            inner = inner[part]
        kind = int(random.integers(8))
        if kind == 0:
            del inner[way[-1]]
        elif kind == 1 and isinstance(inner, list):
            inner.extend(copy.deepcopy(inner[:3]))
        elif kind == 2 and isinstance(inner, dict):
            inner[str(PAYLOADS[int(random.integers(len(PAYLOADS)))])[:50]] = inner[way[-1]]
        elif kind > 4:
            inner[way[-1]] = _alike(inner[way[-1]], random)
        else:
            inner[way[-1]] = copy.deepcopy(PAYLOADS[int(random.integers(len(PAYLOADS)))])
    return out


def _alike(value: Any, random: np.random.Generator) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        factor = (0, -1, 1e-9, 0.5, 2, 1000, 1e6)[int(random.integers(7))]
        return type(value)(value * factor)
    if isinstance(value, str):
        return ("a", "b", "noisy", "target", "files", "ok", "undefined: x", "none", value[::-1])[
            int(random.integers(9))
        ]
    return value


def assert_clean(use: Callable[[], object], root: Path) -> bool:
    """Assert that a document is accepted (True), or refused by one sentence (False), and nothing is written elsewhere.

    Raises:
        AssertionError: it says more than one line, or a file appeared outside the folder `root`.
        Exception: anything else that the reader raises.
    """
    before = _outside(root)
    try:
        use()
        accepted = True
    except RasedError as error:
        accepted = False
        text = str(error)
        assert text.strip(), "an empty sentence"
        assert text.isprintable(), f"more than one line, or what steers a terminal: {text!r}"
        assert len(text) < 3000, f"{len(text)} characters"
    assert _outside(root) == before, "something was written outside"
    return accepted


def _outside(root: Path) -> set[str]:
    """What lies around a folder, and where payloads point."""
    around = {entry.path for entry in os.scandir(root.parent)}
    return around | {
        str(path)
        for path in (Path("/tmp/rased-fuzz-escaped"), Path("fuzz-escaped"))
        if path.exists()
    }


def dumped(content: Any) -> bytes:
    """JSON, also of what JSON has no numbers for."""
    return json.dumps(content).encode()
