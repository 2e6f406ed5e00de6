"""The load generator of the service's benchmark, against a server whose every answer is known."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from itertools import pairwise

import pytest

from benchmarks.service import generator
from benchmarks.service.client import LOST, BadAnswerError, Client
from benchmarks.service.load import arrivals, closed_loop, open_loop, percentiles
from benchmarks.service.scenarios import by_name, request_bytes
from tests.benchmarks.tiny_server import good, response, tiny_server

REQUESTS = [request_bytes({"text": f"text {number}"}) for number in range(7)]


def test_closed_loop_counts_what_the_server_answers() -> None:
    with tiny_server() as server:
        client = Client(server.port, 3)
        found = closed_loop(client, REQUESTS, seconds=0.2, warm_up=0.1, first=8)
        client.close()
    assert found.statuses == {200: len(server.bodies)} and found.errors == 0 and server.connections == 3
    assert 0 < found.rate * 0.2 < len(server.bodies)  # the warm-up does not count
    assert 0 < found.p50 <= found.p95 <= found.p99 <= found.worst
    assert found.elapsed >= 0.3 and found.offered is None


def test_closed_loop_begins_where_it_is_told() -> None:
    with tiny_server() as server:
        client = Client(server.port, 1)
        closed_loop(client, REQUESTS, seconds=0.2, first=8)
        client.close()
    sent = [json.loads(body)["text"] for body in server.bodies]
    assert len(sent) > 7
    assert sent == [f"text {number % 7}" for number in range(8, 8 + len(sent))]


def test_every_connection_has_one_request_under_way() -> None:
    waiting, most = 0, 0

    async def slow(number: int, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await asyncio.sleep(0.02)
        waiting -= 1
        writer.write(response())

    with tiny_server(slow) as server:
        client = Client(server.port, 5)
        found = closed_loop(client, REQUESTS, seconds=0.3)
        client.close()
    assert most == 5
    assert found.rate <= 5 / 0.02
    assert found.p50 >= 20


def test_answers_other_than_200_are_errors() -> None:
    async def sometimes(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(response(503 if number % 5 == 4 else 200))

    with tiny_server(sometimes) as server:
        client = Client(server.port, 2)
        found = closed_loop(client, REQUESTS, seconds=0.2)
        client.close()
    assert found.errors == found.statuses[503] == len(server.bodies) // 5 > 0
    assert found.rate * 0.2 <= found.statuses[200]


def test_lost_connections_are_errors_and_opened_anew() -> None:
    async def sometimes(number: int, writer: asyncio.StreamWriter) -> None:
        if number % 4 == 3:
            writer.write(response()[:10])
            writer.close()
        else:
            writer.write(response())

    with tiny_server(sometimes) as server:
        client = Client(server.port, 2)
        found = closed_loop(client, REQUESTS, seconds=0.2)
        client.close()
    assert found.errors == found.statuses[LOST] == len(server.bodies) // 4 > 0
    # The last ones opened may not have been accepted when the client closed them.
    assert 2 < server.connections <= 2 + found.statuses[LOST] <= server.connections + 2


def test_a_connection_that_the_server_will_close_is_not_used_again() -> None:
    async def once(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(response(head="Connection: close\r\n"))
        await asyncio.sleep(0.005)  # a request sent meanwhile would be lost
        writer.close()

    with tiny_server(once) as server:
        client = Client(server.port, 2)
        found = closed_loop(client, REQUESTS, seconds=0.1)
        client.close()
    assert found.statuses == {200: len(server.bodies)}


def test_answers_in_pieces() -> None:
    whole = response(body=b"a\r\n\r\nContent-Length: 3\r\n" * 500)

    async def dripping(number: int, writer: asyncio.StreamWriter) -> None:
        for low, high in pairwise((0, 5, 20, 40, 4000, len(whole))):
            writer.write(whole[low:high])
            await writer.drain()
            await asyncio.sleep(0.001)

    with tiny_server(dripping) as server:
        client = Client(server.port, 1)
        found = closed_loop(client, REQUESTS, seconds=0.1)
        client.close()
    assert found.statuses == {200: len(server.bodies)} and len(server.bodies) > 3


def test_a_request_larger_than_the_buffers_arrives_whole() -> None:
    large = request_bytes({"text": "x" * 20_000_000})
    with tiny_server() as server:
        client = Client(server.port, 1)
        client.send(large, 0, "large")
        answers = []
        until = time.monotonic() + 20
        while not answers and time.monotonic() < until:
            answers = list(client.wait(0.1))
        client.close()
    assert [(one.status, one.mark) for one in answers] == [(200, "large")]
    assert len(json.loads(server.bodies[0])["text"]) == 20_000_000


def test_what_is_no_response_is_said() -> None:
    async def other(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")

    with tiny_server(other) as server:
        client = Client(server.port, 1)
        with pytest.raises(BadAnswerError, match="SSH-2.0"):
            closed_loop(client, REQUESTS, seconds=0.1)
        client.close()


def test_open_loop_keeps_its_rate() -> None:
    with tiny_server() as server:
        client = Client(server.port, 4)
        found = open_loop(client, REQUESTS, arrivals(200, 0.5), warm_up=0.1)
        client.close()
    assert found.statuses == {200: 100} and len(server.bodies) == 100
    assert found.offered == pytest.approx(200, rel=0.03)
    assert found.rate == pytest.approx(200, rel=0.1)
    assert found.elapsed >= 0.49


def test_open_loop_counts_from_when_a_request_was_due() -> None:
    """A stall of 0.4 s delays the forty requests that are due in it, also those that are not sent in it."""

    async def stalls(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 0:
            await asyncio.sleep(0.4)
        await good(number, writer)

    with tiny_server(stalls) as server:
        client = Client(server.port, 1)
        found = open_loop(client, REQUESTS, arrivals(100, 0.4))
        client.close()
    assert found.statuses == {200: 40}
    assert 380 < found.worst < 800
    assert found.p50 == pytest.approx(200, abs=60)  # 400, 390, 380, ... ms


def test_open_loop_warm_up_is_left_out() -> None:
    async def stalls(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 0:
            await asyncio.sleep(0.2)
        await good(number, writer)

    with tiny_server(stalls) as server:
        client = Client(server.port, 2)
        found = open_loop(client, REQUESTS, arrivals(50, 0.8), warm_up=0.4)
        client.close()
    assert found.statuses == {200: 40} and found.worst < 190


def test_arrivals() -> None:
    even = arrivals(1000, 0.5)
    assert len(even) == 500 and {high - low for low, high in pairwise(even)} == {1_000_000}
    random = arrivals(1000, 4, seed=1)
    assert random == arrivals(1000, 4, seed=1) != arrivals(1000, 4, seed=2)
    gaps = [high - low for low, high in pairwise(random)]
    assert min(gaps) >= 0
    assert statistics.mean(gaps) == pytest.approx(1e6, rel=0.1)
    assert statistics.stdev(gaps) == pytest.approx(1e6, rel=0.15)


def test_percentiles() -> None:
    found = percentiles([1_000_000 * number for number in range(101)])
    assert found == {"p50": 50, "p95": 95, "p99": 99, "worst": 100}
    assert percentiles([]) == {"p50": 0, "p95": 0, "p99": 0, "worst": 0}


def test_the_process_of_the_generator_knows_scenarios_by_name() -> None:
    with tiny_server() as server:
        closed = generator.job("bulk-8", server.port, 0.1, 0.0, 3)
        bulk = json.loads(server.bodies[0])
        opened = generator.job("steady", server.port, 0.2, 0.0, 0, rate=100.0)
        short = json.loads(server.bodies[-1])
    assert len(bulk["texts"]) == by_name("bulk-8").texts == 32 and bulk["model"] == "student"
    assert set(short) == {"text", "model"}
    assert closed["statuses"][200] >= 8 and closed["offered"] is None and 0 < closed["busy"] <= 1.5
    assert opened["statuses"] == {200: 20}
