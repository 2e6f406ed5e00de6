"""Keys: who may ask. A file of API keys, and the guard that asks for them; docs/security.md says more."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import Unauthorized
from service.page import page_wanted

LOG = logging.getLogger("onoma.service")

SHORTEST_KEY = 16
"""Least characters of a key that is given plain."""
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Probes have no keys."""
OPEN_PREFIX = "/v2/health/"
RECHECK_SECONDS = 1.0
"""How often at most the file of keys is looked at."""

_HASHED = b"sha256:"
_HEX_DIGEST = re.compile(rb"[0-9a-fA-F]{64}")
_PLAIN_KEY = re.compile(rb"[!-~]*")  # what a header can carry: ASCII without spaces

Stamp = tuple[int, int, int] | None


def read_keys(path: Path) -> tuple[bytes, ...]:
    """The SHA-256 digests of the keys in a file: one a line, plain or as `sha256:` and 64 hex digits; # is a comment.

    :raises ValueError: if there is no such file, it has no key, or a line is none; a key is never repeated.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ValueError(f"api_keys_file: {path}: {error.strerror}") from None
    digests = [
        _digest(line, f"api_keys_file: {path}: line {number}")
        for number, line in enumerate(map(bytes.strip, lines), start=1)
        if line and not line.startswith(b"#")
    ]
    if not digests:
        raise ValueError(f"api_keys_file: {path} has no key")
    return tuple(dict.fromkeys(digests))


def _digest(line: bytes, where: str) -> bytes:
    if line.startswith(_HASHED):
        digits = line.removeprefix(_HASHED)
        if not _HEX_DIGEST.fullmatch(digits):
            raise ValueError(f"{where}: sha256: needs 64 hex digits after it, got {len(digits)} characters")
        return bytes.fromhex(digits.decode("ascii"))
    if not _PLAIN_KEY.fullmatch(line):
        raise ValueError(f"{where}: a key is made of ASCII characters without spaces")
    if len(line) < SHORTEST_KEY:
        raise ValueError(f"{where}: a key needs at least {SHORTEST_KEY} characters, got {len(line)}")
    return hashlib.sha256(line).digest()


class KeyFile:
    """The keys of a file, read again when it changes, so that keys are changed without a restart.

    :param clock: seconds that only ever grow.
    :raises ValueError: as `read_keys`.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._stamp = _stamp(path)
        self._digests = read_keys(path)
        self._check_at = clock() + RECHECK_SECONDS

    def knows(self, key: bytes) -> bool:
        """Whether it is one of the keys; takes as long whichever it is, and however much of it is right."""
        if (now := self._clock()) >= self._check_at:
            self._check_at = now + RECHECK_SECONDS
            self._renew()
        digest = hashlib.sha256(key).digest()
        known = False
        for one in self._digests:
            known |= hmac.compare_digest(one, digest)
        return known

    def _renew(self) -> None:
        if (stamp := _stamp(self._path)) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._digests = read_keys(self._path)
        except ValueError as error:
            LOG.error("%s; the keys read before stay in force", error)
            return
        LOG.info("api_keys_file: %s has changed, keys: %d", self._path, len(self._digests))


def _stamp(path: Path) -> Stamp:
    """Changes when the file does, or the link to it; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class KeyGuard:
    """Refuses requests without a known key, before anything of their body is read.

    The page for people needs none, it says nothing of this server; it asks for a key and sends it with what it asks.

    :param open_paths: paths that need none, besides those under OPEN_PREFIX.
    """

    def __init__(self, app: ASGIApp, *, keys: KeyFile, open_paths: Iterable[str]) -> None:
        self._app = app
        self._keys = keys
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request.

        :raises Unauthorized: if it has no known key.
        """
        if scope["type"] == "http" and not (
            self._is_open(scope["path"]) or self._admits(scope["headers"]) or page_wanted(scope)
        ):
            raise Unauthorized
        await self._app(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return path in self._open or path.startswith(OPEN_PREFIX)

    def _admits(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        for name, value in headers:
            if name == b"authorization":
                scheme, _, key = value.partition(b" ")
                if scheme.lower() == b"bearer" and self._keys.knows(key.strip()):
                    return True
            elif name == b"x-api-key" and self._keys.knows(value):
                return True
        return False


def with_keys(schema: dict[str, Any], *, open_paths: Iterable[str]) -> dict[str, Any]:
    """An OpenAPI description that says where keys go, and which paths need none."""
    open_paths = frozenset(open_paths)
    schema.setdefault("components", {})["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    }
    schema["security"] = [{"bearer": []}, {"header": []}]
    refused = {
        form: {
            "description": "no API key, or a wrong one",
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{form}"}}},
        }
        for form in ("ErrorResponse", "ProtocolError")
    }
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            if path in open_paths or path.startswith(OPEN_PREFIX):
                operation["security"] = []
            else:
                operation["responses"]["401"] = refused["ProtocolError" if path.startswith("/v2") else "ErrorResponse"]
    return schema
