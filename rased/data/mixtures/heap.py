"""Keep freed memory in the process, so that the next batch can reuse it."""

import ctypes
from functools import cache

# M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK = 32 << 20
"""Size in bytes up to which glibc allocates a block from its heap (mallopt(3), M_MMAP_THRESHOLD)."""
_KEPT = 256 << 20
"""Free bytes at the end of the heap that glibc keeps."""


@cache
def keep_freed_memory() -> None:
    """Let glibc keep up to a quarter of a gigabyte of freed memory; other C libraries are not changed.

    By default, glibc returns blocks of megabytes to the kernel as soon as a batch is freed. For the
    next batch, the kernel has to map and clear every page again, which takes a quarter of the time of
    loading and mixing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
    mallopt(_TRIM_THRESHOLD, _KEPT)
