"""What a person types and what the page makes of it, in a real Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from driving import NARROW, Fakes, answered, asked_of, opened, tagged

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

EVIL = "<img src=x onerror=\"document.title='evil'\"> & <script>document.title='evil'</script> Angela Merkel"
HARD = "It's \"Siemens\" $(echo evil) `echo evil` \\ !x %s\n\tin München 🎉 Ohio"
# Where the letter at a place of the first piece of text stands.
LETTER = """place => {
    const [range, node] = [new Range(), document.querySelector('.tagged').firstChild];
    range.setStart(node, place);
    range.setEnd(node, place + 1);
    return range.getBoundingClientRect().toJSON();
}"""


def test_the_first_sight_is_an_answer(browser: Browser, url: str) -> None:
    with opened(browser, url) as page:
        text = page.input_value("#text")
        answered(page, text)
        assert {"Angela Merkel", "Paris"} <= set(tagged(page)[1])
        for panel in page.get_by_role("article").all():
            assert panel.get_by_role("row").count() == 1 + panel.locator("mark").count()
            stages = panel.locator(".latency dt").all_text_contents()
            assert stages == ["queue", "tokenize", "infer", "decode", "other", "network"]
            assert all(value.endswith(" ms") for value in panel.locator(".latency dd").all_text_contents())
        assert page.locator("#said").text_content().startswith("student: ")


def test_typing_is_answered_by_itself(browser: Browser, url: str) -> None:
    with opened(browser, url) as page:
        answered(page, page.input_value("#text"))
        page.fill("#text", "")
        assert page.locator(".panel").count() == 0
        page.locator("#text").press_sequentially("Barack Obama in Berlin", delay=20)
        answered(page, "Barack Obama in Berlin")
        assert tagged(page)[1] == ["Barack Obama", "Berlin"]
        scores = page.locator(".panel").first.locator(".score").all_text_contents()
        assert len(scores) == 2 and all(score.endswith(" %") for score in scores)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (EVIL, ["Angela Merkel"]),
        (HARD, ["Siemens", "München", "Ohio"]),
        ("🎉🎉 Angela Merkel 👩‍👩‍👧 in  München\n\n𝔸 Siemens.", ["Angela Merkel", "München", "Siemens"]),
        (" Ohio ", ["Ohio"]),
    ],
)
def test_any_text_is_shown_exactly(browser: Browser, fakes: Fakes, text: str, names: list[str]) -> None:
    with opened(browser, fakes.url) as page:
        page.fill("#text", text)
        answered(page, text)
        assert tagged(page) == [text, names]
        assert page.title().startswith("onoma") and page.locator("main img, main script").count() == 0


def test_every_example_is_answered(browser: Browser, url: str) -> None:
    with opened(browser, url) as page:
        asked_of(page, "student")
        for button in page.locator("#examples button").all():
            button.click()
            answered(page, page.input_value("#text"), panels=1)
            assert page.locator("mark").count() > 0, button.text_content()


def test_right_to_left(browser: Browser, url: str) -> None:
    with opened(browser, url) as page:
        asked_of(page, "student")
        page.get_by_role("button", name="العربية").click()
        answered(page, page.input_value("#text"), panels=1)
        for selector in ("#text", ".tagged"):
            assert page.locator(selector).evaluate("(one) => getComputedStyle(one).direction") == "rtl"
        first = page.locator("mark").first
        mark, kind = first.bounding_box(), first.locator(".type").bounding_box()
        assert kind["x"] - mark["x"] < mark["width"] / 2, "the type stands where the name ends: left"
        line, letter = page.locator(".tagged").bounding_box(), page.evaluate(LETTER, 0)
        assert abs(letter["right"] - (line["x"] + line["width"])) < 2, "the first letter stands right"


def test_each_line_goes_its_own_way(browser: Browser, url: str) -> None:
    with opened(browser, url) as page:
        asked_of(page, "student")
        page.fill("#text", "one\nשלום\nthree")
        answered(page, "one\nשלום\nthree", panels=1)
        lefts = [page.evaluate(LETTER, place)["left"] for place in (0, 4, 9)]
        assert lefts[0] == lefts[2] < lefts[1] - 300


def reply(route: Route) -> None:
    """Answers in which the models differ in every way, with labels that no model has told of."""
    model = route.request.post_data_json["model"]
    names = {
        "student": [(0, 6, "PER"), (7, 13, "PER"), (14, 21, "<b>x</b>"), (22, 26, "LOC")],
        "teacher": [(0, 13, "PER"), (14, 21, "ORG"), (22, 26, "LOC"), (27, 31, "LOC")],
    }[model]
    text = route.request.post_data_json["text"]
    entities = [
        {"start": start, "end": end, "label": label, "text": text[start:end], "score": 0.5}
        for start, end, label in names
    ]
    timings = {"queue": 0.1, "tokenize": 0.1, "infer": 1.0, "decode": 0.1, "total": 2.0}
    result = {"entities": entities, "model": model, "fallback": None, "windows": 1}
    route.fulfill(json={"results": [result], "request_id": "a", "timings_ms": timings})


def test_differences_are_marked(browser: Browser, fakes: Fakes) -> None:
    text = "Angela Merkel Siemens Ohio Utah"
    with opened(browser, fakes.url, answers={"**/ner": reply}) as page:
        page.fill("#text", text)
        answered(page, text)
        student, teacher = page.locator(".panel").all()
        assert student.locator("mark.differs .type").all_text_contents() == ["PER *", "PER *", "<b>x</b> *"]
        assert teacher.locator("mark.differs .type").all_text_contents() == ["PER *", "ORG *", "LOC *"]
        assert student.locator(".difference").all_text_contents() == [
            "* teacher: “Angela Merkel” PER", "* teacher: “Angela Merkel” PER", "* teacher: ORG"
        ]
        assert teacher.locator(".difference").all_text_contents() == [
            "* student: “Angela” PER, “Merkel” PER", "* student: <b>x</b>", "* not found by student"
        ]
        assert "differ in 4 places" in page.locator("#summary").text_content()


def test_json_and_curl_say_what_was_asked(browser: Browser, fakes: Fakes) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    with opened(browser, fakes.url) as page:
        asked_of(page, "student")
        page.fill("#text", HARD)
        answered(page, HARD, panels=1)
        shown = {}
        for title in ("JSON", "curl"):
            part = page.locator("details", has_text=title)
            part.locator("summary").click()
            part.get_by_role("button", name="Copy").click()
            part.get_by_role("button", name="Copied").wait_for()
            shown[title] = page.evaluate("() => navigator.clipboard.readText()")
            assert shown[title] == part.locator("pre:not(:empty)").text_content()
        ran = subprocess.run(["sh", "-c", shown["curl"]], capture_output=True, check=True, timeout=30)
        [result] = json.loads(ran.stdout)["results"]
        assert [result] == json.loads(shown["JSON"])["results"]
        assert [one["text"] for one in result["entities"]] == ["Siemens", "München", "Ohio"]
        long = "Siemens " * 1_000 + "longer " * 20_000
        page.fill("#text", long)
        page.keyboard.press("Control+Enter")
        answered(page, long, panels=1)
        line = page.locator("details", has_text="curl").locator("pre:not(:empty)").text_content()
        assert len(line) > 131_072 and "<<'END'" in line
        ran = subprocess.run(["sh"], input=line.encode(), capture_output=True, check=True, timeout=30)
        assert len(json.loads(ran.stdout)["results"][0]["entities"]) == 1_000
        rows = page.locator("tbody tr")
        assert rows.count() == 100
        page.get_by_role("button", name="Show all 1000 names").click()
        assert rows.count() == 1_000


def test_without_a_clipboard_the_text_is_selected(browser: Browser, fakes: Fakes) -> None:
    with opened(browser, fakes.url) as page:
        page.evaluate("() => Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        page.evaluate("() => { document.execCommand = () => false; }")
        answered(page, page.input_value("#text"))
        part = page.locator("details", has_text="curl").first
        part.locator("summary").click()
        part.get_by_role("button", name="Copy").click()
        part.get_by_role("button", name="Selected").wait_for()
        assert page.evaluate("() => getSelection().toString()").startswith("curl -s 'http://127.0.0.1")


def test_by_keyboard_alone(browser: Browser, fakes: Fakes) -> None:
    with opened(browser, fakes.url) as page:
        answered(page, page.input_value("#text"))
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.id") == "docs"
        page.keyboard.press("Tab")
        page.keyboard.press("Control+A")
        page.keyboard.type("Ohio")
        with page.expect_request("**/ner"):
            page.keyboard.press("Control+Enter")
        answered(page, "Ohio")
        names = []
        for _ in range(19):
            page.keyboard.press("Tab")
            names.append(page.evaluate("() => document.activeElement.textContent"))
            assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert names[0] == "English" and names[-1] == "Mixed"
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("() => document.activeElement.value") == "student"
        answered(page, "Ohio", panels=1)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.input_value("#text") == "" and page.evaluate("() => document.activeElement.id") == "text"


def test_narrow_and_wide(browser: Browser, url: str) -> None:
    boxes = {}
    for size in ((320, 640), NARROW, (1280, 900)):
        with opened(browser, url, size=size) as page:
            page.fill("#text", "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch " * 2)
            answered(page, page.input_value("#text"))
            for summary in page.locator("summary").all():
                summary.click()
            assert page.evaluate("() => document.scrollingElement.scrollWidth") <= size[0]
            boxes[size[0]] = [panel.bounding_box() for panel in page.locator(".panel").all()]
    for width in (320, NARROW[0]):
        assert boxes[width][0]["x"] == boxes[width][1]["x"] and boxes[width][0]["y"] < boxes[width][1]["y"]
    assert boxes[1280][0]["y"] == boxes[1280][1]["y"] and boxes[1280][0]["x"] < boxes[1280][1]["x"]


def test_dark_and_light(browser: Browser, fakes: Fakes) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        with opened(browser, fakes.url, scheme=scheme) as page:
            answered(page, page.input_value("#text"))
            grounds[scheme] = [
                page.locator(selector).first.evaluate("(one) => getComputedStyle(one).backgroundColor")
                for selector in ("body", ".panel", "mark", "#text")
            ]
    assert all(one != two for one, two in zip(*grounds.values(), strict=True))


@pytest.mark.parametrize("path", ["ner/onoma", "ner/onoma/"])
def test_behind_a_prefix(browser: Browser, fakes: Fakes, path: str) -> None:
    asked = []

    def proxy(route: Route) -> None:
        asked.append(route.request.url)
        route.continue_(url=fakes.url + route.request.url.partition("ner/onoma")[2].lstrip("/"))

    with opened(browser, fakes.url) as page:
        page.route("**/ner/onoma**", proxy)
        page.route("**/ner/onoma/**", proxy)
        page.goto(fakes.url + path)
        answered(page, page.input_value("#text"))
        assert page.locator("#docs").evaluate("(one) => one.href") == f"{fakes.url}ner/onoma/docs"
        assert {f"{fakes.url}ner/onoma/models", f"{fakes.url}ner/onoma/ner"} <= set(asked)
