"""The README and the pages of docs/ say what is so."""

import re
from pathlib import Path

import pytest

from docs import cost_picture
from docs.generated import facts
from rased.cli import VERBS, main
from rased.metrics import METRICS
from rased.models.registry import list_models

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {page: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))}


def test_the_zoo_table_is_the_generated_one(capsys):
    page = PAGES[ROOT / "docs" / "zoo.md"]
    table = page.split("<!-- zoo: rased zoo list --markdown -->")[1].split("<!-- /zoo -->")[0]
    assert main(["zoo", "list", "--markdown"]) == 0
    assert table.strip() == capsys.readouterr().out.strip()


def test_the_leaderboard_is_the_generated_one(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    page = PAGES[ROOT / "docs" / "leaderboard.md"]
    command = re.search(r"<!-- leaderboard: rased (.*) -->", page)
    table = page[command.end() :].split("<!-- /leaderboard -->")[0]
    assert main(command[1].split()) == 0
    assert table.strip() == capsys.readouterr().out.strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "docs" / "models.md"], ids=lambda page: page.name
)
def test_the_tables_of_architectures_are_the_generated_ones(page, capsys):
    text = page.read_text(encoding="utf-8")
    command = re.search(r"<!-- models: rased ([^>]*) -->", text)
    table = text[command.end() :].split("<!-- /models -->")[0]
    assert main(command[1].split()) == 0
    assert table.strip() == capsys.readouterr().out.strip()


def test_every_architecture_is_on_its_page():
    page = PAGES[ROOT / "docs" / "models.md"]
    listed = re.findall(r"^\| `([^`]+)` \| \[", page, re.M)
    assert sorted(listed) == list_models()


def test_the_picture_of_quality_against_cost_shows_the_board():
    assert cost_picture.kept() == cost_picture.points(), "run: python docs/pictures.py quality-cost"


@pytest.mark.parametrize(
    "verb",
    sorted(set(re.findall(r"\brased ([a-z]+)\b", "".join([README, *PAGES.values()]))) & set(VERBS)),
)
def test_verbs_explain_themselves_with_an_example(verb, capsys):
    assert main([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert "example" in said
    assert f"rased {verb}" in said


def test_the_readme_is_short():
    lines = README.splitlines()
    assert len(lines) < 150
    assert max(map(len, lines)) <= 120


def test_every_page_is_in_the_navigation_once():
    named = re.findall(r"^ +- .*: ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M)
    pages = [page.name for page in PAGES]
    assert sorted(named) == sorted([*pages, "index.md"])


def test_the_experiment_on_ideal_targets_counts_its_own_tables():
    text = (ROOT / "experiments" / "0012-ideal-targets" / "README.md").read_text("utf-8")
    counted = {}
    for part in re.split("^### noise", text, flags=re.M)[1:]:
        part = part.partition("###")[0]
        for worse_better, *cells in re.findall(
            r"^\| mixtures in which (.*) \|" + r" (\d) \|" * 5, part, re.M
        ):
            one = counted.setdefault(worse_better, [0] * 5)
            counted[worse_better] = [a + int(b) for a, b in zip(one, cells, strict=True)]
    pesq, estoi = counted["IRM is better than IBM"][2:4]
    assert f"IBM is below IRM in {pesq} of 24 mixtures (PESQ) and {estoi} of 24 (ESTOI)" in text
    pesq, estoi = counted["PSM is better than IRM"][2:4]
    assert f"IRM below PSM in {pesq} and {estoi}" in text


def test_the_page_of_metrics_holds_every_metric_with_its_properties():
    page = PAGES[ROOT / "docs" / "metrics.md"]
    parts = dict(re.findall(r"^### ([\w-]+)\n\n(.*)$", page, re.M))
    assert parts == {name: facts(name) for name in METRICS}


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []
