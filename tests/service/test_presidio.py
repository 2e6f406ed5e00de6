"""The recogniser for Microsoft Presidio in docs/integrations.md, run as it stands there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fakes import FakeModel, make_tagger
from sockets import listening

from service.app import create_app
from service.settings import Settings

TEXT = "👍🏽 Angela Merkel visited Siemens in München"
DOCS = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text(encoding="utf-8")
RECOGNIZER, ENGINE = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
PREDEFINED = "".join(re.findall(r"^ {4}(registry\.(?:load|remove).*\n)", DOCS, re.MULTILINE))
IS_THERE = find_spec("presidio_analyzer") is not None


class RemoteRecognizer:
    """What stands in for Presidio's: it keeps what it is given, as `EntityRecognizer` does."""

    def __init__(
        self, supported_entities: list[str], name: str, supported_language: str, version: str, context: Any = None
    ) -> None:
        self.supported_entities = supported_entities
        self.name = name
        self.supported_language = supported_language
        self.version = version


class RecognizerResult:
    def __init__(self, entity_type: str, start: int, end: int, score: float) -> None:
        self.entity_type = entity_type
        self.start = start
        self.end = end
        self.score = score


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with listening(create_app(Settings(), models={"student": make_tagger(FakeModel())})) as (port, _):
        yield f"http://127.0.0.1:{port}"


def run(source: str, url: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a piece of the docs defines."""
    names = names or {}
    exec(source.replace("http://localhost:8000", url), names)
    return names


@pytest.fixture
def recognizer(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    if not IS_THERE:
        stand_in = ModuleType("presidio_analyzer")
        vars(stand_in).update(RemoteRecognizer=RemoteRecognizer, RecognizerResult=RecognizerResult)
        monkeypatch.setitem(sys.modules, "presidio_analyzer", stand_in)
    return run(RECOGNIZER, url)["OnomaRecognizer"](language="de")


def test_recognizer(recognizer: Any) -> None:
    assert recognizer.supported_language == "de"
    entities = recognizer.get_supported_entities()
    assert entities == ["PERSON", "ORGANIZATION", "LOCATION"]
    found = recognizer.analyze(TEXT, entities, None)
    assert [(one.entity_type, TEXT[one.start : one.end]) for one in found] == [
        ("PERSON", "Angela Merkel"), ("ORGANIZATION", "Siemens"), ("LOCATION", "München")
    ]  # fmt: skip
    assert all(0.9 < one.score <= 1 for one in found)


def test_recognizer_finds_only_what_is_wanted(recognizer: Any) -> None:
    assert [one.entity_type for one in recognizer.analyze(TEXT, ["LOCATION", "PHONE_NUMBER"], None)] == ["LOCATION"]
    assert recognizer.analyze(TEXT, ["PHONE_NUMBER"], None) == recognizer.analyze("", ["PERSON"], None) == []


@pytest.mark.skipif(not IS_THERE, reason="presidio-analyzer is not installed")
def test_engine(url: str) -> None:
    found = run(ENGINE, url, run(RECOGNIZER, url))["found"]
    assert {one.entity_type for one in found} == {"PERSON", "ORGANIZATION", "LOCATION"}
    more = ENGINE.replace("for language", f"{PREDEFINED}for language", 1).replace("in München", "a.merkel@example.com")
    found = run(more, url, run(RECOGNIZER, url))["found"]
    assert {"PERSON", "ORGANIZATION", "EMAIL_ADDRESS"} <= {one.entity_type for one in found}
