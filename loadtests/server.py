"""The service under test: started as `onoma serve` on a free port, and stopped afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from loadtests.machine import pinned

# The `onoma` command under this same interpreter, wherever its script was put.
RUN_ONOMA = "import sys; from onoma.cli import main; sys.exit(main())"


class NotReadyError(Exception):
    """The service did not become ready."""


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def is_ready(host: str) -> bool:
    """Whether GET /readyz answers 200."""
    try:
        with urllib.request.urlopen(f"{host}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_until_ready(host: str, seconds: float, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait for /readyz; NotReadyError when time runs out or the process ends."""
    until = time.monotonic() + seconds
    while not is_ready(host):
        if process is not None and process.poll() is not None:
            raise NotReadyError(f"the service ended with status {process.returncode} before it was ready")
        if time.monotonic() > until:
            raise NotReadyError(f"{host}/readyz did not answer 200 within {seconds:.0f} s")
        time.sleep(0.2)


@contextmanager
def running_service(
    log: Path, *, bundles: Path | None = None, cores: Sequence[int] | None = None, seconds: float = 180.0
) -> Iterator[str]:
    """Run the service on a free port, its output in `log`; gives its address.

    :param cores: where it runs; None: anywhere.
    """
    port = free_port()
    command = pinned(cores, ["-c", RUN_ONOMA, "serve", "--host", "127.0.0.1", "--port", str(port)])
    environment = dict(os.environ)
    if bundles is not None:
        environment["ONOMA_MODELS"] = str(bundles)
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", seconds, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
