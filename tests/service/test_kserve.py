"""The Open Inference Protocol (KServe v2): its paths, its JSON, its errors."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import Client, Serve, Served, make_tagger
from fastapi.routing import APIRoute
from folders import put, runtime_of, serving, types_of

from onoma import __version__
from service.app import create_app
from service.kserve import router
from service.settings import Settings
from service.tensors import InferResponse


def tensor(*texts: object, **changes: object) -> dict[str, Any]:
    return {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)} | changes


def infer(served: Served, *texts: str, model: str = "auto", **fields: object) -> httpx.Response:
    return served.client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor(*texts)]} | fields)


def outputs(response: httpx.Response) -> dict[str, list[str]]:
    """The data of each output, after a look at its form."""
    assert response.status_code == 200, response.text
    content = response.json()
    InferResponse.model_validate(content, extra="forbid", strict=True)
    for output in content["outputs"]:
        assert output["datatype"] == "BYTES" and output["shape"] == [len(output["data"])]
    return {output["name"]: output["data"] for output in content["outputs"]}


def refused(response: httpx.Response, status: int, code: str, part: str) -> None:
    assert (response.status_code, response.headers["x-error-code"]) == (status, code), response.text
    assert set(response.json()) == {"error"} and part in response.json()["error"]
    assert response.headers["x-request-id"]


def test_the_server(served: Served) -> None:
    assert served.client.get("/v2").json() == {"name": "onoma", "version": __version__, "extensions": []}
    assert served.client.get("/v2/health/live").json() == {"live": True}
    assert served.client.get("/v2/health/ready").json() == {"live": True, "ready": True}


def test_management_is_an_extension(serve: Serve) -> None:
    assert serve(management=True).client.get("/v2").json()["extensions"] == ["model_repository"]


def test_before_the_models_are_loaded() -> None:
    client = Client(create_app(Settings(), models={"student": make_tagger()}))
    assert client.get("/v2/health/live").status_code == 200
    refused(client.get("/v2/health/ready"), 503, "not_ready", "not loaded yet")
    for path in ("/v2/models/auto", "/v2/models/auto/ready"):
        refused(client.get(path), 503, "not_ready", "not loaded yet")
    refused(client.post("/v2/models/auto/infer", json={"inputs": [tensor("a")]}), 503, "not_ready", "not loaded yet")
    assert client.get("/models").status_code == 503
    client.close()


@pytest.mark.parametrize("name", ["auto", "student", "teacher"])
@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_the_metadata_of_a_model(served: Served, name: str, version: str) -> None:
    text = {"name": "text", "datatype": "BYTES", "shape": [-1]}
    assert served.client.get(f"/v2/models/{name}{version}").json() == {
        "name": name,
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [text],
        "outputs": [text | {"name": output} for output in ("entities", "model", "fallback")],
        "parameters": {"kind": "token-classification"},
    }
    assert served.client.get(f"/v2/models/{name}{version}/ready").json() == {"name": name, "ready": True}


def test_a_version_is_the_date_of_the_bundle(tmp_path: Path) -> None:
    put(tmp_path, "student", version=1)
    put(tmp_path, "mine", version=2)

    async def scenario() -> None:
        async with serving(tmp_path) as (_, client):
            for name, date, other in (
                ("auto", "2026-01-01", "2026-01-02"),
                ("student", "2026-01-01", "2"),
                ("mine", "2026-01-02", "2026-01-01"),
            ):
                path = f"/v2/models/{name}"
                assert (await client.get(path)).json()["versions"] == ["1", date]
                for version in ("1", date):
                    body = {"inputs": [tensor("Angela")]}
                    answer = (await client.post(f"{path}/versions/{version}/infer", json=body)).json()
                    assert answer["model_version"] == date
                    [entities] = answer["outputs"][0]["data"]
                    assert json.loads(entities)[0]["label"] == types_of(2 if name == "mine" else 1)[0]
                wrong = f"{path}/versions/{other}"
                refused(await client.get(wrong), 404, "not_found", date)
                refused(await client.get(f"{wrong}/ready"), 404, "not_found", date)
                refused(await client.post(f"{wrong}/infer", json=body), 404, "not_found", date)

    asyncio.run(scenario())


def test_readiness_is_of_the_model_asked_about(served: Served) -> None:
    served.teacher.error = RuntimeError("broken")
    assert served.client.get("/v2/models/student/ready").status_code == 200
    for path in ("/v2/models/teacher/ready", "/v2/models/auto/ready", "/v2/health/ready"):
        refused(served.client.get(path), 503, "not_ready", "the teacher failed")


def test_the_same_answer_as_ner(served: Served) -> None:
    texts = ["Angela Merkel in München", "", "maybe Siemens", "likely"]
    found = outputs(infer(served, *texts))
    expected = served.ner(texts=texts).json()["results"]
    assert [json.loads(one) for one in found["entities"]] == [result["entities"] for result in expected]
    assert found["model"] == ["student", "student", "teacher", "student"]
    assert found["fallback"] == ["", "", "low_confidence", ""]
    assert served.metric("onoma_texts_total", model="teacher") == 2


def test_a_named_model(served: Served) -> None:
    response = infer(served, "maybe Siemens", model="teacher", id="a 1")
    assert outputs(response)["model"] == ["teacher"]
    assert (response.json()["model_name"], response.json()["id"]) == ("teacher", "a 1")
    assert "id" not in infer(served, "Ohio").json() and "id" not in infer(served, "Ohio", id=None).json()


@pytest.mark.parametrize("data", [["Angela", "Ohio"], [["Angela"], ["Ohio"]]])
def test_a_column_of_texts(served: Served, data: list[object]) -> None:
    response = infer(served, inputs=[tensor(*data, shape=[2, 1])])
    assert [len(json.loads(one)) for one in outputs(response)["entities"]] == [1, 1]


def test_no_texts(served: Served) -> None:
    assert outputs(infer(served)) == {"entities": [], "model": [], "fallback": []}


def test_only_the_outputs_asked_for(served: Served) -> None:
    wanted = [{"name": "fallback"}, {"name": "model", "parameters": {"binary_data": False}}, {"name": "model"}]
    assert outputs(infer(served, "Ohio", outputs=wanted)) == {"fallback": [""], "model": ["student"]}
    assert list(outputs(infer(served, "Ohio", outputs=[]))) == ["entities", "model", "fallback"]


@pytest.mark.parametrize("place", ["request", "tensor"])
@pytest.mark.parametrize(
    "parameters",
    [
        {"labels": ["ORG", "LOC"], "offset_unit": "utf8", "min_score": 0.5},
        {"labels": "ORG,LOC", "offset_unit": "utf8", "min_score": 1, "content_type": "str"},
    ],
)
def test_parameters(served: Served, place: str, parameters: dict[str, object]) -> None:
    text = "in München: Angela Merkel, Siemens"
    if place == "request":
        response = infer(served, text, parameters=parameters)
    else:  # goes before what the request says
        general = {"labels": "PER", "offset_unit": "utf16", "binary_data_output": True}
        response = infer(served, inputs=[tensor(text, parameters=parameters)], parameters=general)
    [entities] = outputs(response)["entities"]
    found = [(one["start"], one["end"], one["label"]) for one in json.loads(entities)]
    assert found == [(3, 11, "LOC"), (28, 35, "ORG")]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no inputs": ({"inputs": []}, "inputs"),
    "two inputs": ({"inputs": [tensor("a"), tensor("b")]}, "inputs"),
    "another type": ({"inputs": [tensor(1.5, datatype="FP32")]}, "inputs[0].datatype"),
    "a matrix": ({"inputs": [tensor("a", "b", shape=[1, 2])]}, "inputs[0].shape: must be [N] or [N, 1]"),
    "no dimension": ({"inputs": [tensor("a", shape=[])]}, "inputs[0].shape"),
    "three dimensions": ({"inputs": [tensor("a", shape=[1, 1, 1])]}, "inputs[0].shape"),
    "a negative size": ({"inputs": [tensor("a", shape=[-1])]}, "inputs[0].shape[0]"),
    "a size that is true": ({"inputs": [tensor("a", shape=[True])]}, "inputs[0].shape[0]"),
    "too few texts": ({"inputs": [tensor("a", shape=[2])]}, "the shape says 2 texts, got 1"),
    "no string": ({"inputs": [tensor("a", 7)]}, "inputs[0].data[1]: must be a string, got int"),
    "a list for a text": ({"inputs": [tensor(["a"])]}, "inputs[0].data[0]: must be a string, got list"),
    "no data": ({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES"}]}, "inputs[0].data"),
    "an id that is no string": ({"inputs": [tensor("a")], "id": 42}, "id"),
    "an unknown output": ({"inputs": [tensor("a")], "outputs": [{"name": "logits"}]}, "outputs[0].name"),
    "an unknown parameter": ({"inputs": [tensor("a")], "parameters": {"stride": 1}}, "parameters: 'stride'"),
    "a parameter of an output": (
        {"inputs": [tensor("a")], "outputs": [{"name": "model", "parameters": {"classification": 2}}]},
        "outputs[0].parameters: 'classification'",
    ),
    "a wrong unit": ({"inputs": [tensor("a")], "parameters": {"offset_unit": "bytes"}}, "offset_unit"),
    "a score that is none": ({"inputs": [tensor("a")], "parameters": {"min_score": 2}}, "min_score"),
    "an unknown field": ({"inputs": [tensor("a")], "model": "teacher"}, "model"),
}


@pytest.mark.parametrize("body, part", WRONG.values(), ids=WRONG)
def test_refused(served: Served, body: dict[str, Any], part: str) -> None:
    refused(served.client.post("/v2/models/auto/infer", json=body), 422, "invalid_request", part)


def test_refused_as_by_ner(serve: Serve) -> None:
    served = serve(max_texts=2, max_text_chars=10, max_total_chars=15, max_in_flight=1)
    refused(infer(served, "a", "b", "c"), 422, "limit_exceeded", "inputs[0].data: at most 2 in a request, got 3")
    refused(infer(served, "a", "b" * 11), 422, "limit_exceeded", "inputs[0].data[1]: at most 10 characters")
    refused(infer(served, "a" * 9, "b" * 9), 422, "limit_exceeded", "at most 15 characters in a request, got 18")
    refused(infer(served, "a", "b\0"), 422, "invalid_text", "inputs[0].data[1] has a NUL")
    refused(infer(served, "a", parameters={"labels": "PER,X"}), 422, "unknown_label", "'X'")
    lone = rb'{"id": "\ud800", "inputs": [{"name": "t", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}'
    refused(served.client.post("/v2/models/auto/infer", content=lone), 422, "invalid_text", "id has a lone surrogate")
    for body in (b"", b"{", b"\xff", b"[NaN]"):
        refused(served.client.post("/v2/models/auto/infer", content=body), 400, "bad_request", "the body is")
    served.app.state.runtime.in_flight = 1
    refused(infer(served, "a"), 429, "overloaded", "1 requests are under way")


def test_the_time_of_a_request(serve: Serve) -> None:
    served = serve(deadline_seconds=0.1, teacher=False)
    served.student.gate.clear()
    refused(infer(served, "Siemens"), 504, "deadline_exceeded", "")


def test_a_body_too_large(serve: Serve) -> None:
    refused(infer(serve(max_body_bytes=1000), "a" * 2000), 413, "body_too_large", "1000 bytes")


def test_large_bodies_are_read_off_the_loop(served: Served) -> None:
    texts = ["Ohio " * 1000] * 10
    found = outputs(infer(served, *texts))
    assert [len(json.loads(one)) for one in found["entities"]] == [1000] * 10


def test_tensors_that_are_not_in_the_json(served: Served) -> None:
    binary = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 9}}]}
    content = json.dumps(binary).encode()
    headers = {"Inference-Header-Content-Length": str(len(content))}
    response = served.client.post("/v2/models/auto/infer", content=content + b"\5\0\0\0Ohio!", headers=headers)
    refused(response, 400, "bad_request", "binary_data=False")
    for parameters in ({"binary_data_size": 9}, {"shared_memory_region": "r"}):
        response = infer(served, inputs=[tensor("a", parameters=parameters)])
        refused(response, 400, "bad_request", "tensors must come as JSON")


@pytest.mark.parametrize("path", ["/v2/models/gpt", "/v2/models/gpt/ready", "/v2/models/gpt/versions/1"])
def test_an_unknown_model(served: Served, path: str) -> None:
    refused(served.client.get(path), 404, "not_found", "there is auto, student, teacher")
    refused(infer(served, "a", model="gpt"), 404, "not_found", "there is auto, student, teacher")


def test_unknown_paths_and_methods(served: Served) -> None:
    refused(served.client.get("/v2/trace/setting"), 404, "not_found", "no such path")
    refused(served.client.get("/v2/models/auto/infer"), 405, "method_not_allowed", "POST")


def test_names_make_no_series(served: Served) -> None:
    for name in ("auto", "teacher", "gpt"):
        infer(served, "a", model=name)
        served.client.get(f"/v2/models/{name}/versions/{name}")
    count = "onoma_request_seconds_count"
    assert served.metric(count, endpoint="/v2/models/{model}/infer", status="200") == 2
    assert served.metric(count, endpoint="/v2/models/{model}/infer", status="404") == 1
    assert served.metric(count, endpoint="/v2/models/{model}/versions/{version}", status="404") == 3


def test_no_version_is_named_that_may_not_have_answered(tmp_path: Path) -> None:
    """A large request may be read before the models change and answered after."""
    put(tmp_path, "student", version=2)
    tagger = make_tagger()

    async def scenario() -> None:
        app = create_app(Settings(models=tmp_path, threads=1, workers=1), models={"student": tagger})
        async with app.router.lifespan_context(app):
            model = tagger.model
            model.entered.clear()
            model.gate.clear()
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://onoma") as client:
                body = {"inputs": [tensor("Ohio")]}
                early = asyncio.create_task(client.post("/v2/models/auto/infer", json=body))
                await asyncio.to_thread(model.entered.wait, 10)
                await runtime_of(app).reloads.reload()
                model.gate.set()
                assert "model_version" not in (await early).json()
                later = (await client.post("/v2/models/auto/infer", json=body)).json()
                assert later["model_version"] == "2026-01-02"

    asyncio.run(scenario())


def test_the_repository(tmp_path: Path) -> None:
    for name in ("student", "teacher", "mine"):
        put(tmp_path, name)

    async def scenario() -> None:
        async with serving(tmp_path) as (app, client):

            async def index(**body: object) -> dict[str, str]:
                response = await client.post("/v2/repository/index", json=body)
                return {one["name"]: one["state"] for one in response.json()}

            async def post(name: str, what: str, **body: object) -> httpx.Response:
                return await client.post(f"/v2/repository/models/{name}/{what}", json=body)

            response = await post("mine", "unload", parameters={"unload_dependents": False})
            assert (response.status_code, response.json()) == (200, {"name": "mine", "unload": True})
            assert await index() == {"student": "READY", "teacher": "READY", "mine": "UNAVAILABLE"}
            assert await index(ready=True) == {"student": "READY", "teacher": "READY"}
            refused(await client.get("/v2/models/mine"), 404, "not_found", "'mine'")
            refused(await post("mine", "unload"), 404, "not_found", "'mine'")
            refused(await post("student", "unload"), 409, "reload_failed", "cannot be unloaded")
            for name in ("student", "mine"):
                put(tmp_path, name, version=2)
            (tmp_path / "teacher" / "model.onnx").unlink()
            response = await client.post("/v2/repository/models/mine/load")  # no body at all
            assert (response.status_code, response.json()) == (200, {"name": "mine", "load": True})
            assert runtime_of(app).labels == (*types_of(1), *types_of(2)), "only what was asked for"
            assert (await client.get("/v2/models/mine")).json()["versions"] == ["1", "2026-01-02"]
            refused(await post("teacher", "load"), 409, "reload_failed", "model.onnx is missing")
            refused(await post("yours", "load"), 404, "not_found", "'yours'")
            refused(await post("mine", "load", parameters={"config": "{}"}), 422, "invalid_request", "'config'")

    asyncio.run(scenario())


def test_every_answer_is_described(served: Served) -> None:
    paths = served.client.get("/openapi.json").json()["paths"]
    for route in router.routes:
        assert isinstance(route, APIRoute)
        for method in route.methods:
            described = paths[route.path][method.lower()]["responses"]
            assert {"200", "4XX", "5XX"} <= set(described) and "422" not in described
