import hashlib

import pytest
import safetensors.torch
import torch
import yaml

import rased
from rased.errors import RasedError
from rased.zoo.card import CARD, GOLDEN, WEIGHTS
from rased.zoo.loading import verify
from tests.zoo.conftest import SPEC, tiny


def resign(entry, name, content):
    """Change a file and the hash in the card with it, as a careful forger does."""
    (entry / name).write_bytes(content)
    card = yaml.safe_load((entry / CARD).read_text())
    card["files"][name] = hashlib.sha256(content).hexdigest()
    (entry / CARD).write_text(yaml.safe_dump(card))


def test_what_is_loaded_is_what_was_written(entry):
    enhancer = rased.load("tiny")
    noisy = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(enhancer(noisy), tiny().eval()(noisy), atol=0, rtol=0)
    assert not enhancer.training
    assert enhancer.card["name"] == "tiny"
    assert enhancer.card["enhancer"] == SPEC
    assert (enhancer.sample_rate, enhancer.latency) == (16_000, 256)


def test_name_folder_and_card_name_the_same_entry(entry):
    weights = [rased.load(name).state_dict() for name in ("tiny", entry, entry / CARD)]
    for other in weights[1:]:
        for name, tensor in weights[0].items():
            torch.testing.assert_close(other[name], tensor, atol=0, rtol=0)


def test_names_are_listed_by_pattern(entry, shelf, put):
    put(shelf / "small-16k")
    (shelf / "leaderboard").mkdir()
    assert rased.list_checkpoints("*16k*") == ["small-16k"]
    assert {"small-16k", "tiny"} <= set(rased.list_checkpoints())
    assert "leaderboard" not in rased.list_checkpoints()


def test_an_unknown_name_brings_the_nearest(entry):
    with pytest.raises(RasedError, match=r"no checkpoint or method .tinny.; did you mean .tiny."):
        rased.load("tinny")


def test_a_folder_that_is_no_entry_is_refused(tmp_path):
    with pytest.raises(RasedError, match=r"has neither card\.yaml"):
        rased.load(tmp_path)


@pytest.mark.parametrize("name", [WEIGHTS, GOLDEN])
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_changed_cut_or_missing_file_is_refused_before_anything_is_built(
    entry, monkeypatch, name, damage
):
    path = entry / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content if damage == "flipped" else content[: len(content) // 2]))

    def built(*_, **__):
        raise AssertionError("built before verified")

    monkeypatch.setattr("rased.zoo.assembly.build", built)
    said = "cannot be read" if damage == "missing" else "it was changed or truncated"
    with pytest.raises(RasedError, match=said):
        rased.load("tiny")


def test_weights_that_do_not_fit_the_class_are_refused(entry):
    resign(entry, WEIGHTS, safetensors.torch.save({"foreign": torch.zeros(1)}))
    with pytest.raises(RasedError, match="does not fit its card"):
        rased.load("tiny")


def test_what_is_no_safetensors_file_is_refused(entry):
    resign(entry, WEIGHTS, b"\x80\x04 a pickle, say")
    with pytest.raises(RasedError, match="is not a safetensors file"):
        rased.load("tiny")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"class_path": "rased.models.frequency.Nothing"}, "may name; did you mean"),
        ({"init_args": {**SPEC["init_args"], "targett": "x"}}, "did you mean 'target'"),
        (
            {"init_args": {**SPEC["init_args"], "network": {"class_path": "os.system"}}},
            "'os.system' is not a class that an untrusted file may name",
        ),
        (
            {"init_args": {**SPEC["init_args"], "network": {"class_path": "torch.nn.Linear"}}},
            "'torch.nn.Linear' is not a class that an untrusted file may name",
        ),
    ],
)
def test_a_class_or_key_that_is_unknown_or_not_allowed_is_refused(entry, change, said):
    card = yaml.safe_load((entry / CARD).read_text())
    card["enhancer"] |= change
    (entry / CARD).write_text(yaml.safe_dump(card))
    with pytest.raises(RasedError, match=said):
        rased.load("tiny")


def test_a_card_that_lies_about_the_model_is_refused(entry):
    card = yaml.safe_load((entry / CARD).read_text())
    card["parameters"] += 1
    (entry / CARD).write_text(yaml.safe_dump(card))
    with pytest.raises(RasedError, match="says parameters"):
        rased.load("tiny")


def test_verify_passes_on_what_was_published(entry):
    checks = verify(entry)
    assert [(check.name, check.passed) for check in checks] == [
        ("files", True),
        ("golden output", True),
        ("stream equals file", True),
    ]


def test_verify_fails_on_another_golden_output(entry):
    golden = safetensors.torch.load((entry / GOLDEN).read_bytes())
    golden["estimate"][0, 100] += 2e-4
    resign(entry, GOLDEN, safetensors.torch.save(golden))
    assert [check.passed for check in verify(entry)] == [True, False, True]


def test_verify_fails_where_the_stream_differs_from_the_file(entry, monkeypatch):
    def late(enhancer, noisy):
        return enhancer(noisy).detach().roll(1, -1)

    monkeypatch.setattr("rased.zoo.loading.streamed", late)
    assert [check.passed for check in verify(entry)] == [True, True, False]
