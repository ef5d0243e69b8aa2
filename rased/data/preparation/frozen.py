"""Write frozen test sets: noisy/ID.flac, target/ID.flac and testset.json; a set gets its name when it is complete.

Additional inputs of models, such as an enrolment, are in conditions/NAME/ID.flac.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray

from rased.data.preparation.encoding import encode
from rased.data.testset import SCHEMA, TESTSET, list_sha256, read
from rased.disk import PART, new_folder, on_disk, unfinished_name, write_json
from rased.errors import RasedError
from rased.parallel import Cluster, in_order

Parts = Mapping[str, NDArray[np.int16]]
"""noisy, (time,) or (time, channel), target, and conditions/NAME for each condition."""
Drawn = TypeVar("Drawn")


def write_frozen(
    out: Path,
    drawn: Iterable[Drawn],
    make: Callable[[Drawn], tuple[dict[str, Any], Parts]],
    about: Mapping[str, Any],
    *,
    kept: str,
    progress: Callable[[int], None],
    jobs: int = 1,
    engine: Cluster | None = None,
) -> dict[str, Any]:
    """Write a frozen set, and return the content of its testset.json.

    Args:
        out: folder of the set, new or empty.
        drawn: what each mixture consists of.
        make: returns the facts of a mixture, with its id and seconds, and its audio; may run in another process.
        about: other facts for testset.json: name, sample_rate, target, seed and the like.
        kept: what remains when the disk is full, and what to do.
        progress: called with the number of finished mixtures.
        jobs: number of processes; 0: one per core.
        engine: a Ray cluster; None: this machine.

    Raises:
        RasedError: the folder contains another set, or no space is left.
    """
    with on_disk(out, kept):
        results = partial(in_order, items=drawn, jobs=jobs, workers="processes", engine=engine)
        return put_in_place(out, lambda work: _fill(work, make, results, about, progress))


def _fill(
    work: Path,
    make: Callable[[Drawn], tuple[dict[str, Any], Parts]],
    results: Callable[..., Iterable[dict[str, Any]]],
    about: Mapping[str, Any],
    progress: Callable[[int], None],
) -> dict[str, Any]:
    items = []
    put = partial(_put, make=make, work=work, sample_rate=about["sample_rate"])
    for item in results(put, folders=[work]):
        items.append(item)
        progress(len(items))
    for left in work.rglob(f".*{PART}"):  # of a process that was killed while it wrote
        left.unlink()
    return {
        "schema": SCHEMA,
        **about,
        "count": len(items),
        "seconds": round(sum(item["seconds"] for item in items), 3),
        # Another version of libsndfile may write other bytes for the same samples.
        "made_with": {
            "soundfile": soundfile.__version__,
            "libsndfile": soundfile.__libsndfile_version__,
        },
        "list_sha256": list_sha256(items),
        "items": items,
    }


def _put(
    drawn: Drawn,
    *,
    make: Callable[[Drawn], tuple[dict[str, Any], Parts]],
    work: Path,
    sample_rate: int,
) -> dict[str, Any]:
    """Make a mixture, write its files, and return its facts with their hashes."""
    item, parts = make(drawn)
    for part, samples in parts.items():
        data = encode(samples, "flac", sample_rate)
        (work / part).mkdir(parents=True, exist_ok=True)
        # Renamed when complete: on a cluster, a task that was given up may go on beside its repetition. For each file,
        # `replacing` would look at the whole folder and wait for the disk.
        name = f"{item['id']}.flac"
        unfinished = work / part / unfinished_name(name)
        unfinished.write_bytes(data)
        unfinished.replace(work / part / name)
        # conditions/NAME: the hash goes to sha256_conditions.
        folder, _, condition = part.partition("/")
        digest = hashlib.sha256(data).hexdigest()
        if condition:
            item.setdefault(f"sha256_{folder}", {})[condition] = digest
        else:
            item[f"sha256_{part}"] = digest
    return item


def put_in_place(out: Path, fill: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Make a frozen set, and give it its name when it is complete; return the content of its testset.json.

    Several processes may do this at once: each fills its own folder, and one of them gets the name. If the
    existing set
    is equal, it is left unchanged.

    Args:
        out: folder of the set, new or empty.
        fill: writes audio to a folder and returns the content of testset.json.

    Raises:
        RasedError: the folder contains another set.
    """
    content: dict[str, Any] = {}
    try:
        with new_folder(out) as work:
            content = fill(work)
            write_json(work / TESTSET, content)
            with suppress(OSError):
                out.rmdir()  # removes an empty folder only
    except FileExistsError:
        there = read(out).list_sha256
        if there != content.get("list_sha256"):
            raise RasedError(
                f"'{out}' already contains another test set (list_sha256 {there[:12]}, this would be "
                f"{str(content.get('list_sha256'))[:12]}): a frozen set never changes; choose another --out."
            ) from None
    return content
