"""The server before it serves: where it listens, how many processes it has, and how it takes signals."""

from __future__ import annotations

import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from fakes import make_tagger

from onoma.errors import BundleError
from service.app import create_app
from service.child import ChildServer
from service.draining import DrainingServer
from service.listening import CannotListen, bound, urls
from service.server import serve, settled
from service.settings import Settings


def test_a_free_port() -> None:
    with bound("127.0.0.1", 0) as listeners:
        (one,) = listeners
        port = one.getsockname()[1]
        assert port and urls(listeners) == [f"http://127.0.0.1:{port}"]
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port))  # bound, but nobody answers yet
    assert one.fileno() == -1
    with bound("127.0.0.1", port):
        pass


def test_every_address_of_a_name_gets_the_same_port() -> None:
    with bound("localhost", 0) as listeners:
        assert len({listener.getsockname()[1] for listener in listeners}) == 1
    with bound("", 0) as listeners:
        assert all(url.startswith(("http://0.0.0.0:", "http://[::]:")) for url in urls(listeners))


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the logging of the tests as it is."""
    monkeypatch.setattr("service.server.configure", lambda _: None)


@pytest.mark.usefixtures("quiet")
def test_an_occupied_port_is_said_plainly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CannotListen, match=f"host 127.0.0.1, port {port}: Address already in use"):
            serve(Settings(models=Path("nowhere"), port=port))


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_that_is_not_ours_is_said_plainly(host: str) -> None:
    with pytest.raises(CannotListen, match=f"cannot listen on host {host}"), bound(host, 0):
        pass


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("processes", [1, 2])
def test_a_missing_bundle_is_said_before_anything_is_started(tmp_path: Path, processes: int) -> None:
    with pytest.raises(BundleError, match="student"):
        serve(Settings(models=tmp_path, port=0, processes=processes))


@pytest.mark.parametrize(
    ("cores", "processes", "threads", "expected"),
    [
        (1, None, None, (1, None)),
        (2, None, None, (2, 1)),
        (8, None, None, (8, 1)),
        (32, None, None, (8, 4)),
        (8, 3, None, (3, 2)),
        (2, 6, None, (6, 1)),
        (8, 1, None, (1, None)),
        (8, 2, 3, (2, 3)),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="several processes need Linux")
def test_cores_are_shared_out(
    cores: int, processes: int | None, threads: int | None, expected: tuple[int, int | None]
) -> None:
    found = settled(Settings(processes=processes, threads=threads), cores=cores)
    assert (found.processes, found.threads) == expected


def test_elsewhere_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert settled(Settings(), cores=8).processes == 1
    with pytest.raises(ValueError, match="processes: only Linux can have several, got 2"):
        settled(Settings(processes=2), cores=8)


@pytest.mark.parametrize(("drain_seconds", "stops_at_once"), [(0.0, True), (60.0, False)])
def test_the_first_signal_drains(drain_seconds: float, stops_at_once: bool) -> None:
    app = create_app(Settings(drain_seconds=drain_seconds), models={"student": make_tagger()})
    server = DrainingServer(app)
    server.handle_exit(signal.SIGTERM, None)
    assert app.state.runtime.health.draining
    assert server.should_exit == stops_at_once
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit


def test_a_child_takes_a_signal_that_comes_twice_at_once_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the terminal or systemd, and from the parent who got it too."""
    app = create_app(Settings(drain_seconds=60), models={"student": make_tagger()})
    server = ChildServer(app, shares=None, place=0, siblings=None, report=None)  # type: ignore[arg-type]
    now = time.monotonic()
    monkeypatch.setattr("service.child.time.monotonic", lambda: now)
    server.handle_exit(signal.SIGINT, None)
    now += 0.1
    server.handle_exit(signal.SIGTERM, None)
    assert app.state.runtime.health.draining and not server.should_exit
    now += 5
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
