"""Headers of every answer, pages, and that no request reaches the file system."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fakes import Serve, Served
from fastapi import FastAPI

from service.security import page, secured

ANSWERS = [
    ("POST", "/ner", {"json": {"text": "Siemens"}}, 200),
    ("POST", "/ner", {"content": b"{"}, 400),
    ("POST", "/ner", {"json": {"text": "boom"}}, 500),
    ("POST", "/ner", {"content": b"a" * 5_000_000}, 413),
    ("GET", "/", {}, 200),
    ("GET", "/healthz", {}, 200),
    ("GET", "/metrics", {}, 200),
    ("GET", "/openapi.json", {}, 200),
    ("GET", "/nothing", {}, 404),
    ("DELETE", "/ner", {}, 405),
]


@pytest.mark.parametrize(("method", "path", "options", "status"), ANSWERS)
def test_headers_of_an_api_answer(served: Served, method: str, path: str, options: dict[str, Any], status: int) -> None:
    answer = served.client.request(method, path, **options)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers and "x-powered-by" not in answer.headers


def test_an_answer_nobody_foresaw_has_them_too(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.shortcut.ner", None)
    answer = served.ner(text="Siemens")
    assert answer.status_code == 500 and answer.headers["cache-control"] == "no-store"


def directives(policy: str) -> dict[str, list[str]]:
    return {name: sources for name, *sources in map(str.split, policy.split(";"))}


def test_docs_is_a_page_of_this_server_alone(served: Served) -> None:
    answer = served.client.get("/docs")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert "http" not in answer.text
    policy = directives(answer.headers["content-security-policy"])
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == ["'none'"]
    [script] = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["script-src"] == ["'self'", f"'sha256-{hashed}'"]
    assert policy["connect-src"] == ["'self'"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "camera=()" in answer.headers["permissions-policy"]
    for file in re.findall(r'(?:src|href)="(docs/[^"]+)"', answer.text):
        asset = served.client.get(f"/{file}")
        assert asset.status_code == 200 and len(asset.content) > 100_000
        assert asset.headers["cache-control"] == "max-age=3600"
        assert asset.headers["x-content-type-options"] == "nosniff"
        assert asset.headers["content-type"].split(";")[0] == {"js": "text/javascript", "ss": "text/css"}[file[-2:]]


def test_a_page_that_says_nothing_of_scripts_runs_none() -> None:
    found = dict(secured([(b"content-type", b"text/html; charset=utf-8")]))
    policy = directives(found[b"content-security-policy"].decode())
    assert policy["script-src"] == policy["style-src"] == ["'none'"]
    assert found[b"cache-control"] == b"no-store"


def test_a_page_may_run_its_own_scripts_and_styles() -> None:
    made = page("<style>p {}</style><script>1</script><script>2</script><script src='evil.js'></script>")
    policy = directives(made.headers["content-security-policy"])
    assert [len(policy[name]) for name in ("script-src", "style-src")] == [3, 2]
    assert "'unsafe-inline'" not in policy["script-src"] + policy["style-src"]
    names = [name for name, _ in secured(made.raw_headers)]
    assert len(names) == len(set(names))


# What a path could be made of. A name beside them, so that whatever opens a file by them is seen.
MARK = "onoma-traversal"
TRAVERSALS = [
    f"../../{MARK}",
    f"..%2f..%2f{MARK}",
    f"%2e%2e/%2e%2e/{MARK}",
    f"..\\..\\{MARK}",
    f"/etc/{MARK}",
    f"....//....//{MARK}",
    f"file:///{MARK}",
    f"student/../../{MARK}",
    f"~/{MARK}",
    f"{MARK}\x00.json",
    f"${{HOME}}/{MARK}",
    f"\\\\host\\{MARK}",
]

_watched: list[str] | None = None


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _watched is not None and event.startswith(("open", "os.", "shutil.", "glob.", "pathlib.", "import")):
        _watched.append(f"{event} {arguments!r}")


sys.addaudithook(_hook)


@contextmanager
def watched_files() -> Iterator[list[str]]:
    """Everything that Python opens, lists or imports meanwhile."""
    global _watched
    _watched = found = []
    try:
        yield found
    finally:
        _watched = None


def test_the_watch_sees_files(tmp_path: Path) -> None:
    with watched_files() as seen:
        (tmp_path / MARK).write_text("")
        list(tmp_path.iterdir())
    assert any(line.startswith("open") and MARK in line for line in seen) and len(seen) > 1


def routes(app: FastAPI) -> list[tuple[str, str]]:
    described = {(method.upper(), path) for path, one in app.openapi()["paths"].items() for method in one}
    assert {("POST", "/ner"), ("GET", "/metrics")} <= described
    return sorted(described | {("GET", "/docs"), ("GET", "/openapi.json")})


@pytest.mark.parametrize("evil", TRAVERSALS)
@pytest.mark.parametrize("management", [False, True])
def test_no_path_reaches_the_file_system(serve: Serve, tmp_path: Path, evil: str, management: bool) -> None:
    served = serve(management=management, models=tmp_path)
    tried = 0
    with watched_files() as seen:
        for method, path in routes(served.app):
            for form in (evil, quote(evil, safe="")):
                asked = re.sub(r"\{[^}]*\}", lambda _, form=form: form, path)
                for url in {asked, f"{asked.rstrip('/')}/{form.lstrip('/')}", f"{asked}?file={quote(evil)}"}:
                    options = {"json": {"text": "a"}} if method == "POST" else {}
                    if "\x00" not in url:
                        assert served.client.request(method, url, **options).status_code < 500, url
                        tried += 1
    assert tried >= 20
    assert not [line for line in seen if MARK in line]


@pytest.mark.parametrize("evil", TRAVERSALS)
@pytest.mark.parametrize("field", ["text", "texts", "tokens", "model", "labels", "offset_unit", "min_score", "other"])
def test_no_field_reaches_the_file_system(served: Served, field: str, evil: str) -> None:
    value: object = {"texts": [evil], "tokens": [[evil]], "labels": [evil]}.get(field, evil)
    body = {field: value} if field in ("text", "texts", "tokens") else {"text": "a", field: value}
    with watched_files() as seen:
        headers = {"x-request-id": evil.replace("\x00", "")}
        answer = served.client.post("/ner", content=json.dumps(body), headers=headers)
    assert answer.status_code in (200, 422)
    assert not [line for line in seen if MARK in line]
    assert served.ner(text="Siemens").status_code == 200
