"""The soak: its load against a server whose every answer is known, and its demands."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from benchmarks.service import soak_load
from benchmarks.service.load import percentiles
from benchmarks.service.mixture import INVALID, SHARES, Mixed, mixed
from benchmarks.service.soak import left_behind
from benchmarks.service.soak_report import checks, document, memory, wrong_statuses
from tests.benchmarks.tiny_server import good, response, tiny_server

SHORT = Mixed("short", b"POST /ner HTTP/1.1\r\ncontent-length: 5\r\n\r\nshort")
WRONG = Mixed("invalid", b"POST /ner HTTP/1.1\r\ncontent-length: 5\r\n\r\nwrong")
LEAVES = Mixed("hang-up", b"POST /ner HTTP/1.1\r\ncontent-length: 9\r\n\r\nhalf")


def test_the_mix() -> None:
    made = mixed(model="student", count=1000)
    assert made == mixed(model="student", count=1000) != mixed(model="student", seed=1, count=1000)
    counts = Counter(one.sort for one in made)
    assert all(counts[sort] == pytest.approx(1000 * share, rel=0.5) for sort, share in SHARES.items())
    assert sum(SHARES.values()) == pytest.approx(1)
    for one in made:
        head, _, body = one.content.partition(b"\r\n\r\n")
        if one.sort in ("invalid", "hang-up"):
            continue
        sent = json.loads(body)
        assert f"content-length: {len(body)}".encode() in head and sent["model"] == "student"
        if one.sort == "page":
            assert len(sent["text"]) == 20_000
    assert {one.content for one in made if one.sort == "invalid"} == set(INVALID)
    assert any(b"\r\n\r\n" not in one.content for one in made if one.sort == "hang-up")


def test_every_sort_is_counted_and_clients_hang_up() -> None:
    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(response(422 if server.bodies[number] == b"wrong" else 429 if number % 3 == 0 else 200))

    with tiny_server(answer) as server:
        found = soak_load.soak(server.port, [SHORT, WRONG, LEAVES, SHORT], rate=200, seconds=1, connections=16)
    sorts = {sort: own["statuses"] for sort, own in found["sorts"].items()}
    assert sorts["invalid"] == {422: 50} and set(sorts["short"]) == {200, 429} and sum(sorts["short"].values()) == 100
    assert found["hung_up"] == 50 and 45 <= server.cut_short <= 50  # the last may not have arrived
    assert found["sorts"]["invalid"]["worst"] == 0 < found["sorts"]["short"]["p50"] <= found["all"]["worst"]
    (bucket,) = found["buckets"]
    assert bucket["counts"] == {"200": sorts["short"][200], "429": sorts["short"][429], "422": 50, "hung up": 50}
    assert server.connections <= 16 - 8 + 50


def test_requests_that_find_no_connection_are_not_sent() -> None:
    most = now = 0

    async def slow(number: int, writer: asyncio.StreamWriter) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.2)
        now -= 1
        await good(number, writer)

    with tiny_server(slow) as server:
        found = soak_load.soak(server.port, [SHORT], rate=500, seconds=0.6, connections=18)
    answered = found["sorts"]["short"]["statuses"][200]
    assert most == 10
    assert found["buckets"][0]["counts"] == {"200": answered, "not sent": 300 - answered}
    assert 20 <= answered <= 40 and answered == len(server.bodies)
    assert 200 <= found["all"]["p50"] < 400  # a request not sent delays nobody
    assert 0 < found["drain_seconds"] < 0.5


def test_speed_before_and_after() -> None:
    with tiny_server() as server:
        before = soak_load.job("short", server.port, seconds=0.2, warm_up=0.05)["rate"]
        mixed_rate = soak_load.job("saturation", server.port, "student", seconds=0.2)["rate"]
        recovered = soak_load.job("recovery", server.port, enough=1.0, seconds=5.0, window=0.1)
        never = soak_load.job("recovery", server.port, enough=1e9, seconds=0.15, window=0.1)
    assert before > 100 and mixed_rate > 20
    assert recovered["seconds"] < 0.5 and len(recovered["rates"]) == 1
    assert never["seconds"] is None and len(never["rates"]) == 2


def sort(times: list[int], **statuses: int) -> dict[str, Any]:
    return {"statuses": {name.strip("_"): count for name, count in statuses.items()}} | percentiles(times)


def soaked(**changes: Any) -> dict[str, Any]:
    seconds = [1_000_000_000] * 99
    load = {
        "sorts": {"short": sort(seconds, _200=99, _429=10), "invalid": sort([], _422=5, _404=1)},
        "all": percentiles(seconds),
        "buckets": [{"seconds": 0, "counts": {"200": 99, "429": 10, "not sent": 2}} | percentiles(seconds)],
        "hung_up": 7,
        "drain_seconds": 2.0,
    }
    known = {
        "command": "python -m benchmarks.service.soak",
        "machine": {"processor": "CPU X", "cores": 2, "load": 0.1, "versions": "Python 3", "date": "2026-01-01 UTC"},
        "cores": {"server": 0, "load": 1},
        "bundle": "tiny",
        "settings": {},
        "minutes": 10.0,
        "times": 2.0,
        "connections": 512,
        "model": "auto",
        "deadline": 30.0,
        "before": 1000.0,
        "saturation": 50.0,
        "rate": 100.0,
        "soak": load,
        "memory": [(float(at), (300 if at < 120 else 400) * 2**20) for at in range(600)],
        "after": {"rates": [500.0, 950.0], "seconds": 1.0},
        "left_behind": {"onoma_in_flight_requests": 0.0, "not ready": 0.0},
    }
    return known | changes


def met(results: dict[str, Any]) -> list[bool]:
    return [one["met"] for one in checks(results)]


def test_a_soak_that_went_well() -> None:
    results = soaked()
    results["checks"] = checks(results)
    assert met(results) == [True] * 5
    text = document(results)
    assert "| no |" not in text and text.count("| yes |") == 5
    assert "none in 115 answers" in text and "95 % of 1000 requests/s, after 1.0 s" in text
    assert "| short | 99 | 0 | 0 | 10 | 1.00 | 1.00 | 1.00 |" in text
    assert "| 0 | 99 | 10 | 0 | 2 | 1.00 | 1.00 | 300 |" in text


def test_each_demand_can_fail() -> None:
    load = soaked()["soak"]
    crashed = load | {"sorts": {"short": sort([1], _200=1, _500=1)}}
    assert met(soaked(soak=crashed)) == [False, True, True, True, True]
    growing = [(float(at), int((1 + 0.001 * at / 10) * 2**28)) for at in range(600)]
    assert met(soaked(memory=growing)) == [True] * 5  # 4.8 %
    growing = [(float(at), int((1 + 0.002 * at / 10) * 2**28)) for at in range(600)]
    assert met(soaked(memory=growing)) == [True, False, True, True, True]
    assert met(soaked(memory=[])) == [True, False, True, True, True]
    assert met(soaked(deadline=0.5)) == [True, True, False, True, True]
    assert met(soaked(after={"rates": [1.0], "seconds": None})) == [True, True, True, False, True]
    assert met(soaked(after={"rates": [1.0, 950.0], "seconds": 5.1})) == [True, True, True, False, True]
    assert met(soaked(left_behind={"onoma_queue_tokens": 3.0})) == [True, True, True, True, False]


def test_right_and_wrong_statuses() -> None:
    fine = {"short": sort([], _200=1, _429=1, _504=1), "invalid": sort([], _400=1, _422=1, _429=1, _504=1)}
    assert wrong_statuses(fine) == []
    wrong = {"short": sort([], _422=2, _0=1, _503=4), "invalid": sort([], _200=1, _500=3, _0=1)}
    assert wrong_statuses(wrong) == [
        *["short: 1 connections lost", "short: 2 of 422", "short: 4 of 503"],
        *["invalid: 1 connections lost", "invalid: 1 of 200", "invalid: 3 of 500"],
    ]


def test_memory_is_looked_at_once_it_has_settled() -> None:
    samples = [(float(at), at) for at in range(0, 700)]
    assert memory(samples, 600)[0] == 124.5 and memory(samples, 600)[-1] == 600 and len(memory(samples, 600)) == 49
    assert memory(samples, 50)[0] == 14.5  # a fifth of a short soak


def test_what_is_left_behind_is_read_from_the_metrics() -> None:
    class Process:
        port = 0

    text = b'# HELP onoma_x\nonoma_in_flight_requests 2.0\nonoma_queue_windows{model="student"} 0.0\nonoma_ready 1.0\n'

    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(response(200 if number == 0 else 503, text, head="Connection: close\r\n"))
        writer.close()

    with tiny_server(answer) as server:
        process: Any = Process()
        process.port = server.port
        found = left_behind(process)
    assert found == {"onoma_in_flight_requests": 2.0, 'onoma_queue_windows{model="student"}': 0.0, "not ready": 1.0}
