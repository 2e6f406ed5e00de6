"""The tables of `onoma evaluate`, for taggers that know a few names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from toydata import write_conll

from distill.report import evaluate_bundles, markdown, metrics_of, table_lines
from onoma.labels import Entity
from onoma.tagger import Tagged, Tagger

SPLITS = {
    "wikiann/de/test": [(["Emil", "ruft", "Uwe", "und", "Uwe"], ["B-PER", "O", "B-PER", "O", "B-PER"])],
    "wikiann/en/test": [(["Tove", "left"], ["B-PER", "O"])],
    "nchlt/zu/train": [(["Omar", "read"], ["B-PER", "O"])],
    "nchlt/zu/test": [
        (["Omar", "read"], ["B-PER", "O"]),
        (["Hamlet", "saw", "Tove"], ["B-MISC", "O", "B-PER"]),
    ],
    "untrained/kk/test": [(["Emil", "saw", "Uwe", "and", "Uwe"], ["B-PER", "O", "B-PER", "O", "B-PER"])],
    "massive_ner/af/test": [(["tove"], ["B-PER"])],
    "massive_ner/zh_TW/test": [(["Uwe"], ["B-PER"])],
}
# What each bundle knows: the teacher everybody but tove, the student neither Uwe nor tove.
KNOWN = {"teacher": ("Emil", "Uwe", "Tove", "Omar"), "student": ("Emil", "Tove", "Omar"), "blank": ()}


class KnowsNames(Tagger):
    """Calls the names it knows persons."""

    def __init__(self, names: Sequence[str], role: str) -> None:
        self.names = set(names)
        self.manifest = SimpleNamespace(role=role)  # type: ignore[assignment]

    def _tagged(self, words: Sequence[tuple[int, int, str]]) -> Tagged:
        return Tagged(tuple(Entity(low, high, "PER", 0.9) for low, high, name in words if name in self.names), 0.9, 1)

    def tag_batch(self, texts: Sequence[str], *, batch_tokens: int = 2048) -> list[Tagged]:
        return [self._tagged([(*word.span(), word.group()) for word in re.finditer(r"\w+", text)]) for text in texts]

    def tag_tokens(self, sentences: Sequence[Sequence[str]]) -> list[Tagged]:
        return [self._tagged([(at, at + 1, token) for at, token in enumerate(tokens)]) for tokens in sentences]


@pytest.fixture(autouse=True)
def bundles(own_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The splits above, and bundles that know the names above."""
    for split, content in SPLITS.items():
        write_conll(own_data / f"ner/{split}.conll.xz", content)

    def load(folder: Path, *, threads: int | None = None) -> Tagger:
        role = "teacher" if folder.name == "teacher" else "student"
        return KnowsNames(KNOWN[folder.name], role)

    monkeypatch.setattr("distill.report.Tagger.load", load)
    monkeypatch.setattr("distill.evaluation.WIKIANN_45", ["de", "en"])


def score(
    *names: str, source: str = "gold", forms: Sequence[str] = ("raw",), **more: Any
) -> tuple[dict[str, Any], str]:
    """The results and what is printed."""
    out = StringIO()
    folders = [Path("models") / name for name in names]
    settings = {"languages": [], "split": "test", **more}
    console = Console(file=out, width=400)
    results = evaluate_bundles(folders, source=source, forms=forms, console=console, **settings)
    return results, out.getvalue()


def cells(table: str) -> list[list[str]]:
    """The cells of a Markdown table, or of a printed one."""
    lines = [line for line in table.splitlines() if line.startswith(("|", "│", "┃"))]
    return [[cell.strip() for cell in re.split(r"[|│┃]", line)[1:-1]] for line in lines]


def test_the_figures_of_gold() -> None:
    results, _ = score("student", "teacher")
    student = results["bundles"]["models/student"]
    assert list(student) == ["gold, raw", "massive_ner, raw"]
    whole, unseen = student["gold, raw"]["all"], student["gold, raw"]["unseen"]
    assert whole["f1"] == {"nchlt/zu": 100, "untrained/kk": 50}, "Hamlet is MISC, no entity"
    assert (whole["macro_f1"], whole["worst"]) == (75, ["untrained/kk", 50])
    assert unseen["f1"] == whole["f1"]
    assert student["massive_ner, raw"]["all"]["f1"] == {"af": 0, "zh_TW": 0}
    assert results["bundles"]["models/teacher"]["massive_ner, raw"]["all"]["macro_f1"] == 50
    assert results["without_train"] == ["massive_ner", "untrained"]


def test_retention_is_against_the_teacher_wherever_it_stands() -> None:
    for order in (("student", "teacher", "blank"), ("teacher", "blank", "student")):
        results, _ = score(*order)
        assert results["reference"] == "models/teacher"
        assert set(results["retention"]) == {"models/student", "models/blank"}
        kept = results["retention"]["models/student"]
        assert kept["gold, raw"]["all"] == {"macro": 75, "least": ["untrained/kk", 50]}
        assert kept["massive_ner, raw"]["all"] == {"macro": 0, "least": ["zh_TW", 0]}, "af says nothing"
    assert score("student", "blank")[0]["reference"] == "models/blank", "the last without a teacher"
    assert "retention" not in score("student")[0]


def test_markdown_and_terminal_carry_the_same_figures() -> None:
    results, printed = score("student", "teacher")
    text = markdown(results)
    rows = cells(text)
    assert rows[0] == [
        "row", "student raw text", "student raw text, unseen", "teacher raw text", "teacher raw text, unseen",
    ]  # fmt: skip
    assert rows[2:] == [
        ["**macro mean, gold (2 rows)**", "75.00", "75.00", "100.00", "100.00"],
        ["standard deviation, gold", "25.00", "25.00", "0.00", "0.00"],
        ["worst, gold", "untrained/kk 50.0", "untrained/kk 50.0", "nchlt/zu 100.0", "nchlt/zu 100.0"],
        ["retention, gold", "75.0 %", "75.0 %", "-", "-"],
        ["least retention, gold", "untrained/kk 50.0 %", "untrained/kk 50.0 %", "-", "-"],
        ["**massive_ner, 2 locales**", "0.00", "0.00", "50.00", "50.00"],
        ["nchlt/zu", "100.0", "100.0", "100.0", "100.0"],
        ["untrained/kk", "50.0", "50.0", "100.0", "100.0"],
    ]
    wanted = [[row[0].strip("*"), *row[1:]] for row in rows[2:]]
    shown = cells(printed)
    half = len(shown) // 2
    student, teacher = shown[:half], shown[half:]
    assert student[0] == rows[0][:3] and teacher[0] == [rows[0][0], *rows[0][3:]]
    assert student[1:] == [row[:3] for row in [*wanted[6:], *wanted[:6]]], "rows first, their sum last"
    assert teacher[1:] == [[row[0], *row[3:]] for row in [*wanted[6:], *wanted[:6]]]
    for output in (text, printed):
        assert "Rows without a training split of their own in: massive_ner, untrained." in output
        assert "a share of that of models/teacher" in output and "Only the first" not in output


def test_limit_takes_the_first_sentences_of_each_row_and_is_noted() -> None:
    results, printed = score("teacher", limit=1)
    assert results["bundles"]["models/teacher"]["gold, raw"]["unseen"]["f1"] == {"nchlt/zu": 0, "untrained/kk": 100}
    assert "Only the first 1 sentences of each row." in printed and "retention" not in printed.lower()


def test_wikiann_stands_beside_gold() -> None:
    results, _ = score("student", "teacher", source="all", forms=("raw", "tokens"))
    sections = ["raw", "tokens", "gold, raw", "gold, tokens", "massive_ner, raw", "massive_ner, tokens"]
    assert list(results["bundles"]["models/student"]) == sections
    labels = [row[0] for row in cells(markdown(results))[2:]]
    assert labels == [
        "**macro mean, wikiann (2 rows)**", "standard deviation, wikiann", "worst, wikiann", "retention, wikiann",
        "least retention, wikiann", "**macro mean, gold (2 rows)**", "standard deviation, gold", "worst, gold",
        "retention, gold", "least retention, gold", "**massive_ner, 2 locales**",
        "wikiann/de", "wikiann/en", "nchlt/zu", "untrained/kk",
    ]  # fmt: skip
    alone, _ = score("student", "teacher", source="wikiann", forms=("raw", "tokens"))
    for section in ("raw", "tokens"):
        for folder, figures in alone["bundles"].items():
            assert results["bundles"][folder][section] == figures[section]


def test_the_table_of_one_source_has_no_more_than_before() -> None:
    results, printed = score("student", "teacher", source="wikiann")
    header, lines = table_lines(results, ["models/student"])
    assert header == ["language", "student raw text", "student raw text, unseen"]
    assert [(line.kind, line.label) for line in lines] == [
        ("mean", "macro mean"), ("figure", "standard deviation"), ("figure", "worst"), ("row", "de"), ("row", "en"),
    ]  # fmt: skip
    assert lines[0].cells == ("75.00", "75.00") and lines[2].cells == ("de 50.0", "de 50.0")
    assert markdown(results).splitlines()[-1] == "| en | 100.0 | 100.0 | 100.0 | 100.0 |"
    assert results["bundles"]["models/student"]["raw"]["all"] == {
        "macro_f1": 75, "std": 25, "worst": ["de", 50], "f1": {"de": 50, "en": 100},
    }  # fmt: skip
    assert "Unseen:" not in printed
    massive, _ = score("teacher", source="massive_ner")
    assert [line.label for line in table_lines(massive, ["models/teacher"])[1]][3:] == ["af", "zh_TW"]


def test_metrics_hold_the_gold_macro_beside_wikiann() -> None:
    alone = metrics_of(score("student", source="wikiann")[0], Path("models/student"))
    assert alone == {
        "measured_on": "wikiann test, strict span F1 in percent",
        "raw": {"per_language": {"de": 50, "en": 100}, "macro_f1": 75, "std": 25, "worst": "de 50.00"},
        "raw, unseen": {"per_language": {"de": 50, "en": 100}, "macro_f1": 75, "std": 25, "worst": "de 50.00"},
    }
    metrics = metrics_of(score("student", "teacher", source="all")[0], Path("models/student"))
    assert metrics["measured_on"] == "wikiann, gold, massive_ner test, strict span F1 in percent"
    assert metrics["raw"] == alone["raw"] and metrics["raw, unseen"] == alone["raw, unseen"]
    assert metrics["gold, raw"]["macro_f1"] == 75
    assert metrics["gold, raw, unseen"]["per_language"] == {"nchlt/zu": 100, "untrained/kk": 50}
    assert metrics["massive_ner, raw"] == {"macro_f1": 0, "std": 0, "worst": "af 0.00"}
    single = metrics_of(score("teacher", source="massive_ner")[0], Path("models/teacher"))
    assert single["raw"]["per_language"] == {"af": 0, "zh_TW": 100}
