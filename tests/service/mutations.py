"""Requests that are nearly right: valid ones, broken in the JSON, in the bytes, in the headers or on the way."""

from __future__ import annotations

import copy
import gzip
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

SEEDS: tuple[dict[str, Any], ...] = (
    {"text": "Angela Merkel visited Siemens in München."},
    {"text": "👍🏽 maybe Ohio. " * 8, "offset_unit": "utf16"},
    {"texts": ["Angela Merkel", "", "likely Siemens 東京"], "model": "auto", "offset_unit": "utf8", "min_score": 0.25},
    {"tokens": [["Angela", "Merkel", "in", "Ohio"], [], ["Siemens"]], "model": "student", "labels": ["PER", "ORG"]},
    {"text": "Ohio", "model": "teacher", "labels": ["LOC"], "min_score": 1},
    {"texts": []},
)

Node = dict[str, Any] | list[Any]
Tree = Any


class Literal(str):
    """Stands for itself in JSON, unquoted."""


NUMBERS = (
    "NaN", "-Infinity", "Infinity", "1e999", "-1e999", "1e-999", "-0", "-0.0", "0.9999999999999999999999", "1E400",
    "01", "1.", ".5", "+1", "0x10", "1_000", "1e", "9" * 30, "9" * 5000, "-" + "9" * 400, "18446744073709551616",
    "9007199254740993", "1" + "0" * 310, "tru", "nul", "None", "undefined", "'a'", "// a\n1", "/* */ 1",
)  # fmt: skip
STRINGS = (
    "", " ", "\0", "a\0b", "\ud800", "\udfff", "\ud83d", "a\udc00\ud800", "\ufeff", "\u2028", "\x1b[31m", "\u202e",
    "auto", "codepoint", "PER", "MISC", "text", "null", "1", "x" * 300, "é" * 6000, "%s{0}${x}", "\ufffe\U0010ffff",
    "<script>", "../../etc/passwd", "' OR 1=1 --", "Angela Merkel " * 30, "__proto__", "e\u0301" * 50,
)  # fmt: skip
SPOILT = (
    b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82",
    b"\x80", b'"', b"\\", b"\\u", b"\\ud83d", b"\\u00", b"\\x41", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"e",
)  # fmt: skip
ENCODINGS = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "latin-1", "cp1252", "utf-7", "cp037")
HEADERS: tuple[tuple[bytes, tuple[bytes, ...]], ...] = (
    (b"content-type", (
        b"application/json", b"application/json; charset=utf-16", b"text/plain", b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x", b"application/xml", b"", b"\xff\xfe", b"application/json; charset=\xe9",
        b"application/json;;;=", b"a/b" * 500, b"application/json; charset=nonsense")),
    (b"content-encoding", (b"gzip", b"identity", b"Identity", b"br", b"identity, gzip", b"", b"\xff", b"x" * 5000)),
    (b"content-length", (b"0", b"-1", b"7", b"99999999999", b"9" * 40, b"1e3", b" 5", b"", b"\xb2", b"0x10")),
    (b"transfer-encoding", (b"chunked", b"gzip, chunked")),
    (b"expect", (b"100-continue", b"200-ok")),
    (b"x-request-id", (b"trace-1", b"a b", b"\xff", b"<x>", b"y" * 129, b"", b"a\r\nset-cookie: b")),
    (b"accept", (b"text/html", b"*/*;q=x", b"\xff")),
    (b"accept-encoding", (b"gzip", b"identity;q=0")),
    (b"authorization", (b"Bearer \xff", b"Basic", b"")),
)  # fmt: skip


@dataclass
class Case:
    """A request. `steps` says how it came to be."""

    body: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    gone: bool = False
    steps: list[str] = field(default_factory=list)


def make_case(number: int, seeds: Sequence[Any] = SEEDS) -> Case:
    """The same request for the same number and seeds."""
    rng = random.Random(number)
    case = Case(b"", [(b"content-type", b"application/json")])
    tree = copy.deepcopy(rng.choice(seeds))
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        tree = _mutate_tree(tree, rng, case)
    case.body = _dump(tree, rng)
    for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 3))):
        case.body = _mutate_bytes(case.body, rng, case)
    if rng.random() < 0.15:
        _mutate_headers(rng, case)
    case.gone = rng.random() < 0.02
    if rng.random() < 0.2 or case.gone:
        at = sorted(rng.randint(0, len(case.body)) for _ in range(rng.randint(1, 4)))
        case.chunks = [case.body[low:high] for low, high in zip([0, *at], [*at, len(case.body)], strict=True)]
    else:
        case.chunks = [case.body]
    return case


def _mutate_tree(tree: Tree, rng: random.Random, case: Case) -> Tree:
    places = list(_places(tree))
    if not places or rng.random() < 0.05:
        case.steps.append("root")
        return _value(rng, tree)
    node, key = rng.choice(places)
    step = rng.choice((_replace, _replace, _delete, _repeat, _rename, _wrap, _swap, _respell))
    case.steps.append(f"{step.__name__[1:]} {key!r:.20}")
    step(node, key, places, rng)
    return tree


def _places(tree: Tree) -> Any:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def _value(rng: random.Random, old: Tree) -> Tree:
    kind = rng.randrange(9)
    if kind == 0:
        return rng.choice((None, True, False, 0, -1, 1, 0.5, 2**63, 1.7e308))
    if kind in (1, 2):
        return Literal(rng.choice(NUMBERS))
    if kind in (3, 4):
        return rng.choice(STRINGS)
    if kind == 5:
        deep = rng.choice((3, 60, 400, 1200, 20_000))
        opening, closing = rng.choice((("[", "]"), ('{"a":', "}"), ("[[],", "]")))
        return Literal(opening * deep + rng.choice(("1", '""')) + closing * (deep - rng.choice((0, 0, 1))))
    if kind == 6:
        return rng.choice(
            ([], {}, [[]], [{}], {"": None}, [None], [""], [["a"]], {"text": "a"}, ["a"] * 40, [["a"] * 70])
        )
    if kind == 7:
        return [copy.deepcopy(old) for _ in range(rng.choice((1, 2, 30)))]
    return copy.deepcopy(rng.choice(SEEDS))


def _replace(node: Node, key: Any, places: list[Any], rng: random.Random) -> None:
    node[key] = _value(rng, node[key])


def _delete(node: Node, key: Any, places: list[Any], rng: random.Random) -> None:
    del node[key]


def _repeat(node: Node, key: Any, places: list[Any], rng: random.Random) -> None:
    if isinstance(node, list):
        node[key:key] = [copy.deepcopy(node[key]) for _ in range(rng.choice((1, 3, 50)))]
    else:
        node[Literal(json.dumps(key))] = _value(rng, node[key])  # the same key twice


def _rename(node: Node, key: Any, places: list[Any], rng: random.Random) -> None:
    if isinstance(node, dict):
        spellings = (key.upper(), key + " ", key[:-1], key + "\0", rng.choice(STRINGS), "text", "texts", "tokens")
        node[rng.choice(spellings)] = node.pop(key)
    else:
        _delete(node, key, places, rng)


def _wrap(node: Node, key: Any, places: list[Any], rng: random.Random) -> None:
    node[key] = [node[key]] if rng.random() < 0.7 else {"text": node[key]}


def _swap(node: Node, key: Any, places: list[Any], rng: random.Random) -> None:
    other, at = rng.choice(places)
    node[key], other[at] = copy.deepcopy(other[at]), copy.deepcopy(node[key])


def _respell(node: Node, key: Any, places: list[Any], rng: random.Random) -> None:
    old = node[key]
    if isinstance(old, str):
        at = rng.randint(0, len(old))
        node[key] = old[:at] + rng.choice(STRINGS) + old[at + rng.choice((0, 1, 5)) :]
    elif isinstance(old, int | float):
        node[key] = rng.choice((-old, old + 1e-9, old * 1e300, str(old), float(old)))
    else:
        _replace(node, key, places, rng)


def _dump(tree: Tree, rng: random.Random) -> bytes:
    """JSON with literals as they are and other characters, lone surrogates among them, escaped or raw."""
    literals: list[str] = []

    def marked(part: Tree) -> Tree:
        if isinstance(part, Literal):
            literals.append(str(part))
            return f"<<{len(literals) - 1}>>"
        if isinstance(part, dict):
            return {marked(key): marked(value) for key, value in part.items()}
        return [marked(item) for item in part] if isinstance(part, list) else part

    separators = rng.choice((None, (",", ":"), (" ,\t", "\n:\r")))
    indent = rng.choice((None, None, 1))
    text = json.dumps(marked(tree), ensure_ascii=rng.random() < 0.5, indent=indent, separators=separators)
    return re.sub(r'"<<(\d+)>>"', lambda found: literals[int(found[1])], text).encode("utf-8", "surrogatepass")


def _mutate_bytes(body: bytes, rng: random.Random, case: Case) -> bytes:
    low = rng.randint(0, len(body))
    high = min(len(body), low + rng.choice((0, 1, 1, 4, 40)))
    text = body.decode("utf-8", "replace")
    ways: dict[str, Callable[[], bytes]] = {
        "cut out": lambda: body[:low] + body[high:],
        "spoil": lambda: body[:low] + rng.choice(SPOILT) + body[high:],
        "insert": lambda: body[:low] + rng.choice(SPOILT) + body[low:],
        "random": lambda: body[:low] + rng.randbytes(rng.choice((1, 2, 16))) + body[high:],
        "flip": lambda: body[:low] + bytes(byte ^ (1 << rng.randrange(8)) for byte in body[low:high]) + body[high:],
        "repeat": lambda: body[:high] + body[low:high] * rng.choice((1, 2, 100)) + body[high:],
        "end early": lambda: body[:low],
        "start late": lambda: body[low:],
        "again": lambda: body + rng.choice((b"", b"\n", b",")) + body,
        "append": lambda: body + rng.choice((b"x", b"\0", b" ", b"\n\n", b"]", b"}", b"\xa0", b"//")),
        "prepend": lambda: rng.choice((b"\xef\xbb\xbf", b" \n\t", b"\x0c", b"\xc2\xa0", b"\xff\xfe", b")]}'")) + body,
        "encode": lambda: text.encode(rng.choice(ENCODINGS), "replace"),
        "compress": lambda: gzip.compress(body, mtime=0),
        "fill": lambda: body + b" " * rng.choice((1000, 200_000)),
        "empty": lambda: b"",
        "case": lambda: body.swapcase(),
        "quotes": lambda: body.replace(b'"', b"'"),
        "twice": lambda: json.dumps(text).encode(),
    }
    way = rng.choice(sorted(ways))
    case.steps.append(f"{way} at {low}")
    return ways[way]()


def _mutate_headers(rng: random.Random, case: Case) -> None:
    for _ in range(rng.choice((1, 1, 2, 4))):
        name, values = rng.choice(HEADERS)
        value = rng.choice(values)
        if rng.random() < 0.8:
            case.headers = [header for header in case.headers if header[0] != name]
        case.headers.insert(0, (name, value))
        case.steps.append(f"{name.decode()}: {value!r:.40}")
