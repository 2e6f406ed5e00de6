"""docs/client.md names everything public, with its defaults, and its examples run as they stand there."""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import re
from pathlib import Path

import pytest
from client_serving import serving
from fakes import make_embedder, make_tagger

import onoma.client
from onoma.client import AsyncClient, Client, ClientError, Entity, ModelInfo, Result, Retries, ServerError
from service.app import create_app
from service.settings import Settings

DOCS = (Path(__file__).parents[3] / "docs" / "client.md").read_text(encoding="utf-8")
ROWS = {cells[0].strip("`"): cells[1:] for cells in (
    [cell.strip() for cell in line.strip("|").split("|")] for line in DOCS.splitlines() if line.startswith("| `")
)}
NAMED = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", DOCS))))
PARAMETERS = [one for one in inspect.signature(Client).parameters.values() if one.kind is one.KEYWORD_ONLY]


def public(kind: type) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_")]


@pytest.mark.parametrize("name", onoma.client.__all__)
def test_public_name(name: str) -> None:
    assert name in NAMED and hasattr(onoma.client, name)


@pytest.mark.parametrize("kind", [Client, AsyncClient, Result, Entity, ModelInfo])
def test_members(kind: type) -> None:
    fields = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else public(kind)
    assert fields and set(fields) <= NAMED


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda one: one.name)
def test_setting(parameter: inspect.Parameter) -> None:
    assert ROWS[parameter.name][0] == f"`{parameter.default}`"


@pytest.mark.parametrize("field", dataclasses.fields(Retries), ids=lambda one: one.name)
def test_policy(field: dataclasses.Field[object]) -> None:
    assert ROWS[field.name][0] == f"`{field.default}`"


@pytest.mark.parametrize("name", ["model", "offset_unit", "labels", "min_score", "on_error"])
def test_option(name: str) -> None:
    assert name in inspect.signature(Client.stream).parameters and name in NAMED


@pytest.mark.parametrize("name", sorted(vars(ServerError(400, "c", "m", "r"))))
def test_fact_of_an_error(name: str) -> None:
    assert name in NAMED


def test_the_table_of_errors_is_the_tree() -> None:
    kinds = [one for one in vars(onoma.client).values() if isinstance(one, type) and issubclass(one, ClientError)]
    expected = {one.__name__: [base.__name__ for base in one.__bases__] for one in kinds}
    found = {name: re.findall(r"\w+", ROWS[name][0]) for name in expected}
    assert found == expected


def test_both_clients_have_the_same_methods() -> None:
    assert set(public(Client)) - {"close"} == set(public(AsyncClient)) - {"aclose"}
    for name in set(public(Client)) - {"close"}:
        one, other = (inspect.signature(getattr(kind, name)).parameters.values() for kind in (Client, AsyncClient))
        assert [(p.name, p.default, p.kind) for p in one] == [(p.name, p.default, p.kind) for p in other]


def test_examples() -> None:
    """Against the real app in a thread."""
    with serving(create_app(Settings(), models={"student": make_tagger(), "encoder": make_embedder()})) as url:
        source = DOCS.replace("http://localhost:8000", url)
        example = doctest.DocTestParser().get_doctest(source, {}, "client.md", "docs/client.md", 0)
        assert len(example.examples) > 10
        report: list[str] = []
        assert doctest.DocTestRunner().run(example, out=report.append).failed == 0, "".join(report)
