"""What is measured: requests, connections, who answers, and the bars that onoma has to reach."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from benchmarks.service.texts import long_text, sentence

Kind = Literal["short", "bulk", "long"]
BULK = 32  # texts in a bulk request
LONG = 400  # words in a long text
DIFFERENT = {"short": 4096, "bulk": 128, "long": 256}  # requests of each kind, sent again and again
ONOMA, PLAIN, PLAIN_TAGGER = "onoma", "plain", "plain-tagger"
CONSTANT, CONSTANT_H11, TAGGER = "constant", "constant-h11", "tagger"
CONTENDERS = (ONOMA, PLAIN, PLAIN_TAGGER, CONSTANT, CONSTANT_H11, TAGGER)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load, put on each contender in turn.

    :param share: of the requests/s at saturation, offered whether answers come or not (open loop); None: each
        connection sends its next request when it has its answer (closed loop).
    :param random: gaps between the requests of an open loop are random, not even.
    """

    name: str
    about: str
    kind: Kind
    connections: int
    contenders: tuple[str, ...]
    share: float | None = None
    random: bool = False

    @property
    def texts(self) -> int:
        """Texts in a request."""
        return BULK if self.kind == "bulk" else 1


@dataclass(frozen=True, slots=True)
class Bar:
    """What onoma has to reach.

    :param against: another contender, whose texts/s are divided into onoma's; None: p99 divided by p50 is the figure.
    :param limit: least value of a ratio of throughputs, greatest value (not reached) of p99 / p50.
    """

    letter: str
    scenario: str
    against: str | None
    limit: float

    @property
    def sense(self) -> str:
        """The bar in words."""
        return f"under {self.limit:g}" if self.against is None else f"at least {self.limit:g}"

    def met(self, value: float) -> bool:
        """Whether a figure reaches the bar."""
        return value < self.limit if self.against is None else value >= self.limit


_STEADY = "one sentence a request, 70 % of the requests/s that the contender just reached with 128 connections,"
_SERVERS = (ONOMA, PLAIN, PLAIN_TAGGER)
SCENARIOS = (
    Scenario("short-1", "one sentence a request, 1 connection", "short", 1, _SERVERS),
    Scenario("short-8", "one sentence a request, 8 connections", "short", 8, _SERVERS),
    Scenario("short-32", "one sentence a request, 32 connections", "short", 32, (*_SERVERS, CONSTANT, CONSTANT_H11)),
    Scenario("short-128", "one sentence a request, 128 connections", "short", 128, _SERVERS),
    Scenario("bulk-8", f"{BULK} sentences a request, 8 connections", "bulk", 8, (*_SERVERS, TAGGER)),
    Scenario("long-8", f"a text of {LONG} words a request, 8 connections", "long", 8, _SERVERS),
    Scenario("steady", f"{_STEADY} evenly spaced", "short", 128, (ONOMA, PLAIN), share=0.7),
    Scenario("random", f"{_STEADY} at random times", "short", 128, (ONOMA, PLAIN), share=0.7, random=True),
)
BARS = (
    Bar("a", "short-32", CONSTANT, 0.5),
    Bar("a", "short-32", CONSTANT_H11, 0.5),
    Bar("b", "bulk-8", TAGGER, 0.85),
    Bar("c", "steady", None, 4.0),
    Bar("d", "short-1", PLAIN, 1.2),
    Bar("d", "short-8", PLAIN, 1.5),
    Bar("d", "short-32", PLAIN, 1.5),
    Bar("d", "short-128", PLAIN, 1.5),
    Bar("d", "bulk-8", PLAIN, 1.5),
    Bar("d", "long-8", PLAIN, 1.5),
)


def by_name(name: str) -> Scenario:
    """The scenario of this name, which exists."""
    return next(one for one in SCENARIOS if one.name == name)


@cache
def texts_of(kind: Kind, *, seed: int = 0) -> Sequence[Sequence[str]]:
    """The texts of each request of a kind, the same for every contender."""
    rng = random.Random(f"{kind} {seed}")
    if kind == "long":
        return [[long_text(rng, LONG)] for _ in range(DIFFERENT[kind])]
    return [[sentence(rng) for _ in range(BULK if kind == "bulk" else 1)] for _ in range(DIFFERENT[kind])]


def request_bytes(body: dict[str, Any]) -> bytes:
    """A POST /ner with this JSON, as a client of HTTP/1.1 sends it on a connection that it keeps."""
    content = json.dumps(body, ensure_ascii=False).encode()
    head = (
        "POST /ner HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: onoma-benchmark\r\naccept: */*\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


@cache
def requests_of(kind: Kind, *, seed: int = 0) -> Sequence[bytes]:
    """The requests of a kind; the student is asked for by name, so that the teacher stays out of it."""
    given = [{"texts": list(texts)} if kind == "bulk" else {"text": texts[0]} for texts in texts_of(kind, seed=seed)]
    return [request_bytes({**one, "model": "student"}) for one in given]
