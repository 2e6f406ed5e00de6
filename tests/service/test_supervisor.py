"""The supervisor, with processes that die, hang and stay on purpose."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from service.processes import Place, StartFailed, Supervisor

ROOT = Path(__file__).resolve().parents[2]


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not happen in {seconds:.0f} seconds"
        time.sleep(0.02)


class Toys:
    """A parent and its processes."""

    def __init__(self, folder: Path, seconds: float, *behaviours: str) -> None:
        self.folder = folder
        command = [sys.executable, str(ROOT / "tests/service/toy_processes.py"), str(folder), str(seconds), *behaviours]
        self.parent = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )

    def lines(self, place: int) -> list[str]:
        file = self.folder / f"{place}.log"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []

    def pids(self, place: int) -> list[int]:
        return [int(line.split()[1]) for line in self.lines(place) if line.startswith("start ")]

    def wait_for(self, place: int, *lines: str) -> None:
        """Until these lines have come, whatever else has."""
        until(lambda: [line for line in self.lines(place) if line in lines] == [*lines])

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.parent.send_signal(number)
        _, said = self.parent.communicate(timeout=30)
        return self.parent.returncode, said


Start = Callable[..., Toys]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Toys] = []

    def begin(*behaviours: str, seconds: float = 20.0) -> Toys:
        started.append(Toys(tmp_path, seconds, *behaviours))
        return started[-1]

    yield begin
    for toys in started:
        toys.parent.kill()
        toys.parent.communicate()


def is_gone(pid: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_stop_and_are_waited_for(start: Start, number: int) -> None:
    toys = start("good", "good")
    for place in range(2):
        toys.wait_for(place, "serve")
    assert toys.end(number)[0] == 0
    for place in range(2):
        assert toys.lines(place)[1:] == ["serve", "stop"]
        assert is_gone(toys.pids(place)[0])


def test_the_dead_and_the_hung_are_replaced(start: Start) -> None:
    toys = start("hang", "end", "good", seconds=3.0)
    for place in range(2):
        toys.wait_for(place, "serve", "serve")
    first, second = toys.pids(0)
    assert is_gone(first) and not is_gone(second)
    os.kill(toys.pids(2)[0], signal.SIGKILL)
    toys.wait_for(2, "serve", "serve")
    status, said = toys.end()
    assert status == 0
    assert f"process 0 (pid {first}) has not been heard of for 3 seconds: killed" in said
    assert "process 1" in said and "exit status 7; another takes its place" in said
    assert said.count("killed by SIGKILL; another takes its place") == 2


def test_who_does_not_stop_is_killed(start: Start) -> None:
    toys = start("stay", "good", seconds=1.0)
    for place in range(2):
        toys.wait_for(place, "serve")
    status, said = toys.end()
    assert status == 0
    assert "has not stopped in 1 seconds: killed" in said and "process 1" not in said
    assert toys.lines(0)[1:] == ["serve", "stop"] and is_gone(toys.pids(0)[0])


def test_who_cannot_start_at_all_ends_the_server(start: Start) -> None:
    toys = start("wait", "fail")
    _, said = toys.parent.communicate(timeout=30)
    assert toys.parent.returncode == 1
    assert "failed: no bündle" in said
    assert all(is_gone(pid) for place in range(2) for pid in toys.pids(place))


def test_who_cannot_start_again_leaves_the_others_alone(start: Start) -> None:
    toys = start("fail-later", "good")
    until(lambda: len(toys.pids(0)) >= 3)
    assert toys.lines(1)[1:] == ["serve"] and len(toys.pids(1)) == 1
    status, said = toys.end()
    assert status == 0 and "no bündle; another takes its place" in said


def test_a_reload_reaches_those_that_still_start(start: Start) -> None:
    toys = start("wait", "good")
    toys.wait_for(1, "serve")
    until(lambda: len(toys.lines(0)) == 1)
    toys.parent.send_signal(signal.SIGHUP)
    toys.wait_for(1, "serve", "reload")
    assert len(toys.lines(0)) == 1
    (toys.folder / "go").touch()
    until(lambda: sorted(toys.lines(0)[1:]) == ["reload", "serve"])
    assert toys.end()[0] == 0


def test_pauses_grow_when_processes_do_not_live_long(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(0)
    now = 1000.0
    monkeypatch.setattr("service.processes.time.monotonic", lambda: now)
    pauses = []
    for lived in (*[1.0] * 9, 3600.0, 1.0):
        began = now
        now += lived
        place.ended(began)
        pauses.append(place.due - now)
        now = place.due
    assert pauses == [0, 1, 2, 4, 8, 16, 30, 30, 30, 0, 1]


def test_a_machine_that_can_start_no_process_is_said_plainly() -> None:
    class Unstartable(BaseProcess):
        def __init__(self) -> None:
            pass

        def start(self) -> None:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    handler = signal.getsignal(signal.SIGTERM)
    supervisor = Supervisor(lambda place, report: Unstartable(), count=2, listeners=[], stop_seconds=1)
    with pytest.raises(StartFailed, match="it cannot be started: Resource temporarily unavailable"):
        supervisor.run()
    assert signal.getsignal(signal.SIGTERM) is handler
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
