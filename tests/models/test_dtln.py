"""What DTLN promises beyond the contract of every enhancer; its arithmetic is held in tests/zoo/test_import_dtln.py."""

import pytest
import torch

from rased.errors import RasedError
from rased.models.dtln import DTLN
from rased.signal.stft import STFT
from tests.models.test_contract import audio, run


@pytest.mark.parametrize(
    "options",
    [
        {"hidden": 0},
        {"stft": STFT(512, 128, 512)},
        {"stft": STFT(512, 128, 384, "rectangular")},
        {"stft": STFT(512, 200, 512, "rectangular")},
    ],
)
def test_what_does_not_fit_is_refused(options):
    with pytest.raises(RasedError, match="DTLN"):
        DTLN(**options)


@pytest.mark.parametrize("hop_length", [64, 128, 256])
def test_with_open_masks_and_an_inverse_pair_the_sound_comes_back(hop_length):
    """Frames are added as they are: a decoder that gives each its share gives the whole."""
    stft = STFT(512, hop_length, 512, "rectangular")
    enhancer = DTLN(hidden=2, layers=1, features=512, stft=stft).eval()
    for mask in (enhancer.first, enhancer.second):
        torch.nn.init.constant_(mask.linear.bias, 100.0)
    torch.nn.init.eye_(enhancer.encoder.weight)
    enhancer.decoder.weight.data = torch.eye(512) * hop_length / 512
    noisy = audio(3_000)
    torch.testing.assert_close(run(enhancer, noisy), noisy, rtol=0, atol=1e-5)
