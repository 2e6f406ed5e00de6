"""`onoma serve` with several processes: one port, one set of metrics, and nothing lost when one dies or all stop."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import httpx
import pytest
from real_server import RealServer, lives, until, value

from onoma.bundle import MODEL_FILE, sha256
from tests.onoma.bundles import write_bundle

TEXTS = 'onoma_texts_total{model="student"}'
REQUESTS = 'onoma_request_seconds_count{endpoint="/ner",status="200"}'
LINUX_ONLY = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="several processes need Linux")
pytestmark = LINUX_ONLY


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_bundle(folder / "student")
    return folder


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """Two processes that log every request; for tests that leave it as it is."""
    log = tmp_path_factory.mktemp("logs") / "log"
    running = RealServer(models, log, "--port", "0", "--processes", "2", access_log="true")
    with closing(running):
        running.wait_for_processes(2)
        yield running


@contextmanager
def held(server: RealServer, place: int) -> Iterator[None]:
    """Within it, one process does not run, so that another gets whatever comes."""
    pid = server.pids(place)[-1]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def answered(server: RealServer) -> Counter[str]:
    """Requests to /ner that each process has answered."""
    return Counter(re.findall(r"POST /ner 200 .* process=(\d)", server.log))


def test_each_process_speaks_for_all(server: RealServer) -> None:
    before = {name: server.metric(name) for name in (TEXTS, REQUESTS)}
    with ExitStack() as stack:
        clients = []
        for place in range(2):
            clients.append(stack.enter_context(httpx.Client(base_url=server.url, timeout=30)))
            with held(server, 1 - place):  # so this connection is that process's, for good
                for _ in range(3 + place):
                    answer = clients[place].post("/ner", json={"text": "Angela in Köln"})
                    assert [one["text"] for one in answer.json()["results"][0]["entities"]] == ["Angela", "Köln"]
        until(lambda: answered(server) >= Counter({"0": 3, "1": 4}))
        for client in clients * 3:
            text = client.get("/metrics").text
            assert {name: value(text, name) - before[name] for name in before} == {TEXTS: 7, REQUESTS: 7}
            assert value(text, "onoma_processes") == value(text, "onoma_processes_configured") == 2
    until(lambda: server.metric("onoma_ready") == 1)


def test_all_processes_get_work(server: RealServer) -> None:
    before = answered(server)

    def both_have_worked() -> bool:
        with ThreadPoolExecutor(16) as clients:
            assert {answer.status_code for answer in clients.map(server.ner, ["Angela"] * 32)} == {200}
        return set(answered(server) - before) == {"0", "1"}

    until(both_have_worked)


def test_a_process_that_hangs_is_left_out_of_the_metrics(server: RealServer) -> None:
    before = server.metric(TEXTS)
    with held(server, 0):
        text = server.get("/metrics").text
    assert value(text, "onoma_processes") == 1 and value(text, "onoma_processes_configured") == 2
    assert value(text, TEXTS) <= before
    until(lambda: server.metric("onoma_processes") == 2)
    assert server.metric(TEXTS) == before


def test_an_occupied_port_is_said_plainly(server: RealServer, models: Path, tmp_path: Path) -> None:
    port = server.url.rpartition(":")[2]
    other = RealServer(models, tmp_path / "log", "--port", port, "--processes", "2")
    assert other.process.wait(timeout=60) == 1
    assert other.log == f"onoma serve: cannot listen on host 127.0.0.1, port {port}: Address already in use\n"
    assert server.get("/readyz").status_code == 200


def test_sighup_reloads_all(models: Path, server: RealServer) -> None:
    write_bundle(models / "student", name="younger")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: _names(server) == {"younger"})
    assert [len(server.pids(place)) for place in range(2)] == [1, 1]
    assert server.ner("Angela").status_code == 200


def _names(server: RealServer) -> set[str]:
    """Names of the models of all processes."""
    return set(re.findall(r'onoma_model_info{.*name="(\w+)"', server.get("/metrics").text))


class Load:
    """Requests without a pause, each sent again until it is answered."""

    def __init__(self, server: RealServer, clients: int = 4) -> None:
        self.answered = self.retried = 0
        self._server = server
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(clients)
        self._work = [self._pool.submit(self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        client = httpx.Client(base_url=self._server.url, timeout=30)
        with client:
            while not self._over.is_set():
                retries = 0
                while True:
                    try:
                        answer = client.post("/ner", json={"text": "Angela in Köln"})
                        break
                    except httpx.TransportError:  # its connection died with a process
                        retries += 1
                        assert retries < 5
                assert answer.status_code == 200
                with self._lock:
                    self.answered += 1
                    self.retried += retries

    def stop(self) -> None:
        self._over.set()
        for work in self._work:
            work.result()
        self._pool.shutdown()


def test_a_killed_process_is_replaced_and_then_all_stop_in_order(models: Path, tmp_path: Path) -> None:
    server = RealServer(models, tmp_path / "log", "--port", "0", "--processes", "2", drain_seconds="3")
    with closing(server):
        server.wait_for_processes(2)
        load = Load(server)
        until(lambda: load.answered > 50)
        victim, survivor = server.pids(0)[0], server.pids(1)[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(server.pids(0)) == 2)
        until(lambda: server.metric("onoma_processes") == 2)
        enough = load.answered + 50
        until(lambda: load.answered > enough)
        load.stop()
        assert load.retried <= 4  # each client's connection, once
        assert f"process 0 (pid {victim}) ended: killed by SIGKILL; another takes its place" in server.log
        assert server.pids(1) == [survivor] and lives(survivor)
        assert server.get("/readyz").status_code == 200
        _stops_in_order(server)


def _stops_in_order(server: RealServer) -> None:
    """With a request half sent: all unready at once, then the port closes, then the request is answered."""
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    body = b'{"text": "Angela in K\xc3\xb6ln"}'
    with socket.create_connection(address, timeout=30) as slow:
        slow.sendall(b"POST /ner HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body[:5])
        until(lambda: server.metric("onoma_in_flight_requests") == 1)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        seen = []
        with pytest.raises(httpx.TransportError):  # in the end
            while True:
                seen.append(server.get("/readyz").status_code)
                assert server.ner("Angela").status_code == 200
        assert len(seen) > 3 and set(seen) == {503}
        until(lambda: refuses(address))
        assert server.process.poll() is None
        slow.sendall(body[5:])
        assert slow.recv(12) == b"HTTP/1.1 200"
    assert server.process.wait(timeout=60) == 0
    assert not any(lives(pid) for place in range(2) for pid in server.pids(place))
    assert "Traceback" not in server.log


def refuses(address: tuple[str, int]) -> bool:
    with socket.socket() as client:
        return client.connect_ex(address) == errno.ECONNREFUSED


def test_no_process_outlives_its_parent(models: Path, tmp_path: Path) -> None:
    server = RealServer(models, tmp_path / "log", "--port", "0", "--processes", "2")
    server.wait_for_processes(2)
    server.close()
    until(lambda: not any(lives(pid) for place in range(2) for pid in server.pids(place)))
    assert server.log.count("the parent process is gone: stopping") == 2


def test_one_process_needs_no_parent(models: Path, tmp_path: Path) -> None:
    server = RealServer(models, tmp_path / "log", "--port", "0", processes="1")
    with closing(server):
        until(lambda: "Application startup complete" in server.log)
        assert server.metric("onoma_processes") == server.metric("onoma_processes_configured") == 1
        assert server.ner("Angela").status_code == 200
        assert server.stop() == -signal.SIGTERM
    assert "process 0" not in server.log


def test_a_damaged_bundle_is_said_plainly(tmp_path: Path) -> None:
    write_bundle(tmp_path / "student")
    with (tmp_path / "student" / MODEL_FILE).open("ab") as file:
        file.write(b"x")
    server = RealServer(tmp_path, tmp_path / "log", "--port", "0", "--processes", "2")
    assert server.process.wait(timeout=60) == 1
    (line,) = server.log.splitlines()
    assert line.startswith(f"onoma serve: {tmp_path / 'student'}: model.onnx is damaged: sha256 is ")


def test_a_model_that_does_not_load_is_said_plainly(tmp_path: Path) -> None:
    """Only the processes find that out."""
    folder = tmp_path / "student"
    write_bundle(folder)
    (folder / MODEL_FILE).write_bytes(b"no model")
    manifest = (folder / "bundle.json").read_text(encoding="utf-8")
    old = re.search(rf'"{MODEL_FILE}": "(\w+)"', manifest)
    assert old is not None
    (folder / "bundle.json").write_text(manifest.replace(old[1], sha256(folder / MODEL_FILE)), encoding="utf-8")
    server = RealServer(tmp_path, tmp_path / "log", "--port", "0", "--processes", "2")
    assert server.process.wait(timeout=60) == 1
    assert server.log.splitlines()[-1].startswith(f"onoma serve: {folder / MODEL_FILE} does not load in onnxruntime: ")
    assert "Traceback" not in server.log
