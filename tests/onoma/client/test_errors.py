"""Every answer that says no becomes an error of its class, from the service and from proxies."""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import httpx
import pytest
from client_contract import HTML, Contract, Make, failure

import onoma.client
from onoma import OnomaError
from onoma.client import (
    BadRequest,
    ClientError,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidAnswer,
    InvalidText,
    Overloaded,
    ServerError,
    ServerFailed,
    Unauthorized,
    Unavailable,
)
from onoma.client._calls import STATUS_OF_CODE
from service.errors import error_classes

STATUSES = {
    **dict.fromkeys((400, 402, 404, 405, 408, 409, 413, 418, 422, 499), BadRequest),
    **dict.fromkeys((401, 403), Unauthorized),
    429: Overloaded,
    503: Unavailable,
    504: DeadlineExceeded,
    **dict.fromkeys((500, 501, 502, 520), ServerFailed),
    **dict.fromkeys((302, 308), InvalidAnswer),
}


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
@pytest.mark.parametrize("path", ["tag", "stream"])
def test_the_services_errors(make: Make, contract: Contract, status: int, kind: type[ServerError], path: str) -> None:
    contract.script += [failure(status, "its_code", retry_after="7")]
    client = make(retries=0)
    with pytest.raises(ClientError, match="its_code: so it is") as caught:
        client.tag("a") if path == "tag" else list(client.stream(["a"]))
    assert type(caught.value) is kind
    error = caught.value
    assert (error.status, error.code, error.message) == (status, "its_code", "so it is")
    assert (error.request_id, error.retry_after) == ("from-server", 7.0)
    assert str(error) == f"{status} its_code: so it is (request from-server)"


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
def test_proxies(make: Make, contract: Contract, status: int, kind: type[ServerError]) -> None:
    contract.script += [httpx.Response(status, text=HTML, headers={"content-type": "text/html"})]
    with pytest.raises(ClientError) as caught:
        make(retries=0).tag("a")
    error = caught.value
    assert type(error) is kind and error.code == f"http_{status}" and error.status == status
    assert "<h1>Bad Gateway</h1>" in error.message and "\n" not in error.message
    assert error.request_id == contract.requests[0].headers["x-request-id"]


@pytest.mark.parametrize("content", [
    b"", b"{}", b'{"error": "no"}', b'{"error": {"code": 1}}', b"[]", b"\xff\xfe", b"\0" * 100_000,
])
def test_other_bodies(make: Make, contract: Contract, content: bytes) -> None:
    contract.script += [httpx.Response(502, content=content, headers={"x-request-id": "its-own"})]
    with pytest.raises(ServerFailed, match=r"^502 http_502: Bad Gateway") as caught:
        make(retries=0).tag("a")
    assert caught.value.request_id == "its-own" and len(str(caught.value)) < 300


def test_a_redirect_says_where_to(make: Make, contract: Contract) -> None:
    contract.script += [httpx.Response(307, headers={"location": "https://elsewhere/ner"})]
    with pytest.raises(InvalidAnswer, match="redirected to https://elsewhere/ner"):
        make().tag("a")
    assert len(contract.requests) == 1


RESULT = '{"entities": [], "model": "student", "fallback": null, "windows": 1}'
TEN, SPAN = '"10"', '[{"start": 0, "end": 1}]'
WRONG = {
    "not JSON": HTML,
    "no results": "{}",
    "a result too few": '{"results": []}',
    "a string for a number": f'{{"results": [{RESULT.replace("1", TEN)}]}}',
    "no model": '{"results": [{"entities": [], "fallback": null, "windows": 1}]}',
    "an entity without a label": f'{{"results": [{RESULT.replace("[]", SPAN)}]}}',
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG.keys())
def test_an_answer_that_is_not_the_services(make: Make, contract: Contract, content: str) -> None:
    contract.script += [httpx.Response(200, text=content, headers={"x-request-id": "r"})] * 5
    with pytest.raises(InvalidAnswer, match="/ner answered what the service does not") as caught:
        make().tag("a")
    error = caught.value
    assert (error.status, error.code, error.request_id) == (200, "invalid_answer", "r")
    assert len(contract.requests) == 1, "sending it again cannot help"


@pytest.mark.parametrize(
    ("method", "content"), [("models", '{"models": [{"name": "a"}]}'), ("alive", HTML), ("ready", "1")]
)
def test_other_endpoints_are_read_as_strictly(make: Make, contract: Contract, method: str, content: str) -> None:
    contract.script += [httpx.Response(200, text=content)]
    with pytest.raises(InvalidAnswer):
        getattr(make(), method)()


@pytest.mark.parametrize("error", [
    httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), httpx.ReadTimeout(""), httpx.ReadError("reset"),
    httpx.RemoteProtocolError("cut"), httpx.ProxyError("502"), httpx.DecodingError("gzip"), httpx.PoolTimeout("full"),
])
def test_no_answer(make: Make, contract: Contract, error: httpx.RequestError) -> None:
    contract.script += [error]
    with pytest.raises(ConnectionFailed) as caught:
        make(retries=0, url="http://user:word@onoma:81/x").tag("a")
    told = f"no answer from http://onoma:81: {type(error).__name__}: {error}".removesuffix(": ")
    assert str(caught.value) == caught.value.message == told
    assert caught.value.__cause__ is error
    assert caught.value.timed_out is isinstance(error, httpx.ReadTimeout)


DOWN = [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), *(failure(s, "x") for s in (429, 500, 502, 503, 504))]


@pytest.mark.parametrize("step", DOWN, ids=str)
@pytest.mark.parametrize("method", ["alive", "ready"])
def test_a_probe_asks_once_and_says_no(make: Make, contract: Contract, step: httpx.Response, method: str) -> None:
    contract.script += [step]
    assert getattr(make(), method)() is False
    assert len(contract.requests) == 1


@pytest.mark.parametrize("status", [401, 404, 302, 501])
def test_a_probe_of_the_wrong_place_raises(make: Make, contract: Contract, status: int) -> None:
    contract.script += [failure(status, "x")]
    with pytest.raises(ServerError):
        make().ready()


def public_errors() -> list[type[ClientError]]:
    found = [getattr(onoma.client, name) for name in onoma.client.__all__]
    return [one for one in found if isinstance(one, type) and issubclass(one, ClientError)]


def test_the_tree_is_as_drawn() -> None:
    source = Path(onoma.client.__file__).with_name("_errors.py").read_text(encoding="utf-8")
    drawn = re.findall(r"^ {4}([│ ]*[├└]── |)(\w+)", ast.get_docstring(ast.parse(source), clean=False) or "", re.M)
    bases = {1: OnomaError, 2: ClientError, 3: ServerError}
    found = {name: bases[1 + len(branch) // 4] for branch, name in drawn}
    assert found == {kind.__name__: kind.__bases__[0] for kind in public_errors()}


@pytest.mark.parametrize("kind", [*STATUSES.values(), ServerError, ConnectionFailed, InvalidText])
def test_errors_survive_pickling(kind: type[ClientError]) -> None:
    made = kind(429, "c", "m", "r", 2.0) if issubclass(kind, ServerError) else kind("m")
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is kind and str(again) == str(made) and vars(again) == vars(made)


def test_the_codes_of_lines_are_the_services() -> None:
    """A line of a stream has no status of its own: a new code about texts or models belongs in STATUS_OF_CODE too."""
    known = {kind.code: kind.status for kind in error_classes()}
    of_lines = {code: status for code, status in known.items() if status in (422, 429) or status >= 500}
    assert of_lines.items() <= STATUS_OF_CODE.items() <= known.items()


