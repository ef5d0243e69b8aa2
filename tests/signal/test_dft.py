"""The transform in two products, for graphs that leave PyTorch: equal to PyTorch's, and exactly real where that is."""

import pytest
import torch

from rased.signal.dft import inverse_real_dft, real_dft

LENGTHS = (1, 2, 3, 4, 6, 15, 16, 100, 254, 320, 400, 441, 510, 512, 960, 1022)


def frames(n_fft: int) -> torch.Tensor:
    return torch.randn(2, 3, n_fft, generator=torch.Generator().manual_seed(n_fft))


@pytest.mark.parametrize("n_fft", LENGTHS)
def test_the_spectrum_is_that_of_pytorch(n_fft: int) -> None:
    wanted = torch.fft.rfft(frames(n_fft).double())
    for found, part in zip(real_dft(frames(n_fft)), (wanted.real, wanted.imag), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), part, rtol=0, atol=1e-6 * n_fft**0.5 * 4)


@pytest.mark.parametrize("n_fft", LENGTHS)
def test_the_inverse_is_that_of_pytorch_for_any_spectrum(n_fft: int) -> None:
    """As `irfft`, it ignores the imaginary parts of the first and of the last bin."""
    real, imag = torch.fft.rfft(frames(n_fft)).real, torch.fft.rfft(frames(n_fft)).imag
    torch.testing.assert_close(
        inverse_real_dft(real, imag, n_fft), frames(n_fft), rtol=0, atol=1e-5
    )
    imag = imag.clone()
    imag[..., 0] = 7.0
    if n_fft % 2 == 0:
        imag[..., -1] = -7.0
    wanted = torch.fft.irfft(torch.complex(real, imag), n=n_fft)
    torch.testing.assert_close(inverse_real_dft(real, imag, n_fft), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_fft", LENGTHS)
def test_the_first_and_the_last_bin_are_exactly_real(n_fft: int) -> None:
    """A tiny imaginary part would have a phase of plus or minus half a turn at random."""
    _, imag = real_dft(frames(n_fft))
    assert imag[..., 0].eq(0).all()
    if n_fft % 2 == 0:
        assert imag[..., -1].eq(0).all()
