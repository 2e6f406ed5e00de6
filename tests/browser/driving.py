"""A real Chromium, and servers for it to ask. Needs Debian's chromium (or CHROMIUM=path) and the extra `browser`."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "service"))  # for `import fakes`

from apps import MODELS
from fakes import FakeModel, FakeSentenceModel, make_embedder, make_tagger
from fastapi import FastAPI
from sockets import listening

from service.app import create_app
from service.registry import load_models
from service.settings import Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

# Without a sandbox, as tests may run as root; without asking the network for anything.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE, NARROW = (1280, 900), (360, 740)

DONE = "#results:not([aria-busy])"
# The text of an answer as it was sent: without the types that stand in it.
TAGGED = """panel => {
    const copy = panel.querySelector('.tagged').cloneNode(true);
    copy.querySelectorAll('.type').forEach((type) => type.remove());
    return [copy.textContent, [...copy.querySelectorAll('mark')].map((mark) => mark.textContent)];
}"""


def chromium_path() -> str | None:
    """Where Chromium is; None: nowhere."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser,
    url: str,
    *,
    size: tuple[int, int] = WIDE,
    scheme: str = "light",
    answers: Mapping[str, Callable[[Route], None]] | None = None,
) -> Iterator[Page]:
    """The page at an address, in a session of its own. Whatever the browser complains about fails the block.

    :param size: width and height in CSS pixels.
    :param scheme: light or dark.
    :param answers: who answers instead of the server, by pattern of the address.
    """
    complaints: list[str] = []
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, device_scale_factor=2
    )
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if _is_complaint(line.text) else None)
    for pattern, answer in (answers or {}).items():
        page.route(pattern, answer)
    page.goto(url)
    try:
        yield page
    finally:
        page.unroute_all(behavior="ignoreErrors")
        context.close()
    assert not complaints


def _is_complaint(line: str) -> bool:
    """Not that an answer was an error, which the tests of errors want."""
    return "Content Security Policy" in line or "TrustedHTML" in line or "Uncaught" in line


@contextmanager
def bundled() -> Iterator[str]:
    """The address of a server of the models in models/."""
    with listening(create_app(Settings(), models=load_models(Settings(models=MODELS, threads=1)))) as (port, _):
        yield f"http://127.0.0.1:{port}/"


class Fakes:
    """A server of fakes that a test can hold up."""

    def __init__(self, app: FastAPI, models: dict[str, FakeModel], url: str) -> None:
        self.app = app
        self.models = models
        self.url = url


@contextmanager
def faked(*, teacher: bool = True, encoder: bool = False, **settings: object) -> Iterator[Fakes]:
    """A server of fakes; keywords are settings."""
    models = {"student": FakeModel()} | ({"teacher": FakeModel(sure=True)} if teacher else {})
    loaded = {name: make_tagger(model) for name, model in models.items()}
    if encoder:
        models["encoder"] = FakeSentenceModel()
        loaded["encoder"] = make_embedder(models["encoder"])
    app = create_app(Settings(**{"workers": 1, **settings}), models=loaded)
    with listening(app) as (port, _):
        try:
            yield Fakes(app, models, f"http://127.0.0.1:{port}/")
        finally:
            for model in models.values():
                model.gate.set()


def answered(page: Page, text: str, *, panels: int = 2) -> None:
    """Until all panels show the answer to a text."""
    page.wait_for_function(
        f"""([text, panels]) => {{
            const shown = [...document.querySelectorAll({json.dumps(DONE + " .panel")})].map({TAGGED});
            return shown.length === panels && shown.every(([one]) => one === text);
        }}""",
        arg=[text, panels],
    )


def tagged(page: Page, place: int = 0) -> Any:
    """The text that a panel shows, and the names in it."""
    return page.locator(".panel").nth(place).evaluate(TAGGED)


def asked_of(page: Page, model: str) -> None:
    """Have a model answer."""
    page.get_by_role("radio", name=model, exact=True).check()
