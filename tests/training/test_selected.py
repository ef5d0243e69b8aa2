"""A choice that is learned: of the enhancer for each bin (minimum-difference masks), and of that for the SNR."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rased.data.mixtures.sample import Mixture
from rased.errors import RasedError
from rased.evaluation.testset import BUNDLE, read_audio, read_testset
from rased.layers.prediction import Prediction
from rased.losses.spectral import Magnitude
from rased.models.dnn import DNN
from rased.models.lstm import LSTM
from rased.models.selection import MinimumDifferenceFusion, SNRSelection
from rased.signal.ratios import si_sdr
from rased.signal.stft import STFT
from rased.training.base import Enhancement
from rased.training.minimum_difference import MinimumDifference
from rased.training.snr_selected import SNRSelected
from tests.training.stories import assert_continues, assert_continues_and_replays
from tests.training.synthetic import TinyMask, mixture

SMALL = STFT(64, 32, 64)
CHOOSER = {
    "class_path": "rased.models.lstm.LSTM",
    "init_args": {"hidden": 6, "layers": 1},
}
TINY = {"class_path": "tests.training.synthetic.TinyMask"}
STORIES: dict[str, dict[str, Any]] = {
    "minimum_difference.MinimumDifference": {
        "enhancer": {
            "class_path": "rased.models.selection.MinimumDifferenceFusion",
            "init_args": {"enhancers": [TINY] * 2, "network": CHOOSER},
        }
    },
    "snr_selected.SNRSelected": {
        "enhancer": {
            "class_path": "rased.models.selection.SNRSelection",
            "init_args": {"enhancers": [TINY] * 2, "network": CHOOSER, "edges_db": [5.0]},
        }
    },
}


def at(snr_db: Tensor, batch: Mixture) -> Mixture:
    """The mixtures with another SNR."""
    target = batch["target"]
    powers = [part.square().mean(-1) for part in (target, batch["noise"])]
    gain = (powers[0] / powers[1] * 10 ** (-snr_db / 10)).sqrt()
    noise = gain[:, None] * batch["noise"]
    return {**batch, "noise": noise, "noisy": target + noise}


def levels(seed: int, rows: int = 8) -> Mixture:
    """Tones that come and go in steady noise, in turn at 0 and 20 dB."""
    batch = mixture(rows, 1_280, seed)
    batch["target"] = batch["target"] * (torch.arange(1_280) // 320 % 2 == 0)
    return at(torch.tensor([0.0, 20.0]).repeat(rows // 2), batch)


def trained(module: Enhancement, batches: list[Mixture], lr: float = 0.01) -> Enhancement:
    parts = [item for item in module.enhancer.parameters() if item.requires_grad]
    optimizer = torch.optim.Adam(parts, lr)
    for step, batch in enumerate(batches):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / len(batches))
        optimizer.zero_grad()
        loss = sum(module.losses(batch, "enhancer").values())
        assert isinstance(loss, Tensor)
        loss.backward()
        optimizer.step()
    module.eval()
    return module


def snr_selected(*, hidden: int = 16, chooser: int = 12, stft: STFT = SMALL) -> SNRSelected:
    torch.manual_seed(0)
    parts = [TinyMask(hidden, 0.0, stft) for _ in range(2)]
    return SNRSelected(SNRSelection(parts, partial(LSTM, hidden=chooser, layers=1)))


@torch.no_grad()
def assert_each_is_chosen_where_it_is_better(module: SNRSelected, unseen: Mixture) -> None:
    """Rows are in turn at 0 and 20 dB: each enhancer is better in its range, and used there."""
    selection = module.selection(trained=True)
    made = selection.choice(unseen["noisy"])
    ratios = torch.stack(
        [
            si_sdr(
                estimate=selection.stft.synthesis(spectrum, unseen["target"].shape[-1]),
                target=unseen["target"],
            )
            for spectrum in made.spectra.unbind(1)
        ]
    )
    noisier, cleaner = ratios[:, ::2].mean(1), ratios[:, 1::2].mean(1)
    assert noisier[0] > noisier[1] + 0.5
    assert cleaner[1] > cleaner[0] + 0.5
    used = made.shares[:, 1, 0].mean(-1)
    assert used[::2].mean() < 0.5, "at 0 dB, mostly the first one"
    assert used[1::2].mean() > 0.5, "at 20 dB, mostly the second one"


def test_the_enhancer_for_the_snr_is_chosen_and_is_better_there() -> None:
    module = snr_selected()
    trained(module, [levels(seed) for seed in range(80)], lr=0.03)
    assert_each_is_chosen_where_it_is_better(module, levels(999))


def test_each_enhancer_learns_from_its_range_alone() -> None:
    module = snr_selected()
    for snr_db, learning in ((0.0, 0), (20.0, 1)):
        module.zero_grad()
        terms = module.losses(at(torch.full((4,), snr_db), mixture(4, 640, 0)), "enhancer")
        assert [*terms] == ["snr", "selection"]
        sum(terms.values()).backward()
        moved = [
            any(bool(item.grad.any()) for item in one.parameters())
            for one in module.selection(trained=True).parts
        ]
        assert moved == [learning == 0, learning == 1]
        assert all(bool(item.grad.any()) for item in module.enhancer.network.parameters())
    with pytest.raises(RasedError, match=r"range_db is \[3\.0, 3\.0\]"):
        SNRSelected(module.selection(trained=True), range_db=(3.0, 3.0))


def test_a_validation_tells_the_error_of_the_ratio() -> None:
    module, batch = snr_selected().eval(), levels(0)
    made = module.selection(trained=False).choice(batch["noisy"])
    wanted = torch.tensor([0.0, 20.0]).repeat(4)
    error = (module.selection(trained=False).snr_db(made) - wanted[:, None]).abs().mean() / 10
    torch.testing.assert_close(module.validate(batch)["snr_error"], error, rtol=0, atol=1e-3)


def real(first: int, count: int, samples: int = 16_000) -> Mixture:
    """Real speech in real noise, in turn at 0 and 20 dB."""
    items = [one for one in read_testset(BUNDLE).items if one.facts.get("condition") == "noise"]
    rows = [
        [
            torch.from_numpy(read_audio(path, sample_rate=16_000))[:samples]
            for path in (item.noisy, item.target)
        ]
        for item in items[first : first + count]
    ]
    noisy, target = (torch.stack(part) for part in zip(*rows, strict=True))
    batch: Mixture = {**mixture(count, samples, 0), "target": target, "noise": noisy - target}
    return at(torch.tensor([0.0, 20.0]).repeat(count // 2), batch)


def part_of(batch: Mixture, rows: Tensor, start: int = 0, samples: int = 16_000) -> Mixture:
    """Some rows, and a part of the time."""
    cut = {name: batch[name][rows, start : start + samples] for name in ("noisy", "target")}
    return {**batch, **cut}


@pytest.mark.slow
def test_so_it_is_with_real_speech() -> None:
    module = snr_selected(hidden=32, chooser=24, stft=STFT(256, 128, 256))
    seen, unseen = real(0, 64, 32_000), real(64, 8, 32_000)
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(150):
        start = int(torch.randint(8_000, (1,), generator=generator))
        rows = torch.randperm(64, generator=generator)[:8]
        batches.append(part_of(seen, rows, start, 24_000))
    trained(module, batches)
    assert_each_is_chosen_where_it_is_better(module, unseen)


class Fixed(TinyMask):
    """Multiplies all bins by a gain; it does not learn."""

    def __init__(self, gain: float):
        super().__init__(dropout=0.0, stft=STFT(128, 64, 128))
        self.gain = nn.Parameter(torch.tensor(gain), requires_grad=False)

    def process(self, spectrum: Any, state: Any) -> Any:
        return Prediction.of_spectrum(self.gain * spectrum), state


def distance(module: MinimumDifference, batch: Mixture) -> list[float]:
    """Squared error of the magnitudes: of the result, of each enhancer, and of their mean."""
    with torch.no_grad():
        fusion = module.enhancer
        assert isinstance(fusion, MinimumDifferenceFusion)
        made = fusion.choice(batch["noisy"])
        wanted = fusion.stft.analysis(batch["target"]).abs()
        spectra = [made.spectrum, *made.spectra.unbind(1), made.spectra.mean(1)]
        return [float((one.abs() - wanted).square().mean()) for one in spectra]


def test_learned_masks_fuse_real_speech_better_than_the_mean() -> None:
    """One enhancer removes everything and one nothing: the masks find out where there is speech."""
    torch.manual_seed(0)
    fusion = MinimumDifferenceFusion(
        [Fixed(0.05), Fixed(1.0)], partial(DNN, hidden=16, layers=1, dropout=0.0)
    )
    module = MinimumDifference(fusion, Magnitude(), enhancer_weight=0.0)
    noisier = real(0, 24)
    batches = [part_of(noisier, torch.arange(start, start + 8, 2), 0, 8_000) for start in (0, 8)]
    trained(module, batches * 10, lr=0.03)
    found, *others = distance(module, part_of(noisier, torch.arange(16, 24, 2)))
    assert found < 0.95 * min(others)


def test_the_terms_are_the_result_the_masks_and_each_enhancer() -> None:
    torch.manual_seed(0)
    fusion = MinimumDifferenceFusion(
        [TinyMask(), TinyMask()], partial(DNN, hidden=4, layers=1, dropout=0.0)
    ).eval()
    module = MinimumDifference(fusion, mask_weight=2.0, enhancer_weight=0.0)
    batch = mixture(2, 640, 0)
    terms = module.losses(batch, "enhancer")
    assert [*terms] == ["compressed_spectrum", "masks", "enhancer_1", "enhancer_2"]
    assert not terms["enhancer_1"].any()
    made = fusion.choice(batch["noisy"])
    wanted = fusion.stft.analysis(batch["target"]).abs()
    first = (made.spectra[:, 0].abs() - wanted).abs() <= (made.spectra[:, 1].abs() - wanted).abs()
    by_hand = 2.0 * (made.shares[:, 0] - first.float()).square().mean()
    torch.testing.assert_close(terms["masks"], by_hand)
    with pytest.raises(RasedError, match="mask_weight is -1"):
        MinimumDifference(fusion, mask_weight=-1.0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
@pytest.mark.parametrize("name", STORIES)
def test_a_stopped_training_continues(name: str, tmp_path: Path) -> None:
    assert_continues(name, STORIES[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_a_run_continues_and_replays(name: str, tmp_path: Path) -> None:
    assert_continues_and_replays(name, STORIES[name], tmp_path)
