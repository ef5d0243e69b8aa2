"""A model of the time of a step on up to 64 GPUs, and two nodes on this machine that check it.

As root (network namespaces, `tc`), from the root of the repository:

    PYTHONPATH=. python experiments/0014-scaling/scaling.py                 measure, then the table and the figure
    PYTHONPATH=. python experiments/0014-scaling/scaling.py --only-model    from results.json alone
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rased.models.registry import create_model
from rased.training.metrics import read_metrics
from tests.forks import ended
from tests.training.nodes import PORT, Node, slurm_task, two_nodes

HERE = Path(__file__).parent
RESULTS, FIGURE = HERE / "results.json", HERE / "scaling.png"
RATES = (None, 40.0, 20.0, 10.0, None)
"""Mbit/s between the two nodes; None: unlimited, first and last, because other work shares the machine."""
STEPS = 14
SKIPPED = 2
"""The first steps open files and grow buffers."""
COUNTS = (1, 2, 4, 8, 16, 32, 64)
GPUS_PER_NODE = 8
LATENCY = 20e-6
"""Seconds for one message of an all-reduce, of which there are 2 (n - 1) in a ring."""
NETWORKS = {"10 Gbit/s": 10e9, "100 Gbit/s": 100e9}
BYTES_PER_SECOND = 2 * 2 * 16_000
"""A second of mixture is read from a crop of speech and one of noise, of 16-bit samples at 16 kHz."""
LOADERS = 8
"""Reader processes for each GPU."""


@dataclass(frozen=True)
class Training:
    """A training whose step was measured on one H200 (experiments/gpu/README.md): bfloat16 or TF32, one network alone.

    Attributes:
        model: name in configs/model.
        audio: seconds of audio in a batch of one GPU.
        speed: seconds of audio trained on per second.
    """

    model: str
    audio: float
    speed: float

    @property
    def compute(self) -> float:
        """Return the seconds of a step on one GPU."""
        return self.audio / self.speed


TRAININGS = (
    Training("fastenhancer-mid", 64 * 4, 2308),
    Training("bsrnn-offline", 32 * 4, 506),
    Training("bsrnn-offline-small", 32 * 4, 1632),
)


def volume(parameters: int, ranks: int) -> float:
    """Return the bytes that each rank sends for the gradients of a step: a ring all-reduce of 32-bit numbers."""
    return parameters * 4 * 2 * (ranks - 1) / ranks


def exchange(parameters: int, ranks: int, bandwidth: float) -> float:
    """Return the seconds of an all-reduce over a network of so many bits per second and node."""
    messages = 2 * (ranks - 1) * LATENCY
    return 8 * volume(parameters, ranks) / bandwidth + messages


def step(one: Training, parameters: int, ranks: int, bandwidth: float, loader: float) -> float:
    """Return the seconds of a step: the slower of reading and computing, then the all-reduce."""
    reading = one.audio / (LOADERS * loader)
    # Within a node, links between GPUs are so fast that only messages count.
    network = bandwidth if ranks > GPUS_PER_NODE else float("inf")
    return max(one.compute, reading) + exchange(parameters, ranks, network)


def parameters_of(model: str) -> int:
    """Return the number of trained parameters."""
    return sum(item.numel() for item in create_model(model).parameters() if item.requires_grad)


def measure_loader() -> dict[str, float]:
    """Return audio seconds per CPU second of one reader process, by `rased bench loader`."""
    words = [sys.executable, "-m", "rased", "bench", "loader", "--items", "100", "--json"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return {name: float(value) for name, value in json.loads(said).items() if "load" in name}


def measure_step(model: str, rate: float | None, folder: Path, name: str) -> dict[str, Any]:
    """Train on two nodes, whose cable carries so many Mbit/s; return seconds per step, and the bytes sent."""
    words = [
        *("train", "-c", f"model/{model}", "-c", "data/bundle", "-c", "trainer/cpu"),
        *("-c", "trainer/ddp", "--trainer.max_epochs", "-1", "--trainer.max_steps", str(STEPS)),
        *("--trainer.log_every_n_steps", "1", "--trainer.limit_val_batches", "0"),
        *("--data.batch_size", "2", "--data.scene.segment", "0.5"),
        *("--run.evaluate", "[]", "--run.tracker", "csv", "--runs", str(folder)),
        *("--name", name),
    ]
    with two_nodes() as nodes:
        for node in nodes if rate else ():
            shape = f"qdisc add dev eth0 root tbf rate {rate}mbit burst 64kb latency 1s"
            _run("tc", "-n", node.name, *shape.split())
        said = [folder / f"said-{name}-{node.address}" for node in nodes]
        tasks = [slurm_task(words, said[rank], rank, PORT, nodes) for rank in range(2)]
        if [ended(task, 900) for task in tasks] != [0, 0]:
            raise SystemExit("\n".join(file.read_text()[-3000:] for file in said))
        sent = [_sent(node) for node in nodes]
    rows, _ = read_metrics(folder / name / "metrics.csv")
    times = [row.time for row in rows if "train/loss" in row.values]
    seconds = (times[-1] - times[SKIPPED]) / (len(times) - 1 - SKIPPED)
    return {
        "mbit_per_s": rate,
        "step_s": round(seconds, 3),
        "sent_bytes": max(sent),
        "steps": STEPS,
    }


def _sent(node: Node) -> int:
    link = json.loads(_run("ip", "-n", node.name, "-s", "-j", "link", "show", "eth0"))
    return int(link[0]["stats64"]["tx"]["bytes"])


def _run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def unlimited(results: dict[str, Any]) -> float:
    """Return the mean step on two nodes without a limit."""
    found = [one["step_s"] for one in results["two_nodes"] if one["mbit_per_s"] is None]
    return sum(found) / len(found)


def predicted(measured: dict[str, Any], results: dict[str, Any]) -> float:
    """Return the step on two nodes from that without a limit: an all-reduce longer, which nothing hides."""
    rate = measured["mbit_per_s"]
    longer = exchange(results["parameters"][results["model"]], 2, rate * 1e6) if rate else 0.0
    return unlimited(results) + longer


def table(results: dict[str, Any]) -> str:
    """Return the tables of the README."""
    parameters, checks = results["parameters"], results["two_nodes"]
    small, free = results["model"], checks[0]
    lines = ["| cable | step measured | predicted | ratio |", "|---|--:|--:|--:|"]
    for one in checks:
        guess = predicted(one, results)
        name = (
            f"{one['mbit_per_s']:g} Mbit/s"
            if one["mbit_per_s"]
            else "unlimited (their mean is the reference)"
        )
        ratio = one["step_s"] / guess
        lines.append(f"| {name} | {one['step_s']:.2f} s | {guess:.2f} s | {ratio:.2f} |")
    # At the start, the first node sends the weights and their average to the other one.
    formula = free["steps"] * volume(parameters[small], 2) + 2 * 4 * parameters[small]
    lines += [
        "",
        f"Sent by the first node in {free['steps']} steps: {free['sent_bytes'] / 1e6:.1f} MB; by the formula, with the "
        f"weights and their average once at the start: {formula / 1e6:.1f} MB.",
        "",
        "| model | parameters | sent per GPU and step, 64 GPUs | read per GPU | step, 1 GPU | network |"
        + "".join(f" {count} |" for count in COUNTS[1:]),
        "|---|--:|--:|--:|--:|---|" + "--:|" * len(COUNTS[1:]),
    ]
    loader = results["loader"]["flac_load"]
    for one in TRAININGS:
        size = parameters[one.model]
        for network, bandwidth in NETWORKS.items():
            alone = step(one, size, 1, bandwidth, loader)
            shares = [alone / step(one, size, count, bandwidth, loader) for count in COUNTS[1:]]
            lines.append(
                f"| {one.model} | {size / 1e6:.2f} M | {volume(size, 64) / 1e6:.1f} MB "
                f"| {one.speed * BYTES_PER_SECOND / 1e6:.0f} MB/s | {1e3 * alone:.0f} ms | {network} |"
                + "".join(f" {100 * share:.1f} % |" for share in shares)
            )
    return "\n".join(lines)


def draw(results: dict[str, Any]) -> None:
    """Draw the check on two nodes, and the efficiency up to 64 GPUs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    checks = results["two_nodes"]
    limited = [one for one in checks if one["mbit_per_s"]]
    rates = [one["mbit_per_s"] for one in limited]
    left.plot(rates, [one["step_s"] for one in limited], "o", label="measured")
    left.plot(rates, [predicted(one, results) for one in limited], "-", label="model")
    left.axhline(unlimited(results), color="grey", linestyle=":", label="unlimited, measured")
    left.set(xlabel="Mbit/s between two nodes", ylabel="seconds per step", ylim=(0, None))
    left.set_title(f"Two nodes on this machine, {results['model']}", fontsize=10)
    left.legend(fontsize=8)
    loader = results["loader"]["flac_load"]
    for number, one in enumerate(TRAININGS):
        for style, (network, bandwidth) in zip(("--", "-"), NETWORKS.items(), strict=True):
            alone = step(one, results["parameters"][one.model], 1, bandwidth, loader)
            shares = [
                100 * alone / step(one, results["parameters"][one.model], count, bandwidth, loader)
                for count in COUNTS
            ]
            label = f"{one.model}, {network}"
            right.plot(COUNTS, shares, style, marker=".", color=f"C{number}", label=label)
    right.set_xscale("log", base=2)
    right.set_xticks(COUNTS, [str(count) for count in COUNTS])
    right.set(xlabel="GPUs, 8 in a node", ylabel="speed per GPU, % of one alone")
    right.set_title("Model, batch per GPU constant", fontsize=10)
    right.grid(alpha=0.3)
    right.legend(fontsize=7)
    figure.savefig(FIGURE, dpi=110)


def main() -> None:
    """Measure, or read the measurements; print the tables, draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only-model", action="store_true", help="use results.json")
    parser.add_argument("--model", default="gru-mask", help="what two nodes train")
    words = parser.parse_args()
    if not words.only_model:
        with tempfile.TemporaryDirectory() as folder:
            steps = [
                measure_step(words.model, rate, Path(folder), f"run-{number}")
                for number, rate in enumerate(RATES)
            ]
        results = {
            "model": words.model,
            "loader": measure_loader(),
            "two_nodes": steps,
        }
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    results = json.loads(RESULTS.read_text())
    names = [results["model"], *(one.model for one in TRAININGS)]
    results["parameters"] = {name: parameters_of(name) for name in names}
    draw(results)
    print(table(results))


if __name__ == "__main__":
    main()
