"""A bundle whose student decodes with a CRF, from the folder to the answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import Client

from onoma import Tagger
from service.app import create_app
from service.settings import Settings
from tests.onoma.bundles import transitions, write_bundle


def test_a_crf_answers_over_http(tmp_path: Path) -> None:
    write_bundle(tmp_path / "student", decoder="crf", crf=transitions())
    client = Client(create_app(Settings(models=tmp_path, threads=1)))
    client.start()
    try:
        texts = ["Angela Merkel in Köln", "", "the Köln. Angela!"]
        response = client.post("/ner", json={"texts": texts})
    finally:
        client.close()
    assert response.status_code == 200, response.text
    expected = Tagger.load(tmp_path / "student", threads=1).tag_batch(texts)
    for result, one in zip(response.json()["results"], expected, strict=True):
        assert [(e["start"], e["end"], e["label"]) for e in result["entities"]] == [
            (e.start, e.end, e.label) for e in one.entities
        ]
        assert [e["score"] for e in result["entities"]] == pytest.approx([e.score for e in one.entities], abs=1e-6)
    assert [len(one.entities) for one in expected] == [2, 0, 2]
