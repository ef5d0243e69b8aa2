"""Models of several channels, with a condition, and that sample: forward, files, the zoo, evaluation and recheck."""

from pathlib import Path

import numpy as np
import pytest
import torch

import rased
from rased import audio
from rased.errors import RasedError
from rased.evaluation import evaluate
from rased.evaluation.scoring.jobs import together
from rased.evaluation.scoring.recheck import recheck
from rased.evaluation.testset import read_testset
from rased.files import enhance
from rased.losses.base import total
from rased.losses.waveform import L1
from rased.models.base import Enhancer, generators
from rased.models.classical import METHODS
from rased.models.cost import macs_per_second
from rased.streaming import CausalStream, open_stream
from rased.training.waveform import WaveformEnhancement
from rased.zoo.loading import verify
from rased.zoo.publish import write_entry
from tests.evaluation.conftest import write_set
from tests.toys import Conditional, FourAtOnce, FourChannels, Sampler
from tests.training.synthetic import mixture

EMBEDDING = torch.tensor([[0.3, -1.0, 2.0]])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("kind", [FourChannels, FourAtOnce])
def test_four_channels_give_one_waveform(kind):
    enhancer, noisy = kind(), noise(2, 4, 1_000)
    wanted = 0.5 * noisy.mean(1)
    torch.testing.assert_close(enhancer.predict(noisy).estimate, wanted)
    torch.testing.assert_close(enhancer(noisy), wanted)
    torch.testing.assert_close(enhancer(noisy[0]), wanted[0])
    for shape in ((2, 1_000), (2, 3, 1_000), (1_000,), (2, 2, 4, 1_000), (4, 0)):
        with pytest.raises(RasedError, match=r"takes \(channel, time\).* of 4 channels"):
            enhancer(torch.zeros(shape))


@torch.no_grad()
@pytest.mark.parametrize("kind", [FourChannels, FourAtOnce])
def test_a_stream_of_four_channels_is_the_file(kind):
    noisy = noise(4, 20_000)
    stream = open_stream(kind(), 4)
    parts = [stream.push(part) for part in noisy.split(333, dim=-1)]
    found = torch.cat([*parts, stream.finish()], dim=-1)
    torch.testing.assert_close(found, 0.5 * noisy.mean(0, keepdim=True))


@pytest.mark.parametrize("kind", [FourChannels, FourAtOnce])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_file_of_four_channels_becomes_one_of_one(tmp_path, kind, rate):
    given = noise(4, rate).numpy()
    audio.write(tmp_path / "in.wav", given, rate, coding="FLOAT")
    enhance(tmp_path / "in.wav", tmp_path / "out.wav", model=kind())
    found, found_rate = audio.read(tmp_path / "out.wav")
    assert (found.shape, found_rate) == ((1, rate), rate)
    array = rased.enhance(given, rate, model=kind())
    assert array.shape == (rate,)
    np.testing.assert_allclose(array, found[0], atol=1e-6)
    if rate == 16_000:
        np.testing.assert_allclose(found[0], 0.5 * given.mean(0), atol=1e-6)


def test_another_number_of_channels_is_one_sentence_and_writes_nothing(tmp_path):
    audio.write(tmp_path / "in.wav", noise(2, 8_000).numpy(), 16_000)
    for kind in (FourChannels, FourAtOnce):
        with pytest.raises(RasedError, match="takes 4 channels, but the audio has 2"):
            enhance(tmp_path / "in.wav", tmp_path / "out.wav", model=kind())
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


@torch.no_grad()
def test_a_condition_reaches_the_model_by_its_name():
    enhancer, noisy = Conditional(), noise(2, 1_000)
    two = torch.cat([EMBEDDING, -EMBEDDING])
    wanted = enhancer.gain(two).sigmoid() * noisy
    torch.testing.assert_close(enhancer(noisy, condition={"speaker": two}), wanted)
    torch.testing.assert_close(enhancer(noisy[0], condition={"speaker": EMBEDDING}), wanted[0])
    stream = CausalStream(enhancer, 2, condition={"speaker": two})
    torch.testing.assert_close(torch.cat([stream.push(noisy), stream.finish()], dim=-1), wanted)


@pytest.mark.parametrize(
    ("model", "condition", "said"),
    [
        (Conditional(), None, "Conditional needs the condition 'speaker': give condition="),
        (Conditional(), {}, "needs the condition 'speaker'"),
        (
            Conditional(),
            {"speaker": EMBEDDING, "text": EMBEDDING},
            "no condition 'text'; it takes speaker",
        ),
        (Conditional(), {"speaker": torch.zeros(3, 3)}, r"the shape \(3, 3\) for a batch of 1"),
        (Conditional(), {"speaker": torch.tensor(1.0)}, r"the shape \(\) for a batch of 1"),
        (Sampler(), {"speaker": EMBEDDING}, "Sampler has no condition 'speaker'; it takes none"),
        ("log-mmse", {"class": EMBEDDING}, "no condition 'class'; it takes none"),
    ],
)
def test_a_condition_that_does_not_fit_is_one_sentence_everywhere(tmp_path, model, condition, said):
    enhancer = rased.load(model) if isinstance(model, str) else model
    with pytest.raises(RasedError, match=said):
        enhancer(noise(1, 500), condition=condition)
    with pytest.raises(RasedError, match=said):
        open_stream(enhancer, 1, condition=condition)
    audio.write(tmp_path / "in.wav", noise(1, 8_000).numpy(), 16_000)
    with pytest.raises(RasedError, match=said):
        enhance(tmp_path / "in.wav", tmp_path / "out.wav", model=enhancer, condition=condition)
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


def test_a_file_with_a_condition(tmp_path):
    enhancer, given = Conditional(), noise(1, 8_000)
    audio.write(tmp_path / "in.wav", given.numpy(), 16_000, coding="FLOAT")
    condition = {"speaker": EMBEDDING}
    enhance(tmp_path / "in.wav", tmp_path / "out.wav", model=enhancer, condition=condition)
    wanted = enhancer(given, condition=condition).detach()
    np.testing.assert_allclose(audio.read(tmp_path / "out.wav")[0], wanted, atol=1e-6)
    array = rased.enhance(given.numpy(), 16_000, model=enhancer, condition=condition)
    np.testing.assert_allclose(array, wanted, atol=1e-6)


@torch.no_grad()
def test_rows_of_a_model_that_samples_do_not_see_each_other():
    enhancer, noisy = Sampler(), noise(3, 2_000)
    keys = ["a", "b", "c"]
    together = enhancer(noisy, generator=generators(keys))
    for row, key in enumerate(keys):
        alone = enhancer(noisy[row : row + 1], generator=generators([key]))
        assert torch.equal(alone[0], together[row])
    assert torch.equal(enhancer(noisy), enhancer(noisy))
    assert torch.equal(enhancer(noisy)[1], enhancer(noisy[1]))
    drawn = together - 0.5 * noisy
    assert (drawn[0] - drawn[1]).abs().max() > 0.01  # rows of other keys get other numbers
    with pytest.raises(RasedError, match="2 generators for a batch of 3"):
        enhancer(noisy, generator=generators(["a", "b"]))


@torch.no_grad()
def test_a_file_through_a_model_that_samples_is_the_same_each_time():
    enhancer = Sampler()
    short, long = noise(1, 30_000), noise(1, 300_000)
    np.testing.assert_allclose(
        rased.enhance(short.numpy(), 16_000, model=enhancer), enhancer(short), atol=1e-6
    )
    first, again = (rased.enhance(long.numpy(), 16_000, model=enhancer) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    drawn = first[0] - 0.5 * long.numpy()[0]
    assert abs(np.corrcoef(drawn[:100_000], drawn[-100_000:])[0, 1]) < 0.05  # it goes on drawing


@pytest.mark.parametrize(
    ("kind", "condition"),
    [
        (FourChannels, None),
        (FourAtOnce, None),
        (Conditional, {"speaker": EMBEDDING}),
        (Sampler, None),
    ],
)
def test_the_golden_output_of_an_entry_is_found_again(tmp_path, kind, condition):
    entry = write_entry(
        tmp_path / "toy",
        enhancer=kind(),
        spec={"class_path": f"tests.toys.{kind.__name__}", "init_args": {}},
        summary="a toy",
        paper="none",
        licence={"code": "Apache-2.0", "weights": "CC0-1.0", "data": []},
        training={},
        allow=["tests"],
        condition=condition,
    )
    assert all(check.passed for check in verify(entry, allow=["tests"]))
    loaded = rased.load(entry, allow=["tests"])
    assert macs_per_second(loaded, condition=condition) == loaded.card["macs_per_second"]


def test_scores_of_a_model_that_samples_are_found_again(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(METHODS, "sampler", Sampler)
    # Its memory is measured by another process, which costs seconds and says nothing about scores.
    monkeypatch.setattr("rased.evaluation.scoring.run._unweighed", lambda row: False)
    folder = write_set(tmp_path / "tiny")
    (result,) = evaluate(["sampler"], folder, tmp_path / "results", metrics=["si-sdr"])
    random = np.random.default_rng(0)
    (found,) = recheck([result], [read_testset(folder)], count=2, random=random)
    assert (len(found.ids), found.scores, found.problems, found.largest) == (2, 2, (), 0.0)


def test_a_model_with_a_condition_trains():
    module = WaveformEnhancement(Conditional(), loss=L1(), ema_decay=0.0)
    batch = mixture(2, 1_000, seed=0)
    with pytest.raises(RasedError, match="needs the condition 'speaker'"):
        module.losses(batch, "enhancer")
    batch["condition"] = {"speaker": torch.cat([EMBEDDING, -EMBEDDING])}
    optimizer = torch.optim.Adam(module.enhancer.parameters(), lr=0.05)
    values = []
    for _ in range(20):
        value = total(module.losses(batch, "enhancer"))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0]
    assert module.validate(batch)["loss"].isfinite()


def test_a_model_that_samples_draws_anew_in_each_step_and_alike_in_each_validation():
    module = WaveformEnhancement(Sampler(), loss=L1())
    batch = mixture(2, 1_000, seed=0)
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append(total(module.losses(batch, "enhancer")).item())
    assert values[0] == values[1] != values[2]
    assert module.validate(batch)["loss"] == module.validate(batch)["loss"]


def test_an_utterance_gets_the_numbers_of_its_key_in_any_company():
    enhancer: Enhancer = Sampler()
    waveforms = [row.numpy() for row in noise(3, 4_000)]
    batch = together(enhancer, waveforms, ["x", "y", "z"])
    (alone,) = together(enhancer, waveforms[1:2], ["y"])
    np.testing.assert_array_equal(alone, batch[1])
