"""Pages and plots of a report made by hand."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from distill.calibration_report import markdown, write_plots
from distill.corpora import WIKIANN_45
from distill.reliability import Bin
from distill.threshold import CascadePoint


def report(*, teacher: bool = True) -> dict[str, Any]:
    before = [asdict(one) for one in (Bin(0.0, 0.5, 0, 0.25, 0.0), Bin(0.5, 1.0, 9, 0.85, 0.6))]
    after = [asdict(one) for one in (Bin(0.0, 0.5, 4, 0.3, 0.25), Bin(0.5, 1.0, 5, 0.8, 0.8))]
    curve = [CascadePoint(0.0, 0.0, 0.0, 70.0, 1.5), CascadePoint(0.4321, 0.1, 0.15, 71.234, 2.5)]
    chosen: dict[str, Any] = {"curve": [asdict(one) for one in curve], "chosen": asdict(curve[1])}
    return {
        "student": "models/student",
        "teacher": "models/teacher" if teacher else None,
        "split": "wikiann dev",
        "languages": list(WIKIANN_45),
        "sentences_per_language": 400,
        "most_fallback": 0.15,
        "sentences": {"fitted": 9000, "measured": 8990},
        "date": "2026-11-21",
        "machine": "a processor, 2 threads",
        "reliability": {
            "before": {"expected_error": 0.25, "bins": before},
            "after": {"expected_error": 0.0123, "bins": after},
        },
        "alone": {
            "student": {"macro_f1": 70.0, "milliseconds": 1.5},
            "teacher": {"macro_f1": 72.0, "milliseconds": 9.25},
        },
        "calibration": {"temperature": 1.25, "confidence": [[0.1, 0.2], [0.9, 0.8]], "fallback_threshold": 0.4321},
        **(chosen if teacher else {"curve": []}),
    }


def test_the_page_has_every_figure() -> None:
    page = markdown(report(), plots=Path("pictures"))
    assert "`onoma calibrate models/student --limit 400 --teacher models/teacher --most-fallback 0.15`" in page
    assert "2026-11-21, on a processor, 2 threads" in page
    assert "9000 to fit the temperature (1.25) and the 2 points of the confidence, 8990 others" in page
    assert "before 0.2500, calibrated 0.0123" in page
    assert "| 0.0 to 0.5 | 0 | - | - | 4 | 30.0 | 25.0 |\n| 0.5 to 1.0 | 9 | 85.0 | 60.0 | 5 | 80.0 | 80.0 |\n" in page
    assert (
        "| 0.0000 | 0.0 | 0.0 | 70.00 | 1.50 |\n"
        "| **0.4321** | **10.0** | **15.0** | **71.23** | **2.50** |\n"
        "| teacher alone | 100.0 | 100.0 | 72.00 | 9.25 |\n"
    ) in page
    assert "](pictures/reliability.svg)" in page and "](pictures/cascade.svg)" in page


def test_without_a_teacher_there_is_no_cascade() -> None:
    page = markdown(report(teacher=False) | {"languages": ["de", "sw"]}, plots=None)
    assert "`onoma calibrate models/student --limit 400 --languages de,sw`" in page
    assert "cascade" not in page and "![" not in page and page.count("|---") == 0 and "| 0.5 to 1.0 |" in page


def test_plots_are_drawings_with_the_figures_and_always_the_same(tmp_path: Path) -> None:
    written = write_plots(report(), tmp_path / "plots")
    assert [path.name for path in written] == ["reliability.svg", "cascade.svg"]
    first = [path.read_text(encoding="utf-8") for path in written]
    for drawing in first:
        assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert "<!-- calibrated: expected error 0.012 -->" in first[0]
    assert "<!-- chosen: under 0.432, 10.0 % to the teacher -->" in first[1] and "<!-- teacher alone -->" in first[1]
    assert [path.read_text(encoding="utf-8") for path in write_plots(report(), tmp_path / "plots")] == first
    assert [path.name for path in write_plots(report(teacher=False), tmp_path / "others")] == ["reliability.svg"]
