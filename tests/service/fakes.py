"""A student, a teacher and a sentence encoder of a dozen words, built in memory, and the app around them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import httpx
import numpy as np
from fastapi import FastAPI
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from onoma.bundle import Calibration, TokenizerFacts
from onoma.embedder import Embedder, PieceEncoder
from onoma.encoding import Encoder
from onoma.labels import LabelSet
from onoma.tagger import Tagger
from service.app import create_app
from service.settings import Settings

TAGS = {
    "Angela": "B-PER",
    "Merkel": "I-PER",
    "Siemens": "B-ORG",
    "München": "B-LOC",
    "Ohio": "B-LOC",
    "maybe": "O",
    "likely": "O",
    "kill": "O",
    "boom": "O",
}
VOCABULARY = {"[UNK]": 0} | {word: number for number, word in enumerate(TAGS, start=1)}
LABELS = LabelSet.of_types(["PER", "ORG", "LOC"])


class Killed(BaseException):
    """What ends a worker thread."""


class FakeModel:
    """Tags the words of TAGS; unsure about `maybe`, less about `likely`, raises at `boom`, kills its thread at `kill`.

    :param sure: never unsure.
    """

    def __init__(self, *, sure: bool = False, types: LabelSet = LABELS) -> None:
        self.sure = sure
        self.error: Exception | None = None
        self.not_finite = False
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.batches: list[list[int]] = []
        self.labels = types

    def infer(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.entered.set()
        assert self.gate.wait(10)
        self.batches.append([len(ids) for ids in inputs])
        if self.error is not None:
            raise self.error
        return [self._emissions(ids) for ids in inputs]

    def _emissions(self, ids: np.ndarray) -> np.ndarray:
        rows = np.zeros((len(ids), len(LABELS.tags)), dtype=np.float32)
        words = dict(map(reversed, VOCABULARY.items()))
        for row, number in enumerate(ids):
            word = words[int(number)]
            if word == "boom":
                raise RuntimeError("secret text of a client")
            if word == "kill":
                raise Killed
            strength = 20.0 if self.sure else {"maybe": 0.5, "likely": 5.0}.get(word, 20.0)
            rows[row, LABELS.index[TAGS.get(word, "O")]] = np.nan if self.not_finite else strength
        return rows


def make_tagger(model: FakeModel | None = None, *, limit: int = 16, threshold: float = 0.5) -> Tagger:
    tokenizer = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return Tagger(
        encoder=Encoder(tokenizer, facts=TokenizerFacts(pad_id=0), limit=limit, overlap=4),
        model=model or FakeModel(),
        labels=LABELS,
        calibration=Calibration(fallback_threshold=threshold),
    )


class FakeSentenceModel(FakeModel):
    """Gives each text how often it has each word; raises at `boom`, kills its thread at `kill`."""

    def _emissions(self, ids: np.ndarray) -> np.ndarray:
        super()._emissions(ids)
        counts = np.bincount(ids, minlength=len(VOCABULARY)).astype(np.float32)
        return counts * np.float32("nan") if self.not_finite else counts / len(ids)


def make_embedder(model: FakeModel | None = None, *, limit: int = 16) -> Embedder:
    tokenizer = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return Embedder(
        encoder=PieceEncoder(tokenizer, facts=TokenizerFacts(pad_id=0), limit=limit, overlap=4),
        model=model or FakeSentenceModel(),
        dimensions=len(VOCABULARY),
    )


class Client:
    """A blocking client of an app, on an event loop of its own; `start` runs the app's lifespan."""

    def __init__(self, app: FastAPI) -> None:
        self._runner = asyncio.Runner()
        self._lifespan = app.router.lifespan_context(app)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://onoma")
        self._started = False

    def start(self) -> None:
        self._runner.run(self._lifespan.__aenter__())
        self._started = True

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        if self._started:
            self._runner.run(self._lifespan.__aexit__(None, None, None))
        self._runner.close()

    def request(self, method: str, path: str, **options: object) -> httpx.Response:
        return self._runner.run(self._client.request(method, path, **options))

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, **options: object) -> httpx.Response:
        return self.request("POST", path, **options)


class Served:
    """An app with its fakes and a client."""

    def __init__(
        self, app: FastAPI, student: FakeModel, teacher: FakeModel | None, encoder: FakeModel | None, client: Client
    ) -> None:
        self.app = app
        self.student = student
        self.teacher = teacher
        self.encoder = encoder
        self.client = client

    def ner(self, **body: object) -> httpx.Response:
        return self.client.post("/ner", json=body)

    def embed(self, **body: object) -> httpx.Response:
        return self.client.post("/embed", json=body)

    def similarity(self, *pairs: object, **options: object) -> httpx.Response:
        return self.client.post("/similarity", json={"pairs": pairs} | options)

    def metric(self, name: str, **labels: str) -> float:
        return self.app.state.runtime.metrics.registry.get_sample_value(name, labels) or 0.0


Serve = Callable[..., Served]
"""Starts an app: `serve(teacher=False, max_texts=3)`; keywords are settings."""


@asynccontextmanager
async def running(
    model: FakeModel, *, teacher: FakeModel | None = None, encoder: FakeModel | None = None, **settings: object
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """An app in this event loop, for tests of what happens at the same time."""
    models = {"student": make_tagger(model)} | ({"teacher": make_tagger(teacher)} if teacher else {})
    models |= {"encoder": make_embedder(encoder)} if encoder else {}
    # In a thread, so that a test can hold the model up while the event loop goes on.
    app = create_app(Settings(**{"workers": 1} | settings), models=models)
    async with app.router.lifespan_context(app):
        for one in (model, encoder):
            if one is not None:
                one.batches.clear()
                one.entered.clear()
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://onoma") as client:
            try:
                yield app, client
            finally:
                model.gate.set()
                if encoder is not None:
                    encoder.gate.set()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something another thread does has happened."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen in 5 seconds")
