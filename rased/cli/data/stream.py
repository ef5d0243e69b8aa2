"""`rased data stream`: list the mixtures of an epoch, as a table that two machines can compare."""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from rased.cli.options import add_choice, add_config, add_value
from rased.errors import ProblemsFound, RasedError

EXAMPLES = """\
examples:
  rased data stream -c data/bundle --samples 0:8                 list the first eight mixtures
  rased data stream -c data/bundle --samples 0:64 --hashes       the same lines for any --workers
  rased data stream -c data/bundle --samples 0:64 --hashes --workers 2 --world-size 3

One line for each mixture: index; keys of speech, noise and room; SNR; level; distortions (if the scene
has any); and, with --hashes, the SHA-256 of noisy and target. Every draw is a function of (seed, epoch, index).
A mixture that cannot be read is left out and named on stderr, and the exit code is 1."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased data stream`."""
    add_config(parser, "YAML with a data section", required=True)
    parser.add_argument("--samples", required=True, metavar="A:B", help="from index A to B - 1")
    add_value(parser, "--epoch", "N", 0, "number of the epoch")
    add_choice(parser, "--split", ("train", "valid"), "split of the shards")
    add_value(parser, "--workers", "N", 0, "number of reader processes")
    add_value(parser, "--world-size", "N", 1, "number of ranks to simulate, one after the other")
    parser.add_argument(
        "--hashes", action="store_true", help="mix, and print a hash of every mixture"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")


def run(arguments: argparse.Namespace) -> int:
    """Print the lines in the order of their index."""
    begin, end = _range(arguments.samples)
    _check(arguments)
    skipped: list[str] = []
    rows = sorted(_rows(arguments, begin, end, skipped), key=lambda row: row["index"])
    for row in rows:
        if arguments.json:
            print(json.dumps(row))
        else:
            print("\t".join(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()))
    if skipped:
        for reason in skipped:
            print(f"skipped: {reason}", file=sys.stderr)
        raise ProblemsFound(
            f"{len(skipped)} of {end - begin} samples could not be read and are missing from the list: check the "
            "shards with `rased data verify`."
        )
    return 0


def _check(arguments: argparse.Namespace) -> None:
    from rased.data.mixtures.order import EPOCHS

    for option, value, least in (
        ("--workers", arguments.workers, 0),
        ("--world-size", arguments.world_size, 1),
        ("--epoch", arguments.epoch, 0),
    ):
        if value < least:
            raise RasedError(f"{option} is {value}; it must be {least} or more.")
    if arguments.epoch >= EPOCHS:
        raise RasedError(f"--epoch is {arguments.epoch}; the largest epoch is {EPOCHS - 1}.")


def _range(text: str) -> tuple[int, int]:
    begin, colon, end = text.partition(":")
    if not (colon and begin.isdecimal() and end.isdecimal() and int(begin) < int(end)):
        raise RasedError(f"--samples is '{text}'; give a range of indices such as 0:64.")
    return int(begin), int(end)


def _rows(
    arguments: argparse.Namespace, begin: int, end: int, skipped: list[str]
) -> Iterator[dict[str, Any]]:
    """Yield one row per mixture; collect the reasons of those that could not be read in `skipped`."""
    from pytorch_lightning import LightningDataModule

    from rased.building import build
    from rased.config import load_configs
    from rased.data.datamodule import VALIDATION_EPOCH, MixtureDataModule
    from rased.data.mixtures.distortions import names
    from rased.data.mixtures.loader import Loader

    config = load_configs(arguments.config)
    if "data" not in config:
        raise RasedError("The configuration has no section 'data': add -c data/bundle.")
    data = build(LightningDataModule, config["data"])
    if not isinstance(data, MixtureDataModule):
        raise RasedError(f"{type(data).__name__} does not make mixtures: use a MixtureDataModule.")
    plan = data.plan(arguments.split)
    if end > plan.count:
        raise RasedError(f"--samples ends at {end}, but an epoch has {plan.count} samples.")
    # The loader stops at the end of an epoch, so a shorter epoch ends where the range ends.
    plan.count = end
    for rank in range(arguments.world_size):
        loader = Loader(
            plan,
            batch_size=data.batch_size,
            num_workers=arguments.workers,
            rank=rank,
            world_size=arguments.world_size,
        )
        loader.epoch = arguments.epoch if arguments.split == "train" else VALIDATION_EPOCH
        loader.position = begin
        for batch in loader:
            skipped += batch["skipped"]
            mixture = data.mixer(batch) if arguments.hashes and len(batch["index"]) else None
            for place, index in enumerate(batch["index"].tolist()):
                row = {
                    "index": index,
                    "key": batch["key"][place],
                    "noise": batch["noise_key"][place] or "-",
                    "rir": batch["rir_key"][place] or "-",
                    "snr_db": float(batch["snr_db"][place]),
                    "level_dbfs": float(batch["level_dbfs"][place]),
                }
                if plan.scene.distortions.any:
                    row["distorted"] = names(batch["distortions"][place]) or "-"
                if mixture is not None:
                    parts = (
                        mixture[part][place].cpu().numpy().tobytes() for part in ("noisy", "target")
                    )
                    row["sha256"] = hashlib.sha256(b"".join(parts)).hexdigest()
                yield row
