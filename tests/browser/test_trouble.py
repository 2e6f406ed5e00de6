"""What a person reads when there is no answer: errors, overload, keys, a network that is gone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from driving import Fakes, answered, asked_of, faked, opened, tagged

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request, Route

KEY = "a-key-of-these-tests"


def error(status: int, code: str = "", *, body: str | None = None, **headers: str) -> Any:
    """An answer with an error; without a body of its own it is one of onoma's."""

    def answer(route: Route) -> None:
        if body is None:
            content = {"error": {"code": code, "message": "a <b>message</b>", "request_id": "id-1"}}
            route.fulfill(status=status, json=content, headers=headers)
        else:
            route.fulfill(status=status, body=body, headers=headers | {"content-type": "text/html"})

    return answer


def notice(page: Page) -> str:
    found = page.locator("#panels > .notice")
    found.wait_for()
    return found.inner_text()


TROUBLES = [
    (error(400, "bad_request"), "could not read this request", False),
    (error(404, "not_found"), "no onoma at this address", False),
    (error(413, "body_too_large"), "too large", False),
    (error(413, body="<h1>413 Request Entity Too Large</h1>"), "too large", False),
    (error(422, "limit_exceeded"), "too long", False),
    (error(422, "invalid_text"), "a character that cannot be read", False),
    (error(422, "model_not_loaded"), "not served any more", False),
    (error(422, "something_new"), "does not accept", False),
    (error(429, "overloaded"), "busy", True),
    (error(500, "inference_failed"), "The model failed", True),
    (error(502, body="<h1>Bad Gateway</h1>"), "does not answer", True),
    (error(503, "worker_dead"), "broke down over this text", True),
    (error(504, "deadline_exceeded"), "took too long", True),
    (error(504, body=""), "took too long", True),
    (error(418, body="{}"), "unexpected answer (418)", False),
    (error(200, body="<h1>Sign in</h1>"), "unexpected answer (200)", False),
    (lambda route: route.abort("connectionrefused"), "cannot be reached", True),
]


@pytest.mark.parametrize(("answer", "words", "again"), TROUBLES, ids=[words for _, words, _ in TROUBLES])
def test_errors_in_words(browser: Browser, fakes: Fakes, answer: Any, words: str, again: bool) -> None:
    with opened(browser, fakes.url, answers={"**/ner": answer}) as page:
        shown = notice(page)
        assert words in shown and "Traceback" not in shown and "undefined" not in shown and "<h1>" not in shown
        assert ("Try again" in shown) == again and page.locator("#panels b").count() == 0
        page.locator("#results:not([aria-busy])").wait_for()
        assert words in page.locator("#said").text_content()
        page.unroute("**/ner")
        if again:
            page.get_by_role("button", name="Try again").click()
        else:
            page.fill("#text", "Ohio")
        answered(page, page.input_value("#text"))


def test_no_network(browser: Browser, fakes: Fakes) -> None:
    with opened(browser, fakes.url) as page:
        answered(page, page.input_value("#text"))
        page.context.set_offline(True)
        page.fill("#text", "Ohio")
        assert "You are offline" in notice(page)
        page.context.set_offline(False)
        page.get_by_role("button", name="Try again").click()
        answered(page, "Ohio")


def test_limits_of_a_real_server(browser: Browser) -> None:
    limits = {"max_text_chars": 30, "max_body_bytes": 1000}
    with faked(**limits) as fakes, opened(browser, fakes.url) as page:
        assert "at most 30 characters in a text, got 8" in notice(page)
        page.fill("#text", "Ohio " * 300)
        page.get_by_role("heading", name="This text is too large").wait_for()
        page.fill("#text", "Ohio")
        answered(page, "Ohio")
        page.evaluate("() => { document.querySelector('#text').value = 'Ohio \\ud800'; tag(); }")
        page.get_by_role("heading", name="a character that cannot be read").wait_for()


def test_one_of_two_fails_alone(browser: Browser, fakes: Fakes) -> None:
    fakes.models["teacher"].error = RuntimeError("broken")
    with opened(browser, fakes.url) as page:
        page.locator(".panel .notice").wait_for()
        student, teacher = page.locator(".panel").all()
        assert student.locator("mark").count() == 3 and "The model failed" in teacher.inner_text()


def test_overload_is_waited_for(browser: Browser) -> None:
    """A real server that is full: it says how long to wait, nothing is sent before, then the answer comes by itself."""
    with faked(teacher=False, max_in_flight=1) as fakes, opened(browser, fakes.url) as page:
        answered(page, page.input_value("#text"), panels=1)
        student = fakes.models["student"]
        student.entered.clear()
        student.gate.clear()
        page.evaluate("() => { fetch('ner', {method: 'POST', body: '{\"text\": \"Ohio\"}'}); }")
        assert student.entered.wait(10)
        refused: list[float] = []
        sent: list[float] = []
        page.on("request", lambda request: sent.append(time.monotonic()))
        page.on("response", lambda response: refused.append(time.monotonic()) if response.status == 429 else None)
        page.fill("#text", "Siemens")
        shown = notice(page)
        assert "The server is busy" in shown and "Trying again in" in shown
        assert "Trying again in" in page.locator("#said").text_content()
        page.fill("#text", "Siemens in Ohio")
        page.keyboard.press("Control+Enter")
        student.gate.set()
        answered(page, "Siemens in Ohio", panels=1)
        assert len(refused) == 1 and len(sent) == 2
        assert sent[1] - refused[0] > 0.9  # Retry-After is a second; this process sees events a little late


def test_a_server_that_asks_for_minutes(browser: Browser, fakes: Fakes) -> None:
    asked: list[Request] = []
    with opened(browser, fakes.url, answers={"**/ner": error(503, "not_ready", **{"retry-after": "600"})}) as page:
        asked_of(page, "student")
        assert "The server is not ready" in notice(page) and "Trying again in 10 minutes." in notice(page)
        page.on("request", lambda request: asked.append(request))
        page.get_by_role("button", name="Find names").click()
        page.fill("#text", "Ohio")
        page.wait_for_timeout(500)
        assert not asked


def test_the_newer_request_wins(browser: Browser) -> None:
    with faked(teacher=False) as fakes, opened(browser, fakes.url) as page:
        answered(page, page.input_value("#text"), panels=1)
        student = fakes.models["student"]
        student.entered.clear()
        student.gate.clear()
        page.fill("#text", "Siemens")
        assert student.entered.wait(10)
        assert page.locator("#results").get_attribute("aria-busy") == "true"
        with page.expect_event("requestfailed") as failed:
            page.fill("#text", "Ohio")
        assert "ABORTED" in failed.value.failure
        student.gate.set()
        answered(page, "Ohio", panels=1)
        assert tagged(page)[1] == ["Ohio"]


def test_a_key(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    with faked(api_keys_file=file) as fakes, opened(browser, fakes.url) as page:
        field = page.get_by_label("Key", exact=True)
        page.get_by_role("heading", name="This server asks for an API key").wait_for()
        assert page.evaluate("() => document.activeElement.id") == "key" and field.get_attribute("type") == "password"
        assert page.locator("#docs").is_hidden() and page.locator(".panel, .notice h3").count() == 0
        field.fill("schlüssel")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="A key is made of ASCII characters").wait_for()
        field.fill("wrong-key")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="The server does not know this key").wait_for()
        field.fill(KEY)
        page.get_by_role("button", name="Use this key").click()
        answered(page, page.input_value("#text"))
        assert page.locator("#key-form").is_hidden()
        part = page.locator("details", has_text="curl").first
        part.locator("summary").click()
        assert '-H "x-api-key: $ONOMA_KEY"' in part.locator("pre:not(:empty)").text_content()
        assert KEY not in page.content() and KEY not in page.url
        assert page.evaluate("() => localStorage.length + sessionStorage.length + document.cookie.length") == 0
        page.reload()
        page.get_by_role("heading", name="This server asks for an API key").wait_for()
