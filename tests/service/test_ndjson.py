"""Bodies are cut into lines whatever the chunks, and long lines are never held."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import LimitExceeded
from service.ndjson import Line, Lines, read_line, result_line
from service.settings import Settings

MAX = 6


def cut(chunks: list[bytes]) -> list[tuple[int, bytes | None]]:
    """Number and content of each line; None for one that is too long."""
    lines = Lines(MAX)
    found: list[tuple[int, bytes | None]] = []
    for number in range(len(chunks) + 1):
        lines.feed(chunks[number]) if number < len(chunks) else lines.end()
        while (content := lines.take()) is not None:
            found.append((lines.taken, None if isinstance(content, LimitExceeded) else content))
            assert len(lines._buffer) <= MAX + len(chunks[min(number, len(chunks) - 1)])
    assert lines.empty
    return found


@given(st.lists(st.binary(max_size=9) | st.sampled_from([b"\n", b"\n\n", b"abcdefg\n", b" \r\n", b"a"]), min_size=1))
def test_any_chunks_give_the_same_lines(chunks: list[bytes]) -> None:
    numbered = enumerate(b"".join(chunks).split(b"\n"), start=1)
    expected = [(number, line if len(line) <= MAX else None) for number, line in numbered]
    assert cut(chunks) == [(number, line) for number, line in expected if line is None or line.strip()]


def test_a_long_line_is_refused_before_it_ends_and_then_skipped() -> None:
    lines = Lines(MAX)
    lines.feed(b"ok\n1234567")
    assert lines.take() == b"ok"
    refused = lines.take()
    assert isinstance(refused, LimitExceeded) and refused.message == "line: at most 6 bytes in a line, got at least 7"
    for _ in range(1000):
        lines.feed(b"x" * 1000)
        assert lines.take() is None and lines.empty
    lines.feed(b"x\n123456\n12345678\n")
    assert lines.take() == b"123456"
    refused = lines.take()
    assert isinstance(refused, LimitExceeded) and refused.message == "line: at most 6 bytes in a line, got 8"
    assert lines.take() is None and lines.taken == 4


@pytest.mark.parametrize(
    "id",
    [b'"a"', b"1", b"null", b"true", b"[]", b'{"a":[1.5]}', b"18446744073709551617", b'"\xc3\xbc\\n"', b"-0.0"],
)
def test_an_id_is_repeated_exactly(id: bytes) -> None:
    line = read_line(1, b'{"id": %s, "text": ""}' % id, Settings())
    assert line.error is None
    assert result_line(line, {}) == b'{"id":%s}\n' % id


@pytest.mark.parametrize(
    ("id", "code"),
    [
        (b'"\\ud800"', "invalid_text"),
        (b'{"\\udfff":1}', "invalid_text"),
        (b"1e999", "invalid_request"),
        (b"1" * 5000, "bad_request"),
        (b"[" * 100_000 + b"]" * 100_000, "bad_request"),
    ],
)
def test_an_id_that_cannot_be_repeated_is_refused(id: bytes, code: str) -> None:
    line = read_line(1, b'{"id": %s, "text": ""}' % id, Settings())
    assert line.error is not None and line.error.code == code


def test_a_deep_id_is_repeated_or_refused() -> None:
    """How deep is too deep depends on the Python."""
    id = b"[" * 1000 + b"]" * 1000
    line = read_line(1, b'{"id": %s, "text": ""}' % id, Settings())
    assert line.id == id or (line.error is not None and line.error.message == "id: nested too deep")


def test_a_line_without_an_id_gets_none() -> None:
    assert result_line(Line(1, 1), {"windows": 0}) == b'{"windows":0}\n'
