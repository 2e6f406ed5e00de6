"""The machine of a load test: who gets which cores, how fast they are just now, and what is noted of all that."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

from onoma.machine import processor

# Sets its own affinity and becomes the program, so that whatever the program counts are these cores from the start.
_PIN = "import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1].split(','))); os.execv(sys.argv[2], sys.argv[2:])"
_DOCUMENT = [{"text": f"Angela Merkel in Köln {at}", "entities": [{"start": at, "end": 1}] * 3} for at in range(1000)]


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores of the service under test and of the load generator."""

    service: tuple[int, ...]
    generator: tuple[int, ...]

    def text(self) -> str:
        """In words."""
        if self.service == self.generator:
            return f"service and load generator share {len(self.service)} core"
        return f"service on {len(self.service)} of them, load generator on one of its own"


def split_cores() -> Cores | None:
    """The last core for the generator, the others for the service; a single one is shared; None: cannot be set."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = tuple(sorted(os.sched_getaffinity(0)))
    return Cores(cores[:-1] or cores, cores[-1:])


def pinned(cores: Sequence[int] | None, arguments: Sequence[str]) -> list[str]:
    """A command of this interpreter that runs on these cores; None: on any.

    :param arguments: of the Python interpreter.
    """
    if cores is None:
        return [sys.executable, *arguments]
    return [sys.executable, "-c", _PIN, ",".join(map(str, cores)), sys.executable, *arguments]


@contextmanager
def on_cores(cores: Sequence[int] | None) -> Iterator[None]:
    """Move this thread to these cores for a while; None: leave it."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def yardstick(cores: Sequence[int] | None, repeats: int = 9) -> float:
    """Milliseconds that a fixed piece of work (JSON and arithmetic) takes on these cores just now, in the median.

    Measured while the service is idle. A latency over this number is comparable between runs on machines of one kind
    that are sometimes slower, as virtual ones are.
    """
    times = []
    with on_cores(cores):
        for _ in range(repeats):
            begin = time.perf_counter()
            json.loads(json.dumps(_DOCUMENT))
            sum(number * number % 7 for number in range(60_000))
            times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times)


def machine() -> str:
    """Processor, cores that this process may use, load of the last minute, system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return f"{processor()}, {cores} cores{load}, {platform.system()} {platform.release()}"


def versions() -> str:
    """Versions of Python and of the packages that matter here."""
    packages = ("onoma", "onnxruntime", "tokenizers", "uvicorn", "fastapi", "locust", "gevent")
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)])
