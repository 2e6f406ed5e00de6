"""NDJSON: a body cut into lines as it comes, and what each line says."""

from __future__ import annotations

import json
from dataclasses import dataclass

import orjson

from service.errors import InvalidRequest, InvalidText, LimitExceeded, ServiceError, shown
from service.parsing import check_lengths, check_unicode, load_json
from service.settings import Settings

_FIELDS = ("text", "id")


class Lines:
    """Cuts a body into lines, whatever the chunks it comes in; what it holds is one unfinished line and one chunk.

    :param max_bytes: most bytes of a line.
    """

    def __init__(self, max_bytes: int) -> None:
        self.taken = 0  # number of the last line taken, blank ones counted
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._searched = 0  # bytes of the buffer that are known to hold no newline
        self._skipping = False  # the buffer begins inside a line that was refused
        self._whole = False

    @property
    def empty(self) -> bool:
        """Whether all that has come is taken."""
        return not self._buffer

    def feed(self, chunk: bytes) -> None:
        """More of the body has come."""
        self._buffer += chunk

    def end(self) -> None:
        """The body is over: what follows its last newline is a line too."""
        self._whole = True

    def take(self) -> bytes | LimitExceeded | None:
        """The next line that is not blank, or why it cannot be taken; None if more must come first."""
        while (end := self._find()) is not None:
            self.taken += 1
            if end > self._max_bytes:
                return LimitExceeded(f"line: at most {self._max_bytes} bytes in a line, got {self._drop(end)}")
            content = bytes(self._buffer[:end])
            self._cut(end)
            if content.strip():
                return content
        return None

    def _find(self) -> int | None:
        """Where the next line ends, or that it is too long already; None if neither has come yet."""
        end = self._buffer.find(b"\n", self._searched)
        if self._skipping:
            if end < 0:
                self._cut(len(self._buffer))
                return None
            self._cut(end)
            self._skipping = False
            return self._find()
        if end < 0:
            self._searched = end = len(self._buffer)
            complete = self._whole and end > 0
            return end if complete or end > self._max_bytes else None
        return end

    def _drop(self, end: int) -> str:
        """Leave out a line that is too long; how many bytes of it were seen."""
        complete = end < len(self._buffer)
        self._cut(end)
        self._skipping = not complete
        return f"{end}" if complete else f"at least {end}"

    def _cut(self, end: int) -> None:
        del self._buffer[: end + 1]
        self._searched = 0


@dataclass(slots=True, eq=False)
class Line:
    """One line.

    :param number: which line of the body, counted from 1.
    :param size: its bytes.
    :param id: as JSON, if the line has one.
    :param error: why it cannot be tagged.
    :param answer: what is sent for it, once that is known.
    """

    number: int
    size: int
    id: bytes | None = None
    text: str = ""
    error: ServiceError | None = None
    answer: bytes | None = None


def read_line(number: int, content: bytes | LimitExceeded, settings: Settings) -> Line:
    """What a line says: {"text": ..., "id": ...} or a text alone. An error of it is noted, not raised."""
    if isinstance(content, LimitExceeded):
        return Line(number, 0, error=content)
    line = Line(number, len(content))
    try:
        given = load_json(content, what="the line")
        if isinstance(given, dict) and "id" in given:
            line.id = _id_of(given["id"], content)
        line.text = _text_of(given, settings)
    except ServiceError as error:
        line.error = error
    return line


def _id_of(value: object, content: bytes) -> bytes:
    """An id as JSON, exactly: json reads it again where orjson would round it, which keeps 64 bits of an integer."""
    try:
        if isinstance(value, float | list | dict):
            value = json.loads(content)["id"]
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidText("id has a lone surrogate: it is not valid Unicode") from None
    except RecursionError:
        raise InvalidRequest("id: nested too deep") from None
    except ValueError:
        raise InvalidRequest("id: a number in it is too large") from None


def _text_of(given: object, settings: Settings) -> str:
    if isinstance(given, dict):
        for name in given:
            if name not in _FIELDS:
                raise InvalidRequest(f"{shown(name)}: a line has {' and '.join(_FIELDS)} only")
        if "text" not in given:
            raise InvalidRequest("text: Field required")
        given = given["text"]
        if not isinstance(given, str):
            raise InvalidRequest(f"text: must be a string, got {type(given).__name__}")
    if not isinstance(given, str):
        raise InvalidRequest(f"the line must be a JSON object or a string, got {type(given).__name__}")
    check_unicode(given, "text", depth=0)
    check_lengths([("text", len(given))], settings)
    return given


def result_line(line: Line, result: dict[str, object]) -> bytes:
    """The answer to a line that was tagged."""
    return _join(line.id, result)


def error_line(number: int, error: ServiceError, *, request_id: str, id: bytes | None = None) -> bytes:
    """The answer to a line that was not."""
    body = {"code": error.code, "message": error.message, "request_id": request_id}
    return _join(id, {"line": number, "error": body})


def _join(id: bytes | None, fields: dict[str, object]) -> bytes:
    given = {} if id is None else {"id": orjson.Fragment(id)}
    return orjson.dumps({**given, **fields}, option=orjson.OPT_APPEND_NEWLINE)
