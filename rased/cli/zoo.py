"""The zoo of checkpoints: list, inspect, verify, publish, pull, import."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rased.cli.options import add_allow, add_condition
from rased.errors import ProblemsFound, RasedError

EXAMPLES = """\
examples:
  rased zoo list                                    names, sizes, latency
  rased zoo list --markdown                         the table of docs/zoo.md
  rased zoo info NAME                               what it is for, how good, how fast, its licence
  rased zoo verify                                  hashes, golden output, stream of every entry
  rased zoo pull https://.../card.yaml              fetch an entry by the URL of its card
  rased zoo publish runs/mine --name mine-16k       a run becomes an entry below zoo/
  rased zoo import gtcrn FILE --out zoo/gtcrn       authors' weights become an entry

Entries are looked for in $RASED_ZOO (folders, as in PATH), zoo/ of a checkout, the installed
package, and the cache of pulled ones.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the sub-verbs of `rased zoo`."""
    parser.epilog = EXAMPLES
    verbs = parser.add_subparsers(dest="sub_verb", required=True, metavar="VERB")

    listing = verbs.add_parser("list", help="names, sizes, latency", epilog=EXAMPLES)
    listing.add_argument("pattern", nargs="?", default="*", help='such as "*16k*"')
    form = listing.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the cards as JSON")
    form.add_argument("--markdown", action="store_true", help="the table of docs/zoo.md")

    info = verbs.add_parser(
        "info", help="what an entry is for, how good, its licence", epilog=EXAMPLES
    )
    info.add_argument("name", help="name, folder or card")
    info.add_argument("--json", action="store_true", help="the whole card as JSON")

    verify = verbs.add_parser("verify", help="hashes, golden output and stream", epilog=EXAMPLES)
    verify.add_argument("names", nargs="*", metavar="NAME", help="names or folders; none: all")
    add_allow(verify)
    verify.add_argument("--json", action="store_true", help="print the checks as JSON")

    pull = verbs.add_parser("pull", help="fetch an entry by the URL of its card", epilog=EXAMPLES)
    pull.add_argument("url", help="http or https URL; #sha256=... pins the card")
    pull.add_argument("--out", type=Path, help="folder of entries (default: the user's cache)")

    publish = verbs.add_parser("publish", help="a run becomes an entry", epilog=EXAMPLES)
    publish.add_argument("run", type=Path, help="folder of a run, such as runs/mine")
    publish.add_argument("--name", required=True, help="name of the entry")
    publish.add_argument("--out", type=Path, default=Path("zoo"), help="folder of entries")
    publish.add_argument("--summary", default="", help="one line for the card")
    publish.add_argument("--licence", default="Apache-2.0", help="of the weights")
    publish.add_argument(
        "--results",
        type=Path,
        nargs="*",
        default=[],
        metavar="JSON",
        help="results of `rased evaluate` whose means go into the card",
    )
    publish.add_argument(
        "--attenuation-limit-db",
        type=float,
        metavar="DB",
        help="let the entry take away no more than this (default: as the run)",
    )
    add_condition(publish)
    add_allow(publish)
    publish.add_argument(
        "--not-repeatable",
        action="store_true",
        help="publish a run whose weights no command makes again; the card says why",
    )
    publish.add_argument("--replace", action="store_true", help="replace an entry of that name")

    importing = verbs.add_parser("import", help="authors' weights become an entry", epilog=EXAMPLES)
    importing.add_argument("architecture", help="such as gtcrn")
    importing.add_argument("file", type=Path, help="the authors' file")
    importing.add_argument("--out", type=Path, required=True, help="the entry, such as zoo/gtcrn")
    importing.add_argument("--replace", action="store_true", help="replace an existing entry")


def run(arguments: argparse.Namespace) -> int:
    """Dispatch."""
    verbs = {
        "list": _list,
        "info": _info,
        "verify": _verify,
        "pull": _pull,
        "publish": _publish,
        "import": _import,
    }
    return verbs[arguments.sub_verb](arguments)


def _list(arguments: argparse.Namespace) -> int:
    from rased.zoo.card import read_card
    from rased.zoo.registry import find, list_checkpoints

    cards = []
    for name in list_checkpoints(arguments.pattern):
        try:
            cards.append(read_card(find(name)))
        except RasedError as error:  # one bad entry does not hide the others
            print(f"rased: left out: {error}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(cards, indent=1))
    elif arguments.markdown:
        print(markdown(cards))
    elif not cards:
        print("no checkpoints; publish a run with `rased zoo publish RUN --name NAME`.")
    else:
        _print_table(cards)
    return 0


HEADLINE = ("pesq-wb", "stoi", "estoi", "si-sdr", "dnsmos-ovrl")
"""Metrics that the README shows; the card has all that were measured."""

COLUMNS = ("name", "parameters", "MACs/s", "latency (ms)", "data", "summary")


def rows(cards: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """One row a card, in the words of `COLUMNS`."""
    return [
        (
            card["name"],
            _thousands(card["parameters"]),
            _thousands(card["macs_per_second"]),
            _latency(card),
            _hours(card),
            card["summary"],
        )
        for card in cards
    ]


def markdown(cards: list[dict[str, Any]]) -> str:
    """The table of the README."""
    from rased.terminal import markdown_cell, markdown_name

    scored = sorted({testset for card in cards for testset in card["scores"]})
    metrics = {
        testset: [
            m for m in HEADLINE if any(m in card["scores"].get(testset, {}) for card in cards)
        ]
        for testset in scored
    }
    columns = [(testset, metric) for testset in scored for metric in metrics[testset]]
    header = [*COLUMNS, *(markdown_cell(f"{metric} ({testset})") for testset, metric in columns)]
    lines = [header, ["---"] * len(header)]
    for card, row in zip(cards, rows(cards), strict=True):
        values = [card["scores"].get(testset, {}).get(metric) for testset, metric in columns]
        scores = ["" if value is None else f"{value:.2f}" for value in values]
        lines.append([markdown_name(row[0]), *map(markdown_cell, row[1:]), *scores])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _print_table(cards: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from rased.terminal import open_console

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in COLUMNS:
        numeric = column in ("parameters", "MACs/s", "latency (ms)")
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows(cards):
        table.add_row(*row)
    open_console().print(table)


def _thousands(count: int | None) -> str:
    """Three significant digits: 48.2 K, 1.05 M, 33 M."""
    if count is None:
        return "?"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return str(count)


def _latency(card: dict[str, Any]) -> str:
    from rased.models.cost import Latency

    latency = Latency(card["algorithmic_latency"], card["buffering"], card["sample_rate"])
    return latency.shown("whole file")


def _hours(card: dict[str, Any]) -> str:
    hours = card["training"].get("audio_hours")
    return "" if hours is None else f"{hours:g} h seen"


def _info(arguments: argparse.Namespace) -> int:
    from rased.terminal import open_console
    from rased.zoo.card import read_card
    from rased.zoo.registry import find

    folder = find(arguments.name)
    card = read_card(folder)
    if arguments.json:
        print(json.dumps(card, indent=1))
        return 0
    console = open_console(soft_wrap=True)
    console.print(f"{card['name']}: {card['summary']}")
    for title, lines in about(card, folder).items():
        for line in lines:
            console.print(f"  {title:10}{line}")
            title = ""
    return 0


def about(card: dict[str, Any], folder: Path) -> dict[str, list[str]]:
    """What a person wants to know of a checkpoint, a few lines under each title."""
    licence = {name: _listed(value) for name, value in card["licence"].items()}
    kind = "streams and files" if card["causal"] else "whole files only"
    place = str(folder) if folder.name != card["name"] else card["name"]
    latency = _latency(card) + (" ms: window and look-ahead + hop" if card["causal"] else "")
    return {
        "for": [f"{card['sample_rate']} Hz; {kind}; latency {latency}"],
        "size": [
            f"{_thousands(card['parameters'])} parameters, {_thousands(card['macs_per_second'])} "
            "multiply-accumulates a second of audio"
        ],
        "scores": [
            f"on {testset}: " + ", ".join(f"{name} {mean:.2f}" for name, mean in means.items())
            for testset, means in _headline(card["scores"]).items()
        ]
        or ["none in its card; score it with `rased evaluate`"],
        "training": [", ".join(_training(card["training"])) or "not told"],
        "licence": [f"{name}: {value}" for name, value in licence.items()] or ["not told"],
        "paper": [card["paper"]] if card["paper"] else [],
        "try": [f"rased enhance noisy.wav --model {place}"],
        "more": [f"rased zoo info {place} --json; files in {folder}"],
    }


def _headline(scores: dict[str, dict[str, float | None]]) -> dict[str, dict[str, float]]:
    """The scores that the README shows, or the first few where a test set has none of them."""
    found = {}
    for testset, means in scores.items():
        there = {name: value for name, value in means.items() if value is not None}
        chosen = [name for name in HEADLINE if name in there] or list(there)[: len(HEADLINE)]
        if chosen:
            found[testset] = {name: there[name] for name in chosen}
    return found


def _training(training: dict[str, Any]) -> list[str]:
    told = []
    if training.get("audio_hours") is not None:
        told.append(f"{training['audio_hours']:g} h of audio heard")
    if training.get("steps") is not None:
        told.append(f"{training['steps']} steps")
    if isinstance(training.get("from"), dict):
        told.append(f"begun with the weights of {training['from'].get('name', 'another')}")
    return told


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _verify(arguments: argparse.Namespace) -> int:
    from rased.zoo.loading import verify
    from rased.zoo.registry import find, list_checkpoints

    names = arguments.names or list_checkpoints()
    found = {name: verify(find(name), allow=arguments.allow) for name in names}
    if arguments.json:
        plain = {name: [vars(check) for check in checks] for name, checks in found.items()}
        print(json.dumps(plain, indent=1))
    else:
        for name, checks in found.items():
            for check in checks:
                print(f"{'ok  ' if check.passed else 'BAD '} {name}: {check.name}: {check.detail}")
    bad = [name for name, checks in found.items() if not all(check.passed for check in checks)]
    if bad:
        raise ProblemsFound(f"{len(bad)} of {len(found)} entries are bad: {', '.join(bad)}.")
    return 0


def _pull(arguments: argparse.Namespace) -> int:
    from rich.text import Text

    from rased.terminal import open_console
    from rased.zoo.pull import pull

    console = open_console(stderr=True)
    with console.status(Text("fetching")) as status:
        folder = pull(
            arguments.url,
            folder=arguments.out,
            progress=lambda name, done: status.update(Text(f"{name}  {done / 1e6:.1f} MB")),
        )
    print(folder)
    return 0


def _publish(arguments: argparse.Namespace) -> int:
    from rased.conditions import parse
    from rased.evaluation.result import mean_scores
    from rased.zoo.card import read_card
    from rased.zoo.publish import publish

    folder = publish(
        arguments.run,
        arguments.name,
        arguments.out,
        summary=arguments.summary,
        licence=arguments.licence,
        scores=mean_scores(arguments.results),
        attenuation_limit_db=arguments.attenuation_limit_db,
        replace=arguments.replace,
        allow=arguments.allow,
        repeatable_only=not arguments.not_repeatable,
        condition=parse(arguments.condition),
    )
    print(folder)
    reason = read_card(folder)["training"].get("not_repeatable")
    if reason:
        print(f"no command repeats its training: {reason}", file=sys.stderr)
    print(f"verified; try: rased enhance IN -o OUT --model {folder}", file=sys.stderr)
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from rased.zoo.publish import import_weights

    print(
        import_weights(
            arguments.architecture, arguments.file, arguments.out, replace=arguments.replace
        )
    )
    return 0
