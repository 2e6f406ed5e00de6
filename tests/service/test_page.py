"""The page at /: who gets it, that nothing but its own code runs in it, that its colours can be read."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest
from fakes import Serve, Served

from service.page import page_wanted

BROWSERS = {
    "Chromium": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
    "Firefox": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
}
PAGE = [
    *BROWSERS.values(),
    *("text/html", "Text/HTML;level=1", "text/*, application/json;q=0.5", "*/*;q=0.1, text/html;Q=0.2"),
]
DATA = [
    *("", "*/*", "application/json", "application/*", "text/plain", ",;,q=1", "é"),
    *("text/html, application/json", "text/html;q=0.5, application/json", "text/html;q=0.4, */*;q=0.5"),
    *("text/html;q=0", "text/html;q=nonsense", "text/html;q=2"),
]
STATIC = {file.name: file.read_text(encoding="utf-8") for file in files("service").joinpath("static").iterdir()}
SCRIPTS = {name: content for name, content in STATIC.items() if name.endswith(".js")}
KEY = "a-key-of-these-tests"


def get(served: Served, accept: str, *, method: str = "GET", path: str = "/", **headers: str) -> object:
    return served.client.request(method, path, headers={"accept": accept} | headers)


@pytest.mark.parametrize("accept", PAGE)
def test_a_browser_gets_the_page(served: Served, accept: str) -> None:
    answer = get(served, accept)
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["vary"].lower() == "accept" and answer.headers["cache-control"] == "no-store"
    assert answer.text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("accept", DATA)
def test_a_client_gets_json(served: Served, accept: str) -> None:
    answer = get(served, accept.encode())
    assert answer.json()["name"] == "onoma" and answer.headers["vary"].lower() == "accept"


def test_a_client_that_says_nothing_gets_json() -> None:
    assert not page_wanted({"path": "/", "method": "GET", "headers": []})
    divided = [(b"accept", b"application/json;q=0.1"), (b"accept", b"text/html")]
    assert page_wanted({"path": "/", "method": "GET", "headers": divided})


def test_head_has_the_headers_of_get(served: Served) -> None:
    for accept in ("text/html", "application/json"):
        head, answer = (get(served, accept, method=method) for method in ("HEAD", "GET"))
        assert head.status_code == 200
        for name in ("content-type", "content-length", "vary"):
            assert head.headers[name] == answer.headers[name]


def test_only_get_of_the_root_is_the_page(served: Served) -> None:
    posted = served.client.post("/", json={"inputs": "Siemens"}, headers={"accept": "text/html"})
    assert posted.json()[0]["word"] == "Siemens"
    assert get(served, "text/html", path="/models").headers["content-type"] == "application/json"
    assert get(served, "text/html", path="/nothing").status_code == 404


class Links(HTMLParser):
    """Collects what a page refers to, and which attributes run code."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.code: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src", "action", "srcset", "formaction", "poster", "data"):
                self.addresses.append(value or "")
            if name.startswith("on") or name == "style":
                self.code.append(f"{tag} {name}")


def test_nothing_but_its_own_code_runs(served: Served) -> None:
    answer = get(served, "text/html")
    directives = answer.headers["content-security-policy"].split(";")
    found = {name: sources for name, *sources in map(str.split, directives)}
    for kind, directive in (("script", "script-src"), ("style", "style-src")):
        blocks = re.findall(rf"<{kind}>(.*?)</{kind}>", answer.text, re.DOTALL)
        assert blocks and len(blocks) == answer.text.count(f"</{kind}>")
        hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()}'" for block in blocks}
        assert hashes | {"'self'"} == set(found[directive])
    assert found["default-src"] == found["base-uri"] == found["frame-ancestors"] == found["trusted-types"] == ["'none'"]
    assert found["require-trusted-types-for"] == ["'script'"] and found["connect-src"] == ["'self'"]


def test_it_refers_to_nothing_outside(served: Served) -> None:
    links = Links()
    links.feed(get(served, "text/html").text)
    assert not links.code
    assert [one for one in links.addresses if not one.startswith("data:")] == ["docs"]  # relative: any prefix will do
    for name, content in STATIC.items():
        content = content.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
        assert not re.findall(r"https?:|wss?:|//[a-z]|url\(|@import", content), name
        assert "\r" not in content, "browsers hash line feeds alone"


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_text_becomes_markup(name: str) -> None:
    script = SCRIPTS[name]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|setHTML|document\.write|DOMParser", script)
    assert not re.search(r"\beval\b|\bFunction\(|createContextualFragment|srcdoc|javascript:", script)
    assert not re.search(r"</script|<script|<!--", script, re.IGNORECASE), "it would end the script"
    assert not re.search(r"localStorage|sessionStorage|cookie", script), "a key stays in memory"
    assert script.startswith("'use strict';\n")


def test_the_key_is_asked_for_by_the_page_itself(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    served = serve(api_keys_file=file)
    for method in ("GET", "HEAD"):
        assert get(served, "text/html", method=method).status_code == 200
        assert get(served, "application/json", method=method).status_code == 401
    for method, path in (("POST", "/"), ("GET", "/models"), ("POST", "/ner"), ("GET", "/docs")):
        assert get(served, "text/html", method=method, path=path).status_code == 401
    assert get(served, "application/json", **{"x-api-key": KEY}).status_code == 200
    page = get(served, "text/html").text
    assert KEY not in page and not any(name in page for name in ("version", "0.1.0"))


def test_the_page_comes_before_the_models_do(serve: Serve) -> None:
    """It then says in words that the server is not ready."""
    served = serve()
    served.app.state.runtime.generation = None
    assert get(served, "text/html").status_code == 200


def test_every_example_is_a_language_of_the_student() -> None:
    examples = dict(re.findall(r"name: '([^']+)', lang: '(\w+)'", STATIC["examples.js"]))
    languages = set(re.findall(r'"(\w\w)"', (Path(__file__).parents[2] / "models/student/bundle.json").read_text()))
    assert len(examples) >= 18 and set(examples.values()) <= languages


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, two: str) -> float:
    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_can_be_read(dark: bool) -> None:
    light_part, _, dark_part = STATIC["page.css"].partition("@media (prefers-color-scheme: dark)")
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light_part))
    if dark:
        own = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark_part))
        assert own.keys() == colours.keys()
        colours = own
    marks = [name for name in colours if name.startswith("mark-")]
    [count] = re.findall(r"const COLOURS = (\d+)", STATIC["spans.js"])
    assert len(marks) == int(count)
    types = {name: name.replace("mark", "type") for name in marks}
    texts = [
        *product(("ink", "soft"), ("ground", "card", "sunk", "field")),
        *(("accent", "ground"), ("on-accent", "accent"), ("warn-ink", "warn-ground")),
        *(("ink", mark) for mark in marks),
        *types.items(),
    ]
    edges = [*product(["edge"], ("card", "sunk", "field")), *(("card", kind) for kind in types.values())]
    for pairs, least in ((texts, 4.5), (edges, 3)):  # WCAG 2.2, AA
        ratios = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
        assert not {pair: ratio for pair, ratio in ratios.items() if ratio < least}
