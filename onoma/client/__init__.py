"""Typed clients of the service: `Client`, and `AsyncClient` for asyncio. Needs the extra `client` (httpx).

>>> from onoma.client import Client
>>> with Client("http://localhost:8000") as client:
...     client.tag("Angela Merkel in Köln").entities

Every error is a `ClientError`; `onoma.client._errors` draws their tree, docs/client.md shows it too.
"""

from importlib.util import find_spec

if find_spec("httpx") is None:
    raise ImportError("onoma.client needs httpx: pip install 'onoma[client]'", name="httpx")

from onoma.client._async_client import AsyncClient
from onoma.client._client import Client
from onoma.client._errors import (
    BadRequest,
    ClientError,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidAnswer,
    InvalidText,
    Overloaded,
    ServerError,
    ServerFailed,
    Unauthorized,
    Unavailable,
)
from onoma.client._models import Entity, ModelInfo, Result
from onoma.client._retry import Retries, Timing

__all__ = [
    "AsyncClient",
    "BadRequest",
    "Client",
    "ClientError",
    "ConnectionFailed",
    "DeadlineExceeded",
    "Entity",
    "InvalidAnswer",
    "InvalidText",
    "ModelInfo",
    "Overloaded",
    "Result",
    "Retries",
    "ServerError",
    "ServerFailed",
    "Timing",
    "Unauthorized",
    "Unavailable",
]
