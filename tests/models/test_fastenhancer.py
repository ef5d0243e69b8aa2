"""What FastEnhancer promises beyond the contract of every enhancer."""

import pickle

import pytest
import torch
from torch import nn

from rased.errors import RasedError
from rased.models.cost import count_parameters
from rased.models.fastenhancer import FastEnhancer
from rased.models.registry import create_model
from rased.signal.stft import STFT
from tests.models.test_contract import audio, run


def small(**options) -> FastEnhancer:
    torch.manual_seed(0)
    return FastEnhancer(**{"channels": 8, "hidden": 8, "bands": 6, "heads": 2, **options}).eval()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 9, "heads": 2}, "hidden an even multiple of heads"),
        ({"blocks": 0}, "must be positive"),
        ({"bands": 65}, "2 to 64 bands"),
        ({"compression": 0.0}, "compression above 0"),
        ({"stft": STFT(n_fft=516, hop_length=256, win_length=512)}, "an n_fft divisible by 8"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(RasedError, match=message):
        small(**options)


def test_leaves_of_the_state_share_nothing_and_are_one_row_an_item():
    leaves = small().initial_process_state(3).values()
    assert len({leaf.data_ptr() for leaf in leaves}) == len(leaves) == 3
    assert all(leaf.shape == (3, 6, 8) for leaf in leaves)


@pytest.mark.parametrize(
    ("size", "published"),
    [("t", 21_774), ("b", 91_430), ("s", 194_418), ("m", 491_594), ("l", 1_104_610)],
)
def test_folded_parameters_are_those_of_the_paper(size, published):
    """Counted in the authors' code after their folding; the paper rounds to thousands.

    Norms become biases of the layers before them, and scales of weights part of these.
    """
    with torch.device("meta"):
        network = create_model(f"fastenhancer-{size}")
    norms = [
        layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    ]
    scales = [value for name, value in network.named_parameters() if "scale" in name]
    folded = sum(norm.weight.numel() for norm in norms) + sum(scale.numel() for scale in scales)
    assert count_parameters(network) - folded == published


@pytest.mark.parametrize("learned", [False, True])
def test_bands_are_trained_where_they_are_to_be(learned):
    enhancer = small(learned_bands=learned, compression=0.5).train()
    enhancer(audio(2_000)).square().sum().backward()
    trained = dict(enhancer.named_parameters())
    for part in ("compress", "expand"):
        assert (f"{part}.weights" in trained) == learned
        assert f"{part}.weights" in enhancer.state_dict()
        assert not learned or trained[f"{part}.weights"].grad.abs().max() > 0
    torch.testing.assert_close(enhancer.compress.weights.sum(1), torch.ones(6))


def test_48_khz_with_windows_of_1024():
    enhancer = small(stft=STFT(1024, 512, 1024, "hann"), sample_rate=48_000)
    assert run(enhancer, audio(3_000)).shape == (2, 3_000)


def test_bfloat16_is_near_and_comes_back_in_float32():
    enhancer, noisy = small(), audio(4_000)
    wanted = run(enhancer, noisy)
    with torch.autocast("cpu", torch.bfloat16):
        estimate = run(enhancer, noisy)
    assert estimate.dtype == torch.float32
    assert (estimate - wanted).norm() < 0.05 * wanted.norm()


def test_it_can_be_sent_to_another_process():
    enhancer, noisy = small(), audio(1_000)
    assert run(pickle.loads(pickle.dumps(enhancer)), noisy).equal(run(enhancer, noisy))
