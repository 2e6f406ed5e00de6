"""The service's contract as a handler for httpx.MockTransport, a clock, and the async client with blocking methods."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from onoma.client import AsyncClient, Client, Timing

NAMES = {"Angela Merkel": "PER", "Siemens": "ORG", "München": "LOC", "Ohio": "LOC"}
MODELS = [{"name": "tiny", "role": "student", "labels": ["PER", "ORG", "LOC"], "size": {"bytes": 7}}]
HTML = "<html>\n <body><h1>Bad   Gateway</h1></body></html>"

Step = httpx.Response | Exception | None
"""What happens to a request: that answer, that exception, or (None) what the contract says."""


def error_body(code: str, message: str = "so it is", request_id: str = "from-server") -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "request_id": request_id}}


def failure(status: int, code: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=error_body(code), headers=named)


class Contract:
    """Answers as the service does; `script` holds what happens to the next requests instead.

    A text `!CODE` in a stream gives an error line with that code, as often as `line_failures` says.
    """

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.script: deque[Step] = deque()
        self.line_failures: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.requests.append(request)
            step = self.script.popleft() if self.script else None
        if isinstance(step, Exception):
            raise step
        if step is not None:  # a copy: a response is read once
            return httpx.Response(step.status_code, headers=step.headers, content=step.content)
        return self._answer(request)

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        match request.method, request.url.path:
            case "POST", "/ner":
                return self._ner(request)
            case "POST", "/ner/stream":
                return self._stream(request)
            case "POST", "/embed":
                return self._embed(request)
            case "POST", "/similarity":
                return self._similarity(request)
            case "GET", "/models":
                return httpx.Response(200, json={"models": MODELS, "default": "tiny"})
            case "GET", "/healthz":
                return httpx.Response(200, json={"status": "alive"})
            case "GET", "/readyz":
                return httpx.Response(200, json={"status": "ready", "models": ["student"]})
        return failure(404, "not_found")

    def _ner(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        assert request.headers["content-type"] == "application/json"
        assert body.keys() <= {"text", "texts", "tokens", "model", "offset_unit", "labels", "min_score"}
        [field] = body.keys() & {"text", "texts", "tokens"}
        given = [body["text"]] if field == "text" else body[field]
        results = [tagged(" ".join(one) if field == "tokens" else one, body) for one in given]
        return httpx.Response(200, json={"results": results, "request_id": "x", "timings_ms": {"total": 1.0}})

    def _embed(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        assert request.headers["content-type"] == "application/json" and body.keys() == {"texts", "model"}
        answer = {"embeddings": [vector(text) for text in body["texts"]], "dimensions": 2, "model": body["model"]}
        return httpx.Response(200, json=answer | {"request_id": "x", "timings_ms": {"total": 1.0}})

    def _similarity(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        assert request.headers["content-type"] == "application/json" and body.keys() == {"pairs", "model"}
        assert all(len(pair) == 2 for pair in body["pairs"])
        scores = [1.0 if first == second else len(first) / 1e4 for first, second in body["pairs"]]
        answer = {"scores": scores, "model": body["model"], "request_id": "x", "timings_ms": {"total": 1.0}}
        return httpx.Response(200, json=answer)

    def _stream(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["content-type"] == "application/x-ndjson"
        query = dict(request.url.params)
        options = {**query, "labels": query["labels"].split(",") if "labels" in query else None}
        answers = []
        for line in request.content.splitlines():
            given = json.loads(line)
            code = given["text"].removeprefix("!") if given["text"].startswith("!") else None
            with self._lock:
                fails = code is not None and self.line_failures.get(code, 10**9) > 0
                if fails:
                    self.line_failures[code] = self.line_failures.get(code, 10**9) - 1
            answers.append({"id": given["id"], **(error_body(code) if fails else tagged(given["text"], options))})
        content = "".join(json.dumps(answer) + "\n" for answer in answers)
        return httpx.Response(200, content=content + "\n", headers={"content-type": "application/x-ndjson"})


def vector(text: str) -> list[float]:
    """Two numbers that say how long a text is."""
    return [len(text) / 1e4, 0.5]


def tagged(text: str, options: dict[str, Any]) -> dict[str, Any]:
    """Entities by list, in code points; `model` repeats what was asked for."""
    found = re.finditer("|".join(NAMES), text)
    entities = [
        {"start": one.start(), "end": one.end(), "label": NAMES[one[0]], "text": one[0], "score": 0.9}
        for one in found
        if not options.get("labels") or NAMES[one[0]] in options["labels"]
    ]
    return {"entities": entities, "model": options["model"], "fallback": None, "windows": 1}


class Clock:
    """Time that passes only when someone sleeps."""

    def __init__(self) -> None:
        self.time = 0.0
        self.sleeps: list[float] = []
        self.chance = 1.0

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.time += seconds

    async def async_sleep(self, seconds: float) -> None:
        self.sleep(seconds)

    def timing(self) -> Timing:
        return Timing(
            monotonic=lambda: self.time,
            now=lambda: 1_800_000_000 + self.time,
            random=lambda: self.chance,
            sleep=self.sleep,
            async_sleep=self.async_sleep,
        )


class Blocking:
    """An AsyncClient whose methods block, so that one test serves both clients."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._runner = asyncio.Runner()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def method(*arguments: object, **options: object) -> Any:
            made = getattr(self._client, name)(*arguments, **options)
            return self._runner.run(made) if asyncio.iscoroutine(made) else self._iterate(made)

        return method

    def _iterate(self, results: Any) -> Iterator[Any]:
        async def step() -> Any:
            return await anext(results, None)

        try:
            while (result := self._runner.run(step())) is not None:
                yield result
        finally:
            self._runner.run(results.aclose())

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


AnyClient = Client | Blocking
Make = Callable[..., AnyClient]
"""Makes a client of either kind: `make(handler, retries=0)`; keywords are settings."""
