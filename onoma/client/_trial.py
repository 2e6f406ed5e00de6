"""Trial: one call from its first request to its answer, as decisions; the clients only send and wait."""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx

from onoma.client._calls import Call, Request
from onoma.client._errors import ClientError, ConnectionFailed, ServerError
from onoma.client._models import error_of
from onoma.client._retry import Retries, Timing, most_retries

LOG = logging.getLogger("onoma.client")

CONNECT_SECONDS = 5.0
"""Most seconds to wait for a connection: a host that is there answers sooner."""

Outcome = httpx.Response | httpx.RequestError
"""What came of a request: an answer, or why there is none."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request to send now, with its timeout."""

    request: Request
    request_id: str
    timeout: httpx.Timeout

    def arguments(self) -> dict[str, Any]:
        """For `request` of an httpx client."""
        return {
            "method": self.request.method,
            "url": self.request.path,
            "params": self.request.query or None,
            "content": self.request.content,
            "headers": {"x-request-id": self.request_id}
            | ({"content-type": self.request.content_type} if self.request.content is not None else {}),
            "timeout": self.timeout,
        }


class Trial:
    """Decides what to send, whether to send it again, and after how long.

    :param where: the server, for messages.
    :param timeout: seconds to wait for an answer.
    """

    def __init__(self, call: Call[object], *, where: str, timeout: float, retries: Retries, timing: Timing) -> None:
        self._call = call
        self._where = where
        self._timeout = timeout
        self._retries = retries
        self._timing = timing
        self._request_id = uuid.uuid4().hex
        self._began = timing.monotonic()
        self._made = 0
        self._made_for: Counter[tuple[type[ClientError], object]] = Counter()

    def attempt(self) -> Attempt | None:
        """What to send now; None once the call is answered."""
        request = self._call.request()
        if request is None:
            return None
        # The wait for a free connection is this client's own doing and no sign of a server that fails.
        timeout = httpx.Timeout(self._timeout, connect=min(self._timeout, CONNECT_SECONDS), pool=None)
        return Attempt(request, self._request_id, timeout)

    def judge(self, outcome: Outcome) -> float:
        """Take what came of the attempt; returns the seconds to wait before the next.

        :raises ClientError: if the call has failed for good.
        """
        error = self._complaint(outcome)
        if error is None:
            return 0.0
        wait = self._wait(error)
        if wait is not None:
            self._made += 1
            self._made_for[_kind(error)] += 1
            LOG.info("request %s: retry %d in %.1f s after: %s", self._request_id, self._made, wait, _short(error))
            return wait
        if self._call.settle(error):
            return 0.0
        if self._made:
            error.add_note(f"sent {self._made + 1} times in {self._timing.monotonic() - self._began:.1f} s")
        raise error from (outcome if isinstance(outcome, httpx.RequestError) else None)

    def _complaint(self, outcome: Outcome) -> ClientError | None:
        if isinstance(outcome, httpx.RequestError):
            return self._no_answer(outcome)
        if outcome.is_success:
            return self._call.accept(outcome)
        return error_of(outcome, now=self._timing.now())

    def _no_answer(self, error: httpx.RequestError) -> ConnectionFailed:
        return ConnectionFailed(
            f"no answer from {self._where}: {type(error).__name__}: {error}".removesuffix(": "),
            timed_out=isinstance(error, (httpx.ReadTimeout, httpx.WriteTimeout)),
            transient=not isinstance(error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError)),
        )

    def _wait(self, error: ClientError) -> float | None:
        """Seconds to wait before trying again, or None if it is over."""
        times = self._retries.times
        if self._made >= times or self._made_for[_kind(error)] >= most_retries(error, times):
            return None
        asked = error.retry_after if isinstance(error, ServerError) else None
        wait = self._retries.wait(self._made + 1, asked, self._timing.random())
        spent = self._timing.monotonic() - self._began
        return wait if spent + wait < self._retries.budget_seconds else None


def _kind(error: ClientError) -> tuple[type[ClientError], object]:
    """What is counted together: one status, or one way of not getting an answer."""
    return type(error), error.status if isinstance(error, ServerError) else getattr(error, "timed_out", None)


def _short(error: ClientError) -> str:
    """Without the message of the server, which may repeat a few characters of a text."""
    return f"{error.status} {error.code}" if isinstance(error, ServerError) else str(error)
