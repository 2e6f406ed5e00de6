"""Calls of other deployments: Ray's errors, calls that nobody waits for, metrics that do not come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

from service.errors import ClientGone, Overloaded, ServiceError, WorkerDead
from service.merging import pack
from service.queueing import Stages
from service.remote import Question, Reply
from service.runtime import Runtime
from service.settings import Settings

pytest.importorskip("ray.serve", reason="needs the extra `ray`")

from ray.exceptions import ActorDiedError, TaskCancelledError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from service.ray import Replicas, asker

QUESTION = Question(["Ohio"], 1.0, False, None)
REPLY = Reply([], Stages(), 0.0)


class Response:
    def __init__(self, work: Callable[[], Awaitable[Reply]]) -> None:
        self.cancelled = False
        self._work = work

    def __await__(self) -> Generator[Any, None, Reply]:
        return self._work().__await__()

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """As much of a DeploymentHandle as is used."""

    deployment_name = "teacher"

    def __init__(self, work: Callable[[], Awaitable[Any]]) -> None:
        self.responses: list[Response] = []
        self._work = work

    @property
    def answer(self) -> Handle:
        return self

    def remote(self, question: Question) -> Response:
        assert question is QUESTION
        self.responses.append(Response(self._work))
        return self.responses[-1]

    def broadcast(self, method: str) -> Handle:
        assert method == "metrics"
        return self

    async def results_async(self, *, timeout_s: float, return_exceptions: bool) -> list[Any]:
        assert timeout_s > 0 and return_exceptions
        return await self._work()


def fails(error: Exception) -> Callable[[], Awaitable[Any]]:
    async def work() -> Any:
        raise error

    return work


def gives(value: Any) -> Callable[[], Awaitable[Any]]:
    async def work() -> Any:
        return value

    return work


def test_an_answer() -> None:
    assert asyncio.run(asker("teacher", Handle(gives(REPLY)))(QUESTION)) is REPLY


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BackPressureError(5, 5), Overloaded),
        (ActorDiedError(), WorkerDead),
        (DeploymentUnavailableError(DeploymentID(name="teacher", app_name="onoma")), WorkerDead),
    ],
)
def test_errors_of_ray(error: Exception, kind: type[ServiceError]) -> None:
    with pytest.raises(kind, match="teacher"):
        asyncio.run(asker("teacher", Handle(fails(error)))(QUESTION))


def test_a_call_that_nobody_waits_for_is_cancelled_there() -> None:
    async def scenario() -> None:
        begun = asyncio.Event()

        async def work() -> None:
            begun.set()
            await asyncio.Event().wait()

        handle = Handle(work)
        asked = asyncio.ensure_future(asker("teacher", handle)(QUESTION))
        await begun.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert [one.cancelled for one in handle.responses] == [True]

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [asyncio.CancelledError(), TaskCancelledError()])
def test_what_ray_cancels_has_a_client_that_has_gone(error: BaseException) -> None:
    async def work() -> None:
        raise error

    with pytest.raises(ClientGone):
        asyncio.run(asker("teacher", Handle(work))(QUESTION))


def processes(own: Handle, *others: Handle) -> float:
    """How many replicas' metrics are rendered."""
    rendered = asyncio.run(Replicas(own, others, Runtime(Settings()).metrics).render()).decode()
    [line] = [line for line in rendered.splitlines() if line.startswith("onoma_processes ")]
    return float(line.split()[1])


def test_metrics_of_all_that_answer() -> None:
    packed = pack(Runtime(Settings()).metrics.registry.collect())
    students, teachers = Handle(gives([packed, packed])), Handle(gives([packed, ActorDiedError()]))
    assert processes(students, teachers) == 3
    for error in (TimeoutError(), ActorDiedError(), DeploymentUnavailableError(DeploymentID(name="x", app_name="y"))):
        assert processes(students, Handle(fails(error))) == 2
        assert processes(Handle(fails(error)), teachers) == 2  # its own, and the teacher's
