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
    said = (
        "the field 'schema' is missing" if field == "schema" else f"the field '{field}' is missing"
    )
    with pytest.raises(RasedError, match=said):
        read_card(entry)


def change_class(card, path):
    card["enhancer"]["class_path"] = path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda card: card.update(schema=2),
            "has schema 2, but this version of rased reads up to 1; update",
        ),
        (lambda card: card.update(schema="x"), "has schema 'x'; it must be a number"),
        (lambda card: card.update(sumary="x"), "'sumary'; did you mean 'summary'?"),
        (
            lambda card: card.update(sample_rate=True),
            "`sample_rate` is True; expected a whole number",
        ),
        (
            lambda card: card.update(latency="much"),
            "`latency` is 'much'; expected a whole number or null",
        ),
        (
            lambda card: card.update(name="../up"),
            "is '../up'; it must be a name of at most 200 letters",
        ),
        (lambda card: change_class(card, None), "needs a class_path"),
        (lambda card: card["files"].pop("model.safetensors"), "'model.safetensors' is missing"),
        (lambda card: card["files"].update({"../x": "0" * 64}), "is '../x'; it must be a name"),
        (
            lambda card: card["files"].update({"x.bin": "123"}),
            "SHA-256 of 'x.bin' is '123'; it must be 64",
        ),
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
        ("a: [1", "is not valid YAML"),
        ("just words", "is not a card"),
        ("!!python/object/apply:os.system ['true']", r"has a tag \(!\) in line 1"),
        ("x" * (2 << 20), "has 2097152 bytes; the maximum is 262144"),
    ],
)
def test_what_is_no_card_is_refused(entry, text, said):
    (entry / CARD).write_text(text)
    with pytest.raises(RasedError, match=said):
        read_card(entry)
