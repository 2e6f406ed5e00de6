from __future__ import annotations

import shutil
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from toydata import Toy, sentences, write_conll

from distill import studies
from distill.corpora import read_split
from distill.evaluation import Span, evaluate
from distill.judging import BORDER, NOTHING, _table, confusions
from distill.students import load_student
from distill.studies import best_run
from distill.torch_model import torch_tagger

LEARN = {"schedule.strategy": "D0-S", "schedule.labels": 12_000, "schedule.rate": 0.03, "labels.wikiann": 100}
ONLY_LABELS = LEARN | {"schedule.representation": 0, "schedule.logits": 0}


def counted(gold: list[Span], predicted: list[Span]) -> dict[tuple[str, str], int]:
    return dict(Counter(confusions(gold, predicted)))


def test_confusions_by_hand() -> None:
    gold = [(0, 3, "PER"), (5, 9, "ORG"), (12, 20, "LOC"), (30, 33, "LOC")]
    predicted = [(0, 3, "PER"), (5, 9, "LOC"), (12, 18, "LOC"), (40, 44, "ORG")]
    assert counted(gold, predicted) == {
        ("PER", "PER"): 1,
        ("ORG", "LOC"): 1,
        ("LOC", BORDER): 1,
        (BORDER, "LOC"): 1,
        ("LOC", NOTHING): 1,
        (NOTHING, "ORG"): 1,
    }
    assert counted([], []) == {}


def test_spans_that_only_touch_do_not_overlap() -> None:
    assert counted([(0, 3, "PER")], [(3, 5, "PER")]) == {("PER", NOTHING): 1, (NOTHING, "PER"): 1}
    assert counted([(0, 3, "PER")], [(2, 5, "ORG")]) == {("PER", BORDER): 1, (BORDER, "ORG"): 1}


def test_an_entity_cut_in_two_is_one_miss_and_two_extra() -> None:
    halves: list[Span] = [(0, 2, "PER"), (3, 6, "ORG")]
    assert counted([(0, 6, "PER")], halves) == {("PER", BORDER): 1, (BORDER, "PER"): 1, (BORDER, "ORG"): 1}


def test_the_table_has_every_row_and_column() -> None:
    table = _table(Counter({("PER", "LOC"): 2, (NOTHING, "ORG"): 3}))
    assert list(table) == ["PER", "ORG", "LOC", BORDER, NOTHING] == list(table["LOC"])
    assert table["PER"]["LOC"] == 2 and table[NOTHING]["ORG"] == 3
    assert sum(sum(row.values()) for row in table.values()) == 5


@pytest.fixture
def gold(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small data folder with a gold source in English and Russian that has a test split."""
    root = shutil.copytree(data, tmp_path / "data")
    for language in ("en", "ru"):
        write_conll(root / f"ner/news/{language}/test.conll.xz", sentences(language, 12, seed=4))
    monkeypatch.setenv("ONOMA_DATA", str(root))
    read_split.cache_clear()
    return root


def test_scores_are_those_of_the_finished_student_on_raw_text(toy: Toy, gold: Path) -> None:
    (run,) = toy.run(ONLY_LABELS | {"evaluation.gold": 5, "evaluation.test": 15})["runs"]
    folder = toy.place.store / run["student"]
    tagger = torch_tagger(load_student(folder), Tokenizer.from_file(str(folder / "tokenizer.json")))
    for part, source, languages, limit in (
        ("dev", "wikiann", ["de", "en"], 10), ("test", "wikiann", ["de", "en"], 15), ("gold", "news", ["en"], 5)
    ):  # fmt: skip
        split = "dev" if part == "dev" else "test"
        want = evaluate(tagger, source=source, languages=languages, split=split, raw=True, limit=limit)
        if part == "gold":
            assert run[part]["all"]["f1"] == {"news/en": want["all"]["f1"]["en"]}, "Russian has no part in this recipe"
        else:
            assert {name: run[part][name] for name in ("all", "unseen")} == want
        assert run[part]["all"]["macro_f1"] > 20, "so that there is something to compare"
    entities = sum(
        len([tag for tag in one.tags if tag.startswith("B-")])
        for language in ("de", "en")
        for one in read_split("wikiann", language, "test")[:15]
    )
    confusion = run["test"]["confusion"]
    assert sum(sum(confusion[kind].values()) for kind in ("PER", "ORG", "LOC")) == entities


def test_a_student_for_each_language_makes_one_result(toy: Toy, gold: Path) -> None:
    changes = ONLY_LABELS | {"evaluation.gold": 5}
    (merged,) = toy.run(changes | {"schedule.strategy": "D0"})["runs"]
    assert merged["student"] is None and merged["steps"] == []
    alone = []
    for language in ("de", "en"):
        half = {"labels.languages": [language], "schedule.labels": 6000}
        (run,) = toy.run(changes | half)["runs"]
        assert run["made"] == 0, "D0 has trained this very student"
        alone.append(run)
    assert merged["parameters"] == sum(run["parameters"] for run in alone)
    for part in ("dev", "test"):
        for which in ("all", "unseen"):
            f1 = [run[part][which]["macro_f1"] for run in alone if run[part][which]["worst"]]
            assert merged[part][which]["f1"] == alone[0][part][which]["f1"] | alone[1][part][which]["f1"]
            assert merged[part][which]["macro_f1"] == pytest.approx(statistics.fmean(f1), abs=0.006)
            assert merged[part][which]["worst"][1] == min(f1)
            assert merged[part][which]["std"] == pytest.approx(statistics.pstdev(f1), abs=0.006)
        for kind, row in merged[part]["confusion"].items():
            assert row == {name: sum(run[part]["confusion"][kind][name] for run in alone) for name in row}
    assert merged["gold"]["all"]["f1"] == alone[1]["gold"]["all"]["f1"], "only English has gold"
    assert merged["gold"]["all"]["macro_f1"] == alone[1]["gold"]["all"]["macro_f1"]
    with pytest.raises(ValueError, match="no run gave a student of all languages"):
        best_run({"runs": [merged]})
    assert best_run({"runs": [merged, *alone]}) in alone


def test_what_a_broken_off_study_has_is_there(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    variants = [{"name": "one", "set": {"schedule.labels": 500}}, {"name": "two"}]
    changes: dict[str, Any] = {"variants": variants, "seeds": [1, 2]}
    original = studies.run_one

    def breaks(recipe: Any, variant: Any, seed: int, place: Any) -> Any:
        if (variant.name, seed) == ("two", 2):
            raise KeyboardInterrupt
        return original(recipe, variant, seed, place)

    with monkeypatch.context() as patch:
        patch.setattr(studies, "run_one", breaks)
        with pytest.raises(KeyboardInterrupt):
            toy.run(changes)
    runs = toy.results()["runs"]
    assert [(run["variant"], run["seed"]) for run in runs] == [("one", 1), ("two", 1), ("one", 2)]
    assert [(run["variant"], run["seed"]) for run in toy.run(changes, only=["two"])["runs"]] == [("two", 1), ("two", 2)]
    with pytest.raises(ValueError, match="has no variant four, three$"):
        toy.run(changes, only=["three", "two", "four"])
