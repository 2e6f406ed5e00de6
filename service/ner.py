"""POST /ner: from the bytes of a request to those of its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from starlette.types import Message, Receive, Scope

from service.cascade import Answer
from service.errors import BadRequest, ClientGone, DeadlineExceeded, Overloaded
from service.parsing import parse_request
from service.queueing import Stages
from service.results import Inputs, render, to_json
from service.runtime import Runtime
from service.schemas import NerRequest

F = TypeVar("F")

OFF_LOOP_BYTES = 32_768
"""From this many bytes on, parsing and rendering would keep the event loop from other clients."""
# Most answers are there sooner; only who waits longer is watched for hanging up.
_WATCH_SECONDS = 0.02


class Form(Protocol):
    """What one request and its answer look like from outside."""

    def read(self, body: bytes) -> NerRequest:
        """What is asked.

        :raises ServiceError: if it is no valid request.
        """
        ...

    def write(
        self, asked: NerRequest, inputs: Inputs, answers: Sequence[Answer], stages: Stages, total: float
    ) -> bytes:
        """The answer, which took `total` seconds."""
        ...


class NerForm:
    """The form of POST /ner."""

    def __init__(self, runtime: Runtime, request_id: str) -> None:
        self._runtime = runtime
        self._request_id = request_id

    def read(self, body: bytes) -> NerRequest:
        """A NerRequest."""
        return parse_request(body, settings=self._runtime.settings, known_labels=self._runtime.labels)

    def write(
        self, asked: NerRequest, inputs: Inputs, answers: Sequence[Answer], stages: Stages, total: float
    ) -> bytes:
        """A NerResponse."""
        response = render(asked, inputs, answers, request_id=self._request_id, metrics=self._runtime.metrics)
        return to_json(response, stages, total)


async def ner(runtime: Runtime, scope: Scope, receive: Receive) -> bytes:
    """The answer to one request of POST /ner.

    :raises ServiceError: if there is none.
    """
    return await respond(runtime, scope, receive, NerForm(runtime, scope["state"]["request_id"]), tagged)


async def respond(
    runtime: Runtime,
    scope: Scope,
    receive: Receive,
    form: F,
    answer: Callable[[Runtime, bytes, float, F], Awaitable[bytes]],
) -> bytes:
    """The answer to one request, within its limits.

    :param answer: makes it, of the body, the time at which the request began, and its form; `tagged` for entities.
    :raises ServiceError: if there is none.
    """
    seconds = runtime.settings.deadline_seconds
    began = time.monotonic()
    with admitted(runtime):
        try:
            async with asyncio.timeout(seconds):
                body = await read_body(scope, receive)
                with dropped_when_gone(receive):
                    return await answer(runtime, body, began, form)
        except TimeoutError:
            raise DeadlineExceeded(f"the request took longer than the {seconds:g} seconds allowed") from None


@contextmanager
def admitted(runtime: Runtime) -> Iterator[None]:
    """Count a request as under way.

    :raises Overloaded: if too many are.
    """
    limit = runtime.settings.max_in_flight
    if runtime.in_flight >= limit:
        raise Overloaded(f"{limit} requests are under way, the limit; try again later")
    runtime.in_flight += 1
    try:
        yield
    finally:
        runtime.in_flight -= 1


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The whole body.

    :raises ServiceError: BadRequest if it is compressed, ClientGone if it does not come.
    """
    refuse_compressed(scope)
    message = await _next(receive)
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body
    chunks = [body]
    while message.get("more_body", False):
        message = await _next(receive)
        chunks.append(message.get("body", b""))
    return b"".join(chunks)


def refuse_compressed(scope: Scope) -> None:
    """Bodies are read as they come.

    :raises BadRequest: if the request announces a compressed one.
    """
    for name, value in scope["headers"]:
        if name == b"content-encoding" and value.lower() != b"identity":
            raise BadRequest("content-encoding: bodies must come uncompressed")


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone("the client closed the connection")
    return message


class _Watch:
    """Cancels the task that made it once its client closes the connection."""

    def __init__(self, receive: Receive) -> None:
        self.gone = False
        self._receive = receive
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self._watcher: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_WATCH_SECONDS, self._begin)

    def _begin(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.task.cancel()

    def close(self) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()


@contextmanager
def dropped_when_gone(receive: Receive) -> Iterator[None]:
    """Within it, work is given up when the client closes the connection; its body must have been read.

    :raises ClientGone: then.
    """
    watch = _Watch(receive)
    try:
        yield
    except asyncio.CancelledError:
        if not watch.gone or watch.task.uncancel():
            raise
        raise ClientGone("the client closed the connection") from None
    finally:
        watch.close()


async def tagged(runtime: Runtime, body: bytes, began: float, form: Form) -> bytes:
    """The answer to one request for entities, for `respond`.

    :raises ServiceError: if there is none.
    """
    large = len(body) > OFF_LOOP_BYTES
    stages = Stages()

    def prepare() -> tuple[NerRequest, Inputs]:
        asked = form.read(body)
        return asked, Inputs.of(asked)

    asked, inputs = await runtime.in_pool(prepare) if large else prepare()
    answers = await runtime.cascade.tag(
        inputs.texts, stages, model=asked.model, deadline=began + runtime.settings.deadline_seconds
    )

    def finish() -> bytes:
        return form.write(asked, inputs, answers, stages, time.monotonic() - began)

    return await runtime.in_pool(finish) if large else finish()
