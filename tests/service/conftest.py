"""The app of fakes.py as fixtures."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.app import create_app
from service.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))  # for `import fakes`

from fakes import Client, FakeModel, FakeSentenceModel, Serve, Served, make_embedder, make_tagger


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts apps: `serve(teacher=False, encoder=True, max_texts=3)`; other keywords are settings."""
    open_clients = []

    def start(*, teacher: bool = True, encoder: bool = False, **settings: object) -> Served:
        models = {"student": FakeModel()} | ({"teacher": FakeModel(sure=True)} if teacher else {})
        loaded = {name: make_tagger(model) for name, model in models.items()}
        if encoder:
            models["encoder"] = FakeSentenceModel()
            loaded["encoder"] = make_embedder(models["encoder"])
        settings = {"ready_cache_seconds": 0.0, "fallback_seconds": 10.0, "workers": 1} | settings
        app = create_app(Settings(**settings), models=loaded)
        client = Client(app)
        client.start()
        open_clients.append((client, models))
        for model in models.values():
            model.batches.clear()
            model.entered.clear()
        return Served(app, models["student"], models.get("teacher"), models.get("encoder"), client)

    yield start
    for client, models in open_clients:
        for model in models.values():
            model.gate.set()
        client.close()


@pytest.fixture
def served(serve: Serve) -> Served:
    """An app with a student and a teacher."""
    return serve()


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Logging is the process's: it is as it was after each test. The client of the tests logs what it asks."""
    root, hook = logging.getLogger(), threading.excepthook
    handlers, level = root.handlers[:], root.level
    for client in ("httpx", "httpcore"):
        logging.getLogger(client).setLevel(logging.WARNING)
    yield
    for client in ("httpx", "httpcore"):
        logging.getLogger(client).setLevel(logging.NOTSET)
    root.handlers[:], threading.excepthook = handlers, hook
    root.setLevel(level)
    logging.captureWarnings(False)
    logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)
