"""Measure levels of waveforms, and compute gains. Full scale is 1.0."""

import torch
from jaxtyping import Float
from torch import Tensor

FLOOR = 1e-10
"""Amplitudes below this (-200 dBFS) count as silence in a level."""
SILENT = 3e-5
"""A waveform below this root mean square (-90 dBFS, about one 16-bit step) is not scaled to a level."""
_BLOCK = 512


def rms(waveform: Float[Tensor, "*batch time"]) -> Float[Tensor, "*batch"]:
    """Return the root mean square amplitude; 0 for silence.

    The sum is computed block by block. A sum over a long row may be split between threads, and its last bits would
    depend on their number and on the other rows.
    """
    time = waveform.shape[-1]
    whole = time - time % _BLOCK
    energy = _energies(waveform[..., :whole], _BLOCK).sum(-1)
    if whole < time:
        energy = energy + waveform[..., whole:].square().sum(-1)
    return (energy / time).sqrt()


def dbfs(amplitude: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Convert an amplitude to dB relative to full scale; silence gives -200."""
    return 20 * amplitude.clamp_min(FLOOR).log10()


def amplitude(level_db: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Invert `dbfs`: 10 ** (level_db / 20).

    Computed in double precision: vectorised and scalar code differ in the last bit, and which of them computes an
    element depends on its position. (On a device without double precision, in its own precision.)
    """
    wide = level_db if level_db.device.type == "mps" else level_db.double()
    return torch.pow(10.0, wide / 20).to(level_db.dtype)


def active_rms(
    waveform: Float[Tensor, "*batch time"], *, frame_length: int = 512, margin_db: float = 30.0
) -> Float[Tensor, "*batch"]:
    """Return the root mean square of active parts, so that pauses do not lower the level of speech.

    A frame is active if its level is within `margin_db` of the loudest frame, similar to the
    active speech level (ITU-T P.56) with blocks instead of envelopes. Silence gives 0; a waveform
    shorter than a frame gives its rms.

    Args:
        waveform: the waveform to measure.
        frame_length: samples in a frame (32 ms at 16 kHz); an incomplete last frame is ignored.
        margin_db: largest level difference between an active frame and the loudest one.
    """
    if waveform.shape[-1] < frame_length:
        return rms(waveform)
    power = _energies(waveform, frame_length) / frame_length
    # A ratio of powers: / 10, not / 20.
    active = power >= power.amax(-1, keepdim=True) * 10 ** (-margin_db / 10)
    return ((power * active).sum(-1) / active.sum(-1)).sqrt()


def gain_for_snr(
    *,
    speech: Float[Tensor, "*batch time"],
    noise: Float[Tensor, "*batch time"],
    snr_db: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """Return the factor that puts `noise` at `snr_db` below the active level of `speech`; 0 for silent noise."""
    level = rms(noise)
    wanted = active_rms(speech) / amplitude(snr_db)
    return torch.where(level > FLOOR, wanted / level.clamp_min(FLOOR), torch.zeros_like(level))


def _energies(
    waveform: Float[Tensor, "*batch time"], frame_length: int
) -> Float[Tensor, "*batch frames"]:
    if waveform.shape[-1] < frame_length:
        return waveform.new_zeros(*waveform.shape[:-1], 0)
    frames = waveform.unfold(-1, frame_length, frame_length)
    return torch.linalg.vector_norm(frames, dim=-1).square()
