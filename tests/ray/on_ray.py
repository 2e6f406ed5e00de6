"""The process of cluster.py, seen from the tests."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import httpx
from real_server import lives, until, value

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 180.0  # busy CI machines start some processes a second


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class OnRay:
    """A cluster with the service.

    :param models: folder of bundles; another one may take its place before the next deployment.
    :param log: file for what its processes say.
    """

    def __init__(self, models: Path, log: Path) -> None:
        self.models = models
        self._log = log
        self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets need short paths
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        others = {name: value for name, value in os.environ.items() if not name.startswith(("ONOMA_", "RAY_"))}
        own = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("cluster.py")), str(port), self._folder],
                env=others | own,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                start_new_session=True,
            )
        self._said: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.put(line)
        self._said.put("over")

    def begin(self, **settings: object) -> None:
        """Deploy with these settings, without waiting; names without the prefix ONOMA_, in small letters."""
        usual = {"models": self.models, "ray_cpus": 0.5, "ray_student_replicas": 2, "ready_cache_seconds": 0}
        asked = {f"ONOMA_{name.upper()}": str(one) for name, one in (usual | settings).items()}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()

    def wait(self) -> None:
        """Until what was begun is deployed."""
        while (line := self._said.get(timeout=START_SECONDS)) != "up\n":
            assert line != "over", self._log.read_text(encoding="utf-8")

    def deploy(self, **settings: object) -> None:
        """Deploy with these settings."""
        self.begin(**settings)
        self.wait()

    def pids(self, model: str) -> list[int]:
        """The processes of a model's replicas."""
        title = f"ray::ServeReplica:default:{model}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            pid = int(path.parent.name)
            with contextlib.suppress(OSError):  # one that has just died has no files any more
                if lives(pid) and path.read_bytes().startswith(title) and self._is_ours(pid):
                    found.append(pid)
        return sorted(found)

    def _is_ours(self, pid: int) -> bool:
        """Whether a process belongs to this cluster and no other on this machine: its parent is our raylet."""
        parent = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
        return self._folder.encode() in Path(f"/proc/{parent}/cmdline").read_bytes()

    def ner(self, **body: object) -> httpx.Response:
        """POST /ner over a new connection."""
        return httpx.post(self.url + "/ner", json=body, timeout=60)

    def metric(self, line: str) -> float:
        """The value of a metric; `line` is its name with its labels."""
        return value(httpx.get(self.url + "/metrics", timeout=30).text, line)

    def logs(self) -> list[str]:
        """What all its processes have logged so far, Ray's own among them."""
        files = [path for path in Path(self._folder).glob("session_*/logs/**/*") if path.is_file()]
        return [path.read_text(encoding="utf-8", errors="replace") for path in (self._log, *files)]

    def close(self) -> None:
        """Stop everything."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        assert self.process.stdout is not None
        self.process.stdout.close()
        until(lambda: not (self.pids("student") or self.pids("teacher") or self.pids("slow")))
        shutil.rmtree(self._folder, ignore_errors=True)
