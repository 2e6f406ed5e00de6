"""API keys: who is let in, and that the file of keys may change while the service runs."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import raw_asgi
from clocks import Clock
from fakes import Serve, Served

from service.app import create_app
from service.keys import RECHECK_SECONDS, KeyFile, read_keys
from service.settings import Settings

FIRST, SECOND, HASHED = "first-key-0123456789", "second-key-0123456789", "hashed-key-0123456789"
NEEDED = [("POST", "/ner"), ("POST", "/embed"), ("POST", "/similarity"), ("POST", "/v1/embeddings"), ("GET", "/"),
          ("GET", "/docs"), ("GET", "/docs/swagger-ui.css"), ("GET", "/openapi.json"),
          ("GET", "/nothing"), ("GET", "/healthz/"), ("GET", "/v2/healthy"), ("GET", "/v2/models"), ("PUT", "/ner")]


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# of the newspaper\n{FIRST}\n\n  {SECOND}  \nsha256:{digest(HASHED).upper()}\n")
    return path


@pytest.fixture
def guarded(serve: Serve, file: Path) -> Served:
    return serve(api_keys_file=file)


def ask(
    served: Served, headers: dict[str, str] | None = None, method: str = "POST", path: str = "/ner"
) -> httpx.Response:
    body = {"json": {"text": "Siemens"}} if method == "POST" else {}
    return served.client.request(method, path, headers=headers or {}, **body)


@pytest.mark.parametrize("key", [FIRST, SECOND, HASHED])
@pytest.mark.parametrize("form", ["Bearer", "bearer", "x-api-key"])
def test_every_key_in_every_form(guarded: Served, key: str, form: str) -> None:
    headers = {"x-api-key": key} if form == "x-api-key" else {"Authorization": f"{form} {key}"}
    answer = ask(guarded, headers)
    assert answer.status_code == 200 and answer.json()["results"][0]["entities"][0]["text"] == "Siemens"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": FIRST},
        {"authorization": f"Basic {FIRST}"},
        {"authorization": f"Bearer {FIRST}x"},
        {"authorization": f"Bearer {FIRST[:-1]}"},
        {"authorization": f"Bearer {FIRST.upper()}"},
        {"authorization": f"Bearer sha256:{digest(HASHED)}"},
        {"authorization": f"Bearer {digest(HASHED)}"},
        {"x-api-key": ""},
        {"x-api-key": "# of the newspaper"},
        {"x-api-key": f"Bearer {FIRST}"},
        {"cookie": f"x-api-key={FIRST}"},
    ],
)
def test_refused_all_alike(guarded: Served, headers: dict[str, str]) -> None:
    answer = ask(guarded, headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    error = answer.json()["error"]
    assert error["code"] == "unauthorized" and error["request_id"] == answer.headers["x-request-id"]
    assert error["message"] == "this server needs an API key: send authorization: Bearer KEY or x-api-key: KEY"
    assert guarded.metric("onoma_errors_total", code="unauthorized") == 1
    assert guarded.student.batches == []


def test_a_key_beside_another_scheme(guarded: Served) -> None:
    assert ask(guarded, {"authorization": "Basic Zm9vOmJhcg==", "x-api-key": FIRST}).status_code == 200


@pytest.mark.parametrize(("method", "path"), NEEDED)
def test_needs_a_key(guarded: Served, method: str, path: str) -> None:
    assert ask(guarded, method=method, path=path).status_code == 401
    assert ask(guarded, {"x-api-key": FIRST}, method=method, path=path).status_code != 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"])
def test_needs_none(guarded: Served, path: str) -> None:
    assert ask(guarded, method="GET", path=path).status_code in (200, 404)


def test_metrics_may_need_one(serve: Serve, file: Path) -> None:
    served = serve(api_keys_file=file, metrics_need_key=True)
    assert ask(served, method="GET", path="/metrics").status_code == 401
    answer = ask(served, {"x-api-key": SECOND}, method="GET", path="/metrics")
    assert answer.status_code == 200 and 'onoma_errors_total{code="unauthorized"} 1.0' in answer.text
    assert not any(key in answer.text for key in (FIRST, SECOND, HASHED, digest(FIRST), "keys"))


def test_the_body_of_a_refused_request_is_not_read(file: Path) -> None:
    app = create_app(Settings(api_keys_file=file), models={})
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("it was read")

    async def send(message: Any) -> None:
        sent.append(message)

    for size in (b"10", b"99999999999"):
        scope = raw_asgi._scope("POST", "/ner", [(b"content-length", size)])
        asyncio.run(app(scope, receive, send))
        assert sent[0]["status"] == 401
        sent.clear()


def test_without_a_file_everybody_may_ask(served: Served) -> None:
    assert ask(served).status_code == 200
    assert "securitySchemes" not in served.client.get("/openapi.json").json()["components"]


def test_openapi_says_where_keys_go(guarded: Served) -> None:
    for _ in range(2):  # the description is made once and kept
        schema = ask(guarded, {"x-api-key": FIRST}, "GET", "/openapi.json").json()
        assert schema["components"]["securitySchemes"] == {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        }
        assert schema["security"] == [{"bearer": []}, {"header": []}]
        for path, form in (("/ner", "ErrorResponse"), ("/v2/models/{model}/infer", "ProtocolError")):
            content = schema["paths"][path]["post"]["responses"]["401"]["content"]["application/json"]
            assert content["schema"]["$ref"].rpartition("/")[2] == form
            assert form in schema["components"]["schemas"]
        health = schema["paths"]["/healthz"]["get"]
        assert health["security"] == [] and "401" not in health["responses"]


def bad(tmp_path: Path, content: str | None) -> Path:
    path = tmp_path / "bad"
    if content is not None:
        path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("", "has no key"),
        ("# nothing but this\n\n", "has no key"),
        (f"{FIRST}\nshort\n", "line 2: a key needs at least 16 characters, got 5"),
        ("0123456789012345 6789\n", "line 1: a key is made of ASCII"),
        ("schlüssel-0123456789\n", "line 1: a key is made of ASCII"),
        ("sha256:abc\n", "line 1: sha256: needs 64 hex digits after it, got 3 characters"),
        ("sha256:" + "g" * 64, "sha256: needs 64 hex digits"),
    ],
)
def test_a_bad_file_is_refused_at_start(tmp_path: Path, content: str | None, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        create_app(Settings(api_keys_file=bad(tmp_path, content)), models={})
    assert str(refused.value).startswith("api_keys_file: ")
    assert "short" not in str(refused.value) and "0123456789" not in str(refused.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="api_keys_file: .*directory"):
        read_keys(tmp_path)


@pytest.fixture
def replace(file: Path) -> Callable[[str], None]:
    """Replaces the file as an editor or a secret store does, at once."""

    def replaced(content: str) -> None:
        new = file.with_suffix(".new")
        new.write_text(content)
        os.replace(new, file)

    return replaced


def test_a_changed_file_is_read_again(file: Path, replace: Callable[[str], None]) -> None:
    clock = Clock()
    keys = KeyFile(file, clock=clock)
    replace("third-key-0123456789\n")
    clock.now += 0.9 * RECHECK_SECONDS
    assert keys.knows(FIRST.encode()) and not keys.knows(b"third-key-0123456789")
    clock.now += 0.2 * RECHECK_SECONDS
    assert keys.knows(b"third-key-0123456789") and not keys.knows(FIRST.encode())


def test_the_file_is_looked_at_once_a_second(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    keys = KeyFile(file, clock=clock)
    looks: list[Path] = []
    monkeypatch.setattr("service.keys._stamp", lambda path: looks.append(path) or keys._stamp)
    for _ in range(100):
        clock.now += 0.1 * RECHECK_SECONDS
        assert keys.knows(FIRST.encode())
    assert 8 <= len(looks) <= 10


@pytest.mark.parametrize("content", [None, "", "short\n"])
def test_the_old_keys_stay_when_the_new_file_is_bad(
    file: Path, replace: Callable[[str], None], content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    keys = KeyFile(file, clock=clock)
    if content is None:
        file.unlink()
    else:
        replace(content)
    for _ in range(3):
        clock.now += 2 * RECHECK_SECONDS
        assert keys.knows(FIRST.encode())
    [line] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "the keys read before stay in force" in line.getMessage() and "short" not in line.getMessage()
    replace(f"{SECOND}\n")
    clock.now += 2 * RECHECK_SECONDS
    assert keys.knows(SECOND.encode()) and not keys.knows(FIRST.encode())


def test_a_link_that_points_elsewhere_is_a_change(tmp_path: Path) -> None:
    for name in (FIRST, SECOND):  # of the same length, and made equally old
        (tmp_path / name).write_text(name.ljust(30, "x"))
        os.utime(tmp_path / name, ns=(1, 1))
    link = tmp_path / "link"
    link.symlink_to(tmp_path / FIRST)
    clock = Clock()
    keys = KeyFile(link, clock=clock)
    link.unlink()
    link.symlink_to(tmp_path / SECOND)
    clock.now += RECHECK_SECONDS
    assert keys.knows(SECOND.ljust(30, "x").encode()) and not keys.knows(FIRST.ljust(30, "x").encode())


def test_every_key_is_compared_whichever_is_right(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = KeyFile(file)
    compared: list[bytes] = []
    real = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return real(one, other)

    monkeypatch.setattr("service.keys.hmac.compare_digest", counting)
    for key in (FIRST, SECOND, HASHED, "wrong", ""):
        compared.clear()
        keys.knows(key.encode())
        assert len(compared) == 3
