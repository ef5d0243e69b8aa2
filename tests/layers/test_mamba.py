"""The selective scan against its definition, in pieces and cut anywhere."""

import torch

from rased.layers import mamba
from rased.layers.mamba import Mamba, selective_scan


def numbers(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_scan_is_its_definition_in_pieces_of_any_size(monkeypatch):
    tokens, step = numbers(2, 11, 3, seed=0), numbers(2, 11, 3, seed=1).exp()
    rate, before = -numbers(3, 4, seed=2).exp(), numbers(2, 3, 4, seed=3)
    into, out = numbers(2, 11, 4, seed=4), numbers(2, 11, 4, seed=5)
    states, read = before, []
    for k in range(11):
        added = torch.einsum("nc,ns->ncs", step[:, k] * tokens[:, k], into[:, k])
        states = torch.exp(step[:, k, :, None] * rate) * states + added
        read.append(torch.einsum("ncs,ns->nc", states, out[:, k]))
    for largest in (1, 24 * 4, 1 << 20):
        monkeypatch.setattr(mamba, "LARGEST", largest)
        found, last = selective_scan(tokens, step, rate, into, out, before)
        torch.testing.assert_close(found, torch.stack(read, dim=1))
        torch.testing.assert_close(last, states)


@torch.no_grad()
def test_a_layer_goes_on_where_it_was_cut():
    layer, tokens = Mamba(6, expand=2, states=4), numbers(2, 20, 6, seed=0)
    whole, last = layer(tokens, {})
    for cut in (1, 7, 19):
        first, state = layer(tokens[:, :cut], {})
        second, after = layer(tokens[:, cut:], state)
        torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
        assert after.keys() == last.keys()
        for name, tensor in after.items():
            torch.testing.assert_close(tensor, last[name])
