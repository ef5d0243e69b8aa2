"""Measure data loading: seconds of mixtures per CPU second (4 s crops of 10 s recordings, 1 s responses)."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rased.cli.options import add_value

if TYPE_CHECKING:
    from rased.data.mixtures.plan import Plan
    from rased.data.mixtures.sample import Batch
    from rased.data.schemas import Codec, Role

EXAMPLES = """\
examples:
  rased bench loader                            use generated recordings
  rased bench loader --dir FOLDER --json        use the audio files in FOLDER/speech, FOLDER/noise, FOLDER/rir

Audio seconds per CPU second on one thread of one process, median of the rounds:
  decode_only      decode two crops from separate FLAC files, nothing else: the upper bound for FLAC
  flac_load        from FLAC shards to batches: draw, decode, collate; mixing is left to the accelerator
  pcm16_load       the same from shards of raw 16-bit samples
  ram_load         the same from recordings that an earlier epoch left in memory (cache: ram)
  flac_mix_cpu     flac_load and mixing: noisy, early target, late reverberation, noise
  pcm16_mix_cpu    pcm16_load and mixing
and in audio seconds per wall-clock second, meaningful only on an idle machine:
  flac_workers_1   flac_load in one worker process; flac_workers_2 in two
"""

ROLES: tuple["Role", ...] = ("speech", "noise", "rir")
SAMPLE_RATE = 16_000
SECONDS = 4.0
SHARE = 4
"""Factor on the items of a round with worker processes, so that their start-up weighs less."""
LONG = 10
"""Seconds of a generated recording."""


Job = Callable[[int], float]
"""A job: takes the number of an epoch, returns audio seconds per second."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased bench loader`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="FOLDER",
        help="folder with audio files in speech, noise and rir (default: generated files)",
    )
    add_value(parser, "--items", "N", 300, "mixtures in a round")
    add_value(parser, "--rounds", "N", 3, "rounds of each measurement")
    add_value(parser, "--batch-size", "N", 16, "mixtures in a batch")


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Return audio seconds per CPU second of each way of loading.

    Raises:
        RasedError: the folder lacks speech, noise or rir.
    """
    import torch

    items, rounds = arguments.items, arguments.rounds
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="rased-bench-") as scratch:
            source = arguments.dir or _generate(Path(scratch) / "source", items)
            jobs = _jobs(source, Path(scratch), items, arguments.batch_size)
            # The first round does not count: it fills caches.
            for job in jobs.values():
                job(0)
            speeds: dict[str, list[float]] = {name: [] for name in jobs}
            for number in range(1, rounds + 1):
                for name, job in jobs.items():
                    speeds[name].append(job(number))
    finally:
        torch.set_num_threads(threads)
    return {name: statistics.median(found) for name, found in speeds.items()}


def _jobs(source: Path, scratch: Path, items: int, batch_size: int) -> dict[str, Job]:
    """Return the jobs to measure, by name."""
    from rased.data.mixtures.cache import keep
    from rased.data.mixtures.loader import Loader
    from rased.data.mixtures.mixing import Mixer, Mixing
    from rased.data.preparation.pack import pack

    codecs: tuple[Codec, ...] = ("flac", "pcm16")
    for codec in codecs:
        for role in ROLES:
            pack([source / role], scratch / codec / role, role=role, codec=codec, jobs=1)

    def loader(codec: str, *, workers: int = 0, kept: bool = False) -> Loader:
        plan = _plan(scratch / codec, SHARE * items if workers else items)
        if kept:
            keep(plan.corpora, where="ram", limit=4 << 30)  # 4 GiB
        return Loader(plan, batch_size=batch_size, num_workers=workers, rank=0, world_size=1)

    def load(batches: Loader, work: Callable[["Batch"], Any] = len) -> Job:
        def epoch(number: int) -> float:
            batches.epoch = number
            start = time.process_time()
            for batch in batches:
                work(batch)
            return SECONDS * items / (time.process_time() - start)

        return epoch

    def work(batches: Loader) -> Job:
        def epoch(number: int) -> float:
            batches.epoch = number
            loaded = iter(batches)
            next(loaded)  # the worker processes are running after the first batch
            start = time.perf_counter()
            count = sum(len(batch["key"]) for batch in loaded)
            return SECONDS * count / (time.perf_counter() - start)

        return epoch

    return {
        "decode_only": _decode_only(source, items),
        "flac_load": load(loader("flac")),
        "pcm16_load": load(loader("pcm16")),
        "ram_load": load(loader("flac", kept=True)),
        "flac_mix_cpu": load(loader("flac"), Mixer(Mixing())),
        "pcm16_mix_cpu": load(loader("pcm16"), Mixer(Mixing())),
        "flac_workers_1": work(loader("flac", workers=1)),
        "flac_workers_2": work(loader("flac", workers=2)),
    }


def _plan(folder: Path, items: int) -> "Plan":
    from rased.data.mixtures.corpus import Corpus
    from rased.data.mixtures.plan import Plan, Scene

    speech, noise, rir = (Corpus([folder], role=role, split="train") for role in ROLES)
    scene = Scene(segment=SECONDS, reverb_probability=1.0)
    return Plan(speech=speech, noise=noise, rir=rir, scene=scene, seed=0, count=items)


def _decode_only(source: Path, items: int) -> Job:
    import soundfile

    speech, noise = (
        [(path, soundfile.info(path).frames) for path in sorted((source / role).iterdir())]
        for role in ("speech", "noise")
    )

    def crop(file: tuple[Path, int], random: np.random.Generator) -> int:
        frames = round(SECONDS * SAMPLE_RATE)
        start = int(random.integers(max(1, file[1] - frames)))
        return len(soundfile.read(file[0], frames=frames, start=start, dtype="float32")[0])

    def decode(number: int) -> float:
        random = np.random.default_rng(number)
        start = time.process_time()
        for item in range(items):
            crop(speech[item % len(speech)], random)
            crop(noise[int(random.integers(len(noise)))], random)
        return SECONDS * items / (time.process_time() - start)

    return decode


def _generate(root: Path, items: int) -> Path:
    """Write speech-like and noise recordings of 10 s and decaying responses of 1 s as FLAC files."""
    import soundfile

    random = np.random.default_rng(0)
    second = np.arange(LONG * SAMPLE_RATE) / SAMPLE_RATE
    for role, count in (("speech", items), ("noise", -(-items // 5)), ("rir", -(-items // 6))):
        (root / role).mkdir(parents=True)
        for number in range(count):
            audio = random.standard_normal(LONG * SAMPLE_RATE)
            if role == "speech":
                # Brown noise without its drift, with pauses.
                audio = np.cumsum(audio)
                audio -= np.convolve(audio, np.ones(400) / 400, "same")
                audio *= 0.2 + np.abs(np.sin(6 * second))
            elif role == "rir":
                audio = audio[:SAMPLE_RATE] * np.exp(-13.8 * second[:SAMPLE_RATE])  # T60 of 0.5 s
                audio[0] = 5.0
            audio *= 0.5 / np.abs(audio).max()
            soundfile.write(root / role / f"{number:04d}.flac", audio, SAMPLE_RATE)
    return root
