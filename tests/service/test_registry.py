"""Bundles side by side, each under the name of its folder."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fakes import Serve, Served
from folders import TEXTS, labels_in, put, serving, types_of

from onoma.errors import BundleError
from service.errors import NotFound
from service.registry import bundle_names, find_bundles, load_models
from service.settings import Settings


def test_every_folder_with_a_bundle_in_order(tmp_path: Path) -> None:
    for name in ("zebra", "my-own_1.0", "teacher", "student", ".half"):
        put(tmp_path, name)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "README.md").write_text("no bundle", encoding="utf-8")
    (tmp_path / "bundle.json").write_text("{}", encoding="utf-8")
    assert list(find_bundles(tmp_path)) == ["student", "teacher", "my-own_1.0", "zebra"]
    assert bundle_names(tmp_path) == ["student", "teacher", "my-own_1.0", "zebra"]


def test_a_link_to_a_folder_is_a_folder(tmp_path: Path) -> None:
    put(tmp_path / "releases", "7")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "student").symlink_to(tmp_path / "releases" / "7")
    assert list(find_bundles(tmp_path / "models")) == ["student"]


@pytest.mark.parametrize("name", ["auto", "reload", "with space", "ümlaut", "a" * 65])
def test_names_that_no_request_could_ask_for(tmp_path: Path, name: str) -> None:
    put(tmp_path, "student")
    put(tmp_path, name)
    with pytest.raises(BundleError, match=f"{name}: the folder of a bundle is its name"):
        find_bundles(tmp_path)


@pytest.mark.parametrize("missing", ["student", "folder"])
def test_no_student(tmp_path: Path, missing: str) -> None:
    if missing == "student":
        put(tmp_path, "teacher")
    with pytest.raises(BundleError, match="no bundle at .*student: bundle.json is missing"):
        load_models(Settings(models=tmp_path if missing == "student" else tmp_path / "nothing"))


def test_what_has_not_changed_is_taken_over(tmp_path: Path) -> None:
    settings = Settings(models=tmp_path, threads=1)
    put(tmp_path, "student")
    put(tmp_path, "other")
    before = load_models(settings)
    put(tmp_path, "student", version=2)
    put(tmp_path, "new")
    after = load_models(settings, present=before)
    assert list(after) == ["student", "new", "other"]
    assert after["other"] is before["other"] and after["student"] is not before["student"]
    put(tmp_path, "student", version=3)
    put(tmp_path, "new", version=3)
    one = load_models(settings, present=after, only="new")
    assert one["student"] is after["student"] and one["other"] is after["other"]
    assert one["new"].labels.types == types_of(3)
    with pytest.raises(NotFound, match="there is no 'nowhere'; there is student, new, other"):
        load_models(settings, present=after, only="nowhere")


def test_the_files_of_an_unchanged_bundle_are_checked_again(tmp_path: Path) -> None:
    settings = Settings(models=tmp_path, threads=1)
    put(tmp_path, "student")
    before = load_models(settings)
    with (tmp_path / "student" / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match="model.onnx is damaged"):
        load_models(settings, present=before)


def test_a_folder_that_lost_its_manifest_is_not_gone_but_damaged(tmp_path: Path) -> None:
    settings = Settings(models=tmp_path, threads=1)
    put(tmp_path, "student")
    put(tmp_path, "other")
    before = load_models(settings)
    (tmp_path / "other" / "bundle.json").unlink()
    with pytest.raises(BundleError, match="no bundle at .*other: bundle.json is missing"):
        load_models(settings, present=before)


def test_a_file_that_goes_away_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "student")

    def gone(path: Path) -> str:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr("onoma.bundle.sha256", gone)
    with pytest.raises(BundleError, match="student cannot be read: No such file or directory: .*model.onnx"):
        load_models(Settings(models=tmp_path))


def test_each_answers_under_its_name(tmp_path: Path) -> None:
    for version, name in enumerate(("student", "teacher", "mine"), start=1):
        put(tmp_path, name, version=version)

    async def scenario() -> None:
        async with serving(tmp_path, fallback=False) as (app, client):
            for name, version in (("auto", 1), ("student", 1), ("teacher", 2), ("mine", 3)):
                response = await client.post("/ner", json={"texts": TEXTS, "model": name})
                assert labels_in(response) == {types_of(version)[0], types_of(version)[2]}
                models = {result["model"] for result in response.json()["results"]}
                assert models == {"student" if name == "auto" else name}
            # A label is known if any model knows it.
            body = {"texts": TEXTS, "model": "mine", "labels": ["PER3", "LOC1"]}
            assert labels_in(await client.post("/ner", json=body)) == {"PER3"}
            refused = await client.post("/ner", json={"text": "", "labels": ["PER4"]})
            assert refused.json()["error"]["code"] == "unknown_label" and "PER3" in refused.text
            refused = await client.post("/ner", json={"text": "", "model": "yours"})
            error = refused.json()["error"]
            assert (refused.status_code, error["code"]) == (422, "model_not_loaded")
            assert "'yours'" in error["message"] and "student, teacher, mine" in error["message"]
            metrics = (await client.get("/metrics")).text
            assert 'onoma_texts_total{model="mine"} 6.0' in metrics
            assert 'onoma_queue_windows{model="mine"} 0.0' in metrics

    asyncio.run(scenario())


def test_get_models(tmp_path: Path) -> None:
    put(tmp_path, "student", version=1, calibration={"fallback_threshold": 0.25})
    put(tmp_path, "mine", version=2, role="teacher", languages=("de", "hu"))

    async def scenario() -> None:
        async with serving(tmp_path) as (_, client):
            answer = (await client.get("/models")).json()
            assert answer["auto"] == {"student": "student", "teacher": None, "threshold": 0.25}
            assert [model["name"] for model in answer["models"]] == ["student", "mine"]
            assert answer["models"][1] == {
                "name": "mine",
                "kind": "token-classification",
                "dimensions": None,
                "bundle": "mine 2",
                "role": "teacher",
                "architecture": "table",
                "parameters": answer["models"][0]["parameters"],
                "labels": list(types_of(2)),
                "languages": ["de", "hu"],
                "decoder": "softmax",
                "quantization": "fp32",
                "created": "2026-01-02",
                "licence": "Apache-2.0",
                "max_length": 32,
            }

    asyncio.run(scenario())


def test_get_models_of_taggers_without_a_bundle(serve: Serve) -> None:
    answer = serve(fallback_threshold=0.75).client.get("/models").json()
    assert answer["auto"] == {"student": "student", "teacher": "teacher", "threshold": 0.75}
    assert answer["models"][0]["labels"] == ["PER", "ORG", "LOC"] and answer["models"][0]["created"] is None
    assert serve(fallback=False).client.get("/models").json()["auto"]["teacher"] is None


def test_the_schema_takes_any_model(served: Served) -> None:
    schema = served.client.get("/openapi.json").json()
    body = schema["paths"]["/ner"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    model = body["properties"]["model"]
    assert model["type"] == "string" and "enum" not in model and model["examples"] == ["auto", "student", "teacher"]
