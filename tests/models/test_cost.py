"""Costs against counts by hand."""

from functools import partial

import pytest

from rased.building import build
from rased.config import config_folder, load_yaml
from rased.models.base import Enhancer
from rased.models.conv_tasnet import ConvTasNet
from rased.models.cost import count_parameters, macs_per_second
from rased.models.dnn import DNN
from rased.models.frequency import FrequencyDomainEnhancer
from rased.models.gru import NSNet2
from rased.models.lstm import LSTM

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


@pytest.mark.parametrize(
    ("name", "published", "tolerance"),
    # GTCRN's 33.0 M counts norms, activations and gates too; ours counts products.
    [("conv-tasnet", 5.0e9, 0.05), ("gtcrn", 33.0e6, 0.25)],
)
def test_macs_are_near_what_is_published(name, published, tolerance):
    spec = load_yaml(config_folder() / "model" / f"{name}.yaml")["model"]["init_args"]["enhancer"]
    assert macs_per_second(build(Enhancer, spec)) == pytest.approx(published, rel=tolerance)
