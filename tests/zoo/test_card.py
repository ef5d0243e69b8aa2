import re

import pytest
import yaml

from rased.errors import RasedError
from rased.zoo.card import CARD, FIELDS, read_card, write_card


def changed(entry, change):
    card = yaml.safe_load((entry / CARD).read_text())
    change(card)
    (entry / CARD).write_text(yaml.safe_dump(card))


def test_a_card_survives_writing_and_reading(entry, tmp_path):
    card = read_card(entry)
    (tmp_path / "copy").mkdir()
    write_card(tmp_path / "copy", card)
    assert read_card(tmp_path / "copy") == card


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_every_field_is_needed(entry, field):
    changed(entry, lambda card: card.pop(field))
    said = "no field 'schema'" if field == "schema" else f"lacks the field '{field}'"
    with pytest.raises(RasedError, match=said):
        read_card(entry)


def change_class(card, path):
    card["enhancer"]["class_path"] = path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda card: card.update(schema=2), "has schema 2 and this rased reads up to 1; update"),
        (lambda card: card.update(schema="x"), "has schema 'x'; it must be a number"),
        (lambda card: card.update(sumary="x"), "'sumary'; did you mean 'summary'?"),
        (lambda card: card.update(sample_rate=True), "'sample_rate' must hold int, and holds True"),
        (lambda card: card.update(latency="much"), "'latency' must hold int or nothing"),
        (lambda card: card.update(name="../up"), "has the name '../up'"),
        (lambda card: change_class(card, "os.system"), "asks for the class 'os.system'; only"),
        (lambda card: change_class(card, "rased.cli.main"), "asks for the class 'rased.cli.main'"),
        (lambda card: change_class(card, None), "needs a class_path"),
        (lambda card: card["files"].pop("model.safetensors"), "lacks 'model.safetensors'"),
        (lambda card: card["files"].update({"../x": "0" * 64}), "'../x' is no name for a file"),
        (lambda card: card["files"].update({"x.bin": "123"}), "SHA-256 of 'x.bin' is not 64"),
    ],
)
def test_a_wrong_card_is_one_sentence_that_names_the_field(entry, change, said):
    changed(entry, change)
    with pytest.raises(RasedError, match=re.escape(said)) as caught:
        read_card(entry)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "is no YAML that can be read"),
        ("just words", "is no card"),
        ("!!python/object/apply:os.system ['true']", "is no YAML that can be read"),
        ("x" * (2 << 20), "larger than 1 MB"),
    ],
)
def test_what_is_no_card_is_refused(entry, text, said):
    (entry / CARD).write_text(text)
    with pytest.raises(RasedError, match=said):
        read_card(entry)
