"""The identity of an enhancer: what it computes, as a hash."""

import hashlib
import json

from rased.construction import settings_of
from rased.models.base import Enhancer


def fingerprint(enhancer: Enhancer) -> str:
    """Return the SHA-256 of classes, their versions, settings that differ from the defaults, and weights.

    The module of a class and the rest of its file do not count: when the computation of a class changes, its
    `version` is incremented, and tests compare the outputs of each version.
    """
    digest = hashlib.sha256()
    settings = json.dumps(settings_of(enhancer), sort_keys=True)
    parts = [part for part in enhancer.modules() if isinstance(part, Enhancer)]
    versions = sorted({f"{type(part).__qualname__} {part.version}" for part in parts})
    digest.update("\n".join([settings, *versions, ""]).encode())
    # Names and shapes go into the hash as well: bytes alone do not say where one tensor ends.
    for name, tensor in sorted(enhancer.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
