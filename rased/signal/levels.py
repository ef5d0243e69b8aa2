"""Levels of waveforms, and the gains that bring them where they should be. Full scale is 1.0."""

import torch
from jaxtyping import Float
from torch import Tensor

FLOOR = 1e-10
"""Smallest amplitude (-200 dBFS) that levels distinguish from silence."""
SILENT = 3e-5
"""A root mean square below that (-90 dBFS, a step of 16 bits) is no sound that could be brought to a level."""
_BLOCK = 512


def rms(waveform: Float[Tensor, "*batch time"]) -> Float[Tensor, "*batch"]:
    """Root mean square amplitude; 0 for silence.

    Summed block by block: a sum over a long row may be shared among threads, and its bits would
    depend on their number and on the other rows.
    """
    time = waveform.shape[-1]
    whole = time - time % _BLOCK
    energy = _energies(waveform[..., :whole], _BLOCK).sum(-1)
    if whole < time:
        energy = energy + waveform[..., whole:].square().sum(-1)
    return (energy / time).sqrt()


def dbfs(amplitude: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Amplitude in dB re full scale; silence gives -200."""
    return 20 * amplitude.clamp_min(FLOOR).log10()


def amplitude(level_db: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Inverse of `dbfs`: 10 ** (level_db / 20).

    In double precision: vector and scalar code differ in their last bit, and which one computes an
    element depends on its place. (Where a device has none, in its own.)
    """
    wide = level_db if level_db.device.type == "mps" else level_db.double()
    return torch.pow(10.0, wide / 20).to(level_db.dtype)


def active_rms(
    waveform: Float[Tensor, "*batch time"], *, frame_length: int = 512, margin_db: float = 30.0
) -> Float[Tensor, "*batch"]:
    """Root mean square of the parts where something is said: a pause does not make speech quieter.

    A frame counts where its level is within `margin_db` of the loudest frame, after the idea of the
    active speech level (ITU-T P.56) with blocks in place of envelopes. Silence gives 0; a waveform
    shorter than a frame gives its rms.

    Args:
        waveform: what to measure.
        frame_length: samples in a frame (32 ms at 16 kHz); a rest at the end is not looked at.
        margin_db: how far below the loudest frame speech still counts.
    """
    if waveform.shape[-1] < frame_length:
        return rms(waveform)
    power = _energies(waveform, frame_length) / frame_length
    active = power >= power.amax(-1, keepdim=True) * 10 ** (-margin_db / 10)
    return ((power * active).sum(-1) / active.sum(-1)).sqrt()


def gain_for_snr(
    *,
    speech: Float[Tensor, "*batch time"],
    noise: Float[Tensor, "*batch time"],
    snr_db: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """Factor for `noise` that puts it `snr_db` below the active level of `speech`; 0 where the noise is silent."""
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
