"""Answers leave in one packet, and the client still decides how fast."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.corking import CorkedTransport


class Wire(asyncio.Transport):
    """Notes what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("here", 1)})
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written.append(data)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("parts", [[b"head", b"body"], [b"only"], []])
def test_what_is_written_together_leaves_together(parts: list[bytes]) -> None:
    async def scenario() -> None:
        wire = Wire()
        corked = CorkedTransport(wire, asyncio.get_running_loop())
        for part in parts:
            corked.write(part)
        assert wire.written == []
        await asyncio.sleep(0)
        assert wire.written == ([b"".join(parts)] if parts else [])
        corked.write(b"next")
        await asyncio.sleep(0)
        assert wire.written[-1] == b"next"

    asyncio.run(scenario())


def test_all_is_written_before_the_connection_closes() -> None:
    async def scenario() -> None:
        wire = Wire()
        corked = CorkedTransport(wire, asyncio.get_running_loop())
        corked.write(b"head")
        corked.write(b"body")
        corked.close()
        assert wire.written == [b"headbody"] and wire.closed
        await asyncio.sleep(0)
        assert wire.written == [b"headbody"]

    asyncio.run(scenario())


def test_much_is_not_held_back() -> None:
    async def scenario() -> None:
        wire = Wire()
        corked = CorkedTransport(wire, asyncio.get_running_loop())
        for _ in range(100):  # without a turn of the loop
            corked.write(b"x" * 1000)
        assert sum(map(len, wire.written)) >= 60_000
        await asyncio.sleep(0)
        assert b"".join(wire.written) == b"x" * 100_000

    asyncio.run(scenario())


def test_the_rest_is_the_transports() -> None:
    async def scenario() -> None:
        corked = CorkedTransport(Wire(), asyncio.get_running_loop())
        assert corked.get_extra_info("peername") == ("here", 1)
        with pytest.raises(NotImplementedError):
            corked.pause_reading()

    asyncio.run(scenario())
