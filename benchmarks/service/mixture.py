"""The mixed load of the soak: what clients send who know the service, and what others send."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.service.scenarios import BULK, LONG, request_bytes
from benchmarks.service.texts import long_text, page, sentence

Sort = Literal["short", "bulk", "long", "page", "invalid", "hang-up"]
PAGE = 20_000  # characters
# Share of the requests of each sort.
SHARES: dict[Sort, float] = {"short": 0.6, "bulk": 0.1, "long": 0.12, "page": 0.03, "invalid": 0.1, "hang-up": 0.05}
DIFFERENT = 2000  # requests, sent again and again


@dataclass(frozen=True, slots=True)
class Mixed:
    """One request of the mix; of a hang-up, the bytes are as many as the client sends before it hangs up."""

    sort: Sort
    content: bytes


def _raw(line: str, body: bytes) -> bytes:
    return f"{line} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


# Requests that no server should take: no JSON, no valid request, no valid text, over a limit, no such place.
INVALID: tuple[bytes, ...] = (
    _raw("POST /ner", b""),
    _raw("POST /ner", b'{"text": "cut off'),
    _raw("POST /ner", b'{"text": "\xff\xfe"}'),
    _raw("POST /ner", b"[" * 5000),
    _raw("POST /ner", b"{}"),
    _raw("POST /ner", b'{"text": 7}'),
    _raw("POST /ner", b'{"text": "a", "texts": ["b"]}'),
    _raw("POST /ner", b'{"text": "a", "no_such_field": 1}'),
    _raw("POST /ner", b'{"text": "a", "labels": ["NO_SUCH_LABEL"]}'),
    _raw("POST /ner", b'{"text": "lone \\ud800 surrogate"}'),
    _raw("POST /ner", b'{"text": "nul \\u0000 character"}'),
    _raw("POST /ner", json.dumps({"texts": ["a"] * 100_000}).encode()),
    _raw("GET /no/such/path", b""),
    _raw("PUT /ner", b'{"text": "a"}'),
)


def mixed(*, model: str = "auto", seed: int = 0, count: int = DIFFERENT) -> list[Mixed]:
    """Requests of the mix, in an order that the seed gives."""
    rng = random.Random(f"mixed {seed}")
    sorts: Sequence[Sort] = rng.choices(list(SHARES), list(SHARES.values()), k=count)
    return [Mixed(sort, _content(sort, model, rng)) for sort in sorts]


def _content(sort: Sort, model: str, rng: random.Random) -> bytes:
    if sort == "invalid":
        return rng.choice(INVALID)
    if sort == "hang-up":
        whole = _content(rng.choice(("short", "bulk", "long", "page")), model, rng)
        return whole[: rng.choice((len(whole), len(whole) // 2, 20))]
    if sort == "bulk":
        return request_bytes({"texts": [sentence(rng) for _ in range(BULK)], "model": model})
    text = {"short": lambda: sentence(rng), "long": lambda: long_text(rng, LONG), "page": lambda: page(rng, PAGE)}
    return request_bytes({"text": text[sort](), "model": model})
