"""Choose utterances to listen to, and collect their audio, spectrograms and scores."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from rased import audio
from rased.evaluation.comparison.board import Board
from rased.evaluation.comparison.conditions import worst
from rased.evaluation.comparison.rows import Row
from rased.evaluation.report.site.pictures import level_db, png
from rased.evaluation.report.terminal import decimals
from rased.evaluation.result import Utterance
from rased.metrics import METRICS

WORST = 3
_PICTURE_RATE = 16_000
"""Sample rate of the drawn audio: pictures end at half of it."""


@dataclass(frozen=True)
class Track:
    """One system's version of an utterance.

    Attributes:
        name: name of the system.
        sound: path of the audio, relative to the page.
        picture: path of its spectrogram, relative to the page.
        scores: scores to show with it, formatted.
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
        facts: its facts, formatted.
        seconds: length.
        tracks: noisy first, then the systems in the order of the table, the target last.
    """

    id: str
    facts: list[str]
    seconds: float
    tracks: list[Track]

    def place(self, system: str) -> int | None:
        """Return the index of a system's track; None if it has none."""
        return next((n for n, track in enumerate(self.tracks) if track.name == system), None)


def listen_to(board: Board, source: Path, folder: Path, count: int) -> list[Example]:
    """Choose `count` utterances at equal steps from the hardest to the easiest, then as many of the worst.

    Args:
        board: board of a test set.
        source: folder with <testset>/<system>/<id>.wav.
        folder: folder of the page; audio is copied and pictures are drawn there.
        count: number of utterances; fewer if fewer have audio of every system that has any.
    """
    home = source / board.testset["name"]
    sounds = {
        row.name: {path.stem: path for path in sorted((home / row.result.name).glob("*.wav"))}
        for row in board.rows
    }
    heard = [row for row in sorted(board.rows, key=_listening_order) if sounds[row.name]]
    if not heard or not board.metrics:
        return []
    # An utterance is offered only if every system can be heard: comparing is the point of the page.
    common = set.intersection(*(set(sounds[row.name]) for row in heard))
    hardest = next((r for r in heard if r.result.system["kind"] == "noisy"), heard[0]).result
    known = {utterance.id: utterance for utterance in hardest.utterances}
    even = _even(hardest.values(board.metrics[0]), common & known.keys(), count)
    bad = [name for name in _went_worst(board) if name in common & known.keys()]
    fresh = [name for name in dict.fromkeys(bad) if name not in even]
    return [
        Example(
            name,
            facts_of(known[name]),
            known[name].seconds,
            _tracks(name, [(row, sounds[row.name][name]) for row in heard], board, folder),
        )
        for name in [*even, *fresh[:count]]
    ]


def facts_of(utterance: Utterance) -> list[str]:
    """Return the facts of an utterance, formatted."""
    facts = utterance.facts
    parts: list[Any] = [facts.get("condition")]
    if facts.get("snr_db") is not None:
        parts.append(f"{facts['snr_db']:g} dB SNR")
    parts.append(str(facts["noise_type"]).replace("_", " ") if "noise_type" in facts else None)
    if facts.get("t60") is not None:
        parts.append(f"T60 {facts['t60']:.2g} s")
    return [str(part) for part in parts if part]


def _went_worst(board: Board) -> list[str]:
    """Return utterances by the first metric: the worst of each system, then the second worst of each, ..."""
    found: dict[str, list[str]] = {}
    for bad in worst(board, board.metrics[0], WORST):
        found.setdefault(bad.system, []).append(bad.utterance.id)
    return [own[place] for place in range(WORST) for own in found.values() if place < len(own)]


def _even(values: dict[str, float], names: set[str], count: int) -> list[str]:
    ranked = sorted(names & values.keys(), key=lambda name: (values[name], name))
    count = min(count, len(ranked))
    # The middle of each of `count` equal parts of the ranking.
    return [ranked[(2 * place + 1) * len(ranked) // (2 * count)] for place in range(count)]


def _listening_order(row: Row) -> int:
    return {"noisy": 0, "target": 2}.get(row.result.system["kind"], 1)


def _tracks(
    name: str, versions: Sequence[tuple[Row, Path]], board: Board, folder: Path
) -> list[Track]:
    levels = [_level_db(path) for _, path in versions]
    # One reference level for all tracks, so that spectrograms of one utterance have comparable colours.
    top = max(float(level.max()) for level in levels)
    tracks = []
    for (row, path), level in zip(versions, levels, strict=True):
        picture = folder / "pictures" / board.testset["name"] / row.result.name / f"{name}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(png(level - top))
        scored = next((u for u in row.result.utterances if u.id == name), None)
        tracks.append(
            Track(
                row.name,
                _inside(path, folder, board.testset["name"], row.result.name),
                picture.relative_to(folder).as_posix(),
                [] if scored is None else _shown(scored, row, board),
            )
        )
    return tracks


def _level_db(path: Path) -> Float[np.ndarray, "freq frames"]:
    samples, _ = audio.read(path, sample_rate=_PICTURE_RATE)
    return level_db(torch.from_numpy(samples[0]), _PICTURE_RATE)


def _shown(utterance: Utterance, row: Row, board: Board) -> list[str]:
    """Return a few scores of one utterance: the first metric of each unit."""
    if row.result.system["kind"] == "target":
        return []
    shown: dict[str, str] = {}
    for metric in board.metrics:
        score = utterance.scores.get(metric)
        ours = METRICS[metric]
        if ours.unit and ours.unit not in shown and score is not None and score.value is not None:
            shown[ours.unit] = f"{ours.title} {score.value:.{decimals(metric)}f}"
    return list(shown.values())


def _inside(path: Path, folder: Path, testset: str, system: str) -> str:
    """Return the path of the audio relative to the page; copy the audio there if it is elsewhere."""
    if path.resolve().is_relative_to(folder.resolve()):
        return path.resolve().relative_to(folder.resolve()).as_posix()
    copy = folder / "audio" / testset / system / path.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, copy)
    return copy.relative_to(folder).as_posix()
