"""`rased zoo list` and `rased zoo info`: our checkpoints, and third-party weights that are here or can be pulled."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rased.errors import RasedError

if TYPE_CHECKING:
    from rich.table import Table

    from rased.models.cost import Latency

HEADLINE = ("pesq-wb", "stoi", "estoi", "si-sdr", "dnsmos-ovrl")
"""Metrics on the page of the zoo; the card has all measured metrics."""
SHORT = {"pesq-wb": "PESQ", "estoi": "ESTOI", "si-sdr": "SI-SDR", "dnsmos-ovrl": "OVRL"}
"""Metrics of the list in a terminal."""
COLUMNS = ("name", "for", "from", "parameters", "MACs/s", "latency (ms)", "kHz", "licence")
OWN, IMPORTED, IMPORTABLE, REFUSED = "own", "imported", "importable", "refused"

_PIPE_WIDTH = 200
_ENDLESS = 10_000

Row = dict[str, Any]
"""Fields of a card, and `from`: own, imported (it is here), importable (fetched on first use), or refused."""


def show_list(arguments: argparse.Namespace) -> int:
    """Print the list."""
    rows = found(arguments.pattern, cached=not arguments.markdown)
    if arguments.json:
        print(json.dumps(rows, indent=1))
    elif arguments.markdown:
        print(markdown(rows))
    elif not rows:
        print("no checkpoints; publish a run with `rased zoo publish RUN --name NAME`.")
    else:
        _print_table(rows)
    return 0


def found(pattern: str = "*", *, cached: bool = True) -> list[Row]:
    """Return checkpoints and importable entries by name, our own first.

    Args:
        pattern: pattern of names, such as "*16k*".
        cached: include the user's cache; without it, the list contains only what comes with the project.
    """
    from fnmatch import fnmatchcase

    from rased.shelves import cache
    from rased.zoo.card import read_card
    from rased.zoo.importable import list_importable, read_importable
    from rased.zoo.registry import entries

    rows: list[Row] = []
    for name, folder in entries().items():
        if not fnmatchcase(name, pattern) or (folder.parent == cache() and not cached):
            continue
        try:
            card = read_card(folder)
        except RasedError as error:  # a bad entry must not hide the others
            print(f"rased: skipped: {error}", file=sys.stderr)
            continue
        rows.append({**card, "from": IMPORTED if card["training"].get("imported") else OWN})
    here = {row["name"]: row for row in rows}
    for name in list_importable(pattern):
        try:
            row, digest = importable_row(name), read_importable(name).sha256
        except RasedError as error:
            print(f"rased: skipped: {error}", file=sys.stderr)
            continue
        if name not in here:
            rows.append(row)
        # Third-party weights that were fetched have a card with the same name, which says more, but has no scores.
        elif (here[name]["training"].get("imported") or {}).get("sha256") == digest:
            here[name]["scores"] = row["scores"]
    return sorted(rows, key=lambda row: (row["from"] != OWN, row["name"]))


def importable_row(name: str) -> Row:
    """Return an importable entry as a row: its fields, bytes to fetch, and why it is refused ("" if it is not)."""
    import msgspec

    from rased.zoo.importable import read_importable

    entry = read_importable(name)
    refusal = entry.refusal()
    plain = msgspec.to_builtins(entry)
    plain.pop("golden")
    origin = REFUSED if refusal else IMPORTABLE
    return {**plain, "bytes": entry.bytes, "from": origin, "refusal": refusal}


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a row, in the order of `COLUMNS`."""
    rate = row["sample_rate"] / 1000
    return (
        row["name"],
        row.get("purpose", ""),
        row["from"],
        thousands(row["parameters"]),
        thousands(row["macs_per_second"]),
        latency(row),
        f"{rate:g}",
        listed(row["licence"].get("weights") or "none"),
    )


def markdown(rows: list[Row]) -> str:
    """Return the tables of docs/zoo.md: checkpoints with their scores, and the claims of other authors."""
    from rased.terminal import markdown_cell, markdown_name

    scored = sorted({testset for row in rows for testset in row["scores"]})
    columns = [
        (testset, metric)
        for testset in scored
        for metric in HEADLINE
        if any(metric in row["scores"].get(testset, {}) for row in rows)
    ]
    header = [*COLUMNS, *(markdown_cell(f"{metric} ({testset})") for testset, metric in columns)]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        values = [row["scores"].get(testset, {}).get(metric) for testset, metric in columns]
        scores = ["" if value is None else f"{value:.2f}" for value in values]
        lines.append([markdown_name(row["name"]), *map(markdown_cell, cells(row)[1:]), *scores])
    tables = [lines]
    claims = [(row["name"], claim) for row in rows for claim in row.get("claims", ())]
    if claims:
        told = [["name", "claimed by its authors, not measured here", "source"], ["---"] * 3]
        told += [
            [markdown_name(name), markdown_cell(claimed(claim)), markdown_cell(claim["source"])]
            for name, claim in claims
        ]
        tables.append(told)
    return "\n\n".join(
        "\n".join("| " + " | ".join(line) + " |" for line in table) for table in tables
    )


def _print_table(rows: list[Row]) -> None:
    from rased.terminal import open_console

    console = open_console()
    if not console.is_terminal:
        console = open_console(width=_PIPE_WIDTH)
    table = _table(rows, scores=True)
    # The terminal may be too narrow for the scores: then they are left out, instead of wrapping every line.
    whole = console.measure(table, options=console.options.update(max_width=_ENDLESS)).minimum
    if whole > console.width:
        table = _table(rows, scores=False)
    console.print(table)
    if whole > console.width:
        console.print(
            f"scores: shown in a terminal of {whole} columns, or by `rased zoo info NAME`"
        )
    if any(row["from"] == IMPORTABLE for row in rows):
        console.print(
            "importable: third-party weights, fetched on first use or by `rased zoo pull`"
        )
    for row in rows:
        if row["from"] == REFUSED:
            console.print(f"refused: {row['name']}: {row['refusal']}", soft_wrap=True)


def _table(rows: list[Row], *, scores: bool) -> "Table":
    from rich.table import Table

    testsets = sorted({testset for row in rows for testset in row["scores"]}) if scores else []
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("name", "for", "from", "MACs/s", "ms", "kHz", "licence"):
        numeric = column in ("MACs/s", "ms", "kHz")
        justify: Any = "right" if numeric else "left"
        table.add_column(column, justify=justify, no_wrap=column != "for")
    for testset in testsets:
        table.add_column(f"{testset}\n{' '.join(SHORT.values())}", no_wrap=True)
    for row in rows:
        name, purpose, origin, _, macs, _, rate, licence = cells(row)
        late = _milliseconds(row)
        means = [_scores(row["scores"].get(testset, {})) for testset in testsets]
        table.add_row(name, purpose, origin, macs, late, rate, licence, *means)
    return table


def _milliseconds(row: Row) -> str:
    total = _latency(row).total_ms
    return "all" if total is None else f"{total:.0f}"


def _scores(means: dict[str, float | None]) -> str:
    shown = [(means.get(metric), len(title)) for metric, title in SHORT.items()]
    words = ["-" if value is None else f"{value:.2f}" for value, _ in shown]
    return " ".join(word.rjust(width) for word, (_, width) in zip(words, shown, strict=True))


def thousands(count: int | None) -> str:
    """Format a number with three significant digits: 48.2 K, 1.05 M, 33 M."""
    if count is None:
        return "?"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return str(count)


def latency(row: Row) -> str:
    """Format the latency in milliseconds, as in the DNS Challenge."""
    return _latency(row).shown("whole file")


def _latency(row: Row) -> "Latency":
    from rased.models.cost import Latency

    return Latency(row["algorithmic_latency"], row["buffering"], row["sample_rate"])


def listed(value: Any) -> str:
    """Format one line or a list of lines."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def claimed(claim: Row) -> str:
    """Format the scores that authors claim for their weights."""
    return f"{claim['testset']}: " + ", ".join(
        f"{metric} {value:g}" for metric, value in claim["scores"].items()
    )


def show_info(arguments: argparse.Namespace) -> int:
    """Print the details of a checkpoint."""
    from rased.terminal import open_console
    from rased.zoo.importable import importable
    from rased.zoo.registry import entries

    name = arguments.name
    if name in importable() and name not in entries():
        row, folder = importable_row(name), None
    else:
        from rased.zoo.card import read_card
        from rased.zoo.registry import find

        folder = find(name, others=list(importable()))
        row = read_card(folder)
    if arguments.json:
        print(json.dumps(row, indent=1))
        return 0
    console = open_console(soft_wrap=True)
    console.print(f"{row['name']}: {row['summary']}")
    for title, lines in (about(row, folder) if folder else about_importable(row)).items():
        for line in lines:
            console.print(f"  {title:10}{line}")
            title = ""
    return 0


def about(card: Row, folder: Path) -> dict[str, list[str]]:
    """Return the details of a checkpoint, a few lines under each title."""
    place = str(folder) if folder.name != card["name"] else card["name"]
    return {
        **_facts(card),
        "training": [", ".join(_training(card["training"])) or "not stated"],
        **_origin(card),
        "try": [f"rased enhance noisy.wav --model {place}"],
        "more": [f"rased zoo info {place} --json; files in {folder}"],
    }


def about_importable(row: Row) -> dict[str, list[str]]:
    """Return the details of third-party weights before they are fetched."""
    sources = list(dict.fromkeys(p["url"] for file in row["files"] for p in file["sources"]))
    told = f", {row['bytes'] / 1e6:.1f} MB to fetch" if row["bytes"] else ""
    refused = [f"refused: {row['refusal']}"] if row["refusal"] else []
    return {
        **_facts(row),
        "claimed": [f"{claimed(claim)} ({claim['source']})" for claim in row["claims"]],
        "files": [f"{row['format']}{told}", *sources],
        **_origin(row),
        "notes": [row["notes"]] if row["notes"] else [],
        "try": refused or [f"rased enhance noisy.wav --model {row['name']}"],
    }


def _facts(row: Row) -> dict[str, list[str]]:
    kind, late = "whole files only", _latency(row)
    if row["causal"]:
        parts = f"{late.parts}: window and look-ahead + hop"
        kind = f"streams and files; latency {late.total_ms:.3g} ms ({parts})"
    purpose = f"{row['purpose']}; " if row.get("purpose") else ""
    return {
        "for": [f"{purpose}{row['sample_rate']} Hz; {kind}"],
        "size": [
            f"{thousands(row['parameters'])} parameters, {thousands(row['macs_per_second'])} "
            "multiply-accumulates per second of audio"
        ],
        "scores": [
            f"on {testset}: " + ", ".join(f"{name} {mean:.2f}" for name, mean in means.items())
            for testset, means in _headline(row["scores"]).items()
        ]
        or ["none measured here; score it with `rased evaluate`"],
    }


def _origin(row: Row) -> dict[str, list[str]]:
    told = {name: listed(value) for name, value in row["licence"].items() if value}
    return {
        "licence": [f"{name}: {value}" for name, value in told.items()] or ["unknown"],
        "paper": [row["paper"]] if row["paper"] else [],
    }


def _headline(scores: dict[str, dict[str, float | None]]) -> dict[str, dict[str, float]]:
    """Return the scores on the page, or the first few if a test set has none of them."""
    chosen = {}
    for testset, means in scores.items():
        there = {name: value for name, value in means.items() if value is not None}
        kept = [name for name in HEADLINE if name in there] or list(there)[: len(HEADLINE)]
        if kept:
            chosen[testset] = {name: there[name] for name in kept}
    return chosen


def _training(training: dict[str, Any]) -> list[str]:
    told = []
    if training.get("audio_hours") is not None:
        told.append(f"{training['audio_hours']:g} h of training audio")
    if training.get("steps") is not None:
        told.append(f"{training['steps']} steps")
    if isinstance(training.get("from"), dict):
        told.append(
            f"started from the weights of {training['from'].get('name', 'another checkpoint')}"
        )
    if training.get("imported"):
        told.append(
            f"by other authors; imported from {training['imported'].get('source', 'elsewhere')}"
        )
    return told
