"""Write the batch of one training step again: WAV files, and the random choices behind each mixture."""

import argparse
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rased.cli.options import add_allow
from rased.errors import RasedError

if TYPE_CHECKING:
    from rased.data.datamodule import MixtureDataModule
    from rased.data.mixtures.drawn import Piece
    from rased.data.mixtures.plan import Plan
    from rased.data.mixtures.sample import Batch, Mixture
    from rased.training.history import Launch

EXAMPLES = """\
examples:
  rased replay runs/mine --step 1200                  write to runs/mine/replay/001200
  rased replay mine --step 1200 --out batch --json    also print the random choices as JSON

Steps count from 1: step N is row N - 1 of metrics.csv. For every mixture of every rank, the folder holds
INDEX-noisy.wav, -target, -early, -late and -noise (32-bit float, mixed on the CPU), and -enrolment where the run has
enrolments. INDEX is the position in the epoch. batch.json holds keys, crops, SNR, level, room, spectral shaping and
distortions. If a step ran twice, because the run was killed and resumed from an earlier checkpoint, the last one is
written."""

PARTS = ("noisy", "target", "early", "late", "noise")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased replay`."""
    parser.epilog = EXAMPLES
    parser.add_argument("run", metavar="RUN", help="folder or name of a run")
    parser.add_argument("--step", type=int, required=True, metavar="N", help="number of the step")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: RUN/replay/N")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), help="folder that holds all runs"
    )
    add_allow(parser)
    parser.add_argument("--json", action="store_true", help="print the random choices as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Write the batch and print one line for each mixture."""
    from rased.cli.train import find_run

    folder = find_run(arguments.run, arguments.runs)
    out = arguments.out or folder / "replay" / f"{arguments.step:06d}"
    replayed = replay(folder, arguments.step, out, allow=arguments.allow)
    if arguments.json:
        print(json.dumps(replayed, indent=1))
        return 0
    for sample in replayed["samples"]:
        keys = "+".join(piece["key"] for piece in (*sample["speech"], *sample.get("pair", ())))
        noises = "+".join(piece["key"] for piece in sample["noise"]) or "-"
        ratio = "-" if sample["snr_db"] is None else f"{sample['snr_db']:.1f} dB"
        words = (f"{sample['index']:06d}", keys, noises, sample["rir"] or "-", ratio)
        print("\t".join(words))
    for sentence in replayed["skipped"]:
        print(f"skipped: {sentence}")
    print(f"step {replayed['step']}, epoch {replayed['epoch']}: {out}")
    return 0


def replay(folder: Path, step: int, out: Path, *, allow: Sequence[str] = ()) -> dict[str, Any]:
    """Write the mixtures of one training step to `out`, and return the content of batch.json.

    Raises:
        RasedError: the run has not reached this step, or its data have changed since.
    """
    from rased.data.mixtures.loader import Loader
    from rased.training.history import launch_of, read_launches

    launches = read_launches(folder)
    if not launches:
        raise RasedError(f"'{folder}' has not started to train: launches.yaml is missing.")
    # Metrics are logged every few steps and checkpoints are rarer, so each source may lag behind the others.
    reached = max(_logged(folder), *(max(one.step, one.broke or 0) for one in launches))
    if not 1 <= step <= reached:
        raise RasedError(f"--step is {step}; '{folder}' has the steps 1 to {reached}.")
    launch = launch_of(launches, step)
    data = _data(launch, allow)
    plan = data.plan("train")
    epoch, position, batches = launch.batches(step, plan.count)
    out.mkdir(parents=True, exist_ok=True)
    samples: list[dict[str, Any]] = []
    skipped: list[str] = []
    # All ranks of the launch, one after the other: each drew its own share of the epoch.
    for rank in range(launch.world_size):
        loader = Loader(
            plan,
            batch_size=cast(int, launch.batch_size),
            num_workers=0,
            rank=rank,
            world_size=launch.world_size,
        )
        # The loader starts at the first batch of the step.
        loader.epoch, loader.position = epoch, position
        for number, batch in enumerate(itertools.islice(loader, batches)):
            _write(data.mixer(batch), plan.sample_rate, out)
            skipped += batch["skipped"]
            samples += [
                {"rank": rank, "batch": number, **_drawn(plan, epoch, batch, row)}
                for row in range(len(batch["index"]))
            ]
    replayed = {
        "run": str(folder),
        "step": step,
        "epoch": epoch,
        "sample_rate": plan.sample_rate,
        "target": data.mixing.target,
        "samples": samples,
        "skipped": skipped,
    }
    (out / "batch.json").write_text(json.dumps(replayed, indent=1) + "\n", encoding="utf-8")
    return replayed


def _write(mixture: "Mixture", sample_rate: int, out: Path) -> None:
    """Write all parts of the mixtures of a batch, as they are on the device."""
    import soundfile

    plain = cast("dict[str, Any]", mixture)
    heard = {part: plain[part] for part in PARTS}
    for part, rows in {**heard, **mixture.get("condition", {})}.items():
        for index, row in zip(mixture["index"].tolist(), rows, strict=True):
            audio = row.numpy().T  # samples first, as soundfile expects
            path = out / f"{index:06d}-{part}.wav"
            soundfile.write(path, audio, sample_rate, subtype="FLOAT")


def _logged(folder: Path) -> int:
    """Return the last step found in the metrics or in the last checkpoint."""
    from rased import documents
    from rased.documents import Count
    from rased.tensors import read_checkpoint
    from rased.training.metrics import NAME, read_metrics

    rows, _ = read_metrics(folder / NAME)
    steps = max((row.step + 1 for row in rows), default=0)
    last = folder / "checkpoints" / "last.ckpt"
    if last.is_file():
        saved = read_checkpoint(last).get("global_step")
        steps = max(steps, documents.fit(saved, Count, of=last, repair="Copy it again."))
    return steps


def _data(launch: "Launch", allow: Sequence[str]) -> "MixtureDataModule":
    """Build the data module of a launch; check that its corpora are the ones that the run used."""
    from pytorch_lightning import LightningDataModule

    from rased.building import build
    from rased.classes import allowing
    from rased.data.datamodule import MixtureDataModule
    from rased.data.frames.datamodule import FramesDataModule

    trainer = launch.config.get("trainer")
    callbacks = trainer.get("callbacks") if isinstance(trainer, dict) else None
    if "GradientAccumulationScheduler" in str(callbacks or ""):
        raise RasedError(
            "the run changed accumulate_grad_batches during training (GradientAccumulationScheduler), so its steps "
            "cannot be reconstructed; list its samples with `rased data stream` instead."
        )
    spec = launch.config.get("data") or {}
    data = build(LightningDataModule, spec, classes=allowing(allow), where="data")
    if not isinstance(data, MixtureDataModule) or isinstance(data, FramesDataModule):
        raise RasedError(
            f"the run trained on {type(data).__name__}, which does not make mixtures; there is no audio to write."
        )
    data.cache = None  # every recording is read once, so a cache would not help
    for corpus in data.plan("train").corpora:
        if corpus.digest() != launch.corpora[corpus.role]:
            raise RasedError(
                f"the {corpus.role} corpus has changed since the run trained: {', '.join(data.sources[corpus.role])}. "
                "Restore the shards of that time."
            )
    return data


def _drawn(plan: "Plan", epoch: int, batch: "Batch", row: int) -> dict[str, Any]:
    """Return the random choices of one mixture."""
    from rased.data.mixtures.distortions import names

    drawn = plan.draw(epoch, int(batch["index"][row]))

    def crops(pieces: "tuple[Piece, ...]", keys: Any) -> list[dict[str, Any]]:
        return [
            {"key": str(keys[p.recording]), "start": p.start, "frames": p.frames, "at": p.at}
            for p in pieces
        ]

    babble = [crops(voice, plan.speech.key) for voice in drawn.babble]
    enrolment = crops((drawn.enrolment,), plan.speech.key) if drawn.enrolment else []
    noise = crops(drawn.noise, plan.noise.key) if plan.noise is not None else []
    pair = crops((drawn.pair,), plan.pairs.corpus.key) if drawn.pair and plan.pairs else []
    snr_db = float(batch["snr_db"][row]) if pair else drawn.snr_db
    return {
        "index": drawn.index,
        "speech": crops(drawn.speech, plan.speech.key),
        **({} if plan.scene.speed == (1, 1) else {"speed": drawn.speed}),
        **({} if drawn.speaking else {"speaking": False}),
        **({"babble": babble} if babble else {}),
        **({"enrolment": enrolment[0]} if enrolment else {}),
        **({"pair": pair} if pair else {}),
        "noise": [
            {**crop, "level_db": level} for crop, level in zip(noise, drawn.noise_db, strict=True)
        ],
        "rir": batch["rir_key"][row] or None,
        # Those of a pair are measured when it is read.
        "snr_db": snr_db if math.isfinite(snr_db) else None,
        "level_dbfs": float(batch["level_dbfs"][row]) if pair else drawn.level_dbfs,
        "shaping": [list(filter_) for filter_ in drawn.shaping],
        "distortions": [{"kind": names([one]), **one._asdict()} for one in drawn.distortions],
    }
