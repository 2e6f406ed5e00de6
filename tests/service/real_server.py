"""`onoma serve` as a process of its own, with a tiny bundle."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
RUN_ONOMA = "import sys; from onoma.cli import main; sys.exit(main())"


def until(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Wait for something that happens in another process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not happen in {seconds:.0f} seconds"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def value(metrics: str, line: str) -> float:
    """The value of a metric in Prometheus' text; `line` is its name with its labels; 0 where it is not there."""
    found = [one for one in metrics.splitlines() if one.startswith(line + " ")]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


class RealServer:
    """A running server.

    :param options: more than the folder of models.
    :param settings: of its environment, without the prefix.
    """

    def __init__(self, models: Path, log: Path, *options: str, **settings: str) -> None:
        self._log = log
        command = [sys.executable, "-c", RUN_ONOMA, "serve", "--models", str(models), *options]
        own = {f"ONOMA_{name.upper()}": value for name, value in settings.items()}
        others = {name: value for name, value in os.environ.items() if not name.startswith("ONOMA_")}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stderr=output, env=others | {"PYTHONPATH": str(ROOT)} | own, cwd=ROOT
            )

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        """Its address, once it has told."""
        return self._found(r"urls=\['(.+?)'")[0]

    def pids(self, place: int) -> list[int]:
        """The processes that have served in a place, the latest last."""
        return list(map(int, self._found(rf"process {place} \(pid (\d+)\) serves")))

    def _found(self, pattern: str) -> Sequence[str]:
        return re.findall(pattern, self.log)

    def wait_for_processes(self, count: int) -> None:
        """Until so many serve for the first time."""
        until(lambda: self.process.poll() is not None or all(self.pids(place) for place in range(count)))
        assert self.process.poll() is None, self.log

    def get(self, path: str) -> httpx.Response:
        """GET over a new connection, whichever process takes it."""
        return httpx.get(self.url + path, timeout=30)

    def ner(self, text: str) -> httpx.Response:
        """POST /ner over a new connection."""
        return httpx.post(self.url + "/ner", json={"text": text}, timeout=30)

    def metric(self, line: str) -> float:
        """The value of a metric; `line` is its name with its labels."""
        return value(self.get("/metrics").text, line)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def close(self) -> None:
        """Stop at once, whatever it does; its children stop because it is gone."""
        self.process.kill()
        self.process.wait()
