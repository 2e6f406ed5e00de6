"""docs/service.md names every setting with its default, endpoint, metric and error code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from service.embedding_routes import router as embedding_router
from service.errors import ServiceError, error_classes
from service.hugging_face import router as hugging_face_router
from service.kserve import router as kserve_router
from service.metrics import Metrics
from service.models import router as models_router
from service.routes import router
from service.settings import Settings
from service.streaming import READ_AHEAD_BYTES, READ_AHEAD_LINES
from service.streaming_routes import router as stream_router

DOCS = (Path(__file__).parents[2] / "docs" / "service.md").read_text(encoding="utf-8")
ROUTES = [
    route
    for one in (router, models_router, kserve_router, stream_router, embedding_router, hugging_face_router)
    for route in one.routes
]
ROWS = {cells[0]: cells[1:] for cells in (
    [cell.strip() for cell in line.strip("|").split("|")] for line in DOCS.splitlines() if line.startswith("| `")
)}
OWN_METRICS = sorted(
    {metric.name for metric in Metrics().registry.collect() if metric.name.startswith("onoma_")}
)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_setting(name: str) -> None:
    default = Settings.model_fields[name].default
    shown, meaning = ROWS[f"`ONOMA_{name.upper()}`"]
    expected = "none" if default is None else str(default).lower() if isinstance(default, bool) else default
    assert shown == f"`{expected}`"
    assert meaning == Settings.model_fields[name].description


@pytest.mark.parametrize("kind", error_classes())
def test_error(kind: type[ServiceError]) -> None:
    assert ROWS[f"`{kind.code}`"][0] == str(kind.status)


@pytest.mark.parametrize("name", OWN_METRICS)
def test_metric(name: str) -> None:
    assert any(f"`{name}{suffix}`" in ROWS for suffix in ("", "_total", "_info"))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_endpoint(route: APIRoute) -> None:
    for method in route.methods - {"HEAD"}:
        assert f"`{method} {route.path}`" in ROWS


def test_nothing_is_documented_that_is_gone() -> None:
    named = set(re.findall(r"`ONOMA_(\w+)`", DOCS))
    assert named == {name.upper() for name in Settings.model_fields}
    codes = {row.strip("`") for row, cells in ROWS.items() if cells[0].isdigit() and not row.startswith("`ONOMA_")}
    assert codes == {kind.code for kind in error_classes()}


def test_how_much_of_a_stream_is_held() -> None:
    assert f"about {READ_AHEAD_LINES} lines or {READ_AHEAD_BYTES // 1024} KiB of a stream" in DOCS
