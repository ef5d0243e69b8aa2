"""PyTorch Hub: `torch.hub.load("OWNER/rased", "load", "gru-mask-16k")` gives what `rased.load` gives."""

from collections.abc import Sequence
from typing import Any

import rased

dependencies = ["einops", "jaxtyping", "msgspec", "numpy", "safetensors", "soundfile", "torch"]


def load(name: str, *, allow: Sequence[str] = (), limit_db: float | None = None) -> Any:
    """See `rased.load`."""
    return rased.load(name, allow=allow, limit_db=limit_db)
