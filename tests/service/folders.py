"""Folders of real small bundles, whose answers show which version of them answered."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI

from onoma import LabelSet
from onoma.bundle import Manifest
from service.app import create_app
from service.runtime import Runtime
from service.settings import Settings
from tests.onoma.bundles import write_bundle

TEXTS = ["Angela in Köln", "Angela", "Köln"]


def types_of(version: int) -> tuple[str, str, str]:
    """What version `version` calls persons, organisations and places."""
    return (f"PER{version}", f"ORG{version}", f"LOC{version}")


def put(models: Path, name: str = "student", *, version: int = 1, **changes: object) -> Manifest:
    """Write a bundle, or put another in its place."""
    shutil.rmtree(models / name, ignore_errors=True)
    labels = LabelSet.of_types(list(types_of(version))).tags
    fields = {"labels": labels, "name": f"{name} {version}", "created": f"2026-01-{version:02}"}
    written = models / f".{name}"
    manifest = write_bundle(written, **(fields | changes))
    written.rename(models / name)
    return manifest


def labels_in(response: httpx.Response) -> set[str]:
    """The types of all entities in an answer of POST /ner."""
    assert response.status_code == 200, response.text
    return {entity["label"] for result in response.json()["results"] for entity in result["entities"]}


def runtime_of(app: FastAPI) -> Runtime:
    """What the app holds."""
    runtime: Runtime = app.state.runtime
    return runtime


@asynccontextmanager
async def serving(models: Path, **settings: object) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """An app with the bundles of a folder, in this event loop."""
    app = create_app(Settings(**{"models": models, "threads": 1, "management": True} | settings))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://onoma") as client:
            yield app, client
