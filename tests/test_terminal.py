"""What others wrote is printed as it is: no markup, no escape codes, no row or cell of its own."""

import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from rased.cli import main
from rased.machine import cache_folder
from rased.terminal import PlainColumn, markdown_cell, markdown_name, open_console, printable
from rased.zoo.card import CARD, read_card, write_card
from tests.zoo.conftest import write_tiny

PACKAGE = Path(__file__).parent.parent / "rased"
TEXTS = [
    "[/b]",
    "[bold]x",
    "in[",
    "br[/x]",
    "[train-clean]",
    ":smile:",
    "[link=file:///x]y",
    "\\[x]",
]


def printed(*things: object) -> str:
    console = open_console(width=200)
    console.file = io.StringIO()
    for thing in things:
        console.print(thing)
    return console.file.getvalue()


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_printed_as_it_is_everywhere(text: str) -> None:
    table = Table(text, title=text, caption=text)
    table.add_row(text)
    out = printed(text, table)
    assert out.count(text) == 5
    column = PlainColumn("{task.description}")
    task = type("Task", (), {"description": text})()
    assert column.render(task).plain == text


def test_escape_codes_do_not_reach_the_terminal() -> None:
    text = "a\x1b[31mb\x07\x9b1m\u202ec\udce9"
    assert printable(text) == "a?[31mb??1m?c?"
    assert "\x1b" not in printed(text)


def test_one_way_to_print() -> None:
    """No other console is opened in rased, and no other column of a progress bar."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "terminal.py":
            continue
        text = path.read_text()
        if not any(call in text for call in ("Console", "TextColumn", "from_markup")):
            continue
        for node in ast.walk(ast.parse(text)):
            name = getattr(node, "func", None)
            called = getattr(name, "id", getattr(name, "attr", ""))
            if isinstance(node, ast.Call) and called in ("Console", "TextColumn", "from_markup"):
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "best` | 1.00 | **4.50** |\n| `fake",
        "<script>x</script>",
        "a|b",
        "`x`",
        "[a](b)",
        "\\|",
        "*x*",
    ],
)
def test_a_cell_of_markdown_stays_one_cell_without_markup(text: str) -> None:
    for cell in (markdown_cell(text), markdown_name(text)):
        assert "\n" not in cell
        assert "<" not in cell
        bare = cell.replace("\\\\", "")
        assert bare.count("|") == bare.count("\\|")
        assert bare.count("*") == bare.count("\\*")
        assert bare.count("`") == bare.count("\\`")


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo with an entry whose summary is markup, and one whose card is damaged."""
    monkeypatch.setattr("rased.zoo.publish.macs_per_second", lambda enhancer, condition=None: 1e6)
    monkeypatch.setenv("RASED_ZOO", str(tmp_path / "zoo"))
    folder = write_tiny(tmp_path / "zoo" / "markup", summary="[/b] [train-clean] | x | <b>")
    write_tiny(tmp_path / "zoo" / "bad")
    (tmp_path / "zoo" / "bad" / CARD).write_text("{")
    return folder


def test_a_summary_of_markup_and_a_bad_entry_hide_nothing(
    hostile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["zoo", "list", "markup"]) == 0
    assert "markup" in capsys.readouterr().out
    assert main(["zoo", "list", "--markdown"]) == 0
    told = capsys.readouterr()
    (row,) = [line for line in told.out.splitlines() if "`markup`" in line]
    header = told.out.splitlines()[0]
    assert row.replace("\\|", "").count("|") == header.replace("\\|", "").count("|")
    assert told.err.count("skipped") == 1
    assert main(["zoo", "info", "markup"]) == 0
    info = capsys.readouterr().out
    assert "markup: [/b] [train-clean] | x | <b>" in info
    for word in ("16000 Hz", "latency", "parameters", "on frozen: pesq-wb 1.50", "licence", "try"):
        assert word in info
    assert main(["zoo", "info", "markup", "--json"]) == 0
    assert '"schema": 1' in capsys.readouterr().out


def test_an_escape_code_in_a_card_is_refused(hostile: Path) -> None:
    card = read_card(hostile)
    with pytest.raises(ValueError, match="summary"):
        write_card(hostile, {**card, "summary": "\x1b[2J"})


def test_a_user_without_a_home_has_a_cache_among_the_temporary_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RASED_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert cache_folder().name == f"rased-{os.getuid()}"
    assert main(["zoo", "list", "gru-mask-16k"]) == 0


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_a_character_that_the_terminal_lacks_is_a_question_mark(encoding: str) -> None:
    code = "from rased.cli import main; import sys; sys.exit(main(['zoo', 'list']))"
    code = f"import rased.cli.zoo as m; m.run = lambda a: print('▲ ± ü \\udce9') or 0; {code}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "?" in done.stdout.decode(encoding)
