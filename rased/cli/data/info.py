"""`rased data info`: show the contents of folders of shards."""

import argparse

from rased.cli.options import add_json
from rased.cli.report import duration, print_json

EXAMPLES = """\
examples:
  rased data info bundle
  rased data info shards/speech --json
  rased data info s3://bucket/corpus                  or https://...: reads only its index.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased data info`."""
    parser.add_argument(
        "folder",
        metavar="DIR",
        help="folder or URL of shards, a folder of such folders, or 'bundle'",
    )
    add_json(parser, "the contents")


def run(arguments: argparse.Namespace) -> int:
    """Print one table for each folder."""
    from rased.config import public
    from rased.data.integrity.verify import summary

    found = public(summary(arguments.folder))
    if arguments.json:
        print_json(found)
        return 0
    from rich.table import Table

    from rased.terminal import open_console

    console = open_console()
    for folder in found:
        table = Table(title=f"{folder['folder']}: {folder['what']}", title_justify="left")
        for column in ("split", "files", "length", "labels", "MB", "licences"):
            table.add_column(column, justify="left" if column in ("split", "licences") else "right")
        for row in folder["splits"]:
            table.add_row(
                row["split"],
                str(row["files"]),
                duration(row["seconds"]),
                str(row["labels"]),
                f"{row['bytes'] / 1e6:.1f}",
                ", ".join(row["licences"]),
            )
        console.print(table)
    return 0
