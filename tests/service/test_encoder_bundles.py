"""Sentence encoders in the folder of models: found, listed, reloaded, and refused where they do not belong."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fakes import FakeSentenceModel, make_embedder, make_tagger, until
from folders import put, runtime_of, serving

from onoma import BundleError, Embedder
from onoma.bundle import MODEL_FILE
from service.app import create_app
from service.registry import load_models
from service.runtime import Runtime
from service.settings import Settings
from tests.onoma.sentence_bundles import DIMENSIONS, write_encoder

TEXTS = ["Angela in Köln", "Москва", "the ing er"]


def put_encoder(models: Path, name: str = "encoder", *, version: int = 1, **changes: Any) -> None:
    """Write an encoder's bundle, or put another in its place, whose vectors are others."""
    shutil.rmtree(models / name, ignore_errors=True)
    facts = {"name": f"{name} {version}", "created": f"2026-02-{version:02}"}
    write_encoder(models / f".{name}", seed=version, **(facts | changes))
    (models / f".{name}").rename(models / name)


def expected(models: Path, name: str = "encoder") -> np.ndarray:
    return Embedder.load(models / name, threads=1).embed(TEXTS)


def vectors(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.array(response.json()["embeddings"], dtype=np.float32)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    put(tmp_path, "student")
    put_encoder(tmp_path)
    return tmp_path


def test_it_is_found_and_described(models: Path) -> None:
    async def scenario() -> None:
        async with serving(models) as (app, client):
            assert np.allclose(vectors(await client.post("/embed", json={"texts": TEXTS})), expected(models), atol=1e-6)
            _, listed = (await client.get("/models")).json()["models"]
            assert listed == {
                "name": "encoder",
                "kind": "sentence-encoder",
                "bundle": "encoder 1",
                "role": "encoder",
                "architecture": "table",
                "parameters": listed["parameters"],
                "labels": [],
                "dimensions": DIMENSIONS,
                "languages": ["en", "de"],
                "decoder": None,
                "quantization": "fp32",
                "created": "2026-02-01",
                "licence": "Apache-2.0",
                "max_length": 16,
            }
            metadata = (await client.get("/v2/models/encoder/versions/2026-02-01")).json()
            assert metadata["parameters"] == {"kind": "sentence-encoder"}
            index = (await client.post("/v2/repository/index")).json()
            assert {"name": "encoder", "version": "2026-02-01", "state": "READY", "reason": ""} in index
            assert (await client.get("/")).json()["models"]["encoder"]["kind"] == "sentence-encoder"
            assert runtime_of(app).labels == ("PER1", "ORG1", "LOC1")
            info = (await client.get("/metrics")).text
            assert 'onoma_model_info{' in info and 'name="encoder 1"' in info and 'kind="sentence-encoder"' in info

    asyncio.run(scenario())


def test_a_reload_loses_no_request(models: Path) -> None:
    before = expected(models)

    async def scenario() -> None:
        async with serving(models, workers=1) as (app, client):
            stop = asyncio.Event()
            seen: list[np.ndarray] = []

            async def client_asks(texts: list[str]) -> None:
                while not stop.is_set():
                    seen.append(vectors(await client.post("/embed", json={"texts": texts})))

            long = "Angela in Köln. " * 2100  # its body is read in a thread, and it is encoded in another one
            asking = [asyncio.create_task(client_asks(texts)) for texts in (TEXTS, TEXTS, [long])]
            for version in range(2, 7):
                so_far = len(seen)
                await until(lambda so_far=so_far: len(seen) > so_far + 3)
                put_encoder(models, version=version)
                change = await runtime_of(app).reloads.reload()
                assert (change.loaded, change.unloaded) == (("encoder",), ())
            stop.set()
            await asyncio.gather(*asking)
            after = vectors(await client.post("/embed", json={"texts": TEXTS}))
            assert np.allclose(after, expected(models), atol=1e-6) and not np.allclose(after, before, atol=0.01)

    asyncio.run(scenario())


def test_it_comes_and_goes(models: Path) -> None:
    shutil.rmtree(models / "encoder")

    async def scenario() -> None:
        async with serving(models) as (_, client):
            body = {"pairs": [["Angela", "Köln"]]}
            assert (await client.post("/similarity", json=body)).json()["error"]["code"] == "no_encoder"
            put_encoder(models)
            loaded = (await client.post("/models/reload")).json()
            assert loaded == {"status": "reloaded", "loaded": ["encoder"], "unloaded": []}
            assert (await client.post("/similarity", json=body)).json()["scores"] == [1.0]
            assert (await client.post("/v2/repository/models/encoder/unload")).status_code == 200
            assert (await client.post("/similarity", json=body)).status_code == 404
            assert (await client.post("/v2/repository/models/encoder/load")).status_code == 200
            assert (await client.post("/similarity", json=body)).status_code == 200
            shutil.rmtree(models / "encoder")
            assert (await client.post("/models/reload")).json()["unloaded"] == ["encoder"]
            assert (await client.post("/similarity", json=body)).status_code == 404
            assert (await client.get("/readyz")).status_code == 200

    asyncio.run(scenario())


def test_several_are_asked_by_name(models: Path) -> None:
    put_encoder(models, "mine", version=7)
    shutil.rmtree(models / "encoder")

    async def scenario() -> None:
        async with serving(models) as (_, client):
            error = (await client.post("/embed", json={"texts": TEXTS})).json()["error"]
            assert error["code"] == "model_not_loaded"
            assert error["message"] == "model: this server runs without 'encoder'; its sentence encoders are mine"
            answer = await client.post("/embed", json={"texts": TEXTS, "model": "mine"})
            assert answer.json()["model"] == "mine"
            assert np.allclose(vectors(answer), expected(models, "mine"), atol=1e-6)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_auto_asks_no_encoder(models: Path, name: str) -> None:
    put_encoder(models, name)
    with pytest.raises(BundleError, match=f"{name}.*this is a sentence-encoder bundle, not a token-classification one"):
        load_models(Settings(models=models, threads=1))


def test_a_bad_encoder_changes_nothing(models: Path) -> None:
    before = expected(models)

    async def scenario() -> None:
        async with serving(models) as (_, client):
            (models / "encoder" / MODEL_FILE).write_bytes(b"damaged")
            refused = await client.post("/models/reload")
            assert refused.status_code == 409 and "model.onnx is damaged" in refused.json()["error"]["message"]
            assert np.allclose(vectors(await client.post("/embed", json={"texts": TEXTS})), before, atol=1e-6)

    asyncio.run(scenario())


def test_what_changes_its_kind_is_loaded_as_that(models: Path) -> None:
    async def scenario() -> None:
        async with serving(models) as (_, client):
            put(models, "encoder", version=2)
            assert (await client.post("/models/reload")).json()["loaded"] == ["encoder"]
            found = (await client.post("/ner", json={"text": "Angela", "model": "encoder"})).json()["results"][0]
            assert found["entities"][0]["label"] == "PER2"
            assert (await client.post("/embed", json={"text": "Angela"})).json()["error"]["code"] == "no_encoder"

    asyncio.run(scenario())


def test_a_model_that_gives_other_vectors_than_it_says_does_not_start() -> None:
    embedder = make_embedder(FakeSentenceModel())
    embedder.dimensions += 1
    app = create_app(Settings(), models={"student": make_tagger(), "encoder": embedder})
    runtime: Runtime = app.state.runtime

    async def scenario() -> None:
        with pytest.raises(BundleError, match=r"the encoder loads, but does not run: it gives numbers of the shape"):
            async with app.router.lifespan_context(app):
                pass
        assert not runtime.backends

    asyncio.run(scenario())
