"""Logs: every line is what its form says, and requests can be followed."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from fakes import Serve, Served, make_tagger, until
from quoting import BODIES, SECRET, QuotingModel

from service import logs
from service.app import create_app
from service.settings import Settings

pytestmark = pytest.mark.usefixtures("own_logging")
LOG = logging.getLogger("onoma.service")


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def raised() -> BaseException:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as cause:
            raise ValueError(SECRET) from cause
    except ValueError as error:
        return error


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="json", log_level="debug"))
    LOG.info("über %s", "two\nlines \ud800 \u2028", extra=logs.fields(model="student", texts=3, path=object, time="no"))
    LOG.debug("small")
    LOG.error("failed", exc_info=raised())
    logging.getLogger("uvicorn.error").warning("of uvicorn")
    first, small, failed, other = lines_of(capsys)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ", first["time"])
    assert first["message"] == "über two\nlines \ud800 \u2028"
    assert (first["level"], first["logger"], first["model"], first["texts"]) == ("info", "onoma.service", "student", 3)
    assert "request_id" not in first and small["level"] == "debug"
    assert "ValueError" in failed["exception"] and "KeyError" in failed["exception"]
    assert "test_logs.py" in failed["exception"] and SECRET not in json.dumps(failed)
    assert other["logger"] == "uvicorn.error"


def test_text_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_level="warning"))
    LOG.info("not this")
    LOG.warning("this", extra=logs.fields(model="student"))
    LOG.error("failed", exc_info=raised())
    first, second, *places = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\S+Z WARNING onoma.service this model=student", first)
    assert second.endswith("ERROR onoma.service failed") and places[0] == "builtins.ValueError"
    assert not any(SECRET in line for line in places)


def test_another_library_may_have_put_the_exception_into_words(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="json"))
    error = raised()
    record = LOG.makeRecord("x", logging.ERROR, "", 0, "failed", (), (type(error), error, None))
    logging.Formatter().format(record)  # keeps its words in the record
    assert SECRET in record.exc_text
    logging.getLogger().handlers[0].handle(record)
    assert SECRET not in json.dumps(lines_of(capsys))


def test_failures_of_threads_are_lines_without_words(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="json"))

    def fail() -> None:
        raise ValueError(SECRET)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    [line] = lines_of(capsys)
    assert line["message"].startswith("a thread failed: builtins.ValueError") and SECRET not in line["message"]


def test_access_lines(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="json"))
    served = serve(access_log=True)
    lines_of(capsys)
    answer = served.client.post("/ner?x=1", json={"texts": ["Siemens", "maybe"]}, headers={"x-request-id": "mine"})
    served.client.get("/nothing/at/all")
    served.ner(texts=["Siemens"], model="teacher")
    first, second, third = lines_of(capsys)
    assert first["logger"] == "onoma.access" and first["request_id"] == "mine"
    assert first["message"] == "POST /ner 200"
    named = {name: first[name] for name in ("method", "path", "status", "bytes", "model", "texts")}
    assert named == {
        "method": "POST", "path": "/ner", "status": 200, "bytes": len(answer.content),
        "model": "student,teacher", "texts": 2,
    }
    assert 0 < first["ms"] < 10_000
    assert (second["path"], second["status"], second["model"], second["texts"]) == ("other", 404, None, 0)
    assert third["model"] == "teacher"


def test_no_access_lines_unless_asked_for(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    served.ner(text="Siemens")
    assert not [record for record in caplog.records if record.name == "onoma.access"]


def test_lines_within_a_request_have_its_id(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.shortcut.ner", None)
    logs.configure(Settings(log_format="json"))
    ids = [served.ner(text=text).headers["x-request-id"] for text in ("Siemens", "Ohio")]
    assert [line["request_id"] for line in lines_of(capsys)] == ids
    LOG.error("after them")
    assert "request_id" not in lines_of(capsys)[-1]


@pytest.mark.parametrize("workers", [0, 1])
def test_lines_of_the_engine_belong_to_no_request(
    serve: Serve, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    logs.configure(Settings(log_format="json"))
    served = serve(workers=workers)
    served.student.error = RuntimeError(SECRET)
    served.ner(text="Siemens")
    of_the_engine = [line for line in lines_of(capsys) if line["level"] == "error"]
    assert of_the_engine and not any("request_id" in line for line in of_the_engine)


@contextmanager
def uvicorn_around(settings: Settings) -> Iterator[int]:
    """A real server, as `onoma serve` sets it up, in a thread; gives its port."""
    app = create_app(settings, models={"student": make_tagger(QuotingModel())})
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, server_header=False))
    thread = threading.Thread(target=asyncio.run, args=(server.serve([listener]),))
    thread.start()
    try:
        asyncio.run(until(lambda: server.started))
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


def raw(port: int, request: bytes) -> bytes:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_every_line_of_a_running_server_is_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(log_format="json", log_level="debug", access_log=True, workers=1)
    logs.configure(settings)
    with uvicorn_around(settings) as port:
        for body in BODIES.values():
            httpx.post(f"http://127.0.0.1:{port}/ner?{SECRET}", content=body, timeout=10)
        assert raw(port, f"{SECRET}\r\n\r\n".encode()).startswith(b"HTTP/1.1 400")
        raw(port, f"POST /ner HTTP/1.1\r\nhost: a\r\ncontent-length: 99\r\n\r\n{SECRET}".encode())
        raw(port, b"GET /ner HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        logging.getLogger("py.warnings").warning("of the library of warnings")
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.err.splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    assert {"onoma.service", "onoma.access", "uvicorn.error"} <= {line["logger"] for line in lines}
    assert SECRET not in printed.err and printed.out == ""
