"""Streaming: POST /ner/stream, one text a line in, one answer a line out, for as long as the client likes.

What is held of a stream is bounded: when that much is not answered, or not read by the client, no more of the body is
received, and the connection makes the client wait. One coroutine does it all: it waits for what has to be received, for
the models and for what has to be sent, and starts the next of each.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from starlette.types import Message, Receive, Send

from service.cascade import Answer
from service.errors import (
    ClientGone,
    DeadlineExceeded,
    InferenceFailed,
    NotReady,
    Overloaded,
    ServiceError,
    WorkerDead,
)
from service.ndjson import Line, Lines, error_line, read_line, result_line
from service.ner import OFF_LOOP_BYTES
from service.queueing import Stages
from service.results import Inputs, render_each
from service.runtime import Runtime
from service.schemas import NerRequest

READ_AHEAD_LINES, READ_AHEAD_BYTES = 512, 262_144
"""Most lines that are taken and not sent back yet, and about the most bytes of them; one line alone is always taken."""
GROUPS = 4
"""Model calls of a stream that are under way at once."""
GROUP_LINES, GROUP_CHARACTERS = 128, 8192
"""Most lines of a model call, and about the most characters."""
_SEND_BYTES = 65_536  # about the most that is sent at once
_TICK_SECONDS = 0.25  # how often a stream on which nothing happens looks whether it should end
_DISCARD_SECONDS = 5.0  # for the rest of a body, of which nothing is taken any more
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # before asking an overloaded model again
_HEADERS = [
    (b"content-type", b"application/x-ndjson"),
    (b"x-accel-buffering", b"no"),  # else nginx keeps answers back
]


class Stream:
    """One stream.

    :param options: how to answer; its text does not matter.
    """

    def __init__(
        self, runtime: Runtime, options: NerRequest, *, request_id: str, receive: Receive, send: Send
    ) -> None:
        self._runtime = runtime
        self._settings = runtime.settings
        self._options = options
        self._request_id = request_id
        self._receive = receive
        self._send = send
        self._lines = Lines(runtime.settings.max_body_bytes)
        self._whole = False  # the body has come to its end
        self._closing = False  # the server is: nothing is taken any more
        self._dropped = False  # and something has come that would have been
        self._gone = False  # the client has closed the connection
        self._pending: deque[Line] = deque()  # taken and not sent back, in order
        self._pending_bytes = 0
        self._untagged: deque[Line] = deque()  # those of them that no group has
        self._groups: set[asyncio.Task[None]] = set()
        self._receiving: asyncio.Task[Message] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._under_way = 0  # lines that are being sent
        self._moved = time.monotonic()  # when the client or a model last did something

    async def run(self) -> None:
        """Answer every line.

        :raises ServiceError: if the client does not even read why the stream ends.
        """
        self._receiving = asyncio.create_task(self._next())
        await asyncio.sleep(0)  # that has begun: a client that waits for "100 Continue" gets it before the answer
        try:
            await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            ending = await self._answer_lines()
            if ending is not None:
                self._runtime.metrics.errors.labels(code=ending.code).inc()
            if not self._gone:
                await self._end(ending)
        finally:
            await self._cancel_all()

    async def _answer_lines(self) -> ServiceError | None:
        """Why it ended before the body did, or None."""
        while True:
            self._closing = self._runtime.health.closing
            more_wanted = self._closing or await self._take_lines()
            self._start_groups()
            self._start_sending()
            if not self._pending:
                if self._whole and self._lines.empty and not self._dropped:
                    return None
                if self._closing:
                    return NotReady("the server is shutting down: this line and those after it were not taken")
            if self._receiving is None and (more_wanted or self._whole):
                self._receiving = asyncio.create_task(self._next())  # with the whole body here, to see a hang-up
            tasks: set[asyncio.Task[Any]] = {*self._groups}
            tasks |= {task for task in (self._receiving, self._sending) if task is not None}
            await asyncio.wait(tasks, timeout=_TICK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            self._note_done()
            if self._gone:
                return ClientGone("the client closed the connection")
            if self._idle():
                return self._too_idle()

    async def _take_lines(self) -> bool:
        """Take lines as long as there is room; whether more of the body is wanted."""
        while not self._pending or self._room():
            content = self._lines.take()
            if content is None:
                return not self._whole
            number = self._lines.taken
            if isinstance(content, bytes) and len(content) > OFF_LOOP_BYTES:
                line = await self._runtime.in_pool(partial(read_line, number, content, self._settings))
            else:
                line = read_line(number, content, self._settings)
            self._pending.append(line)
            self._pending_bytes += line.size
            if line.error is None:
                self._untagged.append(line)
            else:
                self._fail([line], line.error)
        return False

    def _room(self) -> bool:
        return len(self._pending) < READ_AHEAD_LINES and self._pending_bytes < READ_AHEAD_BYTES

    def _start_groups(self) -> None:
        while self._untagged and len(self._groups) < GROUPS:
            group: list[Line] = []
            characters = 0
            while self._untagged and len(group) < GROUP_LINES:
                characters += len(self._untagged[0].text)
                if group and characters > GROUP_CHARACTERS:
                    break
                group.append(self._untagged.popleft())
            self._groups.add(asyncio.create_task(self._tag(group)))

    def _start_sending(self) -> None:
        if self._sending is not None:
            return
        ready: list[bytes] = []
        size = 0
        for line in self._pending:
            if line.answer is None or size > _SEND_BYTES:
                break
            ready.append(line.answer)
            size += len(line.answer)
        if ready:
            self._under_way = len(ready)
            self._sending = asyncio.create_task(self._write(b"".join(ready), more=True))

    async def _next(self) -> Message:
        return await self._receive()

    async def _write(self, body: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    def _note_done(self) -> None:
        """Take up what the tasks that are done have brought."""
        moved = False
        if self._receiving is not None and self._receiving.done():
            message = self._receiving.result()
            self._receiving = None
            moved = True
            self._gone = message["type"] == "http.disconnect"
            body = message.get("body", b"")
            if self._closing:
                self._dropped = self._dropped or bool(body.strip())
            else:
                self._lines.feed(body)
            if not message.get("more_body", False):
                self._whole = True
                self._lines.end()
        if self._sending is not None and self._sending.done():
            self._sending.result()
            self._sending = None
            moved = True
            for _ in range(self._under_way):
                self._pending_bytes -= self._pending.popleft().size
        for task in [task for task in self._groups if task.done()]:
            task.result()
            self._groups.remove(task)
            moved = True
        if moved:
            self._moved = time.monotonic()

    def _idle(self) -> bool:
        waited = time.monotonic() - self._moved
        return not self._groups and waited >= self._settings.stream_idle_seconds

    def _too_idle(self) -> DeadlineExceeded:
        seconds = self._settings.stream_idle_seconds
        return DeadlineExceeded(f"the client sent and read nothing for {seconds:g} seconds, the limit")

    async def _tag(self, group: Sequence[Line]) -> None:
        """Answer the lines of a group; none of them fails for another's sake."""
        texts = [line.text for line in group]
        try:
            answers = await self._ask(texts)
        except (InferenceFailed, WorkerDead) as error:
            if len(group) == 1:
                self._fail(group, error)
            else:
                for line in group:
                    await self._tag([line])
            return
        except ServiceError as error:
            self._fail(group, error)
            return

        def finish() -> None:
            results = render_each(self._options, Inputs(texts), answers, metrics=self._runtime.metrics)
            for line, result in zip(group, results, strict=True):
                line.answer = result_line(line, result)

        if sum(map(len, texts)) > OFF_LOOP_BYTES:
            await self._runtime.in_pool(finish)
        else:
            finish()
        self._runtime.metrics.stream_lines.labels(outcome="answered").inc(len(group))

    async def _ask(self, texts: Sequence[str]) -> list[Answer]:
        """The models' answers; waits as long as they are overloaded, which is not these lines' fault."""
        seconds = self._settings.deadline_seconds
        pause = _SHORTEST_PAUSE
        while True:
            try:
                async with asyncio.timeout(seconds):
                    return await self._runtime.cascade.tag(
                        texts, Stages(), model=self._options.model, deadline=time.monotonic() + seconds, bulk=True
                    )
            except Overloaded:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except TimeoutError:
                raise DeadlineExceeded(f"the line took longer than the {seconds:g} seconds allowed") from None

    def _fail(self, group: Sequence[Line], error: ServiceError) -> None:
        for line in group:
            line.answer = error_line(line.number, error, request_id=self._request_id, id=line.id)
        self._runtime.metrics.stream_lines.labels(outcome=error.code).inc(len(group))

    async def _end(self, why: ServiceError | None) -> None:
        """Send the end of the answer, and before it why that is not the end of the body."""
        if self._sending is not None and why is not None:
            raise why  # the client does not read
        try:
            async with asyncio.timeout(self._settings.stream_idle_seconds):
                if why is not None:
                    await self._write(error_line(self._lines.taken + 1, why, request_id=self._request_id), more=True)
                if self._closing:
                    await self._discard()
                await self._write(b"", more=False)
        except TimeoutError:
            raise self._too_idle() from None

    async def _discard(self) -> None:
        """Read the rest of the body away: a client that is still sending when the connection closes may see a reset."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                while not (self._whole or self._gone):
                    self._receiving = self._receiving or asyncio.create_task(self._next())
                    await asyncio.wait([self._receiving])
                    self._note_done()

    async def _cancel_all(self) -> None:
        tasks = [task for task in (*self._groups, self._receiving, self._sending) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
