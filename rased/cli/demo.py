"""The main job once, from audio files to a leaderboard page, on the corpus that comes with rased.

Streams mixtures from the bundled shards, trains a small causal mask network for a few minutes,
scores it on the bundled test set beside the noisy input, a classical method and the zoo, and writes
a page. What an earlier call has finished is kept: an interrupted demo continues.
"""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from rased.errors import RasedError
from rased.parallel import cores

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLES = """\
examples:
  rased demo                            about 7 minutes on 2 cores; then open demo/index.html
  rased demo --minutes 10               train longer; continues what is there
  rased demo --out elsewhere
"""

SMALL = (
    *("--model.enhancer.network.hidden", "128", "--model.enhancer.network.expansion", "128"),
    *("--model.enhancer.post_processing.attenuation_limit_db", "10", "--model.lr", "2e-3"),
)
"""Half as wide as configs/model/gru-mask.yaml: it learns from twice the audio in the same time. What has heard two
voices for minutes is not trusted to take more than 10 dB away from a third."""

RUN = "this-run"
FINISHED = "trained-minutes"
SYSTEMS = ("target", "noisy", "log-mmse")

NEXT = """
What to try next:
  open {out}/index.html                                   listen and compare; works from disk
  rased demo --minutes 20                                 train the same run for longer
  rased enhance YOUR.wav -o clean.wav --model {out}/{run}    enhance your own recording
  rased models                                            other architectures to train
  rased train --help                                      train with your own settings
  rased data pack YOUR-FOLDER --out shards --role noise   train on your own noise, speech or rooms
  rased zoo publish {out}/{run} --name mine --out my-zoo    keep the checkpoint, with its card
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the words of `rased demo`."""
    parser.epilog = EXAMPLES
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything")
    parser.add_argument("--minutes", type=float, default=3.0, help="time to train")


def run(arguments: argparse.Namespace) -> int:
    """Train, evaluate, compare, show."""
    from rich.console import Console

    if not 0 < arguments.minutes < 24 * 60:
        raise RasedError(f"--minutes {arguments.minutes:g} is no time to train; give 3, say.")
    out: Path = arguments.out
    console = Console(highlight=False)
    _header(console, arguments.minutes)

    console.rule("1. train")
    code = _train(out, arguments.minutes)
    if code:
        console.print(f"To continue: rased demo --out {out}", soft_wrap=True)
        return code

    console.rule("2. evaluate")
    _evaluate(console, out)

    console.print(NEXT.format(out=out, run=RUN), soft_wrap=True)
    return 0


def _header(console: "Console", minutes: float) -> None:
    from rased.data.shards import bundle, read_index

    console.rule("rased demo")
    for role in ("speech", "noise", "rir"):
        index = read_index(bundle() / role)
        labels = {"speech": "speakers", "noise": "kinds", "rir": "rooms"}[role]
        count = len(set(index.columns["label"].tolist()))
        console.print(
            f"  {role:6}  {len(index):4} recordings  {index.seconds / 60:5.1f} min  {count} {labels}"
        )
    console.print(
        f"Mixtures are made of these while training runs; no two are the same. A causal mask "
        f"network learns from them for {minutes:g} min and is then compared on voices, noises and "
        f"rooms that it has never heard."
    )


def _train(out: Path, minutes: float) -> int:
    """The same as `rased train`, in OUT/this-run, unless it has been trained that long."""
    from rased.cli import train

    folder = out / RUN
    marker = folder / FINISHED
    if marker.is_file() and float(marker.read_text()) >= minutes:
        print(f"{folder} is trained already.")
        return 0
    seconds = math.ceil(60 * minutes)
    clock = f"00:{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    budget = ["--trainer.max_time", clock]
    if (folder / "config.yaml").is_file():
        words = ["--resume", str(folder), *budget]
    else:
        recipe = ("model/gru-mask", "loss/snr-compressed", "data/bundle", "trainer/quick")
        words = [word for name in recipe for word in ("-c", name)]
        words += [*budget, *SMALL, "--trainer.min_epochs", "1", "--data.samples_per_epoch", "800"]
        words += ["--run.evaluate", "[]"]  # the next step evaluates it, with all metrics
        words += ["--runs", str(out), "--name", RUN]
    print("rased train", *words)
    code = train.main(words)
    if code == 0:
        marker.write_text(f"{minutes:g}\n")
    return code


def _evaluate(console: "Console", out: Path) -> None:
    """The bundled test set: noisy, classical, the zoo, and what was just trained."""
    from rased.evaluation import evaluate, print_table, write_page
    from rased.evaluation.testset import BUNDLE
    from rased.zoo import list_checkpoints

    results = out / "results"
    systems = [*SYSTEMS, *list_checkpoints(), str(out / RUN)]
    rows = evaluate(systems, BUNDLE, results, jobs=cores(), save_audio=True)
    console.rule("3. compare")
    print_table(rows)
    page = write_page(rows, out, audio_folder=results / "audio")
    console.print(f"\nPage with audio and spectrograms: {page}", soft_wrap=True)
    console.print(f"All enhanced files: {results / 'audio'}", soft_wrap=True)
