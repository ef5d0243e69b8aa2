"""How far a graph may be from PyTorch."""

import torch


@torch.no_grad()
def allowed(exact, state, noisy):
    """How far a graph may be off: what the exact model makes of the rounding of its transform, with a margin of
    eight, as one draw is not the worst of half a minute.

    A bin of the graph is a sum of N products in float32, one for each sample of a window. It is off by about the square
    root of N units in the last place of the loudest sample; the FFT of PyTorch is off by less. Where features are
    logarithms, this is much in a bin that is almost silent.
    """
    generator, started = torch.Generator().manual_seed(0), {k: t.double() for k, t in state.items()}
    rounding = exact.algorithmic_latency**0.5 * 2**-24 * noisy.abs().max()
    signs = torch.rand(noisy.shape, generator=generator, dtype=torch.float64) * 2 - 1
    wanted, _ = exact.step(noisy.double(), started)
    found, _ = exact.step(noisy.double() + rounding * signs, started)
    return max(1e-5, 8 * float((found - wanted).abs().max()))
