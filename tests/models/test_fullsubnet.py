"""What FullSubNet promises beyond the contract of every enhancer."""

import pytest
import torch

from rased.errors import RasedError
from rased.models.fullsubnet import FullSubNet
from rased.models.fullsubnet_plus import FullSubNetPlus
from rased.models.registry import create_model
from rased.signal.masks import compress_mask, expand_mask_parts


def test_what_is_expanded_is_what_was_compressed():
    mask = torch.complex(torch.linspace(-50, 50, 101), torch.linspace(20, -20, 101))[None, None]
    parts = torch.view_as_real(compress_mask(mask))
    again = torch.view_as_complex(expand_mask_parts(parts))
    torch.testing.assert_close(again, mask, rtol=1e-4, atol=1e-4)
    assert expand_mask_parts(torch.tensor([-1e6, 1e6])).isfinite().all()


def test_a_norm_of_the_utterance_does_not_stream():
    assert create_model("fullsubnet-small").causal
    assert not create_model("fullsubnet-small", norm="utterance").causal


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [((10, 40), {}, "maps magnitudes"), ((20, 40), {"neighbours": 20}, "below the 20 bins")],
)
def test_what_does_not_fit_is_refused(sizes, options, message):
    with pytest.raises(RasedError, match=message):
        FullSubNet(*sizes, **options)


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        ((20, 40), {}, "maps a complex spectrum"),
        ((40, 40), {"neighbours": 20}, "below the 20 bins"),
        ((40, 40), {"kernel_sizes": ()}, "kernel_sizes"),
    ],
)
def test_what_does_not_fit_fullsubnet_plus_is_refused(sizes, options, message):
    with pytest.raises(RasedError, match=message):
        FullSubNetPlus(*sizes, **options)
