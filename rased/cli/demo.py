"""Run the whole workflow once on the bundled corpus, from audio files to a leaderboard page.

The demo takes the bundled shards, trains a network of the zoo on them for some hundred more steps, and
scores it on the bundled test set together with the noisy input, a classical method and the network that it started
from. Then it writes a page. It keeps finished work, so an interrupted demo continues.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rased.errors import RasedError
from rased.machine import cores

if TYPE_CHECKING:
    from rich.console import Console


EXAMPLES = """\
examples:
  rased demo                            then open demo/index.html
  rased demo --steps 1000               train longer; continues the existing run
  rased demo --out elsewhere            use another folder
"""

START = "gru-mask-16k"
STEPS = 200
RECIPE = (
    *("--from", START, "-c", "data/bundle", "-c", "trainer/quick", "--model.lr", "2e-4"),
    *("--data.samples_per_epoch", "800", "--run.evaluate", "[]"),
)
"""Skip the evaluation at the end of training: the next step of the demo evaluates with all metrics."""

RUN = "this-run"
SYSTEMS = ("target", "noisy", "log-mmse")

NEXT = """
What to try next:
  open {out}/index.html                                   listen and compare; works offline
  rased demo --steps 1000                                 train the same run for longer
  rased enhance YOUR.wav -o clean.wav --model {out}/{run}    enhance your own recording
  rased models                                            other architectures to train
  rased train --help                                      train with your own settings
  rased data pack YOUR-FOLDER --out shards --role noise   train on your own noise, speech or rooms
  rased zoo publish {out}/{run} --name mine --out my-zoo    keep the checkpoint, with its card
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased demo`."""
    parser.epilog = EXAMPLES
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything")
    parser.add_argument(
        "--steps", type=int, default=STEPS, help=f"steps to train (default: {STEPS})"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, evaluate, compare and write the page."""
    from rased.terminal import open_console

    if arguments.steps < 1:
        raise RasedError(f"--steps is {arguments.steps}; give 1 or more.")
    out: Path = arguments.out
    console = open_console()
    _header(console, arguments.steps)

    console.rule("1. train")
    code = _train(out, arguments.steps)
    if code:
        console.print(f"To continue: rased demo --out {out}", soft_wrap=True)
        return code

    console.rule("2. evaluate")
    _evaluate(console, out, arguments.steps)

    console.print(NEXT.format(out=out, run=RUN), soft_wrap=True)
    return 0


def _header(console: "Console", steps: int) -> None:
    from rased.data.shards.index import bundle, read_index

    console.rule("rased demo")
    for role in ("speech", "noise", "rir"):
        index = read_index(bundle() / role)
        labels = {"speech": "speakers", "noise": "kinds", "rir": "rooms"}[role]
        count = len(set(index.columns["label"].tolist()))
        console.print(
            f"  {role:6}  {len(index):4} recordings  {index.seconds / 60:5.1f} min  {count} {labels}"
        )
    console.print(
        f"Training mixes these recordings on the fly; no two mixtures are the same. The causal mask "
        f"network {START} of the zoo trains on them for {steps} steps. Then it is compared on "
        f"speakers, noises and rooms that are not in the training data."
    )


def _train(out: Path, steps: int) -> int:
    """Run `rased train` in OUT/this-run, unless the run has these steps already."""
    from rased import documents
    from rased.cli import train
    from rased.documents import Count
    from rased.tensors import read_checkpoint

    folder = out / RUN
    last = folder / "checkpoints" / "last.ckpt"
    # A demo that was interrupted continues; one that has finished trains no more.
    done = 0
    if last.is_file():
        saved = read_checkpoint(last).get("global_step")
        done = documents.fit(saved, Count, of=last, repair="Remove the folder, and start again.")
    if done >= steps:
        print(f"{folder} is trained already: {done} steps.")
        return 0
    budget = ("--trainer.max_steps", str(steps))
    if (folder / "config.yaml").is_file():
        words = ["--resume", str(folder), *budget]
    else:
        words = [*RECIPE, *budget, "--runs", str(out), "--name", RUN]
    print("rased train", *words)
    return train.main(words)


def _evaluate(console: "Console", out: Path, steps: int) -> None:
    """Evaluate noisy, a classical method, the checkpoint that the run started from, and the run."""
    from rased.evaluation import evaluate, print_table, write_page
    from rased.evaluation.testset import BUNDLE

    results = out / "results"
    systems = [*SYSTEMS, START, str(out / RUN)]
    rows = evaluate(systems, BUNDLE, results, jobs=cores(), save_audio=True)
    console.rule("3. compare")
    print_table(rows)
    story = (
        f"This run trained the network {START} of the zoo for {steps} more steps on mixtures of the "
        "bundled corpus. The speakers, noises and rooms below are not in its training data."
    )
    page = write_page(rows, out, audio_folder=results / "audio", trained=(RUN, story))
    console.print(f"\nPage with audio and spectrograms: {page}", soft_wrap=True)
    console.print(f"All enhanced files: {results / 'audio'}", soft_wrap=True)
