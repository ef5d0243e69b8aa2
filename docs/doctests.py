"""Show the doctests of docstrings as code: an extension of griffe, which reads the code for the Python reference."""

import re
from typing import Any

import griffe

_EXAMPLES = re.compile(r"^>>> .*?(?=\n\n|\Z)", re.M | re.S)


class Doctests(griffe.Extension):
    """Put each block of doctest lines into a fence."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object that has just been read."""
        if obj.docstring:
            text = obj.docstring.value
            obj.docstring.value = _EXAMPLES.sub(lambda block: f"```pycon\n{block[0]}\n```", text)
