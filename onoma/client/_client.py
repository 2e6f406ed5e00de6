"""Client: the service, asked from ordinary code."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from itertools import chain
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


class Client(ClientBase[httpx.Client, httpx.BaseTransport]):
    """Asks the service and waits for its answers; threads may share one. `AsyncClient` is the same for asyncio.

    Its methods raise `ClientError` or one of its kind; docs/client.md shows the tree.
    """

    def tag(
        self,
        text: str,
        *,
        model: str = "auto",
        offset_unit: OffsetUnit = "codepoint",
        labels: Sequence[str] | None = None,
        min_score: float = 0.0,
    ) -> Result:
        """Tag one text.

        :param model: "auto" (the student, and the teacher where it is unsure), "student" or "teacher".
        :param offset_unit: of `start` and `end`: "codepoint" (Python), "utf16" (JavaScript, Java) or "utf8" (bytes).
        :param labels: only entities of these types; None for all.
        :param min_score: only entities with at least this score, in 0..1.
        """
        return self._run(text_call(text, Options(model, offset_unit, labels, min_score)))[0]

    def tag_batch(
        self,
        texts: Iterable[str],
        *,
        model: str = "auto",
        offset_unit: OffsetUnit = "codepoint",
        labels: Sequence[str] | None = None,
        min_score: float = 0.0,
    ) -> list[Result]:
        """Tag many texts, over as many requests as it takes; one result per text, in order. Options as in `tag`."""
        return self._tag(text_calls(texts, Options(model, offset_unit, labels, min_score), self._limits))

    def tag_tokens(
        self,
        tokens: Iterable[Sequence[str]],
        *,
        model: str = "auto",
        labels: Sequence[str] | None = None,
        min_score: float = 0.0,
    ) -> list[Result]:
        """Tag sentences given as tokens; `start` and `end` are token indices. Options as in `tag`."""
        return self._tag(token_calls(tokens, Options(model, "codepoint", labels, min_score), self._limits))

    @overload
    def stream(
        self,
        texts: Iterable[str],
        *,
        model: str = ...,
        offset_unit: OffsetUnit = ...,
        labels: Sequence[str] | None = ...,
        min_score: float = ...,
        on_error: Literal["raise"] = ...,
    ) -> Generator[Result, None, None]: ...

    @overload
    def stream(
        self,
        texts: Iterable[str],
        *,
        model: str = ...,
        offset_unit: OffsetUnit = ...,
        labels: Sequence[str] | None = ...,
        min_score: float = ...,
        on_error: Literal["yield"],
    ) -> Generator[Result | ClientError, None, None]: ...

    def stream(
        self,
        texts: Iterable[str],
        *,
        model: str = "auto",
        offset_unit: OffsetUnit = "codepoint",
        labels: Sequence[str] | None = None,
        min_score: float = 0.0,
        on_error: OnError = "raise",
    ) -> Generator[Result | ClientError, None, None]:
        """Tag any number of texts in constant memory; one result per text, in order. Options as in `tag`.

        Texts are taken as fast as results are, and answered once a request is full or the texts end. Closing it early
        waits for the requests under way and sends no more.

        :param on_error: a text that cannot be tagged ends the stream ("raise"), or its error takes its result's place
            ("yield"). A request that fails as a whole, after its retries, always ends the stream.
        """
        lines = self._lines(texts, Options(model, offset_unit, labels, min_score), on_error)
        return self._stream(texts, lines, on_error)

    def embed(self, texts: Iterable[str], *, model: str = "encoder") -> Floats:
        """Vectors (N, D) of length 1, one per text, in order, over as many requests as it takes.

        :param model: a sentence encoder that the server has loaded.
        """
        return np.concatenate(self._each_of(embed_calls(texts, model, self._limits)))

    def similarity(self, pairs: Iterable[Sequence[str]], *, model: str = "encoder") -> list[float]:
        """How alike in meaning the texts of each pair are: their cosine, -1..1. Options as in `embed`."""
        scored = self._each_of(similarity_calls(pairs, model, self._limits))
        return [score for scores in scored for score in scores]

    def models(self) -> list[ModelInfo]:
        """The models that the server has loaded."""
        return self._run(ModelsCall())

    def alive(self) -> bool:
        """Whether the server's process answers. Asks once; a wrong URL or key raises."""
        return self._run(ProbeCall("/healthz"), once=True)

    def ready(self) -> bool:
        """Whether an inference of every model has just worked. Asks once; a wrong URL or key raises."""
        return self._run(ProbeCall("/readyz"), once=True)

    def close(self) -> None:
        """Close the connections; the client cannot be used after it."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, transport: httpx.BaseTransport | None) -> httpx.Client:
        return httpx.Client(base_url=self._url, headers=self._headers, limits=POOL, transport=transport)

    def _exchange(self, attempt: Attempt) -> Outcome:
        try:
            return self._http.request(**attempt.arguments())
        except httpx.RequestError as error:
            return error

    def _run(self, call: Call[T], stop: threading.Event | None = None, *, once: bool = False) -> T:
        stop = stop or threading.Event()
        sleep = self._timing.sleep or stop.wait
        trial = self._trial(call, once=once)
        while (attempt := trial.attempt()) is not None:
            if stop.is_set():
                raise CancelledError
            if (seconds := trial.judge(self._exchange(attempt))) > 0:
                sleep(seconds)
        return call.result()

    def _tag(self, calls: Sequence[NerCall]) -> list[Result]:
        return list(chain.from_iterable(self._each_of(calls)))

    def _each_of(self, calls: Sequence[Call[T]]) -> list[T]:
        if len(calls) == 1:  # the usual case needs no threads
            return [self._run(calls[0])]
        return list(self._in_order(calls))

    def _stream(
        self, texts: Iterable[str], lines: Lines, on_error: OnError
    ) -> Generator[Result | ClientError, None, None]:
        def calls() -> Iterator[StreamCall]:
            for text in texts:
                yield from lines.add(text)
            yield from lines.rest()

        with closing(self._in_order(calls())) as answered:
            for answers in answered:
                yield from delivered(answers, on_error)

    def _in_order(self, calls: Iterable[Call[T]]) -> Generator[T, None, None]:
        """Results of the calls, of which a bounded number is under way."""
        stop = threading.Event()
        pool = ThreadPoolExecutor(self._at_once, thread_name_prefix="onoma-client")
        under_way: deque[Future[T]] = deque()
        try:
            for call in calls:
                under_way.append(pool.submit(self._run, call, stop))
                while under_way and (len(under_way) >= self._at_once or under_way[0].done()):
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            # Those under way are waited for: a connection that closes under a thread would leak. None begins any more.
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
