"""Processes that ask each other for their metrics."""

from __future__ import annotations

import asyncio
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from real_server import value

from service.metrics import Metrics
from service.siblings import ASK_SECONDS, SECRET_BYTES, Siblings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux\'")

TEXTS = 'onoma_texts_total{model="student"}'
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a test on either event loop."""

    def start(test: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if request.param == "uvloop" else None) as runner:
            runner.run(test)

    return start


class Family:
    """So many processes of one server; the first `up` of them listen."""

    def __init__(self, count: int) -> None:
        self.secret = secrets.token_bytes(SECRET_BYTES)
        self.metrics = [Metrics() for _ in range(count)]
        for number, metrics in enumerate(self.metrics, start=1):
            metrics.answered("student", characters=10**number, windows=1, labels=[])
            metrics.watch_requests(lambda: 1)
        self.members = [
            Siblings(secret=self.secret, place=place, count=count, metrics=metrics)
            for place, metrics in enumerate(self.metrics)
        ]

    @asynccontextmanager
    async def listening(self, up: int) -> AsyncIterator[None]:
        for member in self.members[:up]:
            await member.listen()
        yield
        for member in self.members[:up]:
            assert member._server is not None
            member._server.close()


def test_whoever_is_asked_speaks_for_all(run: Run) -> None:
    family = Family(3)

    async def test() -> None:
        async with family.listening(3):
            together = await asyncio.gather(*(member.render() for member in family.members))
        for text in map(bytes.decode, together):
            assert value(text, TEXTS) == 3
            assert value(text, 'onoma_characters_total{model="student"}') == 1110
            assert value(text, "onoma_in_flight_requests") == value(text, "onoma_processes") == 3

    run(test())


def test_who_is_not_there_is_left_out(run: Run) -> None:
    family = Family(3)

    async def test() -> None:
        async with family.listening(2):
            for member in family.members:  # the last one cannot be asked, but it can ask
                text = (await member.render()).decode()
                assert value(text, TEXTS) == value(text, "onoma_processes") == (3 if member is family.members[2] else 2)

    run(test())


@pytest.mark.parametrize("says", [b"", b"[[1, 2", b"{}", None])
def test_who_answers_nonsense_or_nothing_is_left_out(run: Run, says: bytes | None) -> None:
    """None: never."""
    family = Family(2)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(SECRET_BYTES)
        if says is None:
            await reader.read()
        else:
            writer.write(says)
        writer.close()

    async def test() -> None:
        async with await asyncio.start_unix_server(answer, path=family.members[0]._address(1)):
            began = time.monotonic()
            text = (await family.members[0].render()).decode()
            assert time.monotonic() - began < ASK_SECONDS + 5
        assert value(text, TEXTS) == value(text, "onoma_processes") == 1

    run(test())


def test_strangers_get_nothing(run: Run) -> None:
    """The name can be listed by everybody; it tells nothing of the secret."""
    family = Family(2)

    async def test() -> None:
        loop = asyncio.get_running_loop()
        name = family.members[0]._address(0)
        assert family.secret.hex()[:16] not in name
        for asked in (secrets.token_bytes(SECRET_BYTES), b"", b"x" * 10_000):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.setblocking(False)
                await loop.sock_connect(stranger, name)
                await loop.sock_sendall(stranger, asked)
                stranger.shutdown(socket.SHUT_WR)
                try:
                    assert await asyncio.wait_for(loop.sock_recv(stranger, 100), 10) == b""
                except ConnectionResetError:
                    pass  # it did not even read all that was sent
        text = (await family.members[1].render()).decode()
        assert value(text, "onoma_processes") == 2

    async def with_listeners() -> None:
        async with family.listening(2):
            await test()

    run(with_listeners())
