"""The part that compares two texts, in a real Chromium: there with a sentence encoder, hidden without one."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from driving import NARROW, Fakes, answered, faked, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

KEY = "a-key-of-these-tests"
EVIL = "<img src=x onerror=\"document.title='evil'\"> Angela"


@pytest.fixture
def compared(browser: Browser) -> Iterator[Fakes]:
    """A server of fakes with a sentence encoder."""
    with faked(encoder=True) as started:
        yield started


def score(page: Page) -> str:
    """What is shown once nothing is under way."""
    page.locator("#likeness:not([aria-busy]) .alike").wait_for()
    return str(page.locator(".alike").inner_text())


def scored(page: Page, expected: str) -> None:
    """Until this score is shown."""
    page.wait_for_function(
        "expected => document.querySelector('#likeness:not([aria-busy]) .alike')?.innerText === expected", arg=expected
    )


def test_two_texts_are_compared_as_they_are_typed(browser: Browser, compared: Fakes) -> None:
    with opened(browser, compared.url) as page:
        assert page.get_by_role("region", name="Similarity").is_visible()
        assert score(page) and page.input_value("#first") and page.input_value("#second")
        page.fill("#first", "Angela Merkel")
        page.fill("#second", "Merkel Angela")
        scored(page, "1.00")
        page.wait_for_function("() => document.querySelector('#said-likeness').textContent === 'Similarity: 1.00.'")
        page.locator("#second").press("End")
        page.locator("#second").press_sequentially(" Ohio Ohio", delay=20)
        scored(page, "0.58")
        stages = page.locator("#likeness .latency dt").all_text_contents()
        assert stages == ["queue", "tokenize", "infer", "decode", "other", "network"]
        page.fill("#first", " ")
        page.wait_for_function("() => !document.querySelector('#likeness').childElementCount")
        assert page.locator("#said-likeness").text_content() == ""


def test_nothing_of_it_without_an_encoder(browser: Browser, fakes: Fakes) -> None:
    with opened(browser, fakes.url) as page:
        answered(page, page.input_value("#text"))
        assert not page.locator("#similarity").is_visible()
        assert page.input_value("#first") == ""


def test_the_encoder_is_not_asked_for_names(browser: Browser, compared: Fakes) -> None:
    with opened(browser, compared.url) as page:
        answered(page, page.input_value("#text"))
        page.get_by_role("radio", name="student", exact=True).wait_for()
        assert page.get_by_role("radio", name="encoder", exact=True).count() == 0


def test_examples(browser: Browser, compared: Fakes) -> None:
    with opened(browser, compared.url) as page:
        score(page)
        seen = set()
        for button in page.locator("#pairs button").all():
            button.click()
            score(page)
            seen.add((page.input_value("#first"), page.input_value("#second")))
            assert page.locator("#first").get_attribute("lang") and page.locator("#second").get_attribute("lang")
        assert len(seen) == page.locator("#pairs button").count() >= 5
        page.fill("#first", "Ohio")
        assert page.locator("#first").get_attribute("lang") == ""


def test_the_keyboard_is_enough(browser: Browser, compared: Fakes) -> None:
    with opened(browser, compared.url) as page:
        score(page)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
        page.focus("#first")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "second"
        with page.expect_response("**/similarity"):
            page.keyboard.press("Control+Enter")
        page.focus("#compare")
        with page.expect_response("**/similarity"):
            page.keyboard.press("Enter")
        assert set(asked) == {"similarity"}, "the names were not asked for"


def test_texts_only_become_text(browser: Browser, compared: Fakes) -> None:
    with opened(browser, compared.url) as page:
        score(page)
        page.fill("#first", EVIL)
        page.fill("#second", EVIL)
        scored(page, "1.00")
        page.locator("#likeness summary", has_text="curl").click()
        assert page.title().startswith("onoma") and page.locator("main img").count() == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_gives_the_same(browser: Browser, compared: Fakes) -> None:
    with opened(browser, compared.url) as page:
        score(page)
        page.fill("#first", "It's $(echo evil) Angela")
        page.fill("#second", "Angela \"Merkel\" \\ 東京")
        with page.expect_response("**/similarity") as response:
            page.click("#compare")
        page.locator("#likeness:not([aria-busy])").wait_for()
        page.locator("#likeness summary", has_text="curl").click()
        line = page.locator("#likeness pre:not(:empty)").text_content()
        said = subprocess.run(["bash", "-c", line], capture_output=True, check=True, timeout=20).stdout
        assert json.loads(said)["scores"] == response.value.json()["scores"]


def error(status: int, code: str) -> Any:
    def answer(route: Route) -> None:
        content = {"error": {"code": code, "message": "a <b>message</b>", "request_id": "id-1"}}
        route.fulfill(status=status, json=content)

    return answer


@pytest.mark.parametrize(
    ("status", "code", "words", "again"),
    [
        (404, "no_encoder", "compares no texts any more", False),
        (422, "limit_exceeded", "too long", False),
        (500, "inference_failed", "The model failed", True),
        (504, "deadline_exceeded", "took too long", True),
    ],
)
def test_errors_in_words(browser: Browser, compared: Fakes, status: int, code: str, words: str, again: bool) -> None:
    with opened(browser, compared.url, answers={"**/similarity": error(status, code)}) as page:
        notice = page.locator("#likeness .notice")
        notice.wait_for()
        shown = notice.inner_text()
        assert words in shown and "undefined" not in shown and page.locator("#likeness b").count() == 0
        answered(page, page.input_value("#text"))  # the rest of the page works
        page.locator("#likeness:not([aria-busy])").wait_for()
        assert words in page.locator("#said-likeness").text_content()
        page.unroute("**/similarity")
        page.get_by_role("button", name="Try again" if again else "Compare").click()
        score(page)


def test_it_waits_as_the_server_says(browser: Browser, compared: Fakes) -> None:
    refusals = [1]

    def busy(route: Route) -> None:
        if not refusals:
            route.continue_()
            return
        refusals.pop()
        content = {"error": {"code": "overloaded", "message": "later", "request_id": "id-1"}}
        route.fulfill(status=429, json=content, headers={"retry-after": "1"})

    with opened(browser, compared.url, answers={"**/similarity": busy}) as page:
        page.locator("#likeness .wait").wait_for()
        score(page)
        assert not refusals


def test_a_key_opens_it_too(browser: Browser, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(KEY + "\n", encoding="utf-8")
    with faked(encoder=True, api_keys_file=keys) as guarded, opened(browser, guarded.url) as page:
        page.locator("#key-form").wait_for()
        assert not page.locator("#similarity").is_visible()
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        score(page)
        page.locator("#likeness summary", has_text="curl").click()
        line = page.locator("#likeness pre:not(:empty)").text_content()
        assert "$ONOMA_KEY" in line and KEY not in line


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen(browser: Browser, compared: Fakes, scheme: str) -> None:
    with opened(browser, compared.url, size=NARROW, scheme=scheme) as page:
        score(page)
        first, second = (page.locator(f"#{side}").bounding_box() for side in ("first", "second"))
        assert first is not None and second is not None and first["y"] + first["height"] < second["y"]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
