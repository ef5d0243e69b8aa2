"""Write the folder of the page: index.html, assets, audio and pictures."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rased.errors import RasedError
from rased.evaluation.comparison.board import BASELINE, Board, boards
from rased.evaluation.comparison.conditions import Bad, worst
from rased.evaluation.comparison.published import NOTICE, TAGS, Published, published_beside
from rased.evaluation.comparison.rows import ALPHA
from rased.evaluation.report.site.about import copy_results, sections
from rased.evaluation.report.site.bars import chart
from rased.evaluation.report.site.chips import chips, notes
from rased.evaluation.report.site.columns import at_first, padded
from rased.evaluation.report.site.costs import (
    COSTS,
    axes,
    columns,
    costs_of,
    latency_parts,
    shown,
    stated_of,
)
from rased.evaluation.report.site.figures import facts_known, figure_data
from rased.evaluation.report.site.listening import WORST, facts_of, listen_to
from rased.evaluation.report.site.opening import opening
from rased.evaluation.report.terminal import decimals, processor_of, rank_of
from rased.evaluation.result import Result
from rased.metrics import METRICS

if TYPE_CHECKING:
    from jinja2 import Environment

ASSETS = Path(__file__).parent / "assets"
PAGE = "index.html"
EXAMPLES = 4


def write_page(
    rows: Sequence[Result],
    folder: str | Path,
    *,
    audio_folder: str | Path | None = None,
    examples: int = EXAMPLES,
    baseline: str = BASELINE,
    trained: tuple[str, str] | None = None,
) -> Path:
    """Write FOLDER/index.html with its assets, audio and pictures; return its path.

    Args:
        rows: results of any number of systems and test sets.
        folder: folder of the page; created if missing.
        audio_folder: folder with <testset>/<system>/<id>.wav, as `evaluate(..., save_audio=True)` writes them;
            None: FOLDER/audio. Without audio, there is nothing to listen to.
        examples: number of utterances to listen to, for each test set; up to as many again of the worst.
        baseline: system that the others are compared with.
        trained: a system and a sentence on what was trained; the page then starts with it, before and after.

    Raises:
        RasedError: no results, or the page cannot be written.
    """
    from plotly.offline import get_plotlyjs

    if not rows:
        raise RasedError("a page needs results: make some with `rased evaluate`.")
    folder = Path(folder)
    source = folder / "audio" if audio_folder is None else Path(audio_folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = boards(rows, baseline=baseline)
        parts, data = [], {}
        for number, board in enumerate(found, start=1):
            anchor, others = f"board-{number}", published_beside(board)
            data[anchor] = figure_data(board, others)
            heard = listen_to(board, source, folder, examples)
            copies = {row.name: copy_results(row, rows, folder) for row in board.rows}
            part = _part(board, anchor, others) | {"examples": heard, "copies": copies}
            parts.append(part)
        first = None
        if trained is not None:
            first = opening(rows, *trained, source=source, folder=folder)
        text = _templates().get_template("page.html.j2").render(parts=parts, opening=first)
        for asset in (*ASSETS.glob("*.css"), *ASSETS.glob("*.js")):
            shutil.copyfile(asset, folder / asset.name)
        (folder / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
        (folder / "data.js").write_text(f"const DATA = {json.dumps(data, allow_nan=False)};\n")
        # Last, so that a full disk does not leave a page without its data.
        (folder / PAGE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RasedError(f"cannot write the page to '{folder}': {error.strerror}.") from None
    return folder / PAGE


def _templates() -> "Environment":
    """Return the templates, with everything that they may call."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals.update(
        METRICS=METRICS,
        COSTS=COSTS,
        NOTICE=NOTICE,
        TAGS=TAGS,
        WORST=WORST,
        ALPHA=ALPHA,
        chips=chips,
        costs_of=costs_of,
        latency_parts=latency_parts,
        decimals=decimals,
        facts_of=facts_of,
        padded=padded,
        rank_of=rank_of,
        sections=sections,
        shown=shown,
        stated_of=stated_of,
        tags=_tags,
    )
    return templates


def _part(board: Board, anchor: str, published: list[Published]) -> dict[str, Any]:
    """Return what the template needs of a board, without examples and copies of results."""
    return {
        "board": board,
        "anchor": anchor,
        "kinds": sorted({row.kind for row in board.rows if row.kind}),
        "published": published,
        "at_first": at_first(board.metrics),
        "charts": [(metric, chart(board, metric)) for metric in board.metrics],
        "costs": columns(board),
        "axes": axes(board),
        "facts_known": facts_known(board),
        "worst": _lost(board),
        "protocol": _protocol(board),
        "processor": processor_of(board),
        "pair": _pair(board),
        "notes": notes(board),
    }


def _lost(board: Board) -> list[Bad]:
    """Return the worst utterances of each system; with a baseline, only those with a loss or without a value."""
    if not board.metrics:
        return []
    metric = board.metrics[0]
    sign = 1 if METRICS[metric].direction == "higher" else -1

    def lost(bad: Bad) -> bool:
        if bad.value is None or not board.baseline:
            return True
        if bad.baseline is None:
            return False
        # Rounded as shown: a loss of 0.00 is none.
        return round(sign * (bad.value - bad.baseline), decimals(metric)) < 0

    return [bad for bad in worst(board, metric, WORST) if lost(bad)]


def _pair(board: Board) -> list[str]:
    """Return the two rows to compare first: the best systems; nothing if there is only one row."""
    ordered = sorted(board.rows, key=lambda row: not row.kind)
    return [row.name for row in ordered[:2]] if len(ordered) > 1 else []


def _tags(row: Published) -> str:
    """Return the letters of TAGS for the source of a published score."""
    return "".join(letter for letter, words in TAGS.items() if words in row.told_by)


def _protocol(board: Board) -> list[tuple[str, str]]:
    found = [row.result for row in board.rows]
    versions: dict[str, dict[str, str]] = {}
    for row in board.rows:
        for name, declared in row.result.protocol["metrics"].items():
            versions.setdefault(name, {})[row.name] = declared["version"]
    methods = sorted(
        {cell.interval.method for row in board.rows for cell in row.cells.values() if cell.interval}
    )

    def common(text: Callable[[Result], str]) -> str:
        return _common({row.name: text(row.result) for row in board.rows})

    return [
        ("Test set", f"{board.testset['name']}, {board.testset['count']} utterances"),
        ("Target", board.testset["target"]),
        ("List SHA-256", board.testset["list_sha256"]),
        ("Scored at", common(lambda row: f"{row.protocol['sample_rate']} Hz")),
        ("Resampler", common(lambda row: row.protocol["resampler"])),
        ("Alignment", common(lambda row: row.protocol["alignment"])),
        *(
            (METRICS[name].title if name in METRICS else name, _common(own))
            for name, own in versions.items()
        ),
        ("Intervals", f"95 %, cluster-robust t; they refer to: {', '.join(methods)}"),
        (
            "Measured on",
            common(lambda row: f"{row.environment['processor']}, {row.environment['cores']} cores"),
        ),
        ("Last result", max(result.created for result in found)),
    ]


def _common(values: Mapping[str, str]) -> str:
    """Return the value that most rows have, and each other value with its rows."""
    texts = list(values.values())
    usual = max(dict.fromkeys(texts), key=texts.count)
    others = [
        f"{text} ({', '.join(name for name, own in values.items() if own == text)})"
        for text in dict.fromkeys(texts)
        if text != usual
    ]
    return "; but ".join([usual, *others])
