"""`rased models` lists every configs/model and every classical method."""

import json
import re
from dataclasses import replace

import pytest
import torch

from rased.building import build
from rased.cli import main
from rased.cli.model_tables import HEADINGS, cited
from rased.cli.models import COLUMNS, Row, describe_method, ordered, print_table
from rased.config import config_folder
from rased.models.base import Enhancer
from rased.models.classical import METHODS
from rased.models.registry import list_models, model_config


@pytest.mark.slow
def test_every_architecture_is_listed(capsys):
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    configs = sorted(path.stem for path in (config_folder() / "model").glob("*.yaml"))
    assert [row["name"] for row in rows] == [*configs, *METHODS]
    by_name = {row["name"]: row for row in rows}
    gtcrn = by_name["gtcrn"]
    assert (gtcrn["domain"], gtcrn["story"]) == ("frequency", "complex")
    told = ("algorithmic_latency_ms", "buffering_ms", "latency_ms")
    assert [gtcrn[name] for name in told] == [32.0, 16.0, 48.0]  # "48 ms": the DNS Challenge 2021
    assert gtcrn["parameters"] == 48_245
    assert gtcrn["published_parameters"] == 48_200
    assert [by_name["conv-tasnet"][name] for name in told] == [None] * 3
    assert [by_name["conv-tasnet-causal"][name] for name in told] == [2.0, 1.0, 3.0]
    assert not by_name["conv-tasnet"]["causal"]
    assert by_name["conv-tasnet"]["domain"] == "time"
    assert [by_name["dnn-mapping"][name] for name in told] == [80.0, 16.0, 96.0]
    om_lsa = by_name["om-lsa"]
    assert (om_lsa["story"], om_lsa["parameters"], om_lsa["macs_per_second"]) == (
        "classical",
        0,
        None,
    )
    assert [om_lsa[name] for name in told] == [32.0, 8.0, 40.0]
    assert by_name["wpe-om-lsa"]["latency_ms"] is None
    assert by_name["fastenhancer-t"]["parity"]["source"].endswith("aask1357/fastenhancer (f6f51f1)")
    assert by_name["dprnn-causal-small"]["parity"] == by_name["dprnn"]["parity"]
    assert om_lsa["parity"] is None
    print_table([Row(**row) for row in rows])
    table = capsys.readouterr().out
    assert all(name in table for name in by_name)
    assert "48 (32 + 16)" in table
    assert "whole file" in table


WORDS = ("name", "story", "domain", "published_in", "paper")


@pytest.mark.parametrize("column", COLUMNS)
def test_any_column_orders_the_rows_with_unknown_values_last(column):
    values = {"causal": [True, False], "parameters": [3, 1, 2]}.get(column, [3, None, 1, 2])
    if column in WORDS:
        values = ["c", "a", "b"]
    elif column.endswith(("_ms", "_mb", "mb_per_second", "speed", "factor", "error", "gain")):
        values = [value and float(value) for value in values]
    field, given = column, values
    if column == "parity_error":
        field, given = "parity", [value and {"max_error": value} for value in values]
    rows = [replace(describe_method("wiener"), **{field: value}) for value in given]
    known = sorted(value for value in values if value is not None)
    unknown = [None] * (len(values) - len(known))
    for reverse, wanted in ((False, known), (True, known[::-1])):
        found = ordered(rows, column, reverse=reverse)
        assert [getattr(one, column) for one in found] == [*wanted, *unknown]


def test_chosen_rows_in_markdown(capsys):
    words = ["models", "om-lsa", "fastenhancer-[tb]", "--markdown"]
    assert main([*words, "--columns", "paper", "published_parameters", "parity", "causal"]) == 0
    head, line, om_lsa, larger, smaller = capsys.readouterr().out.strip().splitlines()
    assert head == "| name | paper | published | authors' code | causal |"
    assert line == "| --- | --- | --: | --- | --- |"
    assert om_lsa.startswith("| `om-lsa` | ")
    assert larger.startswith(
        "| `fastenhancer-b` | [Ahn 2026](https://arxiv.org/abs/2509.21867) | 93.1 K (authors' code) | "
    )
    assert (
        "[aask1357/fastenhancer](https://github.com/aask1357/fastenhancer) (f6f51f1) | yes |"
        in smaller
    )
    assert main(words) == 0
    head = capsys.readouterr().out.splitlines()[0]
    assert head.count(" | ") == len(HEADINGS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gtcrnn"], "no architecture or method matches 'gtcrnn'; did you mean 'gtcrn'"),
        (["--markdown", "--columns", "papers"], "no column 'papers'; did you mean 'paper'"),
        (["--columns", "paper"], "add --markdown"),
    ],
)
def test_what_a_table_cannot_show_is_one_sentence(words, said, capsys):
    assert main(["models", *words]) == 2
    assert said in capsys.readouterr().err


def test_every_paper_is_cited_by_author_year_and_link():
    for name in list_models():
        spec = model_config(name)["init_args"]["enhancer"]
        with torch.device("meta"):
            paper = build(Enhancer, spec).paper
        assert re.fullmatch(r"\[[\w .-]+ (19|20)\d\d\]\(https://\S+\)", cited(paper)), paper


def test_an_unknown_column_is_one_sentence(capsys):
    assert main(["models", "--sort", "latency"]) == 2
    assert "did you mean 'latency_ms'?" in capsys.readouterr().err
