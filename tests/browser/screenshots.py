"""Pictures of the page as people see it, to be looked at: `make screenshots` writes them to out/screenshots."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for `import driving`

from driving import NARROW, WIDE, bundled, chromium, chromium_path, faked, opened
from playwright.sync_api import Browser, Page

OUT = Path(__file__).resolve().parents[2] / "out" / "screenshots"
BOTH = ("light", "dark")


def settled(page: Page) -> None:
    """Until an answer, or why there is none, is there."""
    page.wait_for_selector("#results:not([aria-busy]) #panels > *, .notice .wait, #key-form:not([hidden])")
    page.wait_for_timeout(700)  # transitions


def taken(page: Page, name: str) -> None:
    page.screenshot(path=OUT / f"{name}.png", full_page=True)
    print(OUT / f"{name}.png")


def of_answers(browser: Browser, url: str) -> None:
    """Examples in several scripts, wide and narrow, in both schemes."""
    for scheme in BOTH:
        with opened(browser, url, scheme=scheme) as page:
            for example in ("English", "العربية", "Mixed"):
                page.get_by_role("button", name=example, exact=True).click()
                settled(page)
                taken(page, f"wide-{scheme}-{example}")
        with opened(browser, url, size=NARROW, scheme=scheme) as page:
            page.get_by_role("button", name="日本語").click()
            settled(page)
            taken(page, f"narrow-{scheme}")
    with opened(browser, url) as page:
        page.get_by_role("radio", name="student", exact=True).check()
        page.get_by_role("button", name="עברית").click()
        settled(page)
        for title in ("JSON", "curl"):
            page.locator("summary", has_text=title).click()
        taken(page, "one-model-json-curl")


def of_every_example(browser: Browser, url: str) -> None:
    """All examples by the student, one below the other."""
    with opened(browser, url) as page:
        for place, button in enumerate(page.locator("#examples button").all()):
            button.click()
            settled(page)
            page.locator("#panels").screenshot(path=OUT / f"example-{place:02}.png")


def of_trouble(browser: Browser) -> None:
    """Errors, an overload, a key that is missing."""
    for scheme in BOTH:
        with faked(max_text_chars=50) as fakes, opened(browser, fakes.url, scheme=scheme) as page:
            settled(page)
            taken(page, f"too-long-{scheme}")
    with faked(max_in_flight=1) as fakes, opened(browser, fakes.url) as page:
        page.wait_for_selector("#results:not([aria-busy]) .panel + .panel")
        fakes.models["student"].gate.clear()
        fakes.models["student"].entered.clear()
        page.evaluate("() => { fetch('ner', {method: 'POST', body: '{\"text\": \"Ohio\"}'}); }")
        assert fakes.models["student"].entered.wait(10)
        page.fill("#text", "Siemens in Ohio")
        page.wait_for_selector(".wait")
        taken(page, "overload")
        fakes.models["student"].gate.set()
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
        keys.write("a-key-of-the-screenshots\n")
        keys.flush()
        with faked(api_keys_file=Path(keys.name)) as fakes, opened(browser, fakes.url, size=NARROW) as page:
            settled(page)
            taken(page, "key-narrow")


def of_similarity(browser: Browser) -> None:
    """Two texts compared, wide and narrow, in both schemes."""
    with faked(encoder=True) as fakes:
        for scheme in BOTH:
            for width, size in (("wide", WIDE), ("narrow", NARROW)):
                with opened(browser, fakes.url, size=size, scheme=scheme) as page:
                    page.fill("#first", "Angela Merkel visited Siemens in Ohio.")
                    page.fill("#second", "Ohio Siemens")
                    page.wait_for_selector("#likeness:not([aria-busy]) .alike")
                    settled(page)
                    taken(page, f"similarity-{width}-{scheme}")


def main() -> int:
    """Take them all."""
    if chromium_path() is None:
        print("no Chromium: install it (apt-get install chromium), or set CHROMIUM to its path", file=sys.stderr)
        return 1
    OUT.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        with bundled() as url:
            of_answers(browser, url)
            of_every_example(browser, url)
        of_trouble(browser)
        of_similarity(browser)
    return 0


if __name__ == "__main__":
    sys.exit(main())
