"""Security: the headers that every answer carries, and pages that run nothing but their own scripts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable

from starlette.responses import HTMLResponse

Headers = Iterable[tuple[bytes, bytes]]

_NO_STORE = (b"cache-control", b"no-store")
_NO_SNIFF = (b"x-content-type-options", b"nosniff")
_CSP = b"content-security-policy"
_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src {styles}; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_STRICT = (_CSP, _POLICY.format(scripts="'none'", styles="'none'").encode("ascii"))
_PAGE = (
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_INLINE = {kind: re.compile(rf"<{kind}>(.*?)</{kind}>", re.DOTALL) for kind in ("script", "style")}


def secured(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers of an answer with those that keep browsers and caches from mischief.

    An answer may set its own `cache-control`, a page its own `content-security-policy`; else a page runs no scripts.
    """
    found = [*headers, _NO_SNIFF]
    stored = page = policy = False
    for name, value in found:
        if name == b"content-type":
            page = value.startswith(b"text/html")
        elif name == b"cache-control":
            stored = True
        elif name == _CSP:
            policy = True
    if not stored:
        found.append(_NO_STORE)
    if page:
        found.extend(_PAGE)
        if not policy:
            found.append(_STRICT)
    return found


def page(content: str, *, inline_styles: bool = False) -> HTMLResponse:
    """A page whose scripts and styles are its own: files of this server, and the `<script>` and `<style>` in it.

    :param inline_styles: also allow `style` attributes.
    """
    scripts, styles = ("'self'" + "".join(map(_source, _INLINE[kind].findall(content))) for kind in ("script", "style"))
    policy = _POLICY.format(scripts=scripts, styles="'self' 'unsafe-inline'" if inline_styles else styles)
    return HTMLResponse(content, headers={_CSP.decode("ascii"): policy})


def _source(code: str) -> str:
    digest = base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii")
    return f" 'sha256-{digest}'"
