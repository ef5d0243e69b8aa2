"""Freed memory stays with the process, for the next batch to come from."""

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK = 32 << 20
"""Bytes of the largest block that glibc takes from its heap (mallopt(3), M_MMAP_THRESHOLD)."""
_KEPT = 256 << 20
"""Bytes at the end of the heap that may lie idle."""


@cache
def keep_freed_memory() -> None:
    """Let glibc hold on to a quarter of a gigabyte of freed memory; other C libraries are left as they are.

    By itself it gives blocks of megabytes back to the kernel as soon as a batch is gone, and for the
    next batch every page of theirs is faulted in and cleared again: a quarter of the time that
    loading and mixing take.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
    mallopt(_TRIM_THRESHOLD, _KEPT)
