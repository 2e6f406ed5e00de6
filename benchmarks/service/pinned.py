"""Processes that stay on one core: servers, and workers that answer jobs, a JSON line each way."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Sets its own affinity and becomes the program, so that whatever the program counts is one core from the start.
_PIN = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execv(sys.argv[2], sys.argv[2:])"
ROOT = Path(__file__).resolve().parents[2]


class ProcessError(Exception):
    """A server did not become ready, or a worker ended."""


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """The command, run by this interpreter on one core.

    :param command: arguments of the Python interpreter.
    """
    return [sys.executable, "-c", _PIN, str(core), sys.executable, *command]


def environment(tree: Path = ROOT) -> dict[str, str]:
    """The environment of processes started here: packages come from `tree`, and what it lacks from this one."""
    paths = [str(tree.resolve()), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def two_cores() -> tuple[int, int]:
    """A core for the servers and one for the load; the same when this process may use only one."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[-1]


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _stop(process: subprocess.Popen[Any]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def is_ready(port: int) -> bool:
    """Whether GET /readyz answers 200."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


class Server:
    """A running server: its port and its process."""

    def __init__(self, name: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.port = port
        self.process = process
        self._log = log

    def cpu_seconds(self) -> float:
        """CPU time of the process so far, to a hundredth of a second."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system

    def resident_bytes(self) -> int:
        """Memory of the process that is in RAM (RSS)."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def wait_until_ready(self, seconds: float = 120.0) -> None:
        """Wait for /readyz.

        :raises ProcessError: if the server ends, or time runs out; with the last lines of its log.
        """
        until = time.monotonic() + seconds
        while not is_ready(self.port):
            ended = self.process.poll()
            if ended is not None or time.monotonic() > until:
                what = f"ended with status {ended}" if ended is not None else f"was not ready within {seconds:.0f} s"
                lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
                raise ProcessError("\n".join([f"the server {self.name} {what}; its log ends:", *lines]))
            time.sleep(0.1)


@contextmanager
def running_server(
    name: str,
    command: Callable[[int], Sequence[str]],
    *,
    core: int,
    log: Path,
    tree: Path = ROOT,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start a server on one core, its output in `log`; stopped at the end.

    :param command: from a port to the arguments of the Python interpreter.
    :param tree: where its packages stand.
    :param settings: more variables of its environment.
    """
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned(core, command(port)),
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(tree) | dict(settings or {}),
            cwd=tree,
        )
        try:
            yield Server(name, port, process, log)
        finally:
            _stop(process)


class Worker:
    """A process that answers jobs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **job: Any) -> dict[str, Any]:
        """Have a job done.

        :raises ProcessError: if the worker fails; what it says stands on stderr.
        """
        self.begin(**job)
        return self.finish()

    def begin(self, **job: Any) -> None:
        """Give a job, whose answer `finish` reads."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()

    def done_within(self, seconds: float) -> bool:
        """Whether the answer comes within this time."""
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def finish(self) -> dict[str, Any]:
        """Wait for the answer of the job begun.

        :raises ProcessError: if the worker fails; what it says stands on stderr.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ProcessError(f"a worker ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def running_worker(command: Sequence[str], *, core: int) -> Iterator[Worker]:
    """Start a worker on one core; stopped at the end.

    :param command: arguments of the Python interpreter.
    """
    process = subprocess.Popen(
        pinned(core, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    )
    with process:
        try:
            yield Worker(process)
        finally:
            _stop(process)


def answer_jobs(do: Callable[..., Mapping[str, Any]]) -> None:
    """The worker's side: read a job, do it, answer, until there are no more."""
    for line in sys.stdin:
        print(json.dumps(do(**json.loads(line))), flush=True)
