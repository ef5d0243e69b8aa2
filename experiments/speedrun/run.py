"""Train a causal enhancer on the bundled corpus to a target score, as fast as possible: README.md contains the rules.

From the root of the repository, with PYTHONPATH=. and no other work on the machine:

    S=experiments/speedrun/run.py
    python $S run 01-baseline --seeds 1 2 3     train while the clock runs, score, add to history.json
    python $S run 01-baseline --trial           the same, without a trace in history.json
    python $S table                             write the history in README.md
"""

import argparse
import json
import os
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ENTRIES, RULES, HISTORY = HERE / "entries", HERE / "rules.yaml", HERE / "history.json"
STATE = Path("local/speedrun")
SET = STATE / "set"
SET_SHA256 = "65988ee6"
FREEZE = (
    "--speech bundle --noise bundle --rir bundle --split valid --count 60 --seed 20 --seconds 4"
)
TARGET = {"pesq-wb": 1.60, "estoi": 0.785, "si-sdr": 7.5}
"""Means that the three seeds of an entry must reach together."""
SEEDS = (1, 2, 3)
LATENCY = 48.0
"""Milliseconds, at most."""
CORES = 2
MARKERS = ("<!-- table: run.py table -->", "<!-- /table -->")


@dataclass(frozen=True)
class Row:
    """A training of an entry: seconds by the wall clock and by the processors, and the mean scores."""

    entry: str
    track: str
    seed: int
    commit: str
    machine: str
    seconds: float
    cpu_seconds: float
    scores: dict[str, float]


def command(entry: str, seed: int, run: Path) -> tuple[dict[str, str], list[str]]:
    """Return the environment and the words of an entry: its first line, the rules, the seed.

    Raises:
        SystemExit: the entry is missing, starts from weights, or is no training.
    """
    path = ENTRIES / f"{entry}.yaml"
    if not path.is_file():
        known = " ".join(sorted(one.stem for one in ENTRIES.glob("*.yaml")))
        raise SystemExit(f"no entry {entry}; there are {known}")
    words = shlex.split(path.read_text(encoding="utf-8").splitlines()[0].lstrip("# "))
    environment = {}
    while words and "=" in words[0]:
        key, value = words.pop(0).split("=", 1)
        environment[key] = value
    if words[:1] == ["torchrun"]:
        words[:1] = [sys.executable, "-m", "torch.distributed.run"]
    elif words[:2] == ["rased", "train"]:
        words[:1] = [sys.executable, "-m", "rased"]
    if "train" not in words or "-c" not in words:
        raise SystemExit(f"{path}: the first line is not a command of `rased train -c YAML`")
    given = words[words.index("train") + 1 :]
    # Settings after the files would go before the rules.
    if {*given[::2]} != {"-c"}:
        raise SystemExit(f"{path}: an entry has files (-c) alone, and starts from nothing")
    words += [
        "-c",
        str(RULES),
        "--seed_everything",
        str(seed),
        "--runs",
        str(run.parent),
        "--name",
        run.name,
    ]
    return environment, words


def timed(
    words: Sequence[str], environment: dict[str, str], log: Path, *, bound: bool = True
) -> tuple[float, float]:
    """Run a command, `bound` to two cores; return its seconds and its processor seconds, with those of its children.

    Raises:
        SystemExit: there are too few cores, or the command fails.
    """
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    if bound and len(cores) < CORES:
        raise SystemExit(f"this track needs {CORES} cores; there is one")
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with log.open("w") as out:
        code = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "WANDB_MODE": "disabled", **environment},
            preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if bound else None,
            check=False,
        ).returncode
    seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if code:
        raise SystemExit(f"failed, see {log}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def frozen() -> Path:
    """Return the test set; freeze it first if need be.

    Raises:
        SystemExit: it is another one.
    """
    if not SET.is_dir():
        words = [sys.executable, "-m", "rased", "data", "freeze", *shlex.split(FREEZE)]
        subprocess.run([*words, "--out", str(SET)], check=True)
    found = json.loads((SET / "testset.json").read_text(encoding="utf-8"))["list_sha256"]
    if not found.startswith(SET_SHA256):
        raise SystemExit(f"{SET} is not the set of this speedrun: {found[:8]}, not {SET_SHA256}")
    return SET


def scored(run: Path) -> dict[str, float]:
    """Return the mean scores of the run on the frozen set.

    Raises:
        SystemExit: it is not causal, or too late.
    """
    import rased
    from rased.evaluation.result import file_name, load

    enhancer = rased.load(str(run))
    delay = enhancer.total_latency
    if delay is None or 1000 * delay / enhancer.sample_rate > LATENCY:
        raise SystemExit(f"{run}: not causal within {LATENCY:.0f} ms")
    results = run / "speedrun"
    words = [sys.executable, "-m", "rased", "evaluate", str(run), "--on", str(frozen())]
    words += ["--out", str(results), "--metrics", *TARGET, "--jobs", str(CORES)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    result = load(results / file_name(run.name, SET.name))
    return {metric: round(statistics.fmean(result.values(metric).values()), 4) for metric in TARGET}


def train(entry: str, seed: int, track: str, *, trial: bool) -> Row:
    """Train an entry with the clock running, and score it."""
    from rased.machine import processor

    commit = _git("rev-parse", "--short", "HEAD")
    # From the top of the repository, wherever this command runs.
    sources = (":/rased", ":/configs", str(ENTRIES), str(RULES))
    if not trial and _git("status", "--porcelain", "--", *sources):
        raise SystemExit("commit the entry first: its row states the commit (or give --trial)")
    frozen()
    run = STATE / "runs" / f"{entry}-{track}-{seed}"
    shutil.rmtree(run, ignore_errors=True)
    run.parent.mkdir(parents=True, exist_ok=True)
    environment, words = command(entry, seed, run)
    words += ["--trainer.accelerator", track]
    seconds, cpu = timed(words, environment, run.with_suffix(".log"), bound=track == "cpu")
    scores = scored(run)
    machine = processor() if track == "cpu" else _gpu()
    return Row(entry, track, seed, commit, machine, round(seconds, 1), round(cpu, 1), scores)


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name()


def _git(*words: str) -> str:
    told = subprocess.run(["git", *words], cwd=HERE, check=True, capture_output=True, text=True)
    return told.stdout.strip()


def reached(rows: Sequence[Row]) -> bool:
    """Return whether the means of these seeds reach the target."""
    return all(_mean(rows, metric) >= goal for metric, goal in TARGET.items())


def _mean(rows: Sequence[Row], metric: str) -> float:
    return round(statistics.fmean(row.scores[metric] for row in rows), 4)


def markdown(rows: Sequence[Row], track: str, changes: dict[str, str]) -> str:
    """Return the history of a track: one line for each entry, in their order; records are bold."""
    lines = [
        "| entry | what changed | commit | machine | seconds | CPU seconds | seeds | PESQ wb | ESTOI | SI-SDR | |",
        "|---|---|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    best = float("inf")
    for entry in sorted({row.entry for row in rows if row.track == track}):
        own = [row for row in rows if (row.entry, row.track) == (entry, track)]
        seconds = statistics.fmean(row.seconds for row in own)
        counts, enough = reached(own), len(own) >= len(SEEDS)
        record = counts and enough and seconds < best
        best = min(best, seconds) if record else best
        time_ = f"**{seconds:.0f}**" if record else f"{seconds:.0f}"
        state = (
            "record" if record else "" if counts and enough else "one seed" if counts else "below"
        )
        cells = [entry, changes.get(entry, ""), own[-1].commit, own[-1].machine, time_]
        cells += [f"{statistics.fmean(row.cpu_seconds for row in own):.0f}", str(len(own))]
        cells += [f"{_mean(own, 'pesq-wb'):.3f}", f"{_mean(own, 'estoi'):.3f}"]
        cells += [f"{_mean(own, 'si-sdr'):.2f}", state]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def read(file: Path = HISTORY) -> list[Row]:
    """Return all rows of the history."""
    return (
        [Row(**row) for row in json.loads(file.read_text(encoding="utf-8"))]
        if file.is_file()
        else []
    )


def changes() -> dict[str, str]:
    """Return the second line of each entry: what it changed."""
    return {
        path.stem: path.read_text(encoding="utf-8").splitlines()[1].lstrip("# ")
        for path in ENTRIES.glob("*.yaml")
    }


def table() -> int:
    """Write the history of README.md."""
    from rased.disk import write_text

    rows, readme = read(), HERE / "README.md"
    titles = {"cpu": "Two CPU cores", "gpu": "One GPU"}
    tables = [
        f"**{title}**\n\n{markdown(rows, track, changes())}"
        for track, title in titles.items()
        if any(row.track == track for row in rows)
    ]
    head, _, rest = readme.read_text(encoding="utf-8").partition(MARKERS[0])
    told = "\n\n".join(tables)
    write_text(readme, f"{head}{MARKERS[0]}\n{told}\n{MARKERS[1]}{rest.partition(MARKERS[1])[2]}")
    print(told)
    return 0


def main() -> int:
    """Read the command line and do what it says."""
    from rased.disk import write_json

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="train an entry while the clock runs, and score it")
    run.add_argument("entry", help="name of a file in entries/")
    run.add_argument("--seeds", nargs="+", type=int, default=[SEEDS[0]], help="default: 1")
    run.add_argument("--track", choices=("cpu", "gpu"), default="cpu", help="default: cpu")
    run.add_argument("--trial", action="store_true", help="leave history.json alone")
    verbs.add_parser("table", help="write the history of README.md")
    told = parser.parse_args()
    if told.verb == "table":
        return table()
    for seed in told.seeds:
        row = train(told.entry, seed, told.track, trial=told.trial)
        print(json.dumps(asdict(row)), flush=True)
        if not told.trial:
            others = [one for one in read() if (one.entry, one.track, one.seed) != _key(row)]
            write_json(HISTORY, [asdict(one) for one in [*others, row]])
    return 0


def _key(row: Row) -> tuple[Any, ...]:
    return row.entry, row.track, row.seed


if __name__ == "__main__":
    sys.exit(main())
