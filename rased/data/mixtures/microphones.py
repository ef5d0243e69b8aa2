"""Speech and noise at the additional microphones of an array, through the other channels of a room.

Channel 0 is the reference: levels, ratios, target and parts refer to it.
"""

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from rased.data.mixtures import batched
from rased.data.mixtures.sample import Batch
from rased.signal import convolution
from rased.signal.convolution import fft_length


def further(
    rir: Float[Tensor, "*channel taps"], direct: int, length: int
) -> list[Complex[Tensor, "..."]]:
    """Return the transfer functions of all channels but the first, aligned to its direct path; none for one channel."""
    others = rir[1:] if rir.ndim == 2 else ()
    return [convolution.response(channel, direct, length) for channel in others]


def noise_everywhere(batch: Batch, *, by_rows: bool) -> Float[Tensor, "batch *channel time"]:
    """Return the noise at each microphone; unchanged for one microphone.

    A recording of several channels is used directly. One of a single channel is placed at another position in the
    room of the mixture; without a room, it is the same at all microphones.
    """
    noise, rir = batch["noise"], batch["rir"]
    if rir.ndim == 2 or noise.ndim == 3:
        return noise
    # A copy: the channels of an expanded tensor share memory, and rows in rooms are overwritten.
    everywhere = noise[:, None].expand(-1, rir.shape[1], -1).contiguous()
    rows = [row for row, key in enumerate(batch.get("noise_rir_key", [])) if key]
    if not rows:
        return everywhere
    rooms, direct = batch["noise_rir"], batch["noise_direct_path"]
    if not by_rows:
        place = batched.to_device(rows, noise)
        heard = arrive(noise[place], rooms[place], direct[place])
        return everywhere.index_copy_(0, place, heard)
    length = convolution.grid_length(noise.shape[-1] + rooms.shape[-1])
    for row in rows:
        spectrum = convolution.transform(noise[row], length)
        for channel, out in zip(rooms[row], everywhere[row], strict=True):
            response = convolution.response(channel, int(direct[row]), length)
            convolution.restore((spectrum * response)[None], out=[out])
    return everywhere


def arrive(
    waveform: Float[Tensor, "rows time"],
    rir: Float[Tensor, "rows channel taps"],
    direct: Int[Tensor, " rows"],
) -> Float[Tensor, "rows channel time"]:
    """Return the signal at each microphone, aligned to the direct path at the reference, for all rows at once."""
    time, taps = waveform.shape[-1], rir.shape[-1]
    length = fft_length(time + taps)
    spectra = (
        torch.fft.rfft(batched.aligned(rir, direct, length))
        * torch.fft.rfft(waveform, n=length)[:, None]
    )
    return torch.fft.irfft(spectra, n=length)[..., :time]
