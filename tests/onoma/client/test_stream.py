"""Streams: order, errors of single lines, bounded memory, early ends."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from client_contract import AnyClient, Clock, Contract, Make, error_body, failure

from onoma.client import (
    AsyncClient,
    BadRequest,
    ClientError,
    ConnectionFailed,
    InvalidAnswer,
    InvalidText,
    Overloaded,
    Result,
    ServerError,
    ServerFailed,
)


def starts(results: Any) -> list[int | str]:
    """Where the first entity begins, or the class of the error, or its code."""
    return [
        one.entities[0].start if isinstance(one, Result) else getattr(one, "code", type(one).__name__)
        for one in results
    ]


def numbered(count: int) -> Iterator[str]:
    return (" " * number + "Ohio" for number in range(count))


def lines_of(request: httpx.Request) -> list[dict[str, Any]]:
    return [json.loads(line) for line in request.content.splitlines()]


def ids_of(request: httpx.Request) -> list[int]:
    return [one["id"] for one in lines_of(request)]


def test_order_and_bounds(make: Make, contract: Contract) -> None:
    client = make(texts_per_request=4, requests_at_once=3)
    assert starts(client.stream(numbered(21))) == list(range(21))
    assert {request.url.path for request in contract.requests} == {"/ner/stream"}
    sent = sorted(contract.requests, key=lambda request: lines_of(request)[0]["text"], reverse=True)
    assert [ids_of(request) for request in sent] == [[0, 1, 2, 3]] * 5 + [[0]]
    assert [one["text"] for request in sent for one in lines_of(request)] == list(numbered(21))


def test_endless_input_is_taken_as_results_are(make: Make, contract: Contract) -> None:
    taken = itertools.count()
    texts = (f"{next(taken)} Ohio" for _ in itertools.count())
    results = make(texts_per_request=5, requests_at_once=3).stream(texts)
    assert len(list(itertools.islice(results, 52))) == 52
    results.close()
    assert next(taken) <= 52 + 5 * 3
    assert len(contract.requests) <= 14


def test_results_come_before_the_input_ends(make: Make) -> None:
    seen: list[int] = []

    def texts() -> Iterator[str]:
        for number in range(6):
            yield "Ohio"
            seen.append(number)

    results = make(texts_per_request=1, requests_at_once=1).stream(texts())
    next(results)
    assert seen == []


def test_nothing_happens_before_the_first_result_is_asked_for(make: Make, contract: Contract) -> None:
    make().stream(["Ohio"])
    assert contract.requests == []


def test_a_bad_line_takes_its_place(make: Make) -> None:
    client = make(texts_per_request=2)
    texts = ["Ohio", "!invalid_text", " Ohio", "a\0b", "  Ohio", "!from_the_future"]
    answers = list(client.stream(texts, on_error="yield"))
    assert starts(answers) == [0, "invalid_text", 1, "InvalidText", 2, "from_the_future"]
    assert type(answers[1]) is BadRequest and answers[1].status == 422 and answers[1].request_id == "from-server"
    assert type(answers[5]) is ServerError and answers[5].status == 200
    assert str(answers[3]).startswith("texts[3] has a NUL")


@pytest.mark.parametrize(("bad", "kind"), [("!invalid_text", BadRequest), ("\ud800", InvalidText)])
def test_a_bad_line_ends_the_stream_after_those_before_it(make: Make, bad: str, kind: type[ClientError]) -> None:
    results = make(texts_per_request=3).stream(["Ohio", " Ohio", bad, "Ohio", "Ohio"])
    assert starts(itertools.islice(results, 2)) == [0, 1]
    with pytest.raises(kind):
        next(results)
    assert list(results) == []


def test_lines_that_cannot_be_sent_need_no_request(make: Make, contract: Contract) -> None:
    assert starts(make().stream(["\0", "\ud800"], on_error="yield")) == ["InvalidText"] * 2
    assert contract.requests == []


def test_only_lines_that_failed_for_now_are_sent_again(make: Make, contract: Contract, clock: Clock) -> None:
    contract.line_failures = {"not_ready": 2, "inference_failed": 1}
    texts = ["Ohio", "!not_ready", "!invalid_text", " Ohio", "!inference_failed"]
    answers = list(make().stream(texts, on_error="yield"))
    assert [isinstance(one, Result) for one in answers] == [True, True, False, True, True]
    assert [ids_of(request) for request in contract.requests] == [[0, 1, 2, 3, 4], [1, 4], [1]]
    assert len({request.headers["x-request-id"] for request in contract.requests}) == 1
    assert len(clock.sleeps) == 2


def test_a_line_that_keeps_failing_gets_its_error(make: Make, contract: Contract) -> None:
    texts = ["Ohio", "!inference_failed", " Ohio"]
    answers = list(make().stream(texts, on_error="yield"))
    assert starts(answers) == [0, "inference_failed", 1] and type(answers[1]) is ServerFailed
    assert len(contract.requests) == 2
    results = make().stream(texts)
    assert starts([next(results)]) == [0]
    with pytest.raises(ServerFailed, match="inference_failed"):
        next(results)


def test_whole_requests_are_sent_again(make: Make, contract: Contract) -> None:
    contract.script += [httpx.RemoteProtocolError("cut"), failure(429, "overloaded", retry_after="1")]
    assert starts(make(texts_per_request=2).stream(numbered(9))) == list(range(9))
    assert len(contract.requests) == 7


@pytest.mark.parametrize("on_error", ["raise", "yield"])
def test_a_request_that_fails_for_good_ends_the_stream(make: Make, contract: Contract, on_error: Any) -> None:
    contract.script += [None, failure(429, "overloaded")]
    results = make(texts_per_request=2, requests_at_once=1, retries=0).stream(numbered(9), on_error=on_error)
    assert starts(itertools.islice(results, 2)) == [0, 1]
    with pytest.raises(Overloaded):
        next(results)


def line(number: int | str, **fields: Any) -> str:
    result = {"id": number, "entities": [], "model": "student", "fallback": None, "windows": 1}
    return json.dumps(result | fields) + "\n"


def test_an_answer_cut_short_is_taken_up_where_it_ended(make: Make, contract: Contract) -> None:
    contract.script += [httpx.Response(200, text=line(0) + line(1, declined="busy")), httpx.Response(200)]
    answers = list(make().stream(["a", "b", " Ohio"]))
    assert answers[1] == Result((), "student", None, 1, declined="busy") and starts(answers[2:]) == [1]
    assert [ids_of(request) for request in contract.requests] == [[0, 1, 2], [2], [2]]
    contract.script += [httpx.Response(200)] * 5
    with pytest.raises(ConnectionFailed, match="ended after 0 of 1 lines"):
        list(make().stream(["a"]))


def test_an_answer_cut_short_after_a_line_that_failed_for_now(make: Make, contract: Contract) -> None:
    failed = json.dumps({"id": 0, **error_body("not_ready")}) + "\n"
    contract.script += [httpx.Response(200, text=failed)]
    assert starts(make().stream(["Ohio", " Ohio"])) == [0, 1]
    contract.script += [httpx.Response(200, text=failed)] * 5
    with pytest.raises(ConnectionFailed, match="ended after 1 of 2 lines"):
        list(make().stream(["Ohio", " Ohio"], on_error="yield"))


def test_a_line_that_the_server_could_not_read_has_no_id(make: Make, contract: Contract) -> None:
    bad = json.dumps({"id": None, **error_body("limit_exceeded")})
    contract.script += [httpx.Response(200, text=bad + "\n\r\n  \n" + line(1))]
    assert [type(one) for one in make().stream(["a", "b"], on_error="yield")] == [BadRequest, Result]


@pytest.mark.parametrize("text", [
    line(1) + line(0), line(0) + line(1) + line(2), line(0) + line("0"), line(0) + "<html>", line(0) + '{"id": 1}\n',
], ids=["order", "too many", "id", "no JSON", "neither"])  # fmt: skip
def test_an_answer_that_is_not_the_services(make: Make, contract: Contract, text: str) -> None:
    contract.script += [httpx.Response(200, text=text)]
    with pytest.raises(InvalidAnswer, match="/ner/stream answered what the service does not"):
        list(make().stream(["a", "b"]))
    assert len(contract.requests) == 1


def test_an_input_that_raises_ends_the_stream(make: Make) -> None:
    def texts() -> Iterator[str]:
        yield "Ohio"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(make().stream(texts()))


async def _async_texts_and_cancelling(contract: Contract) -> None:
    """What only the asynchronous client can: texts that come asynchronously, and requests that are cancelled."""
    cancelled = 0

    async def handler(request: httpx.Request) -> httpx.Response:
        nonlocal cancelled
        try:
            await asyncio.sleep(30 if b"slow" in request.content else 0)
        except asyncio.CancelledError:
            cancelled += 1
            raise
        return contract(request)

    async def texts() -> AsyncIterator[str]:
        for text in ("Ohio", " Ohio", "slow", "slow", "slow"):
            await asyncio.sleep(0)
            yield text

    transport = httpx.MockTransport(handler)
    async with AsyncClient("http://onoma", transport=transport, texts_per_request=1, requests_at_once=3) as client:
        results = client.stream(texts())
        assert starts([await anext(results), await anext(results)]) == [0, 1]
        before = len(asyncio.all_tasks())
        await results.aclose()
        assert cancelled == before - 1 >= 1
        assert len(asyncio.all_tasks()) == 1


def test_async_texts_and_cancelling(contract: Contract) -> None:
    asyncio.run(_async_texts_and_cancelling(contract))


def test_both_kinds_stream_alike(client: AnyClient) -> None:
    assert list(client.stream(numbered(3))) == client.tag_batch(numbered(3))
