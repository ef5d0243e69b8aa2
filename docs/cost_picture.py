"""Draw quality against cost from the results in zoo/leaderboard: `python docs/pictures.py quality-cost`.

One picture, docs/quality-cost.png, of the larger test set: PESQ against multiply-accumulates, and against time. Its
metadata has the points, so that a test notices when the results have changed.
"""

import json
import math
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from rased.evaluation import collect
from rased.evaluation.comparison.board import boards
from rased.evaluation.report.site.costs import costs_of

HERE = Path(__file__).parent
FILE = HERE / "quality-cost.png"
TESTSET, METRIC = "commons-test", "pesq-wb"
AXES = {
    "macs_per_second": "multiply-accumulates per second of audio",
    "real_time_factor": "real-time factor on one thread",
}
CAUSAL, WHOLE, CLASSICAL = "#1f6feb", "#d1570a", "#6e7781"


def points() -> list[dict[str, Any]]:
    """Return the systems of the board: name, score with its interval, costs, and whether they stream."""
    board = next(
        board
        for board in boards(collect([HERE.parent / "zoo" / "leaderboard"]))
        if board.name == TESTSET
    )
    found = []
    for row in board.rows:
        interval = row.cells[METRIC].interval
        if interval is not None:
            latency, weights = row.result.system["latency"], row.result.system["parameters"]
            costs = {name: costs_of(row)[name] for name in AXES}
            shown = {"score": interval.mean, "low": interval.low, "high": interval.high}
            kind = {"causal": latency is not None, "classical": not weights}
            found.append({"name": row.name, **shown, **kind, **costs})
    return sorted(found, key=lambda point: point["name"])


def draw(found: list[dict[str, Any]]) -> Figure:
    """Return both panels; the noisy input is a line."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (cost, title) in zip(figure.subplots(1, 2, sharey=True), AXES.items(), strict=True):
        for point in found:
            if point["name"] == "noisy":
                axes.axhline(point["score"], color=CLASSICAL, linewidth=1, linestyle=":")
                axes.text(
                    0.99,
                    point["score"],
                    "noisy",
                    color=CLASSICAL,
                    fontsize=8,
                    ha="right",
                    va="bottom",
                    transform=axes.get_yaxis_transform(),
                )
            elif point[cost]:
                _dot(axes, point, cost, found)
        axes.set_xscale("log")
        axes.margins(x=0.28)
        axes.set_xlabel(title)
        axes.grid(alpha=0.25, linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel(f"PESQ (wide band), {TESTSET}")
    figure.suptitle(
        "Quality against cost: streams in blue, networks for whole files in orange, methods without weights in grey",
        fontsize=10,
    )
    return figure


def _dot(axes: Any, point: dict[str, Any], cost: str, crowd: list[dict[str, Any]]) -> None:
    """Draw a system with its interval; below the dot is its name where another one's would be in the way."""
    colour = CLASSICAL if point["classical"] else CAUSAL if point["causal"] else WHOLE
    place, score = point[cost], point["score"]
    spread = [[score - point["low"]], [point["high"] - score]]
    look: dict[str, Any] = {"fmt": "o", "markersize": 6, "elinewidth": 0.8, "alpha": 0.9}
    axes.errorbar(place, score, spread, color=colour, **look)
    below = any(
        abs(math.log10(other[cost] / place)) < 0.35 and 0 < other["score"] - score < 0.012
        for other in crowd
        if other[cost]
    )
    shift = (6, -11 if below else 4)
    style: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7.5, "color": colour}
    axes.annotate(point["name"], (place, score), xytext=shift, **style)


def kept() -> list[dict[str, Any]]:
    """Return the points of the picture that is there."""
    with Image.open(FILE) as picture:
        return json.loads(picture.text["points"])  # type: ignore[attr-defined]


def quality_cost() -> None:
    """Draw the picture."""
    drawn = points()
    draw(drawn).savefig(FILE, dpi=110, metadata={"points": json.dumps(drawn), "Software": None})
