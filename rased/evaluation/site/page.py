"""The folder of the page: index.html, what it needs, audio and pictures."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rased.errors import RasedError
from rased.evaluation.board import ALPHA, BASELINE, Board, boards
from rased.evaluation.conditions import worst
from rased.evaluation.leaderboard import compact, costs, decimals, processor_of, rank_of
from rased.evaluation.published import NOTICE, Published, published_beside
from rased.evaluation.result import Result
from rased.evaluation.site.bars import chart
from rased.evaluation.site.figures import costs_known, facts_known, figure_data
from rased.evaluation.site.listening import WORST, facts_of, listen_to
from rased.metrics import METRICS

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
) -> Path:
    """Write FOLDER/index.html with its assets, audio and pictures; return its path.

    Args:
        rows: results of any number of systems and test sets.
        folder: of the page; made where missing.
        audio_folder: what `evaluate(..., save_audio=True)` wrote: <testset>/<system>/<id>.wav;
            FOLDER/audio where None. Without it there is nothing to listen to.
        examples: utterances to listen to, for each test set; up to as many again that went worst.
        baseline: system that the others are held against.

    Raises:
        RasedError: no results, or a place that cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    if not rows:
        raise RasedError("a page needs results: make some with `rased evaluate`.")
    folder = Path(folder)
    source = folder / "audio" if audio_folder is None else Path(audio_folder)
    templates = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals.update(
        METRICS=METRICS,
        NOTICE=NOTICE,
        ALPHA=ALPHA,
        compact=compact,
        costs=costs,
        decimals=decimals,
        rank_of=rank_of,
        facts_of=facts_of,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = boards(rows, baseline=baseline)
        parts, data = [], {}
        for number, board in enumerate(found, start=1):
            anchor, others = f"board-{number}", published_beside(board)
            data[anchor] = figure_data(board, others)
            heard = listen_to(board, source, folder, examples)
            parts.append(_part(board, anchor, others) | {"examples": heard})
        text = templates.get_template("page.html.j2").render(parts=parts)
        for asset in (*ASSETS.glob("*.css"), *ASSETS.glob("*.js")):
            shutil.copyfile(asset, folder / asset.name)
        (folder / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
        (folder / "data.js").write_text(f"const DATA = {json.dumps(data, allow_nan=False)};\n")
        (folder / PAGE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise RasedError(f"cannot write the page to '{folder}': {error.strerror}.") from None
    return folder / PAGE


def _part(board: Board, anchor: str, published: list[Published]) -> dict[str, Any]:
    """What the template needs of a board, the examples aside."""
    return {
        "board": board,
        "anchor": anchor,
        "kinds": sorted({row.kind for row in board.rows if row.kind}),
        "published": published,
        "charts": [chart(board, metric) for metric in board.metrics],
        "costs_known": costs_known(board),
        "facts_known": facts_known(board),
        "worst": worst(board, board.metrics[0], WORST) if board.metrics else [],
        "protocol": _protocol(board),
        "notes": [(row.name, mark.sentence) for row in board.rows for mark in row.marks],
        "prices": _prices(board),
        "processor": processor_of(board),
    }


def _prices(board: Board) -> list[tuple[int, str]]:
    """Columns of cost that any row has: place in `costs`, heading."""
    headings = ("Parameters", "MACs/s", "RTF", "Latency", "Memory")
    priced = [costs(row.result) for row in board.rows]
    return [
        (place, headings[place]) for place in range(len(headings)) if any(p[place] for p in priced)
    ]


def _protocol(board: Board) -> list[tuple[str, str]]:
    first = board.rows[0].result
    versions: dict[str, str] = {}
    for row in board.rows:
        for name, declared in row.result.protocol["metrics"].items():
            versions.setdefault(name, declared["version"])
    hardware = sorted(
        {
            f"{row.result.environment['processor']}, {row.result.environment['cores']} cores"
            for row in board.rows
        }
    )
    methods = sorted(
        {cell.interval.method for row in board.rows for cell in row.cells.values() if cell.interval}
    )
    return [
        ("Test set", f"{board.testset['name']}, {board.testset['count']} utterances"),
        ("Target", board.testset["target"]),
        ("List SHA-256", board.testset["list_sha256"]),
        (
            "Scored at",
            f"{first.protocol['sample_rate']} Hz; resampler: {first.protocol['resampler']}",
        ),
        ("Alignment", first.protocol["alignment"]),
        *((METRICS[name].title, version) for name, version in versions.items()),
        ("Intervals", f"95 % bootstrap, drawn: {', '.join(methods)}"),
        ("Measured on", "; ".join(hardware)),
        ("Last result", max(row.result.created for row in board.rows)),
    ]
