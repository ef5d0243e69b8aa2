"""The leaderboard as a page: one folder, opens from disk, nothing is fetched from elsewhere."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float

from rased import audio
from rased.errors import RasedError
from rased.evaluation.board import Board, Cell, Row, boards
from rased.evaluation.leaderboard import costs, decimals, rank_of
from rased.evaluation.result import Result, Utterance
from rased.metrics import METRICS
from rased.signal.stft import STFT

ASSETS = Path(__file__).parent / "assets"
PAGE = "index.html"
EXAMPLES = 4
RANGE_DB = 70.0

_SPECTROGRAM = STFT(n_fft=512, hop_length=128, win_length=512, window="hann")
_LINE, _TOP, _LABEL, _WIDTH, _VALUE = 26, 10, 132, 400, 44


@dataclass(frozen=True)
class Track:
    """One system's version of an example.

    Attributes:
        name: of the system.
        sound: path of the audio, relative to the page.
        picture: path of its spectrogram, relative to the page.
        scores: what a listener may want beside it, ready to show.
    """

    name: str
    sound: str
    picture: str
    scores: list[str]


@dataclass(frozen=True)
class Example:
    """One utterance to listen to.

    Attributes:
        id: its name in the test set.
        facts: what the test set knows of it, ready to show.
        seconds: length.
        tracks: noisy first, then the systems as in the table, the target last.
    """

    id: str
    facts: list[str]
    seconds: float
    tracks: list[Track]


@dataclass(frozen=True)
class Bar:
    """One bar of a chart, in the units of its drawing.

    Attributes:
        name: of the system.
        kind: "noisy", or "" for a system.
        top: y of its upper edge.
        end: x of the mean.
        low: x of the lower end of the interval.
        high: x of its upper end.
        label: the mean, ready to show.
        tip: mean and interval in words.
    """

    name: str
    kind: str
    top: int
    end: float
    low: float
    high: float
    label: str
    tip: str


@dataclass(frozen=True)
class Chart:
    """All systems (the target is in the table alone) in one metric.

    Attributes:
        title: name and unit of the metric.
        bars: from top to bottom as in the table.
        height: of the drawing.
        zero: x where bars begin.
        noisy: x of the noisy input's mean; None where there is none.
    """

    title: str
    bars: list[Bar]
    height: int
    zero: float
    noisy: float | None


def write_page(
    rows: Sequence[Result],
    folder: str | Path,
    *,
    audio_folder: str | Path | None = None,
    examples: int = EXAMPLES,
) -> Path:
    """Write FOLDER/index.html with its assets, audio and pictures; return its path.

    Args:
        rows: results of any number of systems and test sets.
        folder: of the page; made where missing.
        audio_folder: what `evaluate(..., save_audio=True)` wrote: <testset>/<system>/<id>.wav;
            FOLDER/audio where None. Without it the page has no examples.
        examples: utterances to listen to, for each test set.

    Raises:
        RasedError: no results, or a place that cannot be written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

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
    templates.globals.update(METRICS=METRICS, costs=costs, decimals=decimals, rank_of=rank_of)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        parts = [
            {
                "board": board,
                "anchor": f"board-{number}",
                "charts": [_chart(board, metric) for metric in board.metrics],
                "examples": _examples(board, source, folder, examples),
                "protocol": _protocol(board),
                "notes": _notes(board),
                "prices": _prices(board),
            }
            for number, board in enumerate(boards(rows), start=1)
        ]
        text = templates.get_template("page.html.j2").render(parts=parts)
        for name in ("page.css", "page.js"):
            shutil.copyfile(ASSETS / name, folder / name)
        (folder / PAGE).write_text(text)
    except OSError as error:
        raise RasedError(f"cannot write the page to '{folder}': {error.strerror}.") from None
    return folder / PAGE


def _prices(board: Board) -> list[tuple[int, str]]:
    """Columns of cost that any row has: place in `costs`, heading."""
    headings = ("Parameters", "MACs/s", "RTF", "Latency")
    priced = [costs(row.result) for row in board.rows]
    return [(place, headings[place]) for place in range(4) if any(p[place] for p in priced)]


def _notes(board: Board) -> list[tuple[str, str]]:
    return [(row.name, mark) for row in board.rows for mark in row.marks]


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


def _chart(board: Board, metric: str) -> Chart:
    drawn = [
        (row, cell.interval)
        for row in board.rows
        if (cell := row.cells.get(metric)) is not None
        and cell.interval is not None
        and cell.comparable
        and row.result.system["kind"] != "target"
    ]
    ends = [end for _, interval in drawn for end in (interval.low, interval.high)]
    floor = METRICS[metric].range[0] if METRICS[metric].unit == "MOS" else 0.0
    low, high = min([floor, *ends]), max([floor, *ends])
    scale = (_WIDTH - _LABEL - _VALUE) / ((high - low) or 1.0)

    def place(value: float) -> float:
        return round(_LABEL + (value - low) * scale, 1)

    digits = decimals(metric)
    unit = METRICS[metric].unit
    bars = [
        Bar(
            name=row.name,
            kind=row.result.system["kind"] if not row.kind else "",
            top=_TOP + number * _LINE,
            end=place(interval.mean),
            low=place(interval.low),
            high=place(interval.high),
            label=f"{interval.mean:.{digits}f}",
            tip=(
                f"{row.name}: {interval.mean:.{digits}f} {unit}".rstrip()
                + f", 95 % interval {interval.low:.{digits}f} to {interval.high:.{digits}f}"
            ),
        )
        for number, (row, interval) in enumerate(drawn)
    ]
    noisy = next((bar.end for bar in bars if bar.kind == "noisy"), None)
    title = METRICS[metric].title + (f" ({unit})" if unit else "")
    return Chart(title, bars, 2 * _TOP + len(bars) * _LINE, place(floor), noisy)


def _examples(board: Board, source: Path, folder: Path, count: int) -> list[Example]:
    """Utterances from the hardest to the easiest in equal steps, with all audio that is there."""
    home = source / board.testset["name"]
    order = sorted(board.rows, key=_listening_order)
    has = {
        row.name: {path.stem: path for path in sorted((home / row.name).glob("*.wav"))}
        for row in order
    }
    order = [row for row in order if has[row.name]]
    if not order or not board.metrics:
        return []
    hardest = next((r for r in order if r.result.system["kind"] == "noisy"), order[0]).result
    values = hardest.values(board.metrics[0])
    common = set.intersection(*(set(has[row.name]) for row in order))
    ranked = sorted(common & values.keys(), key=lambda name: (values[name], name))
    count = min(count, len(ranked))
    chosen = [ranked[(2 * place + 1) * len(ranked) // (2 * count)] for place in range(count)]
    known = {utterance.id: utterance for utterance in hardest.utterances}
    return [
        Example(
            name,
            _facts(known[name]),
            known[name].seconds,
            _tracks(name, [(row, has[row.name][name]) for row in order], board, folder),
        )
        for name in chosen
    ]


def _listening_order(row: Row) -> int:
    return {"noisy": 0, "target": 2}.get(row.result.system["kind"], 1)


def _tracks(
    name: str, versions: Sequence[tuple[Row, Path]], board: Board, folder: Path
) -> list[Track]:
    levels = [_level_db(path) for _, path in versions]
    top = max(float(level.max()) for level in levels)
    tracks = []
    for (row, path), level in zip(versions, levels, strict=True):
        picture = folder / "pictures" / board.testset["name"] / row.name / f"{name}.png"
        _draw(level - top, picture)
        scored = next((u for u in row.result.utterances if u.id == name), None)
        tracks.append(
            Track(
                row.name,
                _inside(path, folder, board.testset["name"], row.name),
                picture.relative_to(folder).as_posix(),
                [] if scored is None else _shown(scored, row, board),
            )
        )
    return tracks


def _shown(utterance: Utterance, row: Row, board: Board) -> list[str]:
    """A few scores of one utterance: the first of each unit."""
    if row.result.system["kind"] == "target":
        return []
    shown: dict[str, str] = {}
    for metric in board.metrics:
        score = utterance.scores.get(metric)
        ours = METRICS[metric]
        if ours.unit and ours.unit not in shown and score is not None and score.value is not None:
            shown[ours.unit] = f"{ours.title} {score.value:.{decimals(metric)}f}"
    return list(shown.values())


def _facts(utterance: Utterance) -> list[str]:
    facts = utterance.facts
    parts: list[Any] = [facts.get("condition")]
    if facts.get("snr_db") is not None:
        parts.append(f"{facts['snr_db']:g} dB SNR")
    parts.append(str(facts["noise_type"]).replace("_", " ") if "noise_type" in facts else None)
    if facts.get("t60") is not None:
        parts.append(f"T60 {facts['t60']:.2g} s")
    return [str(part) for part in parts if part]


def _inside(path: Path, folder: Path, testset: str, system: str) -> str:
    """The audio relative to the page; copied beside it where it lies elsewhere."""
    if path.resolve().is_relative_to(folder.resolve()):
        return path.resolve().relative_to(folder.resolve()).as_posix()
    copy = folder / "audio" / testset / system / path.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, copy)
    return copy.relative_to(folder).as_posix()


def _level_db(path: Path) -> Float[np.ndarray, "freq frames"]:
    samples, _ = audio.read(path, sample_rate=16_000)
    power = _SPECTROGRAM.analysis(torch.from_numpy(samples[:1]))[0].abs().square()
    return (10 * power.clamp_min(1e-10).log10()).numpy()


def _draw(level: Float[np.ndarray, "freq frames"], path: Path) -> None:
    """A picture with low frequencies at the bottom, from -RANGE_DB to 0 dB."""
    from matplotlib import colormaps
    from PIL import Image

    colours = (colormaps["magma"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    indices = np.clip((1 + level[::-1] / RANGE_DB) * 255, 0, 255).astype(np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette(rearrange(colours, "colour rgb -> (colour rgb)").tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)


__all__ = ["Bar", "Cell", "Chart", "Example", "Track", "write_page"]
