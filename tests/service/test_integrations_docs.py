"""The other examples of docs/integrations.md, run as they stand there."""

from __future__ import annotations

import doctest
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakeModel, make_tagger
from sockets import listening

from service.app import create_app
from service.settings import Settings

DOCS = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def docs() -> Iterator[str]:
    """The page, with the address of a server that runs."""
    taggers = {"student": make_tagger(FakeModel()), "teacher": make_tagger(FakeModel(sure=True))}
    with listening(create_app(Settings(), models=taggers)) as (port, _):
        yield DOCS.replace("localhost:8000", f"127.0.0.1:{port}")


def test_python(docs: str) -> None:
    example = doctest.DocTestParser().get_doctest(docs, {}, "integrations.md", "docs/integrations.md", 0)
    assert len(example.examples) > 5
    report: list[str] = []
    assert doctest.DocTestRunner().run(example, out=report.append).failed == 0, "".join(report)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_shell(docs: str) -> None:
    commands = re.findall(r"^ {4}(?:curl|printf)(?:.*\\\n|.*\|\n)*.*\n", docs, re.MULTILINE)
    single, stream = [
        subprocess.run(["bash", "-c", command], capture_output=True, timeout=20, check=True).stdout
        for command in commands
    ]
    assert [one["entity"] for one in json.loads(single)] == ["B-PER", "I-PER"]
    first, second = map(json.loads, stream.splitlines())
    assert first["id"] == 1 and first["entities"][0]["text"] == "Angela Merkel"
    assert "id" not in second and second["windows"] == 1
