"""Options that several verbs take alike."""

import argparse


def add_allow(parser: argparse.ArgumentParser) -> None:
    """Add --allow, by which a user trusts a package whose classes a checkpoint names."""
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="let a checkpoint build classes of this package as well (it runs the package's code)",
    )
