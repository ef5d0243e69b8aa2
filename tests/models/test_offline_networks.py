"""What the complex networks for whole utterances refuse, and sizes of their papers that no configuration has."""

import pytest
import torch

from rased.errors import RasedError
from rased.models.cmgan import CMGAN, RelativeAttention
from rased.models.cost import count_parameters
from rased.models.dcunet import DCUNet
from rased.models.dptfsnet import DPTFSNet
from rased.models.frcrn import FRCRN
from rased.models.mpsenet import MPSENet
from rased.models.phasen import PHASEN
from rased.models.semamba import SEMamba
from rased.models.tfgridnet import TFGridNet


@pytest.mark.parametrize(
    ("network", "sizes", "options", "message"),
    [
        (MPSENet, (402, 201), {}, "an odd number of bins"),
        (MPSENet, (400, 400), {}, "an odd number of bins"),
        (MPSENet, (402, 402), {"channels": 10}, "heads that divide the 10 channels"),
        (CMGAN, (400, 400), {}, "an odd number of bins"),
        (CMGAN, (402, 402), {"kernel_size": 30}, "an odd kernel_size"),
        (SEMamba, (400, 400), {}, "an odd number of bins"),
        (TFGridNet, (402, 201), {}, "maps a complex spectrum to another"),
        (TFGridNet, (402, 402), {"channels": 6}, "4 heads must divide the 6 channels"),
        (TFGridNet, (402, 402), {"hop": 5}, "hop 5 must be between 1 and the window of 4"),
        (DPTFSNet, (402, 201), {}, "complex mask"),
        (DPTFSNet, (402, 402), {"channels": 12}, "divide half of the 12 channels"),
        (FRCRN, (642, 321), {}, "maps a complex spectrum to a complex mask"),
        (FRCRN, (642, 642), {"layers": 5}, "until 2 to 5 are left"),
        (FRCRN, (642, 642), {"channels": 4}, "8 or more"),
        (PHASEN, (402, 201), {}, "maps a complex spectrum to another"),
        (DCUNet, (402, 402), {}, "an n_fft that 512 divides"),
        (DCUNet, (1026, 1026), {"channels": [4]}, "1 channels, 10 kernels and 10 strides"),
        (
            DCUNet,
            (1026, 1026),
            {"channels": (4,), "kernels": ((2, 3),), "strides": ((1, 1),)},
            "must be odd",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(network, sizes, options, message):
    with pytest.raises(RasedError, match=message):
        network(*sizes, **options)


def test_tf_gridnet_at_the_size_of_its_paper_has_its_parameters():
    with torch.device("meta"):
        network = TFGridNet(258, 258)
    assert network.published_parameters == pytest.approx(count_parameters(network), rel=0.01)


@torch.no_grad()
def test_relative_attention_sees_distances_up_to_its_reach(monkeypatch):
    """For sequences shorter and longer than the reach."""
    monkeypatch.setattr(RelativeAttention, "reach", 3)
    torch.manual_seed(0)
    attention = RelativeAttention(4, 2)
    for count in (1, 3, 6):
        query = torch.randn(1, 2, count, 2)
        found = attention._by_distance(query)
        places = [[max(-3, min(3, i - j)) + 3 for j in range(count)] for i in range(count)]
        vectors = attention.distance.weight[torch.tensor(places)]
        torch.testing.assert_close(found, (query[..., None, :] * vectors).sum(-1))


@torch.no_grad()
def test_the_order_of_transformers_can_be_that_of_the_paper():
    torch.manual_seed(0)
    plain = MPSENet(18, 18, channels=4, heads=1, blocks=1, depth=1).eval()
    turned = MPSENet(18, 18, channels=4, heads=1, blocks=1, depth=1, frames_first=True).eval()
    turned.load_state_dict(plain.state_dict())
    frames = torch.randn(1, 6, 18)
    state = plain.initial_state(1, frames)
    assert not torch.allclose(plain(frames, state)[0], turned(frames, state)[0])
