"""The same ten minutes of a CPU for every architecture: what a minute buys, and how good the networks become.

From the root of the repository, with PYTHONPATH=. and the corpora in local/commons and local/rooms:

    R=experiments/0013-box-by-box/run.py
    python $R pilot --jobs 2                   how many steps ten CPU minutes are: steps.json
    python $R train --jobs 2                   train that many steps; elsewhere: --device gpu --jobs 9
    python $R pack local/box-by-box/runs --out OUT    what the scores need, in small files, if they are made elsewhere
    python $R score --on TESTSET --jobs 2      SI-SDR, ESTOI and PESQ of what is trained, and of the noisy input
    python $R table                            README.md, figure.png, and `learned` in rased/models/figures.json

NAMEs after the verb choose architectures (default: all). What is done is skipped, so an interrupted command continues;
also on another machine: those whose scores are in figures.json are neither trained nor scored again.
Words after -- go to each `rased train`.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

HERE = Path(__file__).resolve().parent
CONFIG, STEPS = HERE / "config.yaml", HERE / "steps.json"
STATE = Path("local/box-by-box")
TESTSET = "../shared/data/commons-test"
BUDGET = 600.0
"""CPU seconds of a training."""
FAMILIES = (
    *("attenuate-small", "bsrnn-small", "cmgan-small", "conv-tasnet-causal-small", "crn-small"),
    *("dccrn-small", "dcunet-small", "deepfilternet3-small", "demucs-small", "dnn-mapping-small"),
    *("dpcrn-small", "dprnn-causal-small", "dpt-fsnet-small", "dtln", "fastenhancer-t"),
    *("fastenhancer-b", "fcn-causal-small", "frcrn-small", "fullsubnet-small"),
    *("fullsubnet-plus-small", "gcrn-small", "gtcrn", "gru-mask", "lisennet", "lstm-psm-small"),
    *("mp-senet-small", "nsnet2", "phasen-small", "r-ced-small", "rnnoise-small", "segan-small"),
    *("semamba-causal-small", "sepformer-small", "tcnn-small", "tf-gridnet-small", "ul-unas"),
    "wave-u-net-small",
)
DEVICES = {
    "cpu": (),
    "gpu": (
        *("--trainer.accelerator", "gpu"),
        *("--data.cache", "device"),
        *("--data.num_workers", "1"),
    ),
}
"""Words of `rased train`. Neither the cache nor the workers change the mixtures."""
ENVIRONMENT = {
    "WANDB_MODE": "disabled",
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    # Convolutions in float32, as on a CPU: cuDNN would round their factors to 10 bits.
    "NVIDIA_TF32_OVERRIDE": "0",
}
METRICS = ("si-sdr", "estoi", "pesq-wb")
MARKERS = ("<!-- table: run.py table -->", "<!-- /table -->")
AUDIO = 32.0
"""Seconds of mixtures in a batch."""
MIXING = 1500
"""Calls of operators that make a batch on a GPU, in round numbers; those of the pilot are not of the mixing."""
Steps = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Task:
    """A command whose output goes to a file."""

    name: str
    words: Sequence[str]
    log: Path


def side_by_side(
    tasks: Sequence[Task], jobs: int, until: float = float("inf")
) -> Iterator[tuple[str, int]]:
    """Run commands, so many at once, in this order; yield (name, exit code) of each as it ends.

    At the time `until` those that run are asked to stop, and no more are begun.
    """
    waiting, stopped = list(tasks), False
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        while waiting or running:
            late = time.time() > until
            while waiting and len(running) < jobs and not late:
                task = waiting.pop(0)
                task.log.parent.mkdir(parents=True, exist_ok=True)
                with task.log.open("w") as log:
                    running[task.name] = subprocess.Popen(
                        task.words,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env={**os.environ, **ENVIRONMENT},
                    )
            if late and not stopped:
                stopped, waiting = True, []
                for process in running.values():
                    process.send_signal(signal.SIGTERM)
            for name in [name for name, one in running.items() if one.poll() is not None]:
                yield name, running.pop(name).returncode
            time.sleep(0.1)
    finally:
        for process in running.values():
            process.terminate()


def digest(name: str) -> str:
    """Return the hash of the configuration of an architecture."""
    from rased.models.figures import config_sha256
    from rased.models.registry import model_config

    return config_sha256(model_config(name))


def read_steps(file: Path = STEPS) -> Steps:
    """Return what the pilots measured, of configurations as they are now."""
    rows = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {name: row for name, row in rows.items() if row["config_sha256"] == digest(name)}


def steps_of(seconds: float, budget: float = BUDGET) -> int:
    """Return how many steps of so many CPU seconds the budget is, in two digits.

    >>> steps_of(0.45), steps_of(14.2)
    (1300, 42)
    """
    return max(1, int(float(f"{budget / seconds:.2g}")))


def pilot(names: Sequence[str], jobs: int, file: Path, words: Sequence[str], seconds: float) -> int:
    """Measure steps, each architecture in a process of its own; write them to the file."""
    from rased.disk import write_json

    known, tasks = read_steps(file), []
    for name in names:
        if name not in known:
            start = [sys.executable, str(HERE / "run.py"), "measure", name]
            start += ["--seconds", str(seconds), "--", *words]
            tasks.append(Task(name, start, STATE / "pilot" / f"{name}.log"))
    failed = []
    for name, code in side_by_side(tasks, jobs):
        if code:
            print(f"{name}: failed; see {STATE / 'pilot' / name}.log", flush=True)
            failed.append(name)
            continue
        row = json.loads((STATE / "pilot" / f"{name}.json").read_text(encoding="utf-8"))
        known = {**read_steps(file), name: row}
        write_json(file, dict(sorted(known.items())))
        print(f"{name}: {row['cpu_seconds_per_step']} s, {row['steps']} steps", flush=True)
    return _told(failed)


def _told(failed: Sequence[str]) -> int:
    if failed:
        print(f"failed: {' '.join(failed)}", flush=True)
    return 1 if failed else 0


def measure(name: str, words: Sequence[str], seconds: float, least: int = 3) -> None:
    """Run the first steps of a training in this process, as `rased train` does; write what a step costs.

    A validation, the best checkpoint and the zoo entry at the end are made too, so that what fails there fails here.
    """
    import logging
    import warnings

    import pytorch_lightning as pl
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from rased import yaml_reader
    from rased.config import load_configs, override
    from rased.disk import write_json
    from rased.evaluation import closing
    from rased.training.launch import RunCLI

    gru = torch.gru

    class Calls(TorchDispatchMode):
        """Counts the operators that run, also those of the backward pass."""

        count = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            self.count += 1
            return func(*args, **(kwargs or {}))

    class Meter(pl.Callback):
        """Measures the time of this process from the end of a step to that of another one, then ends the training."""

        def __init__(self) -> None:
            self.calls, self.begun = Calls(), 0.0
            self.row: dict[str, Any] = {}

        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
            if trainer.global_step == 1:
                torch.gru = torch._VF.gru = _one_call  # type: ignore[assignment]
                self.calls.__enter__()

        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
            done = trainer.global_step
            if done == 2:
                self.calls.__exit__(None, None, None)
                torch.gru = torch._VF.gru = gru
                self.begun = time.process_time()
            elif done >= 2 + least and time.process_time() - self.begun >= seconds:
                each = float(f"{(time.process_time() - self.begun) / (done - 2):.3g}")
                self.row = {
                    "cpu_seconds_per_step": each,
                    "steps": steps_of(each),
                    "calls_per_step": self.calls.count,
                    "config_sha256": digest(name),
                }
                trainer.should_stop = True

    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    config = load_configs(["trainer/default", f"model/{name}", str(CONFIG)])
    for key, value in zip(words[::2], words[1::2], strict=True):
        parsed = yaml_reader.parse(value.encode(), of=key, own=True)
        config = override(config, key.removeprefix("--"), parsed)
    # The pilot ends itself.
    config = override(config, "trainer.max_steps", 10_000)
    folder = STATE / "pilot" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    launch, meter = RunCLI(config, folder, lambda run, enhancer: None), Meter()
    cast(Any, launch.trainer).callbacks.append(meter)
    begun = time.process_time()
    launch.fit()
    fitted = time.process_time()
    closing.close(folder, testsets=[], metrics=[], jobs=1, tracker=None)
    ended = time.process_time()
    print(f"fit {fitted - begun:.1f} s, close {ended - fitted:.1f} s")
    assert (folder / "checkpoints" / "best.ckpt").is_file(), "no validation"
    shutil.rmtree(folder)
    write_json(folder.with_suffix(".json"), meter.row)


def _one_call(sequence: Any, state: Any, weights: Any, *options: Any) -> tuple[Any, Any]:
    """Stand in for the GRU while calls are counted: one on a GPU, one for each gate and frame on a CPU."""
    *_, bidirectional, _ = options
    width = state.shape[-1] * (2 if bidirectional else 1)
    return sequence[..., :1].expand(*sequence.shape[:-1], width) + weights[0].sum(), state


def command(name: str, steps: int, runs: Path, device: str, words: Sequence[str]) -> list[str]:
    """Return the `rased train` of an architecture; it continues a run that has begun."""
    start = [sys.executable, "-m", "rased", "train"]
    if (runs / name / "config.yaml").is_file():
        run = ["--resume", str(runs / name)]
    else:
        run = ["-c", f"model/{name}", "-c", str(CONFIG), "--runs", str(runs), "--name", name]
    return [*start, *run, "--trainer.max_steps", str(steps), *DEVICES[device], *words]


def recorded(steps: Steps, file: Path | None = None) -> Steps:
    """Return the scores in rased/models/figures.json, or another file: those of these steps and configurations."""
    from rased.models import figures

    rows = figures.read(file or figures.FILE)["learned"]
    return {
        name: row
        for name, row in rows.items()
        if name in steps and all(row[key] == steps[name][key] for key in ("steps", "config_sha256"))
    }


def is_done(run: Path) -> bool:
    """Return whether a training has finished: its only validation, at the end, wrote the best checkpoint."""
    return (run / "checkpoints" / "best.ckpt").is_file()


def train(
    names: Sequence[str],
    runs: Path,
    steps: Steps,
    *,
    device: str = "cpu",
    jobs: int = 1,
    until: float = float("inf"),
    words: Sequence[str] = (),
) -> int:
    """Train what is not trained, those with most calls of operators first: calls take the time on a GPU."""
    missing = [name for name in names if name not in steps]
    if missing:
        raise SystemExit(f"not in steps.json: {' '.join(missing)}: run.py pilot comes first.")
    known = recorded(steps)
    left = [name for name in names if name not in known and not is_done(runs / name)]
    left.sort(key=lambda name: -steps[name]["steps"] * (steps[name]["calls_per_step"] + MIXING))
    tasks = [
        Task(
            name,
            command(name, steps[name]["steps"], runs, device, words),
            runs / f"{name}.log",
        )
        for name in left
    ]
    begun = time.time()
    for name, code in side_by_side(tasks, jobs, until):
        state = "trained" if is_done(runs / name) else "not trained"
        print(f"{name}: {state}, exit {code}, {time.time() - begun:.0f} s", flush=True)
    return _told([name for name in names if name not in known and not is_done(runs / name)])


NEEDED = ("config.yaml", "metrics.csv", "manifest.json", "launches.yaml", "checkpoints/best.ckpt")
"""What of a run is packed."""


def pack(names: Sequence[str], runs: Path, out: Path) -> int:
    """Pack the runs that have finished, and the output of all."""
    from experiments.gpu import home

    done = [name for name in names if is_done(runs / name)]
    for name in done:
        home.slim(runs / name / "checkpoints" / "best.ckpt")
    files = [
        (runs / name / part, f"{name}/{part}")
        for name in done
        for part in NEEDED
        if (runs / name / part).is_file()
    ]
    files += [(path, path.name) for path in sorted(runs.glob("*.log"))]
    pieces = home.pack(files, out, "box")
    size = sum(piece.stat().st_size for piece in pieces) / 1e6
    print(f"{len(done)} runs: {size:.1f} MB in {len(pieces)} pieces")
    return _told([name for name in names if name not in done])


def score(names: Sequence[str], runs: Path, steps: Steps, testset: str, jobs: int) -> int:
    """Score the noisy input and what is trained; finished scores are kept."""
    known = recorded(steps)
    done = [name for name in names if name not in known and is_done(runs / name)]
    words = [sys.executable, "-m", "rased", "evaluate", "noisy"]
    words += [str(runs / name) for name in done]
    words += ["--on", testset, "--out", str(STATE / "results"), "--jobs", str(jobs)]
    words += ["--metrics", *METRICS]
    code = subprocess.run(words, env={**os.environ, **ENVIRONMENT}, check=False).returncode
    return _told([name for name in names if name not in (*known, *done)]) or code


def learned(results: Path, testset: str, steps: Steps) -> Steps:
    """Return the mean scores of what was scored, by name: the part `learned` of rased/models/figures.json."""
    from rased.evaluation.result import file_name, load

    noisy = load(results / file_name("noisy", testset))
    before, rows = noisy.values("si-sdr"), {}
    for name in FAMILIES:
        path = results / file_name(name, testset)
        if name not in steps or not path.is_file():
            continue
        own = load(path)
        if any(own.missing(metric) for metric in METRICS):
            continue
        means = {metric: _mean(own.values(metric).values()) for metric in METRICS}
        after = own.values("si-sdr")
        gains = [value - before[one] for one, value in after.items() if one in before]
        rows[name] = {
            "si_sdr_gain": round(_mean(gains), 2),
            "pesq": round(means["pesq-wb"], 3),
            "estoi": round(means["estoi"], 4),
            "steps": steps[name]["steps"],
            "config_sha256": steps[name]["config_sha256"],
        }
    return rows


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def table(steps: Steps, results: Path, testset: str) -> int:
    """Write the table of the README, the figure, and the part `learned` of rased/models/figures.json."""
    from rased.cli.models import describe
    from rased.disk import write_json, write_text
    from rased.evaluation.result import file_name, load
    from rased.models import figures

    content = figures.read(figures.FILE)
    rows = {**recorded(steps), **learned(results, testset, steps)}
    write_json(figures.FILE, {**content, "learned": dict(sorted(rows.items()))})
    costs = {name: describe(name) for name in rows}
    noisy = load(results / file_name("noisy", testset))
    means = {metric: _mean(noisy.values(metric).values()) for metric in METRICS}
    told = markdown(rows, steps, costs, means)
    readme = HERE / "README.md"
    write_text(readme, between(readme.read_text(encoding="utf-8"), told))
    draw(rows, costs, HERE / "figure.png")
    print(told)
    return _told([name for name in FAMILIES if name not in rows])


def markdown(rows: Steps, steps: Steps, costs: dict[str, Any], noisy: dict[str, float]) -> str:
    """Return the table: the largest gain first."""
    lines = [
        "| architecture | causal | parameters | MACs/s | CPU s a step | steps | heard (h) | SI-SDR gain (dB) | ESTOI "
        "| PESQ |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        f"| noisy | | | | | | | 0.0 ({noisy['si-sdr']:.2f} dB) | {noisy['estoi']:.3f} | {noisy['pesq-wb']:.2f} |",
    ]
    for name, row in sorted(rows.items(), key=lambda item: -item[1]["si_sdr_gain"]):
        cost, each = costs[name], steps[name]["cpu_seconds_per_step"]
        lines.append(
            f"| {name} | {'yes' if cost.causal else 'no'} | {short(cost.parameters)} | {short(cost.macs_per_second)} "
            f"| {each:.2f} | {row['steps']} | {row['steps'] * AUDIO / 3600:.1f} | {row['si_sdr_gain']:.2f} "
            f"| {row['estoi']:.3f} | {row['pesq']:.2f} |"
        )
    return "\n".join(lines)


def short(number: float) -> str:
    """Return a number in three digits.

    >>> short(48_245), short(1.2e9)
    ('48.2 K', '1.2 G')
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"


def between(text: str, table: str) -> str:
    """Replace what is between the two markers of the README."""
    first, last = MARKERS
    head, _, rest = text.partition(first)
    return f"{head}{first}\n{table}\n{last}{rest.partition(last)[2]}"


def draw(rows: Steps, costs: dict[str, Any], path: Path) -> None:
    """Draw the gains against the products for a second of audio."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for causal, colour in ((True, "tab:blue"), (False, "tab:orange")):
        names = [name for name in rows if costs[name].causal == causal]
        axes.scatter(
            [costs[name].macs_per_second for name in names],
            [rows[name]["si_sdr_gain"] for name in names],
            color=colour,
            label="causal" if causal else "whole utterances",
            zorder=3,
        )
    axes.set_xscale("log")
    # Linear between -2 and 2 dB, where most are; the losses of some are far larger than any gain.
    axes.set_yscale("symlog", linthresh=2, linscale=3)
    axes.set_yticks(ticks := [-20, -10, -5, -2, -1, 0, 1, 2], [str(tick) for tick in ticks])
    axes.set(xlabel="multiply-accumulates for a second of audio", ylabel="SI-SDR gain (dB)")
    axes.set_title("After ten CPU minutes of training")
    axes.grid(alpha=0.3)
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.legend(loc="lower right")
    canvas.draw()
    points = {
        name: (float(x), float(y))
        for name in rows
        for x, y in [
            axes.transData.transform((costs[name].macs_per_second, rows[name]["si_sdr_gain"]))
        ]
    }
    frame = axes.get_window_extent()
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in points.values()]
    for name in sorted(rows, key=lambda name: points[name][1]):
        text = name.removesuffix("-small")
        width, height = 5.3 * len(text) + 4, 12.0
        best = min(
            places(points[name], width, height),
            key=lambda box: crowded(box, taken, (frame.x0, frame.y0, frame.x1, frame.y1)),
        )
        taken.append(best)
        # Anchored at the side of the point, so that the line does not cross the name.
        across = 0.5 * (best[0] + best[2]) - points[name][0]
        side = "left" if across > 8 else "right" if across < -8 else "center"
        anchor = {"left": best[0] + 2, "right": best[2] - 2, "center": 0.5 * (best[0] + best[2])}
        x, y = axes.transData.inverted().transform((anchor[side], 0.5 * (best[1] + best[3])))
        line = {"arrowstyle": "-", "color": "grey", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
        axes.annotate(
            text,
            (costs[name].macs_per_second, rows[name]["si_sdr_gain"]),
            (x, y),
            fontsize=8,
            ha=side,
            va="center",
            arrowprops=line,
        )
    figure.savefig(path, dpi=100)


Box = tuple[float, float, float, float]


def places(point: tuple[float, float], width: float, height: float) -> list[Box]:
    """Return where the name of a point may be: near to it first."""
    (x, y), found = point, []
    for away in (1.0, 2.0, 3.2, 4.5):
        for across, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            left = x + 7 * across * away - (width if across < 0 else 0 if across else width / 2)
            bottom = y + 11 * up * away - height / 2
            found.append((left, bottom, left + width, bottom + height))
    return found


def crowded(box: Box, taken: Sequence[Box], frame: Box) -> float:
    """Return the area that a name shares with others, and that it has outside the frame."""

    def common(one: Box, other: Box) -> float:
        wide = min(one[2], other[2]) - max(one[0], other[0])
        high = min(one[3], other[3]) - max(one[1], other[1])
        return max(0.0, wide) * max(0.0, high)

    area = (box[2] - box[0]) * (box[3] - box[1])
    return sum(common(box, other) for other in taken) + 3 * (area - common(box, frame))


VERBS = ("pilot", "measure", "train", "pack", "score", "table")


def main() -> int:
    """Read the command line and do what it says."""
    begun = time.time()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    adds = {verb: verbs.add_parser(verb) for verb in VERBS}
    adds["pack"].add_argument("runs", type=Path, help="folder of the runs")
    adds["pack"].add_argument("--out", type=Path, required=True)
    for verb, add in adds.items():
        add.add_argument("names", nargs="*", metavar="NAME")
        if verb in ("pilot", "measure"):
            add.add_argument("--seconds", type=float, default=10.0, help="CPU time of a pilot")
        if verb in ("pilot", "train", "score", "table"):
            add.add_argument("--steps", type=Path, default=STEPS, help="file of the pilots")
        if verb in ("pilot", "train", "score"):
            add.add_argument("--jobs", type=int, default=1, help="processes at once")
        if verb in ("score", "table"):
            add.add_argument("--on", default=TESTSET, help="folder of the test set")
    adds["score"].add_argument("--runs", type=Path, default=STATE / "runs", help="folder of runs")
    adds["train"].add_argument("--device", choices=[*DEVICES], default="cpu")
    adds["train"].add_argument("--out", type=Path, default=STATE / "runs", help="folder of runs")
    adds["train"].add_argument(
        "--minutes", type=float, default=float("inf"), help="stop what still trains then"
    )
    given = sys.argv[1:]
    place = given.index("--") if "--" in given else len(given)
    told, words = parser.parse_args(given[:place]), given[place + 1 :]
    names = told.names or FAMILIES
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        parser.error(f"unknown: {' '.join(unknown)}")
    if told.verb == "pilot":
        return pilot(names, told.jobs, told.steps, words, told.seconds)
    if told.verb == "measure":
        measure(names[0], words, told.seconds)
        return 0
    if told.verb == "pack":
        return pack(names, told.runs, told.out)
    if told.verb == "score":
        return score(names, told.runs, read_steps(told.steps), told.on, told.jobs)
    if told.verb == "table":
        return table(read_steps(told.steps), STATE / "results", Path(told.on).name)
    return train(
        names,
        told.out,
        read_steps(told.steps),
        device=told.device,
        jobs=told.jobs,
        until=begun + 60 * told.minutes,
        words=words,
    )


if __name__ == "__main__":
    sys.exit(main())
