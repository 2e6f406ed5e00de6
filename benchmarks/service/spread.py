"""Servers and workers on several cores, and what a server's processes take together."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.service.contenders import RUN_ONOMA
from benchmarks.service.pinned import Server, running_server

# A process starts on one core (`pinned`); this gives it others before it becomes the program.
_WIDEN = "import json, os, sys; os.sched_setaffinity(0, json.loads(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"


def own_cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def spread(cores: Sequence[int], command: Sequence[str]) -> list[str]:
    """The command, run by this interpreter on these cores; command and result are arguments of the interpreter."""
    return ["-c", _WIDEN, json.dumps(list(cores)), sys.executable, *command]


class Family(Server):
    """A running server, counted with the processes that it started."""

    def cpu_seconds(self) -> float:
        """CPU time of all its processes so far."""
        return sum(_cpu_seconds(pid) for pid in _family(self.process.pid))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            yield from _family(int(child))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system


@contextmanager
def running_onoma(name: str, *, cores: Sequence[int], settings: Mapping[str, str], log: Path) -> Iterator[Server]:
    """Start onoma on these cores; see `running_server`.

    :param settings: variables of its environment, ONOMA_MODELS among them.
    """

    def command(port: int) -> list[str]:
        return spread(cores, ["-c", RUN_ONOMA, "serve", "--host", "127.0.0.1", "--port", str(port)])

    with running_server(name, command, core=cores[0], log=log, settings=settings) as server:
        yield Family(name, server.port, server.process, log)
