"""The load test against a small server of the same contract: table, exit status, texts."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loadtests import report, texts

ROOT = Path(__file__).resolve().parents[2]
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
        return 503, {"error": {"code": "overloaded", "message": "busy", "request_id": "r"}}
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
def fake_service(answer: Answer) -> Iterator[str]:
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


def load(out: Path, answer: Answer, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m loadtests` in a process of its own, as Locust patches sockets."""
    with fake_service(answer) as host:
        return subprocess.run(
            [sys.executable, "-m", "loadtests", "--host", host, "--out", str(out), "--users", "2", "--rounds", "1"]
            + ["--duration", "1", "--rates", "0", *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def has_locust() -> bool:
    """Whether the extra `loadtest` is installed, found out without importing it here."""
    from importlib.util import find_spec

    return find_spec("locust") is not None


needs_locust = pytest.mark.skipif(not has_locust(), reason="needs the extra loadtest")


@needs_locust
def test_a_good_service_gets_a_table_and_status_0(tmp_path: Path) -> None:
    done = load(tmp_path, good, "--models", "student,auto")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows] == ["| model", "| ---", "| student", "| auto"]
    student, auto = (dict(zip(report.HEADER, row.strip("| ").split(" | "), strict=True)) for row in rows[2:])
    assert int(student["requests"]) > 10 and student["failures"] == auto["failures"] == "0"
    assert float(student["words/s"]) > float(student["achieved req/s"]) > 1
    assert student["fallback share"] == "0.0 %" and auto["fallback share"] != "0.0 %"
    assert (tmp_path / "report.md").read_text(encoding="utf-8").strip() == done.stdout.strip()
    assert (
        "cores" in done.stdout
        and "bundles: student: fake, none" in done.stdout
        and "python -m loadtests --host" in done.stdout
    )
    assert (tmp_path / "student-unpaced-round1_stats.csv").exists()
    assert (tmp_path / "student-unpaced-round1.html").exists()


@needs_locust
@pytest.mark.parametrize(
    ("answer", "reason"),
    [(failing, "requests failed"), (empty, "no answer had an entity"), (misplaced, "requests failed")],
)
def test_a_bad_service_gets_status_1_and_the_reason(tmp_path: Path, answer: Answer, reason: str) -> None:
    done = load(tmp_path, answer, "--models", "student")
    assert done.returncode == 1, done.stderr
    assert reason in done.stdout


def test_no_service_gets_status_1(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loadtests", "--models", "nobody", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2 and "unknown model: nobody" in done.stderr


def test_texts_cover_languages_and_scripts() -> None:
    assert set(texts.QUERIES) == set(texts.SENTENCES) and len(texts.SENTENCES) >= 12
    everything = [text for part in (texts.QUERIES, texts.SENTENCES) for several in part.values() for text in several]
    assert all(text.strip() == text and text for text in everything)
    assert len(set(everything)) == len(everything)
    scripts = {unicodedata.name(char).split()[0] for text in everything for char in text if char.isalpha()}
    wanted = "LATIN CYRILLIC GREEK ARABIC HEBREW DEVANAGARI BENGALI TAMIL CJK HIRAGANA KATAKANA HANGUL THAI".split()
    assert scripts >= set(wanted)


def test_the_mix_has_every_kind_and_is_the_same_for_every_model() -> None:
    first, second = random.Random("0-1"), random.Random("0-1")
    drawn = [texts.draw(first) for _ in range(300)]
    assert drawn == [texts.draw(second) for _ in range(300)]
    assert {request.kind for request in drawn} == {kind for kind, _ in texts.MIX}
    for request in drawn:
        body = request.body("student")
        assert ("text" in body) != ("texts" in body)
        assert all(request.texts) and len(request.texts) > (3 if request.kind == "bulk" else 0)


def test_words() -> None:
    assert texts.words("Angela Merkel in Köln") == 4
    assert texts.words("北京大学 Beijing") == 3


def test_medians_and_spread() -> None:
    legs = [report.Leg("student", 0, n, 10, 0, rate, 5, 9, 12, 10, 4, 70, {}) for n, rate in enumerate((8, 10, 20))]
    legs += [report.Leg("teacher", 0, 1, 10, 0, 5, 10, 30, 40, 10, 4, 70, {})]
    assert "10.0 (8.0..20.0)" in report.table(legs)
    assert report.ratios(legs) == [
        "Student against teacher, unpaced: 2.00 times the requests/s, 2.00 times faster at p50."
    ]
    assert report.problems(legs) == []
