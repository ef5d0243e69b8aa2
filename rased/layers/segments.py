"""Long sequences as segments that overlap by half, and back: what dual-path networks work on."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def segmented(
    frames: Float[Tensor, "batch channel frames"], size: int
) -> Float[Tensor, "size batch many channel"]:
    """All whole segments of this size, even; each begins half of it after the one before."""
    return rearrange(frames.unfold(-1, size, size // 2), "n c many size -> size n many c")


def overlap_added(
    segments: Float[Tensor, "size batch many channel"],
    overlap: Float[Tensor, "batch channel half"],
) -> tuple[Float[Tensor, "batch channel frames"], Float[Tensor, "batch channel half"]]:
    """The sum of segments where they overlap, and the second half of the last one, to which nothing is added yet.

    Args:
        segments: as `segmented` gives them.
        overlap: the second half of the segment before the first one.
    """
    half = overlap.shape[-1]
    first, second = rearrange(segments, "(two half) n many c -> two n c (many half)", two=2)
    overlapping = torch.cat([overlap, second], dim=-1)
    return first + overlapping[..., :-half], overlapping[..., -half:]
