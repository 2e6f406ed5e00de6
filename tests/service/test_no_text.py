"""No text of a client is in any line of the log, whatever fails and however detailed the log is."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
import raw_asgi
from fakes import FakeModel, running, until
from quoting import BODIES, SECRET, QuotingModel, QuotingSentenceModel

from service.limits import BrokenOff, RequestContext
from service.metrics import Metrics

pytestmark = pytest.mark.usefixtures("own_logging")
LOG = logging.getLogger("onoma.service")


@pytest.mark.parametrize("settings", [{"workers": 0}, {"workers": 1}, {"workers": 1, "fallback": False}])
@pytest.mark.parametrize("case", BODIES)
def test_no_text_is_logged(case: str, settings: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    if case == "the thread dies" and settings["workers"] == 0:
        settings = settings | {"workers": 1}

    async def main() -> None:
        limits = {"max_text_chars": 2000, "max_body_bytes": 15_000, "access_log": True}
        async with running(QuotingModel(), teacher=QuotingModel(sure=True), **settings, **limits) as (_, client):
            path = f"/ner?q={SECRET}"
            headers = {"x-request-id": SECRET + " ", "user-agent": SECRET}
            statuses = {(await client.post(path, content=BODIES[case], headers=headers)).status_code for _ in range(3)}
            assert (statuses == {200}) == (case == "answered"), statuses
            await client.get(f"/{SECRET}")
            await client.request(SECRET, "/ner")
    asyncio.run(main())
    assert caplog.records
    assert SECRET not in caplog.text
    assert not [record for record in caplog.records if SECRET in str(record.__dict__)]


OTHER_ENDPOINTS: dict[str, list[bytes]] = {
    "/ner/stream": [
        b'{"text": "Geheimnis Siemens"}\n"Geheimnis boom"\n',
        b'"Geheimnis kill"\n{"text": "Geheimnis',
        b'{"Geheimnis": 1}\n"Geheimnis \xff"\n["Geheimnis"]\n',
    ],
    "/ner/stream?model=Geheimnis": [b'"Geheimnis"\n'],
    "/": [
        b'{"inputs": "Geheimnis boom"}',
        b'{"inputs": {"Geheimnis": 1}}',
        b'{"inputs": "a", "parameters": {"Geheimnis": 1}}',
    ],
    "/models/Geheimnis": [b'{"inputs": "Geheimnis Siemens"}'],
    "/v2/models/student/infer": [
        b'{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["Geheimnis boom"]}]}',
        b'{"inputs": [{"name": "Geheimnis", "shape": [1], "datatype": "Geheimnis", "data": ["Geheimnis"]}]}',
        b'{"Geheimnis',
    ],
    "/v2/models/Geheimnis/infer": [b"{}"],
    "/embed": [b'{"text": "Geheimnis boom"}', b'{"texts": ["Geheimnis kill"]}', b'{"Geheimnis": 1}', b'{"Geheimnis'],
    "/similarity": [b'{"pairs": [["Geheimnis boom", "a"]]}', b'{"pairs": [["Geheimnis"]]}', b'{"model": "Geheimnis"}'],
    "/v1/embeddings": [b'{"input": "Geheimnis boom"}', b'{"input": "Geheimnis", "encoding_format": "Geheimnis"}'],
}


@pytest.mark.parametrize("path", OTHER_ENDPOINTS)
def test_no_text_is_logged_by_other_endpoints(path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        models = {"teacher": QuotingModel(sure=True), "encoder": QuotingSentenceModel()}
        async with running(QuotingModel(), **models, access_log=True) as (_, client):
            for body in OTHER_ENDPOINTS[path]:
                assert (await client.post(path, content=body)).status_code != 405

    asyncio.run(main())
    assert [record for record in caplog.records if record.name == "onoma.access"]
    assert SECRET not in caplog.text
    assert not [record for record in caplog.records if SECRET in str(record.__dict__)]


def test_no_text_of_a_request_that_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    model = QuotingModel()

    async def main() -> None:
        async with running(model, access_log=True) as (app, _):
            model.gate.clear()
            body = BODIES["the model raises"]
            gone = asyncio.create_task(raw_asgi.ask(app, body, gone=True))
            cancelled = asyncio.create_task(raw_asgi.ask(app, body))
            await until(model.entered.is_set)
            cancelled.cancel()
            model.gate.set()
            await asyncio.gather(gone, cancelled, return_exceptions=True)

    asyncio.run(main())
    assert [r for r in caplog.records if r.name == "onoma.access"]
    assert SECRET not in caplog.text


def test_an_answer_that_breaks_off_says_nothing_of_why(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError(SECRET)

    async def send(_: Any) -> None:
        pass

    context = RequestContext(app, metrics=Metrics())
    scope = raw_asgi._scope("GET", "/", [])
    with pytest.raises(BrokenOff) as broken:
        asyncio.run(context(scope, send, send))
    LOG.error("as a server would", exc_info=broken.value)
    assert "ValueError" in caplog.text and SECRET not in caplog.text


def test_no_text_of_a_task_or_callback_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with running(FakeModel()):
            loop = asyncio.get_running_loop()

            async def failing() -> None:
                raise ValueError(SECRET)

            loop.call_soon(lambda text: text.nothing, SECRET)
            task = asyncio.create_task(failing())
            await asyncio.sleep(0.01)
            del task

    asyncio.run(main())
    assert "AttributeError" in caplog.text and "ValueError" in caplog.text
    assert SECRET not in caplog.text
