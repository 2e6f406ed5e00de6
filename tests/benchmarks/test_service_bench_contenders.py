"""The servers that the service is compared with, their texts, and the turns that they take."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from benchmarks.service import constant, contenders, inprocess, plain
from benchmarks.service.pinned import ProcessError
from benchmarks.service.rounds import measure, turned
from benchmarks.service.scenarios import (
    BARS,
    BULK,
    CONSTANT,
    CONTENDERS,
    ONOMA,
    PLAIN,
    SCENARIOS,
    TAGGER,
    by_name,
    requests_of,
    texts_of,
)
from benchmarks.service.texts import NAMES, SENTENCES, page
from onoma import Tagger
from tests.onoma.bundles import write_bundle


@pytest.fixture
def student(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "student")
    return tmp_path / "student"


@pytest.fixture
def tagger(student: Path) -> Tagger:
    return Tagger.load(student, threads=1)


def ask(app: FastAPI, *bodies: dict[str, Any]) -> list[httpx.Response]:
    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            return [await client.get("/readyz")] + [await client.post("/ner", json=body) for body in bodies]

    ready, *answers = asyncio.run(run())
    assert ready.status_code == 200
    return answers


@pytest.mark.parametrize("with_tagger", [False, True])
def test_the_plain_server_tags(student: Path, tagger: Tagger, with_tagger: bool) -> None:
    texts = ["Angela in Köln", "the Köln", ""]
    tag = plain.with_tagger(tagger) if with_tagger else plain.with_onnxruntime(student)
    one, several, wrong = ask(plain.create_app(tag), {"text": texts[0], "model": "student"}, {"texts": texts}, {})
    expected = [
        [
            {"start": span.start, "end": span.end, "label": span.label, "text": text[span.start : span.end]}
            for span in tagged.entities
        ]
        for text, tagged in zip(texts, tagger.tag_batch(texts), strict=True)
    ]
    assert [span["text"] for span in expected[0]] == ["Angela", "Köln"]
    found = [[{**span} for span in result["entities"]] for result in several.json()["results"]]
    scores = [span.pop("score") for own in found for span in own]
    assert found == expected and all(0 < score <= 1 for score in scores)
    assert one.json()["results"] == several.json()["results"][:1]
    assert one.json()["request_id"] != several.json()["request_id"]
    assert wrong.status_code == 422


def test_all_answer_in_the_shape_of_onoma(tagger: Tagger) -> None:
    from service.schemas import NerResponse  # the contract; benchmarks/ itself only speaks HTTP

    (plainly,) = ask(plain.create_app(plain.with_tagger(tagger)), {"text": "Angela in Köln"})
    (always,) = ask(constant.create_app(), {"text": "anything", "model": "student"})
    for answer in (plainly, always):
        expected = NerResponse.model_validate(answer.json()).model_dump(mode="json")
        for result in expected["results"]:
            result.pop("declined", None)  # onoma leaves it out where there is nothing to say
        assert answer.json() == expected
    assert always.json() == constant.ANSWER.model_dump(mode="json")
    assert ask(constant.create_app(), {"texts": ["no text"]})[0].status_code == 422


def test_texts_differ_and_are_about_twelve_words() -> None:
    texts = [one[0] for one in texts_of("short")]
    assert len(set(texts)) > 0.5 * len(texts) > 1000
    spaced = [text for text in texts if " " in text]
    assert 11 <= sum(len(text.split()) for text in spaced) / len(spaced) <= 14
    assert {len(one) for one in texts_of("bulk")} == {BULK}
    assert {len(one[0].split()) for one in texts_of("long")} == {400}
    assert texts_of("short", seed=1) != texts_of("short", seed=2)
    assert all(set(names) == {"person", "place", "org"} for names in NAMES.values())
    assert {script for script, _ in SENTENCES} == NAMES.keys()
    assert not any("{" in text or "\0" in text for text in texts)


def test_a_page_is_as_long_as_asked() -> None:
    import random

    assert {len(page(random.Random(seed), 20_000)) for seed in range(8)} == {20_000}


@pytest.mark.parametrize("kind", ["short", "bulk", "long"])
def test_requests_are_whole(kind: Any) -> None:
    for request, texts in zip(requests_of(kind)[:50], texts_of(kind), strict=False):
        head, _, body = request.partition(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head and head.startswith(b"POST /ner HTTP/1.1\r\n")
        sent = json.loads(body)
        assert sent.pop("model") == "student"
        assert sent == ({"texts": list(texts)} if kind == "bulk" else {"text": texts[0]})


def test_every_bar_can_be_measured() -> None:
    assert {bar.letter for bar in BARS} == set("abcd")
    for bar in BARS:
        assert {ONOMA, bar.against or ONOMA} <= set(by_name(bar.scenario).contenders)
    assert {name for one in SCENARIOS for name in one.contenders} == set(CONTENDERS)
    assert len({one.name for one in SCENARIOS}) == len(SCENARIOS)


def test_tagger_in_process(tagger: Tagger) -> None:
    heard: list[list[str]] = []

    class Listening:
        def tag_batch(self, texts: list[str]) -> None:
            heard.append(texts)
            tagger.tag_batch(texts)

    requests = [["Angela"], ["the Köln", "Köln"], ["in"]]
    found = inprocess.timed(Listening(), requests, seconds=0.1, warm_up=0.02, first=4)  # type: ignore[arg-type]
    assert heard[:4] == [requests[1], requests[2], requests[0], requests[1]]
    assert 0 < found["rate"] <= len(heard) / 0.1 and 0 < found["core"] < 1.5
    assert found["cpu_ms"] * found["rate"] == pytest.approx(1000 * found["core"])


def test_another_contender_begins_each_turn() -> None:
    names = ["a", "b", "c"]
    assert [turned(names, turns)[0] for turns in range(4)] == ["a", "b", "c", "a"]
    assert all(sorted(turned(names, turns)) == names for turns in range(4))
    assert turned([], 3) == []


class FakeServer:
    """Takes 2 s of CPU time for whatever it is asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.looks = 0

    def cpu_seconds(self) -> float:
        self.looks += 1
        return float(self.looks * 2)


class FakeWorker:
    """Remembers its jobs."""

    def __init__(self, log: list[dict[str, Any]], name: str) -> None:
        self.log = log
        self.name = name

    def ask(self, **job: Any) -> dict[str, Any]:
        self.log.append({"by": self.name} | job)
        return {"rate": 50.0 * job.get("port", 1), "statuses": {"200": 400}, "elapsed": 4.0}


def test_rounds() -> None:
    log: list[dict[str, Any]] = []
    servers: Any = {name: FakeServer(port) for port, name in enumerate((ONOMA, PLAIN, CONSTANT), 1)}
    scenarios = [by_name("bulk-8"), by_name("steady")]
    generator: Any = FakeWorker(log, "generator")
    tagger: Any = FakeWorker(log, "tagger")
    steps: list[str] = []
    rounds = measure(
        scenarios,
        servers=servers,
        generator=generator,
        tagger=tagger,
        rounds=2,
        seconds=3.0,
        warm_up=1.0,
        step=steps.append,
    )
    ran = [(job["scenario"], job.get("port"), job.get("rate")) for job in log]
    saturated = [("steady", 1, None), ("steady", 1, 35.0)], [("steady", 2, None), ("steady", 2, 70.0)]
    assert ran == [
        *[("bulk-8", 1, None), ("bulk-8", 2, None), ("bulk-8", None, None)],
        *[*saturated[1], *saturated[0]],
        *[("bulk-8", 2, None), ("bulk-8", None, None), ("bulk-8", 1, None)],
        *[*saturated[0], *saturated[1]],
    ]
    assert [job["by"] for job in log if "port" not in job] == ["tagger", "tagger"]
    # The same requests for every contender of a round, others in the next.
    firsts = [job["first"] for job in log]
    assert firsts[: len(log) // 2] == [0] * (len(log) // 2) and len(set(firsts[len(log) // 2 :])) == 1 and firsts[-1]
    assert {job["seconds"] for job in log} == {3.0} and {job["warm_up"] for job in log} == {1.0}
    assert len(steps) == 10 and steps[0].startswith("round 1/2: bulk-8, onoma")
    assert [list(results["bulk-8"]) for results in rounds] == [[ONOMA, PLAIN, TAGGER]] * 2
    assert rounds[0]["bulk-8"][ONOMA]["cpu_ms"] == 1000 * 2 / 400 and rounds[0]["bulk-8"][ONOMA]["core"] == 0.5
    assert rounds[0]["steady"][PLAIN]["probe"]["rate"] == 100.0


def test_only_contenders_that_run_are_measured() -> None:
    log: list[dict[str, Any]] = []
    servers: Any = {ONOMA: FakeServer(1)}
    generator: Any = FakeWorker(log, "generator")
    options: Any = {"rounds": 1, "seconds": 1.0, "warm_up": 0.0}
    rounds = measure([by_name("bulk-8")], servers=servers, generator=generator, tagger=None, **options)
    assert list(rounds[0]["bulk-8"]) == [ONOMA] and len(log) == 1


def test_servers_that_answer_otherwise_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[int, Any] = {1: constant.ANSWER.model_dump(), 2: constant.ANSWER.model_dump()}
    monkeypatch.setattr(contenders, "ask", lambda port, body: answers[port])
    servers: Any = {ONOMA: FakeServer(1), PLAIN: FakeServer(2)}
    contenders.check(servers)
    answers[2] = json.loads(json.dumps(answers[1]))
    answers[2]["results"][0]["entities"].pop()
    with pytest.raises(ProcessError, match="find different entities"):
        contenders.check(servers)
    contenders.check({ONOMA: servers[ONOMA], CONSTANT: servers[PLAIN]})  # what is constant need not be right
    answers[2] = {"entities": []}
    with pytest.raises(ProcessError, match="plain answers in another shape"):
        contenders.check(servers)
