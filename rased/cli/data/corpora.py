"""`rased data corpora`: list public corpora, or show the details of one."""

import argparse
from typing import Any

from rased.cli.options import add_json
from rased.cli.report import print_json

EXAMPLES = """\
examples:
  rased data corpora                              print the table
  rased data corpora vctk                         show one corpus: splits, layout, citation, downloads
  rased data corpora --json                       print everything as JSON
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased data corpora`."""
    parser.add_argument("name", nargs="?", metavar="CORPUS", help="show all details of this corpus")
    add_json(parser, "everything")


def run(arguments: argparse.Namespace) -> int:
    """Print the table of corpora, or the details of one."""
    from rased.data.corpora import CORPORA, find

    chosen = [find(arguments.name)] if arguments.name else list(CORPORA.values())
    rows = [_described(corpus) for corpus in chosen]
    if arguments.json:
        print_json(rows[0] if arguments.name else rows)
    elif arguments.name:
        for key, value in rows[0].items():
            print(f"{key}: {', '.join(value) if isinstance(value, list) else value}")
    else:
        _print_table(rows)
    return 0


def _described(corpus: Any) -> dict[str, Any]:
    return {
        "corpus": corpus.name,
        "title": corpus.title,
        "role": list(corpus.roles),
        "hours": corpus.hours,
        "sample_rate": corpus.sample_rate or None,
        "licence": corpus.licence,
        "how": corpus.how,
        "parts": list(corpus.parts),
        "checksums": sum(bool(archive.checksum) for archive in corpus.archives),
        "splits": corpus.splits,
        "layout": corpus.layout,
        "testset": corpus.pairs is not None,
        "citation": corpus.citation,
        "homepage": corpus.homepage,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from rased.terminal import open_console

    table = Table()
    for column in ("corpus", "role", "hours", "kHz", "licence", "how to get it"):
        table.add_column(
            column,
            justify="right" if column in ("hours", "kHz") else "left",
            no_wrap=column == "corpus",
        )
    for row in rows:
        rate = row["sample_rate"]
        table.add_row(
            row["corpus"],
            " ".join(row["role"]) + (" + test set" if row["testset"] else ""),
            f"{row['hours']:g}" if row["hours"] else "-",
            f"{rate / 1000:g}" if rate else "-",
            row["licence"],
            row["how"],
        )
    open_console().print(table)
