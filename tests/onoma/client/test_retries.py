"""What is sent again, how often, and after how long."""

from __future__ import annotations

import logging
import math
import threading
import time
from datetime import UTC, datetime
from email.utils import format_datetime

import httpx
import pytest
from client_contract import Clock, Contract, Make, Step, failure
from hypothesis import given
from hypothesis import strategies as st

from onoma.client import Client, ClientError, ConnectionFailed, DeadlineExceeded, Overloaded, Retries, Unavailable
from onoma.client._retry import retry_after_seconds

NOW = 1_800_000_000
REFUSED = httpx.ConnectError("refused")
SLOW = httpx.ReadTimeout("slow")


def busy(**headers: str) -> httpx.Response:
    return failure(429, "overloaded", **headers)


@pytest.mark.parametrize(("step", "sent"), [
    (REFUSED, 5), (httpx.ConnectTimeout(""), 5), (httpx.RemoteProtocolError("cut"), 5), (httpx.ReadError("reset"), 5),
    (busy(), 5), (failure(502, "x"), 5), (failure(503, "not_ready"), 5),
    (SLOW, 2), (httpx.WriteTimeout(""), 2), (failure(504, "deadline_exceeded"), 2), (failure(500, "x"), 2),
    (failure(400, "x"), 1), (failure(401, "x"), 1), (failure(403, "x"), 1), (failure(404, "x"), 1),
    (failure(408, "x"), 1), (failure(413, "x"), 1), (failure(422, "x"), 1), (failure(501, "x"), 1),
    (httpx.UnsupportedProtocol("x"), 1), (httpx.LocalProtocolError("x"), 1),
], ids=str)  # fmt: skip
def test_how_often(make: Make, contract: Contract, clock: Clock, step: Step, sent: int) -> None:
    contract.script += [step] * 10
    with pytest.raises(ClientError) as caught:
        make().tag("Ohio")
    assert len(contract.requests) == sent == len(clock.sleeps) + 1
    assert len({request.headers["x-request-id"] for request in contract.requests}) == 1
    assert len({request.content for request in contract.requests}) == 1
    spent = f"sent {sent} times in {clock.time:.1f} s"
    assert getattr(caught.value, "__notes__", []) == ([spent] if sent > 1 else [])


def test_after_a_failure_it_goes_on(make: Make, contract: Contract) -> None:
    contract.script += [REFUSED, failure(503, "not_ready"), SLOW, failure(500, "inference_failed")]
    assert make().tag("Ohio").entities[0].text == "Ohio"
    assert len(contract.requests) == 5


def test_each_kind_of_once_counts_alone(make: Make, contract: Contract) -> None:
    contract.script += [failure(504, "x"), failure(500, "x"), failure(504, "x"), failure(500, "x")]
    with pytest.raises(DeadlineExceeded):
        make().tag("a")
    assert len(contract.requests) == 3


@pytest.mark.parametrize("retries", [0, Retries(times=0)])
def test_no_retries(make: Make, contract: Contract, clock: Clock, retries: int | Retries) -> None:
    contract.script += [busy()]
    with pytest.raises(Overloaded):
        make(retries=retries).tag("a")
    assert clock.sleeps == []


def test_backoff_grows_to_its_bound_with_full_jitter(make: Make, contract: Contract, clock: Clock) -> None:
    contract.script += [busy()] * 6
    make(retries=Retries(times=6, base_seconds=0.5, max_seconds=3)).tag("a")
    assert clock.sleeps == [0.5, 1, 2, 3, 3, 3]
    clock.sleeps.clear()
    clock.chance = 0.25
    contract.script += [busy()] * 2
    make(retries=Retries(base_seconds=0.5)).tag("a")
    assert clock.sleeps == [0.125, 0.25]
    clock.sleeps.clear()
    clock.chance = 0.0
    contract.script += [busy()] * 2
    make().tag("a")
    assert clock.sleeps == [], "no time to wait is not slept"


def test_the_wait_does_not_overflow() -> None:
    assert Retries(times=10_000).wait(5000, None, 1.0) == 10.0


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_for_within_its_bound(make: Make, contract: Contract, clock: Clock, status: int) -> None:
    date = format_datetime(datetime.fromtimestamp(NOW + 10, UTC), usegmt=True)
    contract.script += [failure(status, "x", retry_after=after) for after in ("2", date, "3600")]
    make(retries=Retries(base_seconds=0.5, max_seconds=0.5, max_retry_after_seconds=20)).tag("a")
    assert clock.sleeps == [2.5, 10 - 2.5 + 0.5, 20.5]


def test_the_budget_ends_it(make: Make, contract: Contract, clock: Clock) -> None:
    contract.script += [busy(retry_after="4")] * 9
    with pytest.raises(Overloaded) as caught:
        make(retries=Retries(times=9, base_seconds=0, budget_seconds=10)).tag("a")
    assert clock.sleeps == [4, 4] and caught.value.__notes__ == ["sent 3 times in 8.0 s"]


def test_each_request_of_a_batch_has_its_own_retries(make: Make, contract: Contract) -> None:
    contract.script += [busy()] * 6
    assert len(make(texts_per_request=1, requests_at_once=1, retries=Retries(times=6)).tag_batch(["a"] * 3)) == 3
    ids = [request.headers["x-request-id"] for request in contract.requests]
    assert [ids.count(one) for one in dict.fromkeys(ids)] == [7, 1, 1]


def test_a_log_line_for_each_retry(make: Make, contract: Contract, caplog: pytest.LogCaptureFixture) -> None:
    contract.script += [busy(), REFUSED]
    with caplog.at_level(logging.INFO, logger="onoma.client"):
        make().tag("a")
    request = contract.requests[0].headers["x-request-id"]
    assert [line.getMessage() for line in caplog.records if line.name == "onoma.client"] == [
        f"request {request}: retry 1 in 0.2 s after: 429 overloaded",
        f"request {request}: retry 2 in 0.4 s after: no answer from http://onoma: ConnectError: refused",
    ]


@pytest.mark.parametrize(("header", "seconds"), [
    (None, None), ("", None), ("soon", None), ("-1", None), ("1.5", None), ("0", 0.0), (" 17 ", 17.0), ("٣", None),
    ("9" * 400, 999_999_999.0), ("Fri, 15 Jan 2027 08:00:07 GMT", 7.0), ("Fri, 15 Jan 2027 08:00:07 -0000", 7.0),
    ("Fri, 15 Jan 2027 07:59:00 GMT", 0.0), ("Fri, 15 Jan 2027 10:00:07 +0200", 7.0), ("Fri, 99 Jan 2027", None),
])  # fmt: skip
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds


dates = st.from_regex(r"\A(Mon, )?[0-9]{1,12} (Jan|Dec) [0-9]{1,6} [0-9]{1,3}:[0-9]{2}:[0-9]{2} ([+-][0-9]{4,9}|GMT)\Z")


@given(st.text() | dates)
def test_any_retry_after_is_borne(header: str) -> None:
    seconds = retry_after_seconds(header, NOW)
    assert seconds is None or 0 <= seconds < math.inf


def test_a_real_wait_ends_when_the_stream_is_closed() -> None:
    """A thread that waits to try again does not hold up a reader who leaves."""
    waiting = threading.Event()

    def handler(request: httpx.Request) -> httpx.Response:
        if b"last" in request.content:
            waiting.set()
            return busy(retry_after="30")
        assert waiting.wait(5)
        return Contract()(request)

    transport = httpx.MockTransport(handler)
    with Client("http://onoma", transport=transport, texts_per_request=1, requests_at_once=2) as client:
        results = client.stream(["first", "last", "more"])
        next(results)
        began = time.monotonic()
        results.close()
        assert time.monotonic() - began < 5
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("onoma-client")]


def test_a_timeout_per_wait_for_an_answer(make: Make, contract: Contract) -> None:
    make(timeout=7).tag("a")
    make(timeout=2).tag("a")
    first, second = (request.extensions["timeout"] for request in contract.requests)
    assert first == {"connect": 5.0, "read": 7, "write": 7, "pool": None}
    assert second == {"connect": 2, "read": 2, "write": 2, "pool": None}


def test_unavailable_in_the_end(make: Make, contract: Contract) -> None:
    contract.script += [REFUSED, REFUSED, REFUSED, REFUSED, failure(503, "worker_dead")]
    with pytest.raises(Unavailable, match="worker_dead"):
        make().tag("a")
    contract.script += [failure(503, "worker_dead")] * 4 + [REFUSED]
    with pytest.raises(ConnectionFailed):
        make().tag("a")
