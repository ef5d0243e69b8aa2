"""The tables of a README."""

import pytest

from rased.errors import RasedError
from rased.evaluation import collect
from rased.evaluation.report.markdown import markdown
from tests.evaluation.conftest import named, shifted


@pytest.fixture
def rows(scored):
    return collect([scored])


def test_a_row_has_its_scores_verdicts_and_costs(rows):
    text = markdown(rows, columns=["stoi"])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(rows)
    assert len({line.count("|") for line in lines}) == 1
    (method,) = (row for row in rows if row.name == "log-mmse")
    (line,) = (line for line in lines if "`log-mmse`" in line)
    values = list(method.values("stoi").values())
    assert f"{sum(values) / len(values):.3f}" in line
    assert f"{method.cost['real_time_factor']:.3f}" in line
    assert "RTF: processor seconds" in text


def test_what_does_not_compare_is_struck_through_and_noted(rows):
    odd = shifted(named(rows, "noisy"), "odd")
    odd.protocol["alignment"] = "delays up to 0.25 s taken out"
    text = markdown([*rows, odd], columns=["stoi"])
    (line,) = (line for line in text.splitlines() if "| `odd`" in line)
    assert "~~" in line
    assert "odd: alignment" in text


def test_an_unknown_column_gets_the_nearest(rows):
    with pytest.raises(RasedError, match="stoi"):
        markdown(rows, columns=["stoy"])
