"""Tune the free constants of the classical methods, one after another, on frozen sets from valid splits.

    python experiments/0003-classical/tune.py --on local/valid-set local/valid-commons --out tuning.jsonl METHOD...

For each method the grid of one constant is tried while the others stay; the best value is kept, and
the next constant follows; twice through. Every setting tried is a line of the output, and one that
stands there already is not computed again. What is raised is the mean over utterances of
PESQ wb + SI-SDR / 10 dB + 5 ESTOI.
"""

import argparse
import inspect
import json
from pathlib import Path
from statistics import fmean

import torch

from rased.evaluation.testset import read_audio, read_testset
from rased.metrics import metric
from rased.models.base import Enhancer
from rased.models.classical import METHODS

RATE = 16_000
WEIGHTS = {"pesq-wb": 1.0, "si-sdr": 0.1, "estoi": 5.0}
START = [0.008, 0.016, 0.05]
DECIDED = {
    "noise_start": START,
    "smoothing": [0.8, 0.84, 0.88, 0.92, 0.95],
    "gain_floor_db": [-10.0, -14.0, -18.0],
    "prior_floor_db": [-15.0, -20.0, -25.0],
    "noise_smoothing": [0.04, 0.076, 0.12, 0.2],
}
GRIDS = {
    "spectral-subtraction": {
        "noise_start": START,
        "over": [1.5, 2.0, 3.0, 4.0],
        "floor": [0.01, 0.03, 0.1, 0.2],
        "averaging": [0.002, 0.008, 0.016, 0.032],
        "exponent": [1.0, 2.0],
        "noise_smoothing": [0.04, 0.076, 0.12],
    },
    "wiener": DECIDED,
    "mmse-stsa": DECIDED,
    "log-mmse": DECIDED,
    "om-lsa": {
        "noise_start": START,
        "certain_limit": [3.0, 4.6, 8.0],
        "gain_floor_db": [-10.0, -14.0, -18.0, -25.0],
        "smoothing": [0.84, 0.88, 0.92, 0.95, 0.98],
        "prior_floor_db": [-15.0, -20.0, -25.0],
        "minima_window": [0.48, 0.72, 0.96, 1.44],
        "noise_smoothing": [0.03, 0.049, 0.08, 0.12],
    },
    "wpe": {"n_fft": [512, 1024], "delay": [2, 3, 4, 5], "taps": [10, 20, 30, 40]},
    "wpe-om-lsa": {"delay": [3, 4, 5], "taps": [20, 30, 40]},
}


def settings_of(method: str, changed: dict) -> dict:
    """All settings of a method: its defaults, what is changed, and what follows: four frames a window."""
    signature = inspect.signature(METHODS[method])
    settings = {name: parameter.default for name, parameter in signature.parameters.items()}
    settings |= changed
    if "n_fft" in settings:
        settings["hop_length"] = settings["n_fft"] // 4
    return {"method": method, **settings}


def scores_of(enhancer: Enhancer, items: list) -> dict:
    """Means over the items, and the objective."""
    scores: dict[str, list[float]] = {name: [] for name in WEIGHTS}
    for noisy, target in items:
        estimate = enhancer(noisy[None])[0]
        for name, values in scores.items():
            found = metric(name)(estimate=estimate, target=target, sample_rate=RATE)
            if found.value is not None:
                values.append(found.value)
    means = {name: round(fmean(values), 4) for name, values in scores.items()}
    return {**means, "objective": round(sum(WEIGHTS[name] * means[name] for name in means), 4)}


def score(settings: dict, items: list) -> dict:
    """`scores_of` the method with these settings."""
    keywords = dict(settings)
    return scores_of(METHODS[keywords.pop("method")](**keywords).eval(), items)


def parser_of(description: str) -> argparse.ArgumentParser:
    """What the scripts of this experiment share: the sets, and how much of them."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--on", nargs="+", required=True, type=Path)
    parser.add_argument("--every", type=int, default=1, help="use every Nth utterance")
    return parser


def load(folders: list[Path], every: int) -> list:
    """Pairs (noisy, target) of the sets, one after another."""
    pairs = [item for folder in folders for item in read_testset(folder).items]
    return [
        [torch.from_numpy(read_audio(path, sample_rate=RATE)) for path in (item.noisy, item.target)]
        for item in pairs[::every]
    ]


def main() -> None:
    """Tune what the command line names."""
    parser = parser_of(__doc__)
    parser.add_argument("method", nargs="+", choices=sorted(GRIDS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    items = load(arguments.on, arguments.every)
    lines = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    known = {json.dumps(row["settings"]): row["scores"] for row in map(json.loads, lines)}

    def scored(changed: dict) -> float:
        settings = settings_of(method, changed)
        name = json.dumps(settings)
        if name not in known:
            known[name] = score(settings, items)
            with arguments.out.open("a") as file:
                file.write(json.dumps({"settings": settings, "scores": known[name]}) + "\n")
            print(name, known[name], flush=True)
        return known[name]["objective"]

    for method in arguments.method:
        best: dict = {}
        for _ in range(arguments.rounds):
            for constant, values in GRIDS[method].items():
                tried = [best, *({**best, constant: value} for value in values)]
                best = max(tried, key=scored)
        print(method, "best:", best, flush=True)


if __name__ == "__main__":
    main()
