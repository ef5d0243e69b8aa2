"""Functions for the workers of a cluster, in a module that imports little."""

import os
from pathlib import Path

from rased.errors import ProblemsFound


def squared(number):
    return number * number


def refused(number):
    if number == 3:
        raise ProblemsFound("3 is not liked.")
    return number


def place(_):
    return os.getcwd(), os.environ["RASED_CACHE"], os.environ["OMP_NUM_THREADS"]  # noqa: PTH109


class Unsendable(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def unsendable(number):
    raise Unsendable("one", "two")


def killed(folder, number):
    """Dies the first time."""
    mark = Path(folder) / f"{number}"
    if number % 5 == 2 and not mark.exists():
        mark.touch()
        os._exit(9)
    return number
