"""Memory: one heap for all threads of a process, so that what one gives back another can use."""

from __future__ import annotations

import ctypes
import os

_M_ARENA_MAX = -8  # <malloc.h>


def share_one_heap() -> None:
    """Let all threads allocate from one heap; call it before they start. Without effect where libc is not glibc.

    glibc gives threads heaps of their own, each of which grows to what its thread ever needed at once: long requests,
    which are encoded and decoded in the pool's threads, would make the process grow for a long time. Threads take turns
    with the GIL anyway. Whoever sets MALLOC_ARENA_MAX has decided otherwise.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_M_ARENA_MAX, 1)
