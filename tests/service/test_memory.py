"""One heap for all threads, counted by glibc itself."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="libc is not glibc")

# Each thread keeps some memory until all have taken theirs.
COUNT_HEAPS = """
import ctypes, threading
from service.memory import share_one_heap
if {share}:
    share_one_heap()
together = threading.Barrier(4)
def take():
    kept = [bytes(10_000) for _ in range(100)]
    together.wait()
threads = [threading.Thread(target=take) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


def heaps(*, share: bool, **environment: str) -> int:
    command = [sys.executable, "-c", COUNT_HEAPS.format(share=share)]
    plain = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=plain | environment)
    return ran.stdout.count("<heap nr=")


def test_threads_share_one_heap() -> None:
    assert heaps(share=True) == 1


def test_unless_the_environment_says_how_many() -> None:
    assert heaps(share=True, MALLOC_ARENA_MAX="3") == 3
