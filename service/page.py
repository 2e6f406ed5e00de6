"""The page at /: for people, where a client gets JSON. One answer that holds its own styles and scripts.

So it works behind any prefix, needs no other address, and is never half of one version and half of another.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from starlette.responses import Response
from starlette.types import Scope

from service.security import page

VARY = {"vary": "accept"}
"""A header of whatever is answered at /."""

_STYLES = re.compile(r'<link rel="stylesheet" href="([\w-]+\.css)">')
_SCRIPT = re.compile(r'<script src="([\w-]+\.js)"></script>')
_CSP = "content-security-policy"
_NO_MARKUP = "; require-trusted-types-for 'script'; trusted-types 'none'"  # no text can become markup
_PAGE, _DATA = "text/html", "application/json"


def page_wanted(scope: Scope) -> bool:
    """Whether a request is a browser's for the page: GET or HEAD of / that would rather have HTML than JSON."""
    if scope["path"] != "/" or scope["method"] not in ("GET", "HEAD"):
        return False
    accept = ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept")
    return _quality(accept, _PAGE) > _quality(accept, _DATA)


def page_answer() -> Response:
    """The page."""
    answer = page(_content())
    answer.headers[_CSP] += _NO_MARKUP
    answer.headers.update(VARY)
    return answer


@cache
def _content() -> str:
    content = _STYLES.sub(lambda found: f"<style>\n{_file(found[1])}</style>", _file("index.html"))
    return _SCRIPT.sub(lambda found: f"<script>\n{_file(found[1])}</script>", content)


def _file(name: str) -> str:
    return files("service").joinpath("static", name).read_text(encoding="utf-8")


def _quality(accept: str, kind: str) -> float:
    """How much a client wants a media type, 0..1; the closest range of its Accept header says it."""
    ranges = ("*/*", f"{kind.partition('/')[0]}/*", kind)  # the closer the later
    closeness, quality = -1, 0.0
    for one in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in one.split(";"))
        if media in ranges and ranges.index(media) >= closeness:
            closeness, quality = ranges.index(media), _weight(parameters)
    return quality


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return float(value) if re.fullmatch(r"[01](\.\d{0,3})?", value.strip()) else 0.0
    return 1.0
