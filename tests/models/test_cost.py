"""Costs against counts by hand."""

from collections import Counter
from functools import partial

import pytest
import torch
from einops import rearrange
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rased.building import build
from rased.config import config_folder, load_yaml
from rased.models.base import Enhancer, Prediction
from rased.models.conv_tasnet import ConvTasNet
from rased.models.cost import _replace_recurrent, count_parameters, macs_per_second
from rased.models.dnn import DNN
from rased.models.frequency import FrequencyDomainEnhancer
from rased.models.gru import NSNet2
from rased.models.lstm import LSTM
from rased.models.registry import create_model

FRAMES = 62.5  # a second at hop 256


def of(network):
    return macs_per_second(FrequencyDomainEnhancer(network))


def test_a_dnn_multiplies_once_by_each_weight_a_frame():
    assert of(partial(DNN, hidden=32, layers=2)) == FRAMES * (257 * 32 + 32 * 32 + 32 * 257)


def test_a_gru_has_three_and_an_lstm_four_products_with_input_and_state():
    gru = FRAMES * (257 * 16 + 2 * 3 * (16 * 16 + 16 * 16) + 16 * 8 + 8 * 8 + 8 * 257)
    assert of(partial(NSNet2, hidden=16, layers=2, expansion=8)) == gru
    lstm = FRAMES * (4 * (257 * 16 + 16 * 16) + 4 * (16 * 16 + 16 * 16) + 16 * 257)
    assert of(partial(LSTM, hidden=16, layers=2)) == lstm
    both = FRAMES * (2 * 4 * (257 * 16 + 16 * 16) + 2 * 4 * (32 * 16 + 16 * 16) + 32 * 257)
    assert of(partial(LSTM, hidden=16, layers=2, bidirectional=True)) == both


class Layer(Enhancer):
    """A layer alone on 100 frames a second of some channels."""

    sample_rate = 1_000

    def __init__(self, layer, channels, call=None):
        super().__init__()
        self.layer, self.width = layer, channels
        self.call = call or (lambda layer, frames: layer(frames))

    def predict(self, noisy):
        frames = rearrange(noisy, "batch (frames hop) -> batch frames hop", hop=10)[..., :1]
        self.call(self.layer, frames.expand(-1, -1, self.width))
        return Prediction(noisy)


def over_channels(layer, frames):
    return layer(rearrange(frames, "batch frames channel -> batch channel frames"))


def over_bands(layer, frames):
    return layer(
        rearrange(frames, "batch frames (channel band) -> batch channel frames band", band=2)
    )


def attend(layer, frames):
    return layer(frames, frames, frames)


LAYERS = {
    "linear": (nn.Linear(8, 5), None, 100 * 8 * 5),
    "gru": (nn.GRU(8, 16, 2, batch_first=True), None, 100 * 3 * (8 * 16 + 3 * 16 * 16)),
    "gru of other layout": (nn.GRU(8, 16), None, 100 * 3 * (8 * 16 + 16 * 16)),
    "gru both ways": (
        nn.GRU(8, 16, bidirectional=True, batch_first=True),
        None,
        100 * 2 * 3 * (8 * 16 + 16 * 16),
    ),
    "lstm with a projection": (
        nn.LSTM(8, 16, 2, batch_first=True, proj_size=4),
        None,
        100 * (4 * 16 * (8 + 4) + 16 * 4 + 4 * 16 * (4 + 4) + 16 * 4),
    ),
    "convolution": (nn.Conv1d(8, 4, 6, 2, padding=2), over_channels, 50 * 8 * 4 * 6),
    "depthwise convolution": (nn.Conv1d(8, 8, 5, groups=8, padding=2), over_channels, 100 * 8 * 5),
    "transposed convolution": (nn.ConvTranspose1d(8, 4, 6, 3), over_channels, 100 * 8 * 4 * 6),
    "grouped transposed convolution": (
        nn.ConvTranspose2d(4, 4, (1, 5), (1, 2), (0, 2), groups=2),
        over_bands,
        100 * 2 * 4 * 2 * 5,
    ),
    # four projections, and twice frames x frames x channels: at 3 s less at 1 s, by the two seconds between
    "attention": (
        nn.MultiheadAttention(8, 2, batch_first=True),
        attend,
        100 * 4 * 8 * 8 + 2 * (300**2 - 100**2) * 8 / 2,
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_counts_what_its_formula_says(name):
    layer, call, expected = LAYERS[name]
    assert macs_per_second(Layer(layer, 8, call)) == expected


def test_counting_leaves_the_model_as_it_was():
    enhancer = FrequencyDomainEnhancer(partial(LSTM, hidden=4)).train()
    before = {name: value.clone() for name, value in enhancer.state_dict().items()}
    macs_per_second(enhancer)
    assert enhancer.training
    assert all(value.equal(before[name]) for name, value in enhancer.state_dict().items())


def test_conv_tasnet_is_that_of_the_paper():
    paper = ConvTasNet(filter_length=16, sources=2)
    assert count_parameters(paper) == pytest.approx(5.1e6, rel=0.01)
    assert paper.published_parameters == 5_100_000


def test_bsrnn_counts_lstms_both_ways_and_bands_padded_to_the_widest():
    channels, hidden, layers, bands, widest = 32, 64, 5, 27, 2 * 32
    split = bands * widest * channels
    path = bands * (2 * 4 * hidden * (channels + hidden) + 2 * hidden * channels)
    heads = 2 * bands * (channels * 4 * channels + 4 * channels * 2 * widest)
    enhancer = create_model("bsrnn-offline-small")
    assert macs_per_second(enhancer) == FRAMES * (split + layers * 2 * path + heads)


@torch.no_grad()
def test_gtcrn_costs_what_its_authors_count_with_what_they_count_besides():
    """ptflops 0.7.0 counts 32,998,378 for a second of 63 frames in their code; their paper multiplies by all of ERB."""
    besides, enhancer = Counter(), create_model("gtcrn").eval()

    def add(layer, given, result):
        result = result[0] if isinstance(result, tuple) else result
        match layer:
            case nn.BatchNorm2d():
                besides["norms"] += 2 * given[0].numel()
            case nn.LayerNorm():
                besides["norms"] += given[0].numel()
            case nn.PReLU():
                besides["activations"] += given[0].numel()
            case nn.GRU():  # seven products and sums, and two times three biases, for each output
                besides["gates"] += 13 * result.numel()
            case nn.Linear():
                besides["biases"] += layer.out_features
            case nn.Conv2d() | nn.ConvTranspose2d():
                besides["biases"] += result.numel()
        if isinstance(layer, nn.ConvTranspose2d):
            positions = result[0, 0].numel() - given[0][0, 0].numel()
            besides["zeros"] += layer.weight.numel() * positions

    spectrum = torch.zeros(1, 257, 63, dtype=torch.complex64)
    hooks = [layer.register_forward_hook(add) for layer in enhancer.modules()]
    enhancer.process(spectrum, enhancer.initial_process_state(1))
    for hook in hooks:
        hook.remove()
    _replace_recurrent(enhancer)
    with FlopCounterMode(display=False) as counter:
        enhancer.process(spectrum, enhancer.initial_process_state(1))
    products = counter.get_total_flops() / 2
    assert products == pytest.approx(63 / FRAMES * macs_per_second(create_model("gtcrn")))
    assert products + besides.total() == 32_998_378
    bands = 63 * (3 + 2)  # channels to bands, and back
    whole = bands * (257 * 129 - 192 * 64)
    assert products + besides.total() + whole == pytest.approx(39.6e6, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "published", "tolerance"),
    [  # what GTCRN's authors publish is the subject of the test above
        ("conv-tasnet", 5.0e9, 0.05),
        ("dtln", 123e6, 0.01),
        ("fastenhancer-t", 60e6, 0.01),
        ("fastenhancer-b", 262e6, 0.01),
        ("fastenhancer-s", 664e6, 0.01),
        ("gtcrn", 26.3e6, 0.01),
        ("ul-unas", 27.4e6, 0.01),
        ("gcrn", 1.64e9, 0.01),
        ("nsnet2", 268e6, 0.01),
    ],
)
def test_macs_are_near_what_is_published(name, published, tolerance):
    spec = load_yaml(config_folder() / "model" / f"{name}.yaml")["model"]["init_args"]["enhancer"]
    assert macs_per_second(build(Enhancer, spec)) == pytest.approx(published, rel=tolerance)
