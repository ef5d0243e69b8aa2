"""Mean scores over the first mixtures of a condition, and of the targets themselves: is clean speech left alone?

python experiments/0009-seven-minutes/conditions.py TESTSET CONDITION COUNT SYSTEM [SYSTEM ...]
python experiments/0009-seven-minutes/conditions.py TESTSET reverb 60 SYSTEM --reference TESTSET/anechoic
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

import rased
from rased import audio
from rased.evaluation.testset import Item, read_testset
from rased.metrics import METRICS

NAMES = ("pesq-wb", "estoi", "si-sdr", "srmr", "elr")


def main(words: argparse.Namespace) -> None:
    """Print a line for each system: its means on the mixtures, and on the clean targets."""
    items = read_testset(words.testset).items
    chosen = [item for item in items if item.facts.get("condition") == words.condition]
    chosen = chosen[: words.count]
    if words.reference is not None:
        chosen = [
            replace(item, target=words.reference / f"{item.id}{item.target.suffix}")
            for item in chosen
        ]
    for name in ("noisy", *words.systems):
        enhancer = None if name == "noisy" else rased.load(name)
        for part in ("noisy",) if enhancer is None else ("noisy", "target"):
            scores = [score(item, part, enhancer) for item in chosen]
            means = {metric: mean(scores, metric) for metric in NAMES}
            shown = "  ".join(f"{metric} {value:.3f}" for metric, value in means.items())
            print(f"{words.condition} ({len(chosen)})  {name} of {part}  {shown}", flush=True)


@torch.inference_mode()
def score(item: Item, part: str, enhancer: torch.nn.Module | None) -> dict:
    """Scores of one file by metric, where there are any."""
    given, rate = audio.read(item.noisy if part == "noisy" else item.target, sample_rate=16_000)
    target, _ = audio.read(item.target, sample_rate=16_000)
    heard, wanted = torch.from_numpy(given[0]), torch.from_numpy(target[0])
    estimate = heard if enhancer is None else enhancer(heard)
    found = {
        metric: METRICS[metric](estimate=estimate, target=wanted, sample_rate=rate)
        for metric in NAMES
    }
    return {metric: one.value for metric, one in found.items() if one.status == "ok"}


def mean(scores: list[dict], metric: str) -> float:
    """Over the files that have a value."""
    values = [one[metric] for one in scores if metric in one]
    return sum(values) / len(values) if values else float("nan")


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("testset", type=Path)
    parser.add_argument("condition", help="noise, reverb_noise or reverb")
    parser.add_argument("count", type=int, help="mixtures, the first ones of the condition")
    parser.add_argument("systems", nargs="+", help="what `rased evaluate` takes")
    parser.add_argument(
        "--reference", type=Path, help="folder of other references than the set's targets"
    )
    main(parser.parse_args())
