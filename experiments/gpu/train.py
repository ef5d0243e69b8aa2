"""Trainings side by side on one GPU that end at the same time, and what they leave behind in small files.

  python experiments/gpu/train.py NAME... --minutes 9 --runs runs --out OUT [-- WORDS FOR EACH rased train]

NAME.yaml lies beside this file; its first line is the command that it is added to: `# rased train -c model/gtcrn ...`.
All run side by side, and those that count their steps may end before the clock. At the end OUT holds the runs without
what is large (home.tar.gz.0, .1, ...), their output and the load of the GPU (log.tar.gz). Run it where local/commons
and local/rooms are.
"""

import argparse
import csv
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from experiments.gpu import home, kernels

HERE = Path(__file__).parent
GRACE = 8.0
"""Seconds before the end at which whatever still trains is asked to stop, and then to end."""
_QUERY = "utilization.gpu,utilization.memory,memory.used,power.draw"


def command(name: str, runs: Path, words: list[str]) -> list[str]:
    """The `rased train` of a training."""
    path = HERE / f"{name}.yaml"
    first = shlex.split(path.read_text().splitlines()[0].lstrip("# "))[1:]
    told = [*first, "-c", str(path), "--runs", str(runs), "--name", name]
    return [sys.executable, "-m", "rased", *told, *words]


def train(
    names: list[str], runs: Path, until: float, words: list[str], modes: dict[str, str]
) -> None:
    """Train all, end all; what they print goes to RUNS/NAME.log."""
    runs.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "RASED_UNTIL": str(until - GRACE),
        "WANDB_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    monitor = _monitor(runs / "gpu.csv")
    running = {}
    for name in names:
        with (runs / f"{name}.log").open("w") as log:
            running[name] = subprocess.Popen(
                command(name, runs, words),
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**environment, kernels.MODE: modes.get(name, "plain")},
            )
    for number, limit in ((signal.SIGTERM, until - 0.5 * GRACE), (signal.SIGKILL, until)):
        while time.time() < limit and any(one.poll() is None for one in running.values()):
            time.sleep(0.1)
        for name, one in running.items():
            if one.poll() is None:
                print(f"{name} is late: {number.name}", flush=True)
                one.send_signal(number)
    for name, one in running.items():
        print(f"{name}: exit {one.wait()}", flush=True)
    if monitor is not None:
        monitor.terminate()


def _monitor(path: Path) -> "subprocess.Popen[bytes] | None":
    if shutil.which("nvidia-smi") is None:
        return None
    words = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits", "-lms", "500"]
    return subprocess.Popen(words, stdout=path.open("w"))


def bring_home(names: list[str], runs: Path, out: Path) -> None:
    """Pack what is small."""
    files = []
    for name in names:
        for path in sorted((runs / name).rglob("*")):
            where = path.relative_to(runs).as_posix()
            if path.name == "best.ckpt":
                home.slim(path)
            if path.is_file() and path.name != "last.ckpt" and f"{name}/zoo" not in where:
                files.append((path, where))
    home.pack(files, out, "home")
    with tarfile.open(out / "log.tar.gz", "w:gz") as tar:
        for path in [*sorted(runs.glob("*.log")), *sorted(runs.glob("gpu.csv"))]:
            tar.add(path, path.name)


def table(names: list[str], runs: Path) -> None:
    """Print what each training did."""
    print("training | steps | hours | s/s | waiting | loss | valid loss | valid gain")
    for name in names:
        path = runs / name / "metrics.csv"
        if not path.is_file():
            print(f"{name} | nothing; its log ends with:")
            print((runs / f"{name}.log").read_text()[-3000:])
            continue
        with path.open() as file:
            rows = list(csv.DictReader(file))

        def last(key: str, rows: "list[dict[str, str]]" = rows) -> str:
            found = [float(row[key]) for row in rows if row.get(key)]
            return f"{found[-1]:.4g}" if found else "-"

        def middle(key: str, rows: "list[dict[str, str]]" = rows) -> float:
            found = [float(row[key]) for row in rows if row.get(key)]
            return statistics.median(found) if found else float("nan")

        steps = max((int(float(row["step"])) for row in rows if row.get("step")), default=0)
        speed, waiting = middle("speed/audio_seconds_per_second"), middle("speed/waiting_share")
        print(
            f"{name} | {steps} | {steps * _seconds(runs / name) / 3600:.1f} | {speed:.0f} | {waiting:.3f} | "
            f"{last('train/loss')} | {last('valid/loss')} | {last('valid/si_sdr_improvement')}"
        )
    gpu = runs / "gpu.csv"
    if gpu.is_file():
        columns = list(
            zip(*(line.split(",") for line in gpu.read_text().splitlines()), strict=True)
        )
        busy, memory, used, power = ([float(value) for value in column] for column in columns)
        print(
            f"GPU busy {statistics.mean(busy):.0f} %, memory busy {statistics.mean(memory):.0f} %, "
            f"{max(used) / 1024:.1f} GiB at most, {statistics.mean(power):.0f} W, {len(busy)} samples"
        )


def _seconds(run: Path) -> float:
    """Seconds of audio in a step."""
    from rased.config import load_yaml

    data = load_yaml(run / "config.yaml", own=False)["data"]["init_args"]
    return float(data["batch_size"] * data["scene"]["segment"])


def main() -> None:
    """Read the command line, train, pack, tell."""
    begun = time.time()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+")
    parser.add_argument(
        "--minutes", type=float, required=True, help="from the start of this program"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--rnn", action="append", default=[], metavar="NAME=MODE", help="see kernels.py"
    )
    given = sys.argv[1:]
    place = given.index("--") if "--" in given else len(given)
    arguments = parser.parse_args(given[:place])
    modes = dict(pair.split("=") for pair in arguments.rnn)
    until = begun + 60 * arguments.minutes
    train(arguments.names, arguments.runs, until, given[place + 1 :], modes)
    table(arguments.names, arguments.runs)
    bring_home(arguments.names, arguments.runs, arguments.out)
    print(f"all: {time.time() - begun:.0f} s")


if __name__ == "__main__":
    main()
