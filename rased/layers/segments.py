"""Split long sequences into segments that overlap by half, and add them again, for dual-path networks."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def segmented(
    frames: Float[Tensor, "batch channel frames"], size: int
) -> Float[Tensor, "size batch many channel"]:
    """Return all whole segments of an even size; each begins half a segment after the previous one."""
    return rearrange(frames.unfold(-1, size, size // 2), "n c many size -> size n many c")


def overlap_added(
    segments: Float[Tensor, "size batch many channel"],
    overlap: Float[Tensor, "batch channel half"],
) -> tuple[Float[Tensor, "batch channel frames"], Float[Tensor, "batch channel half"]]:
    """Overlap-add segments; also return the second half of the last one, which the next segment adds to.

    Args:
        segments: segments as returned by `segmented`.
        overlap: the second half of the segment before the first one.
    """
    half = overlap.shape[-1]
    first, second = rearrange(segments, "(two half) n many c -> two n c (many half)", two=2)
    overlapping = torch.cat([overlap, second], dim=-1)
    # The second half of each segment meets the first half of the next one.
    return first + overlapping[..., :-half], overlapping[..., -half:]
