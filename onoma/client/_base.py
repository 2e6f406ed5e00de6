"""What the two clients share: their settings. Nothing here sends or waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, Literal, TypeVar, get_args

import httpx

from onoma import __version__
from onoma.client._batching import Limits
from onoma.client._calls import Call, Options, refuse_string
from onoma.client._errors import ClientError
from onoma.client._inputs import Lines
from onoma.client._models import Result
from onoma.client._retry import Retries, Timing
from onoma.client._trial import Trial

HttpT = TypeVar("HttpT")
TransportT = TypeVar("TransportT")
OnError = Literal["raise", "yield"]

# uvicorn closes a connection after 5 idle seconds. One that this client gives up sooner is never closed under it.
POOL = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=3.0)


class ClientBase(Generic[HttpT, TransportT]):
    """Settings of a client, and what it makes of them."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout: float = 40.0,
        retries: Retries | int | None = None,
        texts_per_request: int = 256,
        chars_per_request: int = 100_000,
        requests_at_once: int = 4,
        transport: TransportT | None = None,
        timing: Timing | None = None,
    ) -> None:
        """Make a client; it connects when it is asked something.

        :param base_url: where the service is, with the path before `/ner` if a proxy adds one.
        :param api_key: sent as `Authorization: Bearer API_KEY`.
        :param timeout: seconds to wait for an answer (for a connection at most 5). The server's own limit is 30.
        :param retries: the policy, or just how many retries; 0 for none.
        :param texts_per_request: most texts in a request of `tag_batch`, `tag_tokens`, `stream`; the server takes 1024.
        :param chars_per_request: most characters in one, unless a single text has more; the server takes 2,000,000.
        :param requests_at_once: most such requests under way for one call of a method.
        :param transport: httpx transport, for proxies, certificates of one's own, and tests; None makes one.
        :param timing: for tests.
        :raises ValueError: if a setting makes no sense.
        """
        url = httpx.URL(base_url)
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"base_url must begin with http:// or https:// and name a host, got {base_url!r}")
        if api_key is not None and url.userinfo:
            raise ValueError("api_key and a user in base_url exclude each other: both are sent as `Authorization`")
        if api_key is not None and not (api_key.isascii() and api_key.isprintable() and " " not in api_key and api_key):
            raise ValueError("api_key must be of visible ASCII characters")
        for name, value in (
            ("timeout", timeout),
            ("texts_per_request", texts_per_request),
            ("chars_per_request", chars_per_request),
            ("requests_at_once", requests_at_once),
        ):
            if not value > 0:
                raise ValueError(f"{name} must be over 0, got {value}")
        self._url = url
        self._headers = {"accept": "application/json, application/x-ndjson", "user-agent": f"onoma/{__version__}"}
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._timeout = timeout
        self._retries = Retries(times=retries) if isinstance(retries, int) else retries or Retries()
        self._limits = Limits(texts=texts_per_request, characters=chars_per_request)
        self._at_once = requests_at_once
        self._timing = timing or Timing()
        self._http = self._open(transport)

    def _open(self, transport: TransportT | None) -> HttpT:
        raise NotImplementedError

    def _trial(self, call: Call[object], *, once: bool = False) -> Trial:
        where = f"{self._url.scheme}://{self._url.netloc.decode('ascii')}"  # without user and password
        retries = Retries(times=0) if once else self._retries
        return Trial(call, where=where, timeout=self._timeout, retries=retries, timing=self._timing)

    def _lines(self, texts: object, options: Options, on_error: OnError) -> Lines:
        refuse_string(texts, "texts")
        if on_error not in get_args(OnError):
            raise ValueError(f"on_error must be one of {', '.join(get_args(OnError))}, got {on_error!r}")
        return Lines(options, self._limits)


def delivered(answers: Iterable[Result | ClientError], on_error: OnError) -> Iterator[Result | ClientError]:
    """What a stream gives of the answers to some texts.

    :raises ClientError: of a text, if `on_error` is "raise".
    """
    for answer in answers:
        if on_error == "raise" and isinstance(answer, ClientError):
            raise answer
        yield answer
