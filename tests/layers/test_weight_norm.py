"""Weight norm against the parametrization of torch."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from rased.layers.weight_norm import WeightNormGRU, WeightNormLinear


def trained(module: nn.Module) -> nn.Module:
    """With every parameter moved, so that directions have any length."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return module


def test_a_fresh_layer_is_the_plain_one():
    torch.manual_seed(0)
    ours, frames = WeightNormGRU(3, 4), torch.randn(5, 2, 3)
    plain = nn.GRU(3, 4)
    plain.load_state_dict({name: ours.state_dict()[name] for name in plain.state_dict()})
    state = torch.randn(1, 2, 4)
    for found, expected in zip(ours(frames, state), plain(frames, state), strict=True):
        torch.testing.assert_close(found, expected)
    linear = WeightNormLinear(3, 4)
    torch.testing.assert_close(linear(frames), frames @ linear.weight.T)


@pytest.mark.filterwarnings("ignore:RNN module weights")
def test_outputs_and_gradients_are_those_of_torch():
    ours = trained(WeightNormGRU(3, 4))
    theirs = weight_norm(weight_norm(nn.GRU(3, 4), "weight_ih_l0"), "weight_hh_l0")
    pairs = {
        "weight_ih_l0": "parametrizations.weight_ih_l0.original1",
        "weight_hh_l0": "parametrizations.weight_hh_l0.original1",
        "scale_ih": "parametrizations.weight_ih_l0.original0",
        "scale_hh": "parametrizations.weight_hh_l0.original0",
        "bias_ih_l0": "bias_ih_l0",
        "bias_hh_l0": "bias_hh_l0",
    }
    wanted = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        wanted[pairs[name]].data.copy_(parameter.data.view_as(wanted[pairs[name]]))
    frames, state = torch.randn(5, 2, 3), torch.randn(1, 2, 4)
    torch.testing.assert_close(ours(frames, state), theirs(frames, state))
    ours(frames, state)[0].square().sum().backward()
    theirs(frames, state)[0].square().sum().backward()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[pairs[name]].grad.view_as(parameter))


def test_lengths_of_directions_do_not_count():
    ours, frames = trained(WeightNormLinear(3, 4)), torch.randn(5, 3)
    before = ours(frames)
    ours.weight.data *= torch.tensor([[0.1], [1.0], [7.0], [300.0]])
    torch.testing.assert_close(ours(frames), before)
