"""The load test as a whole, with real Locust processes, against a stub: reports, exit status, published documents."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

from loadtests import __main__
from loadtests.server import wait_until_ready
from loadtests.texts import MIX
from tests.loadtests.stub import Answer, failing, good, overloaded, stub_service

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = "# Load test\n\n<!-- results: written by make loadtest-docs -->\nold\n<!-- end of results -->\n\nThe end.\n"

pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="needs the extra loadtest")


def load(out: Path, answer: Answer, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m loadtests` in a process of its own, as Locust patches sockets."""
    with stub_service(answer) as host:
        return subprocess.run(
            [sys.executable, "-m", "loadtests", "--host", host, "--out", str(out), "--users", "2", "--rounds", "1"]
            + ["--duration", "0.5", "--lead", "0.1", "--baseline", str(out / "baseline.json"), *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


class Outline(HTMLParser):
    """Tags of a page: those left open, and every address that it names."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":  # the only one here that has no end
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_good_service_passes_and_its_results_are_published(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "loadtest.md").write_text(DOCUMENT, encoding="utf-8")
    options = ["--step", "1", "--first-rate", "20", "--max-steps", "1"]
    done = load(tmp_path / "out", good, *options, "--docs", str(docs), "--write-baseline")
    assert done.returncode == 0, done.stderr
    legs = rows(tmp_path / "out" / "legs.csv")
    fixed, steps = legs[:3], legs[3:]
    assert [leg["model"] for leg in fixed] == ["student", "teacher", "auto"]
    assert all(leg["rate"] == "0.0000" and int(leg["requests"]) > 10 and leg["errors"] == "0" for leg in fixed)
    # Open-loop: what is offered is what was planned, whatever the machine does.
    assert {float(leg["offered"]) for leg in steps} >= {20.0}
    assert all(leg["offered"] == leg["rate"] and float(leg["words_per_second"]) >= 0 for leg in steps)
    assert float(fixed[0]["fallback_share"]) == 0 and float(fixed[2]["fallback_share"]) > 0
    assert all(float(leg["generator_cpu"]) >= 0 for leg in legs)
    for name in ("student-users-round1", "auto-rate20-round1"):
        assert {path.name.removeprefix(name) for path in (tmp_path / "out").glob(f"{name}[_.]*")} == {
            *("_requests.csv", "_stats.csv", "_failures.csv", "_generator.json", ".html", ".log")
        }
    # Locust's own statistics are of the same requests.
    aggregated = next(
        row for row in rows(tmp_path / "out" / "auto-rate20-round1_stats.csv") if row["Name"] == "Aggregated"
    )
    assert int(aggregated["Request Count"]) == 20

    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert report.strip() == done.stdout.strip()
    for part in ("python -m loadtests --host", "student: fake, none", "locust", "low_confidence", "### Every step"):
        assert part in report
    page = (docs / "loadtest" / "index.html").read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(page)
    assert outline.open == [] and outline.addresses == []  # nothing is loaded from anywhere
    assert set(re.findall(r"https?://[^\s\"'<>]+", page)) <= {
        "http://www.w3.org/2000/svg",
        *re.findall(r"http://127\S+?(?=[\s<])", page),
    }
    assert page.count("<svg") >= 11 and "prefers-color-scheme:dark" in page
    document = (docs / "loadtest.md").read_text(encoding="utf-8")
    assert "old" not in document and document.startswith("# Load test") and document.endswith("The end.\n")
    images = re.findall(r"!\[[^]]*\]\(([^)]*)\)", document)
    assert len(images) == 2 and all((docs / image).read_text(encoding="utf-8").startswith("<svg") for image in images)
    assert "p95, student : teacher" in json.loads((tmp_path / "out" / "baseline.json").read_text())["figures"]


def test_errors_and_a_regression_fail(tmp_path: Path) -> None:
    setup = {"users": 2, "service_cores": None, "mix": MIX}
    figures = {"p95, student : teacher": 1e-6}
    (tmp_path / "baseline.json").write_text(json.dumps({"setup": setup, "figures": figures}), encoding="utf-8")
    done = load(tmp_path, failing, "--models", "student,teacher", "--step", "0")
    assert done.returncode == 1, done.stderr
    for text in (done.stdout, (tmp_path / "index.html").read_text(encoding="utf-8")):
        assert "Failed" in text and "errors, such as: status 503" in text
        assert "in the best round, over 1.5 times the baseline" in text


def test_rejections_at_an_offered_rate_are_no_errors_but_saturation(tmp_path: Path) -> None:
    options = ["--models", "student", "--step", "1", "--first-rate", "50", "--max-steps", "1"]
    done = load(tmp_path, overloaded, *options)
    step = rows(tmp_path / "legs.csv")[1]
    assert (step["offered"], step["errors"]) == ("50.0000", "0") and int(step["rejected"]) > 0, done.stderr
    assert "achieved under 95 % of offered" in done.stdout
    # The fixed users should never see one.
    assert done.returncode == 1 and "requests rejected" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "nobody"], "unknown model: nobody"),
        (["--users", "0"], "--users must be at least 1, not 0"),
        (["--factor", "1"], "--factor must be at least 1.05, not 1"),
    ],
)
def test_wrong_options_are_named(options: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loadtests", *options], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2 and message in done.stderr


def test_no_service_gets_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(__main__, "wait_until_ready", lambda host, _: wait_until_ready(host, 0.1))
    assert __main__.main(["--host", "http://127.0.0.1:9", "--out", str(tmp_path)]) == 1
    assert "http://127.0.0.1:9/readyz did not answer 200" in capsys.readouterr().err
