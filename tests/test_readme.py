"""The README says what is so."""

import re
from pathlib import Path

import pytest

from rased.cli import VERBS, main

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_zoo_table_is_the_generated_one(capsys):
    table = README.split("<!-- zoo: rased zoo list --markdown -->")[1].split("<!-- /zoo -->")[0]
    assert main(["zoo", "list", "--markdown"]) == 0
    assert table.strip() == capsys.readouterr().out.strip()


def test_the_leaderboard_is_the_generated_one(capsys, monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)
    command = re.search(r"<!-- leaderboard: rased (.*) -->", README)
    table = README[command.end() :].split("<!-- /leaderboard -->")[0]
    assert main(command[1].split()) == 0
    assert table.strip() == capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    "verb", sorted(set(re.findall(r"\brased ([a-z]+)\b", README)) & set(VERBS))
)
def test_verbs_explain_themselves_with_an_example(verb, capsys):
    assert main([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert "example" in said
    assert f"rased {verb}" in said
