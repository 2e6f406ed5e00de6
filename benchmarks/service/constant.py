"""The fastest answer that FastAPI gives: a body that pydantic parses, and always the same response.

`python -m benchmarks.service.constant --port 8002`
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.service.schemas import Entity, NerResponse, Result, Timings

ANSWER = NerResponse(
    results=[
        Result(
            entities=[
                Entity(start=0, end=12, label="PER", text="Marie Keller", score=0.975812),
                Entity(start=22, end=27, label="ORG", text="Zeiss", score=0.914377),
                Entity(start=31, end=35, label="LOC", text="Oslo", score=0.956202),
            ],
            model="student",
            fallback=None,
            windows=1,
        )
    ],
    request_id="0b0f6a0a4b2f4c0e9d8f6c1f5f0c7f55",
    timings_ms=Timings(queue=0.412, tokenize=0.104, infer=1.231, decode=0.117, total=2.046),
)


class TextRequest(BaseModel):
    """One text."""

    text: str


def create_app() -> FastAPI:
    """POST /ner without a model; an `async def` endpoint, so no thread is in the way."""
    app = FastAPI()

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/ner")
    async def ner(request: TextRequest) -> NerResponse:
        return ANSWER

    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.service.constant", description=__doc__)
    options.add_argument("--port", type=int, default=8002)
    options.add_argument(
        "--h11", action="store_true", help="with the parser and the event loop that `pip install uvicorn` brings"
    )
    given = options.parse_args(arguments)
    http, loop = ("h11", "asyncio") if given.h11 else ("auto", "auto")
    uvicorn.run(create_app(), port=given.port, access_log=False, log_level="warning", http=http, loop=loop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
