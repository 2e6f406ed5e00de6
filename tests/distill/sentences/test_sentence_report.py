from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill.commands import distill
from distill.sentences.report import is_sentence_run, score_of, write_sentence_report
from distill.sentences.splits import read_tatoeba
from onoma.cli import main
from tests.distill.sentences.test_sentence_runs import run


def result(variant: str, seed: int, score: float, *, test: float | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "variant": variant, "seed": seed, "stages": [{"minutes": 2.0}, {"minutes": 1.0}],
        "dev": {"score": score, "mono": score + 5, "cross": score - 5},
        "parameters": {"student": 1234, "assistant": 5678}, "config": {"layers": 2, "repeats": 3},
    }  # fmt: skip
    if test is not None:
        sts = {"mean": test + 10, "cross": {"mean": test - 10, "english": test}}
        found["test"] = {"student": {"sts": sts, "tatoeba": {"mean": 40.0}}}
    return found


def written(folder: Path, runs: list[dict[str, Any]], expect: list[str]) -> str:
    recipe = {"name": "study", "description": "What for.", "variants": [{"name": "a"}, {"name": "b"}], "expect": expect}
    content = {"kind": "sentence-encoder", "recipe": recipe, "runs": runs}
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")
    return write_sentence_report(folder, folder / "page").read_text(encoding="utf-8")


def test_variants_over_seeds_and_the_orders_between_them(tmp_path: Path) -> None:
    runs = [result("a", 1, 50), result("b", 1, 53), result("a", 2, 52), result("b", 2, 54)]
    text = written(tmp_path, runs, ["a < b", "a + 9 < b"])
    assert "| a | 1,234 | 6 | 51.00 ± 1.41 | 56.00 ± 1.41 | 46.00 ± 1.41 | 3 | 2 |" in text
    # Differences 3 and 2: mean 2.5, standard error 0.5, and 12.71 of these to each side.
    assert "| a < b | 0 | +2.50 | -3.86 to +8.86 | 2 | holds, within the noise of the seeds |" in text
    assert "| a + 9 < b" not in text and "| a < b | 9 | +2.50 | -3.86 to +8.86 | 2 | does not hold |" in text
    assert "## Stages" not in text


def test_test_counts_where_it_was_judged(tmp_path: Path) -> None:
    runs = [result("a", 1, 50, test=60), result("b", 1, 53, test=58)]
    assert [score_of(one) for one in runs] == [60, 58]
    text = written(tmp_path, runs, ["a < b"])
    assert "| a | student | 1,234 | 70.00 | 50.00 | 60.00 | 40.00 |" in text
    assert "| a < b | 0 | -2.00 | - | 1 | does not hold |" in text
    assert "not run" in written(tmp_path, runs[:1], ["a < b"])
    with pytest.raises(ValueError, match="has no run that is through"):
        written(tmp_path, [], [])


def test_a_run_can_be_judged_on_test_and_reported(
    toy_recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill.name == "distill"
    toy_recipe |= {"start": {"way": "random", "align": 0}, "assistant": {"pieces": 0}, "contrastive": {"pieces": 200}}
    toy_recipe |= {"bottleneck": {"embedding": 6, "pieces": 0}, "recurrent": {"layers": [1], "pieces": 0}}
    toy_recipe["evaluation"] |= {"test": True}
    (one,) = run(toy_recipe, tmp_path)["runs"]
    assert set(one["test"]) == {"assistant", "bottleneck", "recurrent", "student"}
    assert len(one["test"]["student"]["sts"]["per_language"]) == 11
    retrieval = one["test"]["student"]["tatoeba"]["per_language"]
    assert set(retrieval) == {"de", "fr"} and retrieval["de"]["lines"] == len(read_tatoeba("de", "test"))
    assert run(toy_recipe, tmp_path)["runs"][0]["made"] == 0  # nor are scores taken again
    assert is_sentence_run(tmp_path / "out") and not is_sentence_run(tmp_path)
    assert main(["distill", "report", str(tmp_path / "out")]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == tmp_path / "out/report.md" and "| toy | assistant |" in page.read_text(encoding="utf-8")
