"""Recordings of the bundled corpus, for tests that need real audio."""

import io
import tarfile
from functools import cache

import soundfile
import torch
from jaxtyping import Float

from rased.data.shards.index import bundle


@cache
def recording(role: str, name: str, split: str = "test") -> Float[torch.Tensor, "1 time"]:
    """Return a recording at 16 kHz by its role and the end of its key."""
    with tarfile.open(bundle() / role / f"{split}-000000.tar") as tar:
        member = next(one for one in tar.getnames() if one.endswith(f"{name}.flac"))
        content = tar.extractfile(member)
        assert content is not None
        return torch.from_numpy(soundfile.read(io.BytesIO(content.read()), dtype="float32")[0])[
            None
        ]
