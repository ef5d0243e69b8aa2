"""The pages of the site that are written by the code: they cannot be out of date.

`docs/hooks.py` adds them when the site is built.
"""

import contextlib
import importlib
import inspect
import io
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import rased
from rased import losses
from rased.cli import VERBS, main
from rased.cli.metrics import describe
from rased.config import config_folder
from rased.data.corpora import CORPORA
from rased.losses.base import Loss
from rased.metrics import METRICS

ROOT = Path(__file__).parent.parent

SUBCLASSED = {
    "A model": ("rased.models.base", ("Enhancer", "SpectralEnhancer", "Prediction")),
    "A loss": ("rased.losses.base", ("Loss", "OnWaveforms")),
    "A metric": ("rased.metrics.base", ("Metric", "Score")),
    "A way of training": ("rased.training.base", ("Enhancement",)),
    "A schedule": ("rased.training.schedules", ("Schedule",)),
    "A feature or a target": (
        "rased.layers",
        ("features.Feature", "targets.Target"),
    ),
    "A head": ("rased.training.heads", ("Head",)),
    "Mixtures": ("rased.data", ("datamodule.MixtureDataModule", "mixtures.scene.Scene")),
    "Transform": ("rased.signal.stft", ("STFT",)),
    "Evaluation": (
        "rased.evaluation",
        ("scoring.run.evaluate", "collecting.collect", "result.Result"),
    ),
    "An exported model, without PyTorch": ("rased.onnx.runtime", ("load", "Enhancer", "Stream")),
}
"""Classes that users derive from, and what they use in their own loops, by heading."""


def pages() -> dict[str, str]:
    """Return the Markdown of all generated pages, by their path on the site."""
    return {
        "reference/cli.md": command_line(),
        "reference/python.md": python(),
        "reference/losses.md": losses_page(),
        "reference/metrics.md": metrics_page(),
        "reference/corpora.md": corpora_page(),
        "project/experiments.md": experiments_page(),
    }


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    cells = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def command_line() -> str:
    """Return the help of every verb, and of the verbs below it."""
    parts = ["# The command line", "What `--help` prints, for every verb."]
    for words, text in helps([]):
        depth = "##" if len(words) < 2 else "###"
        parts.append(f"{depth} rased {' '.join(words)}".rstrip())
        parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts)


def helps(words: Sequence[str]) -> Iterator[tuple[Sequence[str], str]]:
    """Yield the words of a command and its help, then those of the commands below it."""
    text = help_of(words)
    yield words, text
    if not words:
        below = list(VERBS)
    elif listed := re.search(r"^  VERB\n((?: +\S.*\n)+)", text, re.M):
        below = re.findall(r"^ {4}(\w+)", listed[1], re.M)
    else:
        below = []
    for name in below:
        yield from helps([*words, name])


def help_of(words: Sequence[str]) -> str:
    """Return what `rased WORDS --help` prints in a terminal of 100 columns."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            code = main([*words, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    assert code == 0, words
    return said.getvalue()


def write_board(folder: Path) -> None:
    """Write the page of `rased leaderboard --html` for the results that come with rased."""
    with contextlib.redirect_stdout(io.StringIO()):
        code = main(["leaderboard", str(ROOT / "zoo" / "leaderboard"), "--html", str(folder)])
    assert code == 0


def python() -> str:
    """Return the directives of mkdocstrings for the public functions and the base classes."""
    parts = [
        "# Python",
        "`import rased` gives these functions. Below are the classes that you derive from, and what you need in a loop "
        "of your own.",
    ]
    for name in rased.__all__:
        if not name.startswith("_"):
            parts.append(f"::: rased.{name}\n    options: {{heading_level: 2}}")
    for heading, (module, names) in SUBCLASSED.items():
        parts.append(f"## {heading}")
        for name in names:
            inner, _, attribute = f"{module}.{name}".rpartition(".")
            assert hasattr(importlib.import_module(inner), attribute), name
            parts.append(f"::: {inner}.{attribute}\n    options: {{heading_level: 3}}")
    return "\n\n".join(parts)


def losses_page() -> str:
    """Return the losses: the files of configs/loss, and the classes."""
    parts = [
        "# Losses",
        "`-c loss/NAME` uses one of these files; a class can be named in any YAML file. "
        "[Train](../train.md#losses) says which one to choose.",
    ]
    files = sorted((config_folder() / "loss").glob("*.yaml"))
    rows = [(f"`loss/{path.stem}`", _first_comment(path)) for path in files]
    parts.append(table(["file", "what it is"], rows))
    classes = [getattr(losses, name) for name in losses.__all__]
    shown = [kind for kind in classes if inspect.isclass(kind) and issubclass(kind, Loss)]
    parts.append("## Classes")
    parts.append(
        table(
            ["class", "compares", "degree", "level free", "what it is"],
            [
                (
                    f"`{kind.__module__}.{kind.__name__}`",
                    str(kind.domain) if isinstance(kind.domain, str) else "",
                    "" if not isinstance(kind.degree, float | int) else f"{kind.degree:g}",
                    "yes" if kind.level_free is True else "",
                    _first_line(kind),
                )
                for kind in shown
            ],
        )
    )
    parts.append(
        "Degree d: multiplying both signals by g multiplies the loss by g to the power of d. "
        "Level free: the level of the estimate does not count."
    )
    return "\n\n".join(parts)


def metrics_page() -> str:
    """Return the table of `rased metrics`."""
    rows = []
    for name in METRICS:
        row = describe(name)
        low, high = ("" if end is None else f"{end:g}" for end in row["range"])
        rows.append(
            (
                f"`{name}`",
                row["title"],
                f"{row['direction']} is better",
                f"{low or '-∞'} to {high or '∞'} {row['unit']}".rstrip(),
                f"{row['sample_rate'] or 'any'}",
                row["reference"],
                ", ".join(row["blind_to"]),
                row["version"],
            )
        )
    titles = ["name", "title", "better", "range", "Hz", "compared with", "blind to", "computed by"]
    lines = [
        "# Metrics",
        "The table of `rased metrics`.",
        table(titles, rows),
        "A metric is blind to a change of the estimate that leaves its value as it is.",
    ]
    return "\n\n".join(lines)


def facts(name: str) -> str:
    """Return the line of docs/metrics.md with the properties of a metric."""
    ours = METRICS[name]
    low, high = (f"{end:g}" if math.isfinite(end) else "∞" for end in ours.range)
    rate = f"{ours.sample_rate / 1000:g} kHz" if ours.sample_rate else "any rate"
    needs = {"target": "the target", "transcript": "the transcript", "none": "no reference"}
    unit = f" {ours.unit}" if ours.unit else ""
    return (
        f"*{ours.title}: {low} to {high}{unit}, {ours.direction} is better; {rate}; "
        f"needs {needs[ours.reference]}.*"
    )


def corpora_page() -> str:
    """Return the table of `rased data corpora`, and the details of each corpus."""
    parts = [
        "# Corpora",
        "`rased data prepare NAME --root DIR --out DIR` makes shards of one. See also [Data](../data.md).",
    ]
    rows = []
    for name, corpus in CORPORA.items():
        roles = " ".join(corpus.roles) + (" + test set" if corpus.pairs is not None else "")
        hours = f"{corpus.hours:g}" if corpus.hours else ""
        rate = f"{corpus.sample_rate / 1000:g}" if corpus.sample_rate else ""
        rows.append((f"[`{name}`](#{name})", roles, hours, rate, corpus.licence, corpus.how))
    parts.append(table(["corpus", "role", "hours", "kHz", "licence", "how to get it"], rows))
    for name, corpus in CORPORA.items():
        facts = [
            f"{corpus.title}.",
            f"- Splits: {corpus.splits}" if corpus.splits else "",
            f"- Layout: {corpus.layout}" if corpus.layout else "",
            f"- Citation: {corpus.citation}" if corpus.citation else "",
            f"- Homepage: <{corpus.homepage}>" if corpus.homepage else "",
        ]
        parts.append(f"## {name}\n\n{facts[0]}\n\n" + "\n".join(filter(None, facts[1:])))
    return "\n\n".join(parts)


def experiments_page() -> str:
    """Return the list of the experiments."""
    rows = []
    for path in sorted((ROOT / "experiments").glob("[0-9]*/README.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        rows.append(f"- [{title}]({path.parent.name}.md)")
    intro = "How the published checkpoints were trained, and what was learned: a question and its answer each."
    return "\n\n".join(["# Experiments", intro, "\n".join(rows)])


def _first_line(kind: type) -> str:
    return (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ")


def _first_comment(path: Path) -> str:
    """Return the comment at the top of a YAML file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# "))
    return " ".join(comment)
