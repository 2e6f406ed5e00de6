"""Retry policy: which error is worth another try, and after how long."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

from onoma.client._errors import (
    ClientError,
    ConnectionFailed,
    DeadlineExceeded,
    Overloaded,
    ServerError,
    Unavailable,
)

ONCE = 1


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and after how long a request is sent again. Requests only ask, so sending one twice does no harm.

    Before try n+1 the client waits a random time in 0..min(max_seconds, base_seconds * 2**(n-1)) ("full jitter"), on
    top of the server's `Retry-After`. Errors that sending again may make worse (500, 504, no answer in time) are tried
    again once; those that it cannot cure (other 4xx) never.

    :param times: most retries of one request; 0 for none.
    :param base_seconds: bound of the first wait.
    :param max_seconds: bound of every wait.
    :param max_retry_after_seconds: bound of the `Retry-After` that is waited for.
    :param budget_seconds: no retry begins later than this after the first try did.
    """

    times: int = 4
    base_seconds: float = 0.2
    max_seconds: float = 10.0
    max_retry_after_seconds: float = 30.0
    budget_seconds: float = 120.0

    def __post_init__(self) -> None:
        for name in ("times", "base_seconds", "max_seconds", "max_retry_after_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"retries: {name} must be at least 0, got {getattr(self, name)}")
        if not self.budget_seconds > 0:
            raise ValueError(f"retries: budget_seconds must be over 0, got {self.budget_seconds}")

    def wait(self, retry: int, asked: float | None, chance: float) -> float:
        """Seconds before a retry.

        :param retry: 1 for the first.
        :param asked: seconds of the server's `Retry-After`, if it has one.
        :param chance: a random number in 0..1.
        """
        # Beyond 2**60 times the base nothing changes, but a float would overflow.
        bound = min(self.max_seconds, self.base_seconds * 2.0 ** min(retry - 1, 60))
        return min(asked or 0.0, self.max_retry_after_seconds) + chance * bound


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the client takes time and chance from; tests put their own in.

    :param monotonic: seconds, for durations.
    :param now: seconds since 1970, for a `Retry-After` that is a date.
    :param random: a random number in 0..1.
    :param sleep: waits, in `Client`; None: until the time is over or the stream is closed.
    :param async_sleep: waits, in `AsyncClient`; None: asyncio.sleep.
    """

    monotonic: Callable[[], float] = field(default=time.monotonic)
    now: Callable[[], float] = field(default=time.time)
    random: Callable[[], float] = field(default=random.random)
    sleep: Callable[[float], object] | None = None
    async_sleep: Callable[[float], Awaitable[object]] | None = None


def most_retries(error: ClientError, times: int) -> int:
    """How many retries an error deserves where the policy allows `times`."""
    if isinstance(error, ConnectionFailed):
        return (min(times, ONCE) if error.timed_out else times) if error.transient else 0
    if isinstance(error, (Overloaded, Unavailable)):
        return times
    if isinstance(error, DeadlineExceeded):
        return min(times, ONCE)
    if isinstance(error, ServerError):
        return {500: min(times, ONCE), 502: times}.get(error.status, 0)
    return 0


def is_transient(error: ClientError) -> bool:
    """Whether trying again can help."""
    return most_retries(error, ONCE) > 0


def retry_after_seconds(header: str | None, now: float) -> float | None:
    """Seconds from now that a `Retry-After` header asks for: a number, or an HTTP date; None if it is neither."""
    if header is None:
        return None
    header = header.strip()
    if header.isascii() and header.isdigit():
        return float(header[:9])
    try:
        date = parsedate_to_datetime(header)
    except (ValueError, OverflowError):  # from outside: any text may stand there
        return None
    # A date without a zone ("-0000") is in UTC.
    moment = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    return max(0.0, moment - now)
