"""AsyncClient: the service, asked from asyncio."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Literal, Self, TypeVar, overload

import httpx
import numpy as np

from onoma.client._base import POOL, ClientBase, OnError, delivered
from onoma.client._calls import Call, ModelsCall, NerCall, Options, ProbeCall, StreamCall
from onoma.client._embedding import Floats, embed_calls, similarity_calls
from onoma.client._errors import ClientError
from onoma.client._inputs import Lines, text_call, text_calls, token_calls
from onoma.client._models import ModelInfo, Result
from onoma.client._trial import Attempt, Outcome
from onoma.text import OffsetUnit

T = TypeVar("T")


class AsyncClient(ClientBase[httpx.AsyncClient, httpx.AsyncBaseTransport]):
    """As `Client`, for asyncio: the same methods, to be awaited."""

    async def tag(
        self,
        text: str,
        *,
        model: str = "auto",
        offset_unit: OffsetUnit = "codepoint",
        labels: Sequence[str] | None = None,
        min_score: float = 0.0,
    ) -> Result:
        """As `Client.tag`."""
        return (await self._run(text_call(text, Options(model, offset_unit, labels, min_score))))[0]

    async def tag_batch(
        self,
        texts: Iterable[str],
        *,
        model: str = "auto",
        offset_unit: OffsetUnit = "codepoint",
        labels: Sequence[str] | None = None,
        min_score: float = 0.0,
    ) -> list[Result]:
        """As `Client.tag_batch`."""
        return await self._tag(text_calls(texts, Options(model, offset_unit, labels, min_score), self._limits))

    async def tag_tokens(
        self,
        tokens: Iterable[Sequence[str]],
        *,
        model: str = "auto",
        labels: Sequence[str] | None = None,
        min_score: float = 0.0,
    ) -> list[Result]:
        """As `Client.tag_tokens`."""
        return await self._tag(token_calls(tokens, Options(model, "codepoint", labels, min_score), self._limits))

    @overload
    def stream(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        model: str = ...,
        offset_unit: OffsetUnit = ...,
        labels: Sequence[str] | None = ...,
        min_score: float = ...,
        on_error: Literal["raise"] = ...,
    ) -> AsyncGenerator[Result, None]: ...

    @overload
    def stream(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        model: str = ...,
        offset_unit: OffsetUnit = ...,
        labels: Sequence[str] | None = ...,
        min_score: float = ...,
        on_error: Literal["yield"],
    ) -> AsyncGenerator[Result | ClientError, None]: ...

    def stream(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        model: str = "auto",
        offset_unit: OffsetUnit = "codepoint",
        labels: Sequence[str] | None = None,
        min_score: float = 0.0,
        on_error: OnError = "raise",
    ) -> AsyncGenerator[Result | ClientError, None]:
        """As `Client.stream`, also of texts that come asynchronously.

        Who leaves off early should close it (`contextlib.aclosing`), which cancels the requests under way.
        """
        lines = self._lines(texts, Options(model, offset_unit, labels, min_score), on_error)
        return self._stream(texts, lines, on_error)

    async def embed(self, texts: Iterable[str], *, model: str = "encoder") -> Floats:
        """As `Client.embed`."""
        return np.concatenate(await self._each_of(embed_calls(texts, model, self._limits)))

    async def similarity(self, pairs: Iterable[Sequence[str]], *, model: str = "encoder") -> list[float]:
        """As `Client.similarity`."""
        scored = await self._each_of(similarity_calls(pairs, model, self._limits))
        return [score for scores in scored for score in scores]

    async def models(self) -> list[ModelInfo]:
        """As `Client.models`."""
        return await self._run(ModelsCall())

    async def alive(self) -> bool:
        """As `Client.alive`."""
        return await self._run(ProbeCall("/healthz"), once=True)

    async def ready(self) -> bool:
        """As `Client.ready`."""
        return await self._run(ProbeCall("/readyz"), once=True)

    async def aclose(self) -> None:
        """Close the connections; the client cannot be used after it."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _open(self, transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self._url, headers=self._headers, limits=POOL, transport=transport)

    async def _exchange(self, attempt: Attempt) -> Outcome:
        try:
            return await self._http.request(**attempt.arguments())
        except httpx.RequestError as error:
            return error

    async def _run(self, call: Call[T], *, once: bool = False) -> T:
        sleep = self._timing.async_sleep or asyncio.sleep
        trial = self._trial(call, once=once)
        while (attempt := trial.attempt()) is not None:
            if (seconds := trial.judge(await self._exchange(attempt))) > 0:
                await sleep(seconds)
        return call.result()

    async def _tag(self, calls: Sequence[NerCall]) -> list[Result]:
        return [result for results in await self._each_of(calls) for result in results]

    async def _each_of(self, calls: Sequence[Call[T]]) -> list[T]:
        async with aclosing(self._in_order(calls)) as answered:
            return [one async for one in answered]

    async def _stream(
        self, texts: Iterable[str] | AsyncIterable[str], lines: Lines, on_error: OnError
    ) -> AsyncGenerator[Result | ClientError, None]:
        async def calls() -> AsyncGenerator[StreamCall, None]:
            async for text in _each(texts):
                for call in lines.add(text):
                    yield call
            for call in lines.rest():
                yield call

        async with aclosing(self._in_order(calls())) as answered:
            async for answers in answered:
                for answer in delivered(answers, on_error):
                    yield answer

    async def _in_order(self, calls: Iterable[Call[T]] | AsyncIterable[Call[T]]) -> AsyncGenerator[T, None]:
        """Results of the calls, of which a bounded number is under way."""
        under_way: deque[asyncio.Task[T]] = deque()
        try:
            async for call in _each(calls):
                under_way.append(asyncio.create_task(self._run(call)))
                await asyncio.sleep(0)  # so that it starts, even if the next texts come without awaiting
                while under_way and (len(under_way) >= self._at_once or under_way[0].done()):
                    yield await under_way.popleft()
            while under_way:
                yield await under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncGenerator[T, None]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
