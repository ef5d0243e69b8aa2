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


def add_condition(parser: argparse.ArgumentParser) -> None:
    """Add --condition, by which a model is given what it needs besides the waveform."""
    parser.add_argument(
        "--condition",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="what the model needs besides the waveform, such as enrolment=anna.wav: an audio file, or .npy for an "
        "embedding; once for each condition",
    )
