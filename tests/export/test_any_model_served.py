"""A Hugging Face checkpoint with labels of its own, from the command line to the service's answers and metrics."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from onoma import Tagger
from service.app import create_app
from service.settings import Settings
from tests.export.checkpoints import TEXTS, write_checkpoint
from tests.export.test_commands import run
from tests.service.fakes import Client

NAMES = ("ort", "person name", "組織", 'a "quoted", \\ one', "outside")


def test_labels_of_any_name_are_served(tmp_path: Path) -> None:
    checkpoint = write_checkpoint("mbert", tmp_path / "checkpoint", labels=NAMES)
    options = ["--role", "student", "--overlap", "4", "--min-agreement", "0.3", "--max-length", "64"]
    assert run("hf", str(checkpoint), "--out", str(tmp_path / "student"), *options) == 0
    tagger = Tagger.load(tmp_path / "student", threads=1)
    assert tagger.labels.types == NAMES[:-1]
    texts = list(TEXTS)
    expected = [
        [(e.start, e.end, e.label, text[e.start : e.end]) for e in one.entities]
        for text, one in zip(texts, tagger.tag_batch(texts), strict=True)
    ]
    counts = {name: sum(label == name for own in expected for _, _, label, _ in own) for name in NAMES[:-1]}
    assert sum(count > 0 for count in counts.values()) > 2, "the random model says too little for this test"
    client = Client(create_app(Settings(models=tmp_path, threads=1)))
    client.start()
    try:
        answer = client.post("/ner", json={"texts": texts})
        assert answer.status_code == 200, answer.text
        metrics = client.get("/metrics").text
        some = client.post("/ner", json={"texts": texts, "labels": ["組織", NAMES[3]]}).json()
        unknown = client.post("/ner", json={"texts": texts, "labels": ["Ort"]})
    finally:
        client.close()
    results = answer.json()["results"]
    assert [
        [(e["start"], e["end"], e["label"], e["text"]) for e in result["entities"]] for result in results
    ] == expected
    assert [e["label"] for one in some["results"] for e in one["entities"]] == [
        label for own in expected for _, _, label, _ in own if label in ("組織", NAMES[3])
    ]
    assert unknown.status_code == 422 and unknown.json()["error"]["code"] == "unknown_label"
    counted = {
        sample.labels["label"]: sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "onoma_entities_total"
    }
    assert counted == {name: count for name, count in counts.items() if count}
