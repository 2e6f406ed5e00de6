"""A small server that keeps the contract of POST /ner, or breaks it as a test asks; it has no model."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


def good(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """First character of each text is an entity; `auto` falls back for texts of even length."""
    results = []
    for text in body.get("texts") or [body["text"]]:
        fallback = "low_confidence" if body["model"] == "auto" and len(text) % 2 == 0 else None
        model = "teacher" if fallback else {"auto": "student"}.get(body["model"], body["model"])
        entities = [{"start": 0, "end": 1, "label": "PER", "text": text[:1], "score": 0.9}]
        results.append({"entities": entities, "model": model, "fallback": fallback, "windows": 1})
    return 200, {"results": results, "request_id": "r", "timings_ms": {"total": 1.0}}


def failing(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """503 for requests with several texts."""
    if "texts" in body:
        return 503, {"error": {"code": "not_ready", "message": "busy", "request_id": "r"}}
    return good(body)


def overloaded(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """429 for pages and for requests with several texts, a fifth of all."""
    if "texts" in body or len(body["text"]) > 150:
        return 429, {"error": {"code": "overloaded", "message": "busy", "request_id": "r"}}
    return good(body)


def empty(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Never an entity."""
    status, answer = good(body)
    for result in answer["results"]:
        result["entities"] = []
    return status, answer


def misplaced(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Offsets that do not slice the text."""
    status, answer = good(body)
    for result in answer["results"]:
        result["entities"][0]["end"] = 2
    return status, answer


@contextmanager
def stub_service(answer: Answer = good) -> Iterator[str]:
    """A server on a free port; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            models = {"student": {"name": "fake", "architecture": "none"}}
            self.reply(200 if self.path in ("/readyz", "/") else 404, {"status": "ready", "models": models})

        def do_POST(self) -> None:
            self.reply(*answer(json.loads(self.rfile.read(int(self.headers["content-length"])))))

        def reply(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # users hang up when the time is over
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
