"""POST /ner/stream: one answer per line, in order, while lines still come, and never more in memory than a bound."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from fakes import FakeModel, Serve, Served, running, until
from fastapi import FastAPI
from wire import Wire, streaming

import service.streaming
from service.limits import BrokenOff
from service.streaming import READ_AHEAD_BYTES, READ_AHEAD_LINES

TEXTS = ["Angela Merkel in 👍🏽 München", "", "nothing", "Siemens maybe", "Ohio " * 50]

Scenario = Callable[[FastAPI, FakeModel], Awaitable[None]]


def play(scenario: Scenario, **settings: Any) -> None:
    """Run a scenario with an app that has a student."""

    async def run() -> None:
        model = FakeModel()
        async with running(model, **settings) as (app, _):
            await scenario(app, model)

    asyncio.run(run())


def metric(app: FastAPI, name: str, **labels: str) -> float:
    return app.state.runtime.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams look often whether they should end, and do not wait long before they ask again."""
    monkeypatch.setattr(service.streaming, "_TICK_SECONDS", 0.005)
    monkeypatch.setattr(service.streaming, "_SHORTEST_PAUSE", 0.005)


def ask(served: Served, content: bytes | AsyncIterator[bytes], query: str = "", **options: Any) -> list[dict[str, Any]]:
    response = served.client.post("/ner/stream" + query, content=content, **options)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.text == "" or response.text.endswith("\n")
    return [json.loads(line) for line in response.text.splitlines()]


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", {}),
        ("?offset_unit=utf16&labels=PER,LOC", {"offset_unit": "utf16", "labels": ["PER", "LOC"]}),
        ("?model=teacher&min_score=0.5", {"model": "teacher", "min_score": 0.5}),
    ],
)
def test_lines_are_answered_as_texts_are(served: Served, query: str, options: dict[str, Any]) -> None:
    lines = [{"text": text, "id": number} for number, text in enumerate(TEXTS)]
    found = ask(served, "".join(json.dumps(line) + "\n" for line in lines).encode(), query)
    results = served.ner(texts=TEXTS, **options).json()["results"]
    assert [result["fallback"] for result in results].count("low_confidence") == (not options.get("model"))
    assert found == [{"id": number, **result} for number, result in enumerate(results)]


def test_what_a_line_may_look_like(served: Served) -> None:
    body = b'"Ohio"\r\n\n  \t\n {"text": "Siemens"}\n{"id":null,"text":"Ohio"}\n"\\u004fhio"\n\n"Siemens"'
    found = ask(served, body)
    assert [[one["text"] for one in line["entities"]] for line in found] == [
        ["Ohio"], ["Siemens"], ["Ohio"], ["Ohio"], ["Siemens"]
    ]  # fmt: skip
    assert ["id" in line for line in found] == [False, False, True, False, False]


@pytest.mark.parametrize("size", [1, 7, 100])
def test_any_chunks_give_the_same_answers(served: Served, size: int) -> None:
    body = "".join(json.dumps({"id": text, "text": text}, ensure_ascii=False) + "\n" for text in TEXTS).encode()

    async def chunks() -> AsyncIterator[bytes]:
        for low in range(0, len(body), size):
            yield body[low : low + size]

    assert ask(served, chunks()) == ask(served, body)


def test_nothing_sent_nothing_answered(served: Served) -> None:
    assert ask(served, b"") == ask(served, b"\n\n") == []


@pytest.mark.parametrize(
    ("line", "code", "said", "id"),
    [
        (b"{", "bad_request", "the line is not JSON", None),
        (b'"\xff"', "bad_request", "the line is not UTF-8", None),
        (b'["Ohio"]', "invalid_request", "the line must be a JSON object or a string, got list", None),
        (b'{"id": 7}', "invalid_request", "text: Field required", 7),
        (b'{"id": 7, "text": 8}', "invalid_request", "text: must be a string, got int", 7),
        (b'{"id": "x", "text": "Ohio", "labels": []}', "invalid_request", "'labels': a line has text and id only", "x"),
        (b'{"text": "\\ud800", "id": [1]}', "invalid_text", "text has a lone surrogate U+D800 at character 0", [1]),
        (b'{"text": "a\\u0000", "id": 0}', "invalid_text", "text has a NUL character at character 1", 0),
        (b'{"id": 1, "text": "%s"}' % (b"a" * 51), "limit_exceeded", "text: at most 50 characters in a text", 1),
        (b'{"id": 1, "text": "%s"}' % (b"a" * 500), "limit_exceeded", "line: at most 200 bytes in a line", None),
        (b'{"id": 1, "text": "boom"}', "inference_failed", "the student failed", 1),
    ],
)  # fmt: skip
def test_a_bad_line_is_no_other_lines_problem(serve: Serve, line: bytes, code: str, said: str, id: object) -> None:
    served = serve(max_text_chars=50, max_body_bytes=200, teacher=False)
    body = b'"Ohio"\n\n%s\n{"id":"b","text":"Siemens"}\n' % line
    response = served.client.post("/ner/stream", content=body, headers={"x-request-id": "me"})
    before, bad, after = [json.loads(one) for one in response.text.splitlines()]
    assert (before["entities"][0]["label"], after["entities"][0]["label"], after["id"]) == ("LOC", "ORG", "b")
    error = bad.pop("error")
    assert error["code"] == code and error["request_id"] == "me" and said in error["message"]
    assert bad == {"line": 3} | ({} if id is None else {"id": id})
    assert served.metric("onoma_stream_lines_total", outcome=code) == 1
    assert served.metric("onoma_stream_lines_total", outcome="answered") == 2


@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ("labels=PER,DOG", "unknown_label", "labels: 'DOG' is not one of"),
        ("labels=", "unknown_label", "labels: ''"),
        ("model=huge", "model_not_loaded", "huge"),
        ("min_score=2", "invalid_request", "min_score: "),
        ("min_score=nan", "invalid_request", "min_score: "),
        ("offset_unit=utf7", "invalid_request", "offset_unit: "),
        ("text=Ohio", "invalid_request", "text: "),
        ("model=auto&model=student", "invalid_request", "'model': given twice"),
    ],
)
def test_a_bad_query_is_refused_before_the_stream_begins(served: Served, query: str, code: str, said: str) -> None:
    response = served.client.post(f"/ner/stream?{query}", content=b'"Ohio"\n')
    assert response.status_code == 422
    assert response.json()["error"]["code"] == code and said in response.json()["error"]["message"]


def test_compressed_bodies_are_refused(served: Served) -> None:
    response = served.client.post("/ner/stream", content=b"", headers={"content-encoding": "gzip"})
    assert response.status_code == 400


def test_the_body_may_have_any_size_and_a_line_its_own_thread(serve: Serve) -> None:
    served = serve(max_body_bytes=100_000)
    lines = ["Ohio", "Ohio " * 15_000, "Siemens"] * 3
    found = ask(served, "".join(json.dumps(line) + "\n" for line in lines).encode())
    assert [len(line["entities"]) for line in found] == [1, 15_000, 1] * 3


def test_the_answer_begins_at_once_and_goes_on_while_lines_come() -> None:
    async def scenario(app: FastAPI, model: FakeModel) -> None:
        async with streaming(app) as wire:
            await until(lambda: wire.status == 200)
            for number in range(5):
                wire.say({"text": "Ohio", "id": number})
                assert [line["id"] for line in await wire.answers(number + 1)] == list(range(number + 1))
            assert metric(app, "onoma_in_flight_requests") == 1
            wire.finish()
        assert wire.over and metric(app, "onoma_in_flight_requests") == 0
        assert metric(app, "onoma_request_seconds_count", endpoint="/ner/stream", status="200") == 1

    play(scenario)


def test_answers_keep_the_order_of_the_lines() -> None:
    async def scenario(app: FastAPI, model: FakeModel) -> None:
        async with streaming(app) as wire:
            for number in range(300):
                wire.say({"id": number, "text": "Ohio " * (number % 40)} if number % 7 else {"id": number})
            wire.finish()
        assert [line["id"] for line in wire.lines] == list(range(300))
        assert all("error" in line or len(line["entities"]) == line["id"] % 40 for line in wire.lines)

    play(scenario)


def test_lines_that_are_ready_share_model_runs() -> None:
    async def scenario(app: FastAPI, model: FakeModel) -> None:
        async with streaming(app) as wire:
            wire.say(*["Ohio"] * 400, more=False)
        assert len(wire.lines) == 400
        assert max(map(len, model.batches)) > 100 and len(model.batches) < 10

    play(scenario)


def test_one_lines_failure_is_no_others_in_its_group() -> None:
    async def scenario(app: FastAPI, model: FakeModel) -> None:
        async with streaming(app, "model=student") as wire:
            wire.say("Ohio", "boom", "Siemens", "Ohio", "boom", "Ohio", more=False)
        codes = [line.get("error", {}).get("code") for line in wire.lines]
        assert codes == [None, "inference_failed", None, None, "inference_failed", None]
        assert metric(app, "onoma_stream_lines_total", outcome="inference_failed") == 2

    play(scenario)


@pytest.mark.slow
def test_a_long_stream_is_never_held() -> None:
    """50,000 lines: what was received and not answered has a bound."""
    count, per_chunk = 50_000, 100

    async def scenario(app: FastAPI, model: FakeModel) -> None:
        most = 0

        async def feed(wire: Wire) -> None:
            for _ in range(count // per_chunk):
                wire.say(*["Ohio"] * per_chunk)
                await wire.taken()

        class Counting(Wire):
            async def send(self, message: Any) -> None:
                nonlocal most
                most = max(most, self.received // 7 - len(self.lines))  # 7 bytes a line
                await super().send(message)

        async with streaming(app, wire=Counting()) as wire:
            await feed(wire)
            wire.finish()
            await wire.answers(count)
        assert READ_AHEAD_LINES / 2 < most <= READ_AHEAD_LINES + per_chunk
        assert metric(app, "onoma_stream_lines_total", outcome="answered") == count

    play(scenario)


@pytest.mark.parametrize(("text", "total"), [("Ohio", 2000), ("Ohio" + "." * 2000, 400)])
def test_a_client_that_does_not_read_is_not_read_from(text: str, total: int) -> None:
    async def scenario(app: FastAPI, model: FakeModel) -> None:
        async with streaming(app) as wire:
            await until(lambda: wire.status == 200)
            wire.reads.clear()
            for _ in range(total):
                wire.say(text)
            await _still(wire)
            size = len(text) + 3
            assert wire.received <= max(READ_AHEAD_LINES * size, READ_AHEAD_BYTES) + 2 * size
            assert wire.received < total * size / 2
            wire.reads.set()
            wire.finish()
        assert len(wire.lines) == total and wire.received == total * size

    play(scenario)


def test_a_busy_model_stops_the_reading() -> None:
    async def scenario(app: FastAPI, model: FakeModel) -> None:
        model.gate.clear()
        async with streaming(app) as wire:
            for _ in range(2 * READ_AHEAD_LINES):
                wire.say("Ohio")
            await _still(wire)
            assert wire.asked <= READ_AHEAD_LINES + 1
            model.gate.set()
            wire.finish()
        assert len(wire.lines) == 2 * READ_AHEAD_LINES

    play(scenario)


async def _still(wire: Wire) -> None:
    """Wait until the app asks for nothing any more."""
    seen = -1
    while wire.asked != seen:
        seen = wire.asked
        await asyncio.sleep(0.05)


@pytest.mark.usefixtures("hurry")
def test_lines_wait_while_the_model_is_overloaded() -> None:
    async def scenario(app: FastAPI, model: FakeModel) -> None:
        async with streaming(app) as wire:
            wire.say(*["Ohio"] * 300)
            assert all(line.get("windows") == 1 for line in await wire.answers(300))
            wire.finish()

    play(scenario, max_queue_tokens=1)


def test_interactive_requests_overtake_lines() -> None:
    async def scenario(app: FastAPI, model: FakeModel) -> None:
        jobs = []
        backend = app.state.runtime.backends["student"]
        submit = backend.engine._submit

        def noted(job: Any, bounded: bool) -> None:
            jobs.append(job)
            submit(job, bounded)

        backend.engine._submit = noted
        async with streaming(app) as wire:
            wire.say("Ohio", more=False)
        assert [job.weight for job in jobs] == [4]

    play(scenario)


def test_each_group_has_a_deadline_of_its_own() -> None:
    async def scenario(app: FastAPI, model: FakeModel) -> None:
        async with streaming(app) as wire:
            model.gate.clear()
            wire.say("Ohio", "Siemens")
            assert [line["error"]["code"] for line in await wire.answers(2)] == ["deadline_exceeded"] * 2
            model.gate.set()
            for _ in range(3):
                await asyncio.sleep(0.1)
                wire.say("Ohio")
            await wire.answers(5)
            wire.finish()
        assert ["error" in line for line in wire.lines] == [True, True, False, False, False]

    play(scenario, deadline_seconds=0.2)


@pytest.mark.usefixtures("hurry")
def test_an_idle_client_is_cut_off() -> None:
    async def scenario(app: FastAPI, model: FakeModel) -> None:
        async with streaming(app) as wire:
            wire.say("Ohio", b"\n", b'{"id": 3, "te')
        assert wire.over and wire.lines[0]["windows"] == 1
        assert wire.lines[1]["line"] == 3 and "id" not in wire.lines[1]
        error = wire.lines[1]["error"]
        assert error["code"] == "deadline_exceeded" and "nothing for 0.1 seconds" in error["message"]
        assert metric(app, "onoma_errors_total", code="deadline_exceeded") == 1

    play(scenario, stream_idle_seconds=0.1)


@pytest.mark.usefixtures("hurry")
def test_waiting_for_the_model_is_not_idle() -> None:
    async def scenario(app: FastAPI, model: FakeModel) -> None:
        async with streaming(app) as wire:
            model.gate.clear()
            wire.say("Ohio")
            await asyncio.sleep(0.3)
            model.gate.set()
            await wire.answers(1)
            wire.finish()
        assert len(wire.lines) == 1

    play(scenario, stream_idle_seconds=0.1)


@pytest.mark.usefixtures("hurry")
def test_a_client_that_never_reads_is_cut_off() -> None:
    async def scenario(app: FastAPI, model: FakeModel) -> None:
        with pytest.raises(BrokenOff):
            async with streaming(app) as wire:
                await until(lambda: wire.status == 200)
                wire.reads.clear()
                wire.say("Ohio")
        assert metric(app, "onoma_in_flight_requests") == 0 and not wire.over

    play(scenario, stream_idle_seconds=0.1)


def test_a_hang_up_cancels_what_waits() -> None:
    async def scenario(app: FastAPI, model: FakeModel) -> None:
        async with streaming(app) as wire:
            model.gate.clear()
            wire.say("Ohio")
            await until(model.entered.is_set)
            for _ in range(3):
                wire.say("Siemens")
                await asyncio.sleep(0.01)
            assert metric(app, "onoma_queue_windows", model="student") == 3
            wire.hang_up()
        assert metric(app, "onoma_queue_windows", model="student") == 0
        assert metric(app, "onoma_errors_total", code="client_disconnected") == 1
        model.gate.set()
        await asyncio.sleep(0.05)
        assert len(model.batches) == 1 and metric(app, "onoma_in_flight_requests") == 0

    play(scenario)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.usefixtures("hurry")
def test_a_closing_server_answers_what_it_took(whole: bool) -> None:
    async def scenario(app: FastAPI, model: FakeModel) -> None:
        async with streaming(app) as wire:
            model.gate.clear()
            wire.say("Ohio", "Siemens", more=not whole)
            await until(model.entered.is_set)
            app.state.runtime.health.close()
            await asyncio.sleep(0.02)
            if not whole:
                wire.say("Ohio", "Ohio")
            model.gate.set()
            if not whole:
                await wire.answers(3)
                assert not wire.over
                wire.finish()
        assert wire.over and [line.get("windows") for line in wire.lines[:2]] == [1, 1]
        if whole:
            assert len(wire.lines) == 2
        else:
            [last] = wire.lines[2:]
            assert last["line"] == 3 and last["error"]["code"] == "not_ready"

    play(scenario)


def test_a_closing_server_takes_no_stream(served: Served) -> None:
    served.app.state.runtime.health.close()
    assert served.client.post("/ner/stream", content=b"").status_code == 503


@pytest.mark.usefixtures("hurry")
def test_a_closing_server_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.streaming, "_DISCARD_SECONDS", 0.05)

    async def scenario(app: FastAPI, model: FakeModel) -> None:
        async with streaming(app) as wire:
            await until(lambda: wire.status == 200)
            app.state.runtime.health.close()
            await wire.answers(1)
        assert wire.over and wire.lines[0]["line"] == 1

    play(scenario)


def test_a_stream_is_one_request_of_those_under_way() -> None:
    async def scenario(app: FastAPI, model: FakeModel) -> None:
        async with streaming(app) as first:
            await until(lambda: first.status == 200)
            async with streaming(app) as second:
                pass
            assert second.status == 429
            first.finish()

    play(scenario, max_in_flight=1)
