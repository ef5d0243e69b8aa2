"""Text of others on a terminal and in Markdown: shown as it is, never taken for markup, never steering a terminal."""

import re
from typing import Any

from rich.console import Console
from rich.progress import TextColumn
from rich.text import Text


def printable(text: str) -> str:
    r"""Replace what steers a terminal (escape codes, half characters), and keep lines and tabs.

    >>> printable("a\x1b[31mb")
    'a?[31mb'
    """
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)


def markdown_cell(text: str) -> str:
    r"""Text for a cell of a Markdown table: one line, nothing in it is markup.

    >>> markdown_cell("a | <b>*c*")
    'a \\| &lt;b>\\*c\\*'
    """
    line = printable(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", line)


def markdown_name(text: str) -> str:
    """A name for a cell of a Markdown table: as code where it is plain, else as `markdown_cell` writes it.

    >>> markdown_name("gru-mask-16k")
    '`gru-mask-16k`'
    """
    return f"`{text}`" if re.fullmatch(r"[\w.+:@/ -]*[\w]", text) else markdown_cell(text)


class _Plain(Console):
    """A console that prints strings, those in tables and titles as well, as they are."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Without markup, emoji names and control characters."""
        plain: dict[str, Any] = {**options, "markup": False, "emoji": False, "highlight": False}
        return super().render_str(printable(text), **plain)


def open_console(
    *, stderr: bool = False, width: int | None = None, soft_wrap: bool = False
) -> Console:
    """A console for everything that rased prints.

    Args:
        stderr: print there.
        width: characters; that of the terminal where None.
        soft_wrap: leave breaking lines to the terminal.
    """
    return _Plain(
        stderr=stderr, width=width, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False
    )


class PlainColumn(TextColumn):
    """A column of a progress bar whose descriptions are printed as they are."""

    def __init__(self, text_format: str = "{task.description}") -> None:
        super().__init__(text_format, markup=False)

    def render(self, task: Any) -> Text:
        """The text of a task."""
        rendered = super().render(task)
        rendered.plain = printable(rendered.plain)
        return rendered
