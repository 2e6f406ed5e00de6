"""Connections are shared out among the processes of a server, and none waits for one that does not take it."""

from __future__ import annotations

import asyncio
import errno
import multiprocessing
import os
import re
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import httpx
import pytest
from real_server import RealServer, until

from service import accepting
from service.accepting import ABSENT, Acceptor, Shares
from tests.onoma.bundles import write_bundle


def shares(*counts: int) -> Shares:
    made = Shares(multiprocessing.get_context("spawn"), len(counts))
    for place, count in enumerate(counts):
        made.note(place, count)
    return made


@pytest.mark.parametrize(
    ("counts", "ahead"),
    [
        ((5, 5), False),
        ((6, 5), False),
        ((7, 5), True),
        ((5, 9), False),
        ((9, ABSENT), False),
        ((9, ABSENT, 7), True),
        ((9, 20, 8), False),
        ((3,), False),
    ],
)
def test_who_is_ahead(counts: tuple[int, ...], ahead: bool) -> None:
    assert shares(*counts).ahead(0) is ahead


class Counting(asyncio.Protocol):
    """Says its name to whoever connects."""

    def __init__(self, name: bytes, held: Counter[bytes]) -> None:
        self._name, self._held = name, held

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._held[self._name] += 1
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._name)
        transport.close()


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def acceptor(listener: socket.socket, name: bytes, held: Counter[bytes], own: Shares, place: int) -> Acceptor:
    return Acceptor(
        [listener],
        protocol=lambda: Counting(name, held),
        connections=lambda: held[name],
        shares=own,
        place=place,
    )


async def names(listener: socket.socket, count: int) -> list[bytes]:
    """What is said to so many clients that connect at once."""

    async def one() -> bytes:
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        async with asyncio.timeout(30):
            said = await reader.read()
        writer.close()
        await writer.wait_closed()
        return said

    return await asyncio.gather(*(one() for _ in range(count)))


def test_whoever_is_ahead_takes_all_the_same_when_nobody_else_does() -> None:
    async def story() -> None:
        with listening() as listener:
            held: Counter[bytes] = Counter()
            own = shares(0, 0)  # place 1 has none, and takes none
            alone = acceptor(listener, b"a", held, own, 0)
            alone.open()
            assert await names(listener, 12) == [b"a"] * 12
            await alone.close()

    asyncio.run(story())


def test_one_turn_takes_many() -> None:
    """A turn may run the model: of clients that open a connection for each request, none waits for a turn each."""

    async def story() -> None:
        with listening() as listener:
            held: Counter[bytes] = Counter()
            alone = Acceptor(
                [listener], protocol=lambda: Counting(b"a", held), connections=lambda: held.total(), shares=None
            )
            alone.open()
            with ExitStack() as stack:
                for _ in range(50):
                    stack.enter_context(socket.create_connection(listener.getsockname()))
                for _ in range(5):
                    await asyncio.sleep(0)
                    await asyncio.sleep(0.001)
                assert held.total() == 50
            await alone.close()

    asyncio.run(story())


def test_what_waits_is_taken_at_the_end() -> None:
    async def story() -> None:
        with listening() as listener:
            held: Counter[bytes] = Counter()
            alone = acceptor(listener, b"a", held, shares(0, 0), 0)
            alone.open()
            address = listener.getsockname()
            with ExitStack() as stack:
                for _ in range(9):  # no turn comes in between
                    stack.enter_context(socket.create_connection(address))
                await alone.close()
                assert held.total() == 9
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)

    asyncio.run(story())


def test_two_share_a_burst() -> None:
    async def story() -> None:
        with listening() as listener, listener.dup() as other:
            held: Counter[bytes] = Counter()
            own = shares(0, 0)
            pair = [
                acceptor(one, name, held, own, at) for at, (one, name) in enumerate([(listener, b"a"), (other, b"b")])
            ]
            for one in pair:
                one.open()
            said = Counter(await names(listener, 40))
            assert abs(said[b"a"] - said[b"b"]) <= 4 and said.total() == 40
            for one in pair:
                await one.close()

    asyncio.run(story())


def test_no_descriptor_left_is_not_the_end(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    class Full(socket.socket):
        failures = 2

        def accept(self) -> tuple[socket.socket, object]:
            if self.failures:
                self.failures -= 1
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return super().accept()

    async def story() -> None:
        with Full() as listener:
            listener.bind(("127.0.0.1", 0))
            alone = acceptor(listener, b"a", Counter(), shares(0), 0)
            alone.open()
            assert await names(listener, 3) == [b"a"] * 3
            await alone.close()

    monkeypatch.setattr(accepting, "_FAILED_SECONDS", 0.01)
    asyncio.run(story())
    assert [record.getMessage()[:52] for record in caplog.records] == [
        "cannot accept a connection: Too many open files; try"
    ] * 2


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="several processes need Linux")
def test_connections_opened_at_once_find_all_processes(tmp_path: Path) -> None:
    write_bundle(tmp_path / "models" / "student")
    server = RealServer(tmp_path / "models", tmp_path / "log", "--port", "0", "--processes", "2", access_log="true")
    body = b'{"text": "Angela"}'
    head = f"POST /ner HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"

    def answered() -> Counter[str]:
        return Counter(re.findall(r"POST /ner 200 .* process=(\d)", server.log))

    def a_burst_is_shared() -> bool:
        """A busy machine may keep one process from running while the other takes all."""
        before = answered()
        with ExitStack() as stack:
            address = httpx.URL(server.url).host, httpx.URL(server.url).port or 0
            opened = [stack.enter_context(closing(socket.create_connection(address))) for _ in range(24)]
            for connection in opened:
                connection.sendall(head.encode() + body)
            for connection in opened:
                connection.settimeout(30)
                assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        until(lambda: (answered() - before).total() == 24)
        return min((answered() - before)[place] for place in "01") >= 6

    with closing(server):
        server.wait_for_processes(2)
        until(a_burst_is_shared)
