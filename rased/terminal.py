"""Print text from files safely: it cannot contain markup or control a terminal, on a console or in Markdown."""

import re
from typing import Any

from rich.console import Console
from rich.progress import TextColumn
from rich.text import Text


def printable(text: str) -> str:
    r"""Replace control characters and surrogates; keep line breaks and tabs.

    >>> printable("a\x1b[31mb")
    'a?[31mb'
    """
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)


def markdown_cell(text: str) -> str:
    r"""Escape text for a cell of a Markdown table: one line, without markup.

    >>> markdown_cell("a | <b>*c*")
    'a \\| &lt;b>\\*c\\*'
    """
    line = printable(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", line)


def markdown_name(text: str) -> str:
    """Format a name for a cell of a Markdown table: as code if it is plain, else escaped by `markdown_cell`.

    >>> markdown_name("gru-mask-16k")
    '`gru-mask-16k`'
    """
    return f"`{text}`" if re.fullmatch(r"[\w.+:@/ -]*[\w]", text) else markdown_cell(text)


class _Plain(Console):
    """A console that prints all strings literally, also in tables and titles."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Render without markup, emoji names and control characters."""
        plain: dict[str, Any] = {**options, "markup": False, "emoji": False, "highlight": False}
        return super().render_str(printable(text), **plain)


def open_console(
    *, stderr: bool = False, width: int | None = None, soft_wrap: bool = False
) -> Console:
    """Open the console that all output of rased goes through.

    Args:
        stderr: print to stderr instead of stdout.
        width: width in characters; None: the width of the terminal.
        soft_wrap: do not break long lines.
    """
    return _Plain(
        stderr=stderr, width=width, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False
    )


class PlainColumn(TextColumn):
    """A progress bar column that prints descriptions literally."""

    def __init__(self, text_format: str = "{task.description}") -> None:
        super().__init__(text_format, markup=False)

    def render(self, task: Any) -> Text:
        """Return the text of a task."""
        rendered = super().render(task)
        rendered.plain = printable(rendered.plain)
        return rendered
