"""Reloading: new bundles are answered with from one moment to the next, and no request notices anything else."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fakes import FakeModel, running, until
from fastapi import FastAPI
from folders import TEXTS, labels_in, put, runtime_of, serving, types_of

from onoma.bundle import sha256, write_manifest
from service import reloads
from service.batching import Engine
from service.errors import ReloadFailed


def failures(app: FastAPI) -> float:
    return runtime_of(app).metrics.registry.get_sample_value("onoma_reload_failures_total") or 0.0


def engine_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith(("onoma-student", "onoma-teacher"))]


@pytest.mark.parametrize("workers", [0, 1])
def test_under_load_no_error_and_no_mixed_answer(tmp_path: Path, workers: int) -> None:
    """Of TEXTS, the student is sure of `Angela`; the teacher answers the others. Both must be of one version."""
    put(tmp_path, "student")
    put(tmp_path, "teacher")
    seen: set[frozenset[str]] = set()
    answered = 0

    async def ask(client: httpx.AsyncClient, over: asyncio.Event, body: dict[str, object]) -> None:
        nonlocal answered
        while not over.is_set():
            response = await client.post("/ner", json=body)
            labels = labels_in(response)
            assert {result["model"] for result in response.json()["results"]} == {"student", "teacher"}
            seen.add(frozenset(labels))
            answered += 1

    async def scenario() -> None:
        patient = dict.fromkeys(("max_queue_seconds", "fallback_seconds", "deadline_seconds"), 600)
        settings = {"workers": workers, "fallback_threshold": 0.97, "fallback_share": 1.0}
        async with serving(tmp_path, **settings, **patient) as (_, client), asyncio.TaskGroup() as group:
            over = asyncio.Event()
            long = "Angela in Köln. " * 1200  # is encoded in a thread, after its body has been read in another one
            for body in ({"texts": TEXTS}, {"texts": TEXTS}, {"texts": [*TEXTS, long]}):
                group.create_task(ask(client, over, body))
            for version in range(2, 8):
                before = answered
                await until(lambda before=before: answered > before + 3)
                put(tmp_path, "student", version=version)
                put(tmp_path, "teacher", version=version)
                response = await client.post("/models/reload")
                assert response.status_code == 200, response.text
                assert response.json() == {"status": "reloaded", "loaded": ["student", "teacher"], "unloaded": []}
                labels = labels_in(await client.post("/ner", json={"texts": TEXTS}))
                assert labels == {f"PER{version}", f"LOC{version}"}
            before = answered
            await until(lambda: answered > before + 6)
            over.set()

    asyncio.run(scenario())
    assert seen == {frozenset((f"PER{version}", f"LOC{version}")) for version in range(1, 8)}


def test_who_was_there_before_is_answered_by_the_old_models(tmp_path: Path) -> None:
    """Also by the old teacher, which nobody has asked yet when the new models come."""
    put(tmp_path, "student", version=2)
    student, teacher = FakeModel(), FakeModel(sure=True)

    async def scenario() -> None:
        async with running(student, teacher=teacher, models=tmp_path, threads=1) as (app, client):
            engines = [backend.engine for backend in runtime_of(app).backends.values()]
            student.gate.clear()
            early = asyncio.create_task(client.post("/ner", json={"text": "maybe Siemens"}))
            await asyncio.to_thread(student.entered.wait, 10)
            change = await runtime_of(app).reloads.reload()
            assert change == (("student",), ("teacher",))
            assert labels_in(await client.post("/ner", json={"text": "Angela"})) == {"PER2"}
            assert engines[0].alive and engines[1].alive
            student.gate.set()
            result = (await early).json()["results"][0]
            assert (result["model"], result["fallback"]) == ("teacher", "low_confidence")
            assert [entity["label"] for entity in result["entities"]] == ["ORG"]
            await until(lambda: not (engines[0].alive or engines[1].alive))

    asyncio.run(scenario())


def test_only_what_changed_is_loaded(tmp_path: Path) -> None:
    for name in ("student", "teacher", "mine"):
        put(tmp_path, name)

    async def scenario() -> None:
        async with serving(tmp_path) as (app, client):
            runtime = runtime_of(app)
            before = dict(runtime.backends)
            assert await runtime.reloads.reload() == ((), ())
            assert dict(runtime.backends) == before
            put(tmp_path, "mine", version=2)
            (tmp_path / "teacher").rename(tmp_path / ".teacher")
            put(tmp_path, "new", version=3)
            assert await runtime.reloads.reload() == (("mine", "new"), ("teacher",))
            assert list(runtime.backends) == ["student", "mine", "new"]
            assert runtime.backends["student"] is before["student"]
            assert runtime.labels == (*types_of(1), *types_of(2), *types_of(3))
            ready = (await client.get("/readyz")).json()
            assert ready["models"] == ["student", "mine", "new"]
            await until(lambda: not (before["mine"].engine.alive or before["teacher"].engine.alive))
            assert before["student"].engine.alive
            metrics = (await client.get("/metrics")).text
            assert 'onoma_queue_tokens{model="new"}' in metrics and 'onoma_queue_tokens{model="teacher"}' not in metrics
            mine = 'kind="token-classification",model="mine"'
            assert f'created="2026-01-02",{mine}' in metrics and f'created="2026-01-01",{mine}' not in metrics

    asyncio.run(scenario())


def test_new_calibration_is_a_change(tmp_path: Path) -> None:
    put(tmp_path, "student", calibration={"fallback_threshold": 0.5})

    async def scenario() -> None:
        async with serving(tmp_path) as (app, client):
            put(tmp_path, "student", calibration={"fallback_threshold": 0.75})
            assert await runtime_of(app).reloads.reload() == (("student",), ())
            assert (await client.get("/models")).json()["auto"]["threshold"] == 0.75

    asyncio.run(scenario())


def truncate(models: Path) -> str:
    (models / "teacher" / "model.onnx").write_bytes(b"\x08")
    return "teacher: model.onnx is damaged"


def break_graph(models: Path) -> str:
    """The hashes are right, but it is no model: a bundle that was made wrong."""
    written = put(models, "teacher", version=3)
    (models / "teacher" / "model.onnx").write_bytes(b"nonsense")
    files = written.files | {"model.onnx": sha256(models / "teacher" / "model.onnx")}
    write_manifest(models / "teacher", written.model_copy(update={"files": files}))
    return "teacher/model.onnx does not load in onnxruntime"


def other_labels(models: Path) -> str:
    """It loads, but gives numbers for fewer labels than it says."""
    labels = ("O", *(f"{begin}-{name}" for name in ("A", "B", "C", "D") for begin in "BI"))
    put(models, "teacher", version=3, labels=labels)
    return "the teacher loads, but does not run: it gives 7 numbers for a word-piece, and has 9 labels"


def remove_student(models: Path) -> str:
    (models / "student").rename(models / ".gone")
    return "no bundle at .*student: bundle.json is missing"


def half_a_manifest(models: Path) -> str:
    path = models / "new" / "bundle.json"
    path.parent.mkdir()
    path.write_text('{"format_version": 1, ', encoding="utf-8")
    return "new/bundle.json is not JSON"


@pytest.mark.parametrize("harm", [truncate, break_graph, other_labels, remove_student, half_a_manifest])
def test_a_bad_bundle_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], str]
) -> None:
    put(tmp_path, "student")
    put(tmp_path, "teacher")

    async def scenario() -> None:
        async with serving(tmp_path) as (app, client):
            runtime = runtime_of(app)
            before = runtime.generation
            put(tmp_path, "student", version=2)  # good, but all or nothing
            complaint = harm(tmp_path)
            with pytest.raises(ReloadFailed, match=complaint) as raised:
                await runtime.reloads.reload()
            assert raised.value.message in caplog.text and failures(app) == 1
            response = await client.post("/models/reload")
            assert response.status_code == 409 and response.json()["error"]["code"] == "reload_failed"
            assert response.json()["error"]["message"] == raised.value.message and failures(app) == 2
            assert runtime.generation is before
            for model in ("student", "teacher"):
                response = await client.post("/ner", json={"texts": TEXTS, "model": model})
                assert labels_in(response) == {"PER1", "LOC1"}
            assert (await client.get("/readyz")).status_code == 200

    asyncio.run(scenario())


def test_one_reload_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "student")
    under_way = most = 0
    load = reloads.load_models

    def counted(*args: object, **options: object) -> object:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return load(*args, **options)
        finally:
            under_way -= 1

    monkeypatch.setattr(reloads, "load_models", counted)

    async def scenario() -> None:
        async with serving(tmp_path) as (app, _):
            put(tmp_path, "student", version=2)
            changes = await asyncio.gather(*(runtime_of(app).reloads.reload() for _ in range(4)))
            assert sorted(change.loaded for change in changes) == [(), (), (), ("student",)]

    asyncio.run(scenario())
    assert most == 1


def test_twenty_reloads_leave_nothing_behind(tmp_path: Path) -> None:
    put(tmp_path, "student")
    put(tmp_path, "teacher")

    async def scenario() -> None:
        async with serving(tmp_path, workers=2) as (app, client):
            runtime = runtime_of(app)
            assert sorted(engine_threads()) == [f"onoma-{name}-{n}" for name in ("student", "teacher") for n in (0, 1)]
            gone: list[weakref.ref[object]] = []
            for round_ in range(20):
                gone += [weakref.ref(backend.model) for backend in runtime.backends.values()]
                put(tmp_path, "student", version=2 + round_ % 2)
                put(tmp_path, "teacher", version=2 + round_ % 2)
                await runtime.reloads.reload()
                assert labels_in(await client.post("/ner", json={"texts": TEXTS})) == {
                    f"PER{2 + round_ % 2}",
                    f"LOC{2 + round_ % 2}",
                }
            await until(lambda: len(engine_threads()) == 4)
            # The last thread's end and its hold on the model are two moments.
            await until(lambda: gc.collect() >= 0 and [tagger() for tagger in gone] == [None] * 40)
            engines = [one for one in gc.get_objects() if type(one) is Engine and one.alive]
            assert len(engines) == 2

    asyncio.run(scenario())
    assert engine_threads() == []


def test_a_dead_engine_is_replaced_though_its_bundle_is_the_same(tmp_path: Path) -> None:
    put(tmp_path, "student")

    async def scenario() -> None:
        async with serving(tmp_path) as (app, client):
            runtime_of(app).backends["student"].engine.close()
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.post("/models/reload")).json()["loaded"] == ["student"]
            assert (await client.get("/readyz")).status_code == 200

    asyncio.run(scenario())


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="the platform has no SIGHUP")
def test_sighup_reloads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGHUP)
    put(tmp_path, "student")

    async def scenario() -> None:
        async with serving(tmp_path, management=False) as (app, client):
            put(tmp_path, "student", version=2)
            for _ in range(3):  # soon after each other they are one
                os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: runtime_of(app).labels == types_of(2))
            assert labels_in(await client.post("/ner", json={"texts": TEXTS})) == {"PER2", "LOC2"}
            (tmp_path / "student" / "tokenizer.json").unlink()
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: failures(app) == 1)
            assert "tokenizer.json is missing" in caplog.text
            assert labels_in(await client.post("/ner", json={"texts": TEXTS})) == {"PER2", "LOC2"}

    asyncio.run(scenario())
    assert signal.getsignal(signal.SIGHUP) == before


def test_of_several_processes_the_parent_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "student")
    put(tmp_path, "mine")
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))

    async def scenario() -> None:
        async with serving(tmp_path) as (app, client):
            runtime = runtime_of(app)
            runtime.supervised = True
            put(tmp_path, "mine", version=2)
            response = await client.post("/models/reload")
            assert response.status_code == 202
            assert response.json() == {"status": "reloading", "loaded": [], "unloaded": []}
            assert sent == [(os.getppid(), signal.SIGHUP)]
            assert runtime.labels == types_of(1), "this process waits for the signal, as the others do"
            # Not 202, which clients of the protocol take for an error.
            assert (await client.post("/v2/repository/models/mine/load")).status_code == 200
            assert len(sent) == 2
            assert (await client.post("/v2/repository/models/yours/load")).status_code == 404
            response = await client.post("/v2/repository/models/mine/unload")
            assert response.status_code == 409 and "several processes" in response.json()["error"]
            (tmp_path / "mine" / "model.onnx").write_bytes(b"")
            response = await client.post("/models/reload")
            assert response.status_code == 409 and "mine: model.onnx is damaged" in response.text
            assert len(sent) == 2

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "path",
    [
        "/models/reload",
        "/v2/repository/index",
        "/v2/repository/models/student/load",
        "/v2/repository/models/student/unload",
    ],
)
def test_management_is_off_unless_the_settings_allow_it(tmp_path: Path, path: str) -> None:
    put(tmp_path, "student")

    async def scenario() -> None:
        async with serving(tmp_path, management=False) as (app, client):
            put(tmp_path, "student", version=2)
            response = await client.post(path)
            assert response.status_code == 403 and "ONOMA_MANAGEMENT=true" in response.text
            assert response.headers.get("x-error-code", "management_off") == "management_off"
            assert runtime_of(app).labels == types_of(1)

    asyncio.run(scenario())


def test_stopping_while_models_change(tmp_path: Path) -> None:
    """A request holds the old models, a reload loads new ones: the app ends all the same."""
    put(tmp_path, "student", version=2)
    student = FakeModel()

    async def scenario() -> None:
        async with running(student, models=tmp_path, threads=1) as (app, client):
            student.gate.clear()
            early = asyncio.create_task(client.post("/ner", json={"text": "Siemens"}))
            await asyncio.to_thread(student.entered.wait, 10)
            await runtime_of(app).reloads.reload()
            runtime_of(app).reloads.reload_soon()
            student.gate.set()
        assert (await early).status_code in (200, 503)

    asyncio.run(scenario())
    assert engine_threads() == []
