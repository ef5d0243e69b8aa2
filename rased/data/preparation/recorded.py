"""Write frozen test sets of recorded pairs: noisy and target as they were recorded, bit for bit."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int16

from rased.data.columns import hexadecimal
from rased.data.mixtures import order
from rased.data.mixtures.corpus import Corpus
from rased.data.mixtures.pairs import level_dbfs, ratio_db
from rased.data.preparation.encoding import encode
from rased.data.preparation.freeze import check_out
from rased.data.preparation.frozen import write_frozen
from rased.data.schemas import LOSSLESS
from rased.data.shards.index import DIGITS
from rased.errors import RasedError
from rased.names import component
from rased.parallel import Cluster


def freeze_pairs(
    pairs: str | Path,
    out: Path,
    *,
    count: int,
    seed: int,
    split: str = "test",
    name: str = "",
    jobs: int = 1,
    engine: Cluster | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Write OUT/{testset.json, noisy/ID.flac, target/ID.flac}, and return the content of testset.json.

    Args:
        pairs: folder of packed pairs.
        out: new or empty folder, or one with the same set.
        count: number of pairs.
        seed: seed of the choice: labels (speakers) are used in rounds, each once before any is used again.
        split: split of the pairs.
        name: name of the set in results; "": the folder's name.
        jobs: number of processes; 0: one per core.
        engine: a Ray cluster (`rased.parallel.cluster`); None: this machine.
        progress: called with (pairs done, total pairs).

    Raises:
        RasedError: there are not so many pairs, `out` contains something else, or the disk is full.
    """
    corpus = Corpus([pairs], role="pairs", split=split)
    corpus.refuse_fewer(2)
    if not 1 <= count <= len(corpus):
        raise RasedError(
            f"count is {count}, but the split '{split}' has {len(corpus)} pairs: give 1 to {len(corpus)}."
        )
    if not 0 <= seed < order.SEEDS:
        raise RasedError(f"The seed is {seed}; it must be between 0 and {order.SEEDS - 1}.")
    check_out(out)
    chosen = _in_rounds(corpus, count, seed)
    about = {
        "name": component(name or out.resolve().name, what="the name of the test set"),
        "seed": seed,
        "sample_rate": corpus.sample_rate,
        "target": "clean",
        "early_ms": None,
        "split": split,
        "recipe": {"pairs": True, "count": count, "seed": seed},
        "sources": {"pairs": corpus.manifest()},
        "contents": {"speech": {corpus.key[n]: _contents(corpus, n) for n in sorted(chosen)}},
    }
    return write_frozen(
        out.resolve(),
        enumerate(chosen),
        partial(_item, corpus=corpus),
        about,
        kept="Nothing of the set is kept: free some space, or choose another --out",
        progress=lambda done: progress(done, count),
        jobs=jobs,
        engine=engine,
    )


def _in_rounds(corpus: Corpus, count: int, seed: int) -> list[int]:
    """Return recordings in random order, in rounds over the labels."""
    used: Counter[bytes] = Counter()
    shuffled = []
    for place, number in enumerate(order.generator(seed, 0, 0).permutation(len(corpus)).tolist()):
        label = bytes(corpus.label.encoded[number])
        shuffled.append((used[label], place, number))
        used[label] += 1
    return [number for _, _, number in sorted(shuffled)[:count]]


def _samples(corpus: Corpus, number: int) -> Int16[np.ndarray, "2 time"]:
    # Recordings in shards have 16 bits, so this is exact.
    return np.rint(corpus.read_channels(number)[:2] * np.float32(32768)).astype(np.int16)


def _item(
    place: tuple[int, int], *, corpus: Corpus
) -> tuple[dict[str, Any], dict[str, Int16[np.ndarray, " time"]]]:
    index, number = place
    clean, noisy = corpus.read_channels(number)[:2]
    ratio = ratio_db(clean, noisy - clean)
    samples = _samples(corpus, number)
    details = {
        "id": f"m{index:04d}",
        "condition": "noise",
        "snr_db": round(ratio, 3) if math.isfinite(ratio) else None,
        "seconds": round(len(clean) / corpus.sample_rate, 4),
        "level_dbfs": round(level_dbfs(noisy), 3),
        "speech": str(corpus.key[number]),
        "speaker": str(corpus.label[number]),
        "noise": None,
        "noise_type": None,
    }
    return details, {"noisy": samples[1], "target": samples[0]}


def _contents(corpus: Corpus, number: int) -> Sequence[str]:
    """Return the content hashes of a pair, and of its clean signal in shards of speech."""
    clean = _samples(corpus, number)[0]
    packed = (encode(clean, codec, corpus.sample_rate) for codec in LOSSLESS)
    digests = {hashlib.sha256(content).hexdigest() for content in packed}
    digests |= set(hexadecimal(corpus.sha256[number : number + 1]))
    return sorted(digest[:DIGITS] for digest in digests)
