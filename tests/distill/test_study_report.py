"""Reports of results made by hand, with numbers worked out by hand."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from toydata import Toy

from distill import study_plots
from distill.study_report import Results, compare, mean_and_spread, write_report

PNG = b"\x89PNG\r\n\x1a\n"
TYPES = ("PER", "ORG", "LOC", "other borders", "nothing")
COVERAGE = {"de": {"longer": 1.25, "unknown_before": 0.1, "unknown": 0.2, "kept": 80.0}}


def scores(**f1: float) -> dict[str, Any]:
    """Of one part: the same unseen, less 1."""
    def summary(values: dict[str, float]) -> dict[str, Any]:
        worst = min(values, key=lambda name: values[name])
        mean, std = statistics.fmean(values.values()), statistics.pstdev(values.values())
        return {"macro_f1": mean, "std": std, "worst": [worst, values[worst]], "f1": values}

    confusion = {gold: {found: 10 * row + column for column, found in enumerate(TYPES)}
                 for row, gold in enumerate(TYPES)}  # fmt: skip
    unseen = {name: value - 1 for name, value in f1.items()}
    return {"all": summary(f1), "unseen": summary(unseen), "confusion": confusion}


def step(stage: str, f1: float, *thawed: str) -> dict[str, Any]:
    return {"stage": stage, "thawed": list(thawed), "pieces": 1_500_000, "minutes": 2.0, "f1": f1}


def run(variant: str, seed: int, de: float, en: float, **more: Any) -> dict[str, Any]:
    content = {
        "variant": variant, "x": None, "seed": seed, "student": f"student-{variant}-{seed}", "parameters": 2_345_678,
        "vocabulary": 12_345, "coverage": None, "steps": [], "dev": scores(de=de + 1, en=en + 1),
        "test": scores(de=de, en=en),
    }  # fmt: skip
    return content | more


def content(*runs: dict[str, Any], expect: tuple[str, ...] = (), **recipe: Any) -> dict[str, Any]:
    names = list(dict.fromkeys(one["variant"] for one in runs))
    whole = {"name": "study", "description": "What it is for.", "seeds": [1, 2, 3], "x_label": "sentences",
             "expect": list(expect), "teacher": {"path": "some/teacher"},
             "variants": [{"name": name} for name in names]} | recipe  # fmt: skip
    return {"recipe": whole, "path": "study.toml", "date": "2026-01-02", "machine": "a machine", "runs": list(runs)}


# Differences of high and low by seed: 2, 3, 4. Mean 3, standard deviation 1.
LOW = [run("low", seed, 50 + seed, 60 + seed) for seed in (1, 2, 3)]
STEPS = [step("representation", 0.0, "projection", "encoder"), step("labels", 61.5, "head")]
HIGH = [
    run("high", seed, 51 + 2 * seed, 61 + 2 * seed, steps=STEPS, coverage=COVERAGE, gold=scores(news=40 + seed))
    for seed in (1, 2, 3)
]


def report(folder: Path, results: dict[str, Any], latency: dict[str, Any] | None = None) -> str:
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    if latency is not None:
        (folder / "latency.json").write_text(json.dumps(latency), encoding="utf-8")
    path = write_report(folder, folder / "report")
    assert path == folder / "report/report.md"
    return path.read_text(encoding="utf-8")


def rows(text: str, heading: str = "") -> list[list[str]]:
    """The table under a heading, or the first one, as cells."""
    after = text[text.index(heading) :].splitlines()
    start = next(at for at, line in enumerate(after) if line.startswith("|"))
    table = [line for line in after[start:]]
    end = next((at for at, line in enumerate(table) if not line.startswith("|")), len(table))
    return [line.strip("| ").split(" | ") for line in table[:end] if not line.startswith("| ---")]


def test_the_table_of_variants(tmp_path: Path) -> None:
    text = report(tmp_path, content(*LOW, *HIGH))
    head, low, high = rows(text)
    assert head == ["variant", "seeds", "dev", "test", "test, unseen", "std of languages", "worst language",
                    "parameters", "gold test"]  # fmt: skip
    # Tests of low: 56, 57, 58; of high: 58, 60, 62.
    assert low == ["low", "3", "58.00 ± 1.00", "57.00 ± 1.00", "56.00 ± 1.00", "5.00", "de 52.0", "2.35M", "-"]
    assert high == ["high", "3", "61.00 ± 2.00", "60.00 ± 2.00", "59.00 ± 2.00", "5.00", "de 55.0", "2.35M",
                    "42.00 ± 1.00"]  # fmt: skip
    assert text.startswith("# study\n") and "What it is for." in text
    for fact in ("onoma distill run study.toml", "2026-01-02", "a machine", "Seeds 1, 2, 3", "some/teacher"):
        assert fact in text
    assert "missing" not in text and "ms, 1x32" not in text


def test_expected_orders_with_interval_and_verdict(tmp_path: Path) -> None:
    equal = [run("equal", seed, 50 + seed + noise, 60 + seed) for seed, noise in ((1, 2), (2, -2), (3, 1))]
    text = report(tmp_path, content(*LOW, *HIGH, *equal, expect=("low < high", "high<low", "low < equal")))
    table = rows(text, "## Expected orders")
    half = 4.30 / math.sqrt(3)  # t at 2 degrees of freedom times 1 / sqrt(3)
    assert table[0] == ["expected", "margin", "difference", "95 % interval", "seeds", "rows ahead", "verdict"]
    interval = f"{3 - half:+.2f} to {3 + half:+.2f}"
    assert table[1] == ["low < high", "0", "+3.00", interval, "3", "2 of 2", "holds"]
    assert table[1][3] == "+0.52 to +5.48"
    assert table[2] == ["high < low", "0", "-3.00", "-5.48 to -0.52", "3", "0 of 2", "does not hold"]
    # Differences 1, -1, 0.5: mean 1/6, standard deviation 1.0408. In en none at all.
    noise = "holds, within the noise of the seeds"
    assert table[3] == ["low < equal", "0", "+0.17", "-2.42 to +2.75", "3", "1 of 2", noise]


def test_an_order_with_a_margin_holds_above_it(tmp_path: Path) -> None:
    """The difference is 3, its interval 2.48 to either side."""
    orders = ("low + 0.5 < high", "low + 2.9 < high", "low + 3 < high", "low + 5.6 < high", "high + 1 < low")
    table = rows(report(tmp_path, content(*LOW, *HIGH, expect=orders)), "## Expected orders")[1:]
    assert [row[:3] for row in table[:2]] == [["low < high", "0.5", "+3.00"], ["low < high", "2.9", "+3.00"]]
    assert [row[-1] for row in table] == [
        "holds", "holds, within the noise of the seeds", "does not hold, within the noise of the seeds",
        "does not hold", "does not hold",
    ]  # fmt: skip
    one = content(LOW[0], HIGH[0], expect=("low + 1.9 < high", "low + 2.1 < high"))
    assert [row[-1] for row in rows(report(tmp_path, one), "## Expected orders")[1:]] == ["holds", "does not hold"]


def test_a_language_without_gold_spans_is_not_the_worst(tmp_path: Path) -> None:
    def without(which: str, worst: list[Any] | None, **f1: float) -> dict[str, Any]:
        part = {"macro_f1": 50.0, "std": 1.0, "worst": worst, "f1": f1}
        return run(which, 1, 1, 1, test={"all": part, "unseen": part, "confusion": LOW[0]["test"]["confusion"]})

    runs = [
        without("some", ["de", 50.0], de=50.0, en=60.0, xx=0.0),
        without("zero", ["yy", 0.0], de=50.0, xx=0.0, yy=0.0),
        without("none", None, xx=0.0),
    ]
    table = rows(report(tmp_path, content(*runs)))
    assert [row[6] for row in table[1:]] == ["de 50.0", "yy 0.0", "-"]


TAUGHT = {"dev": scores(de=80, en=82), "test": scores(de=70, en=74), "gold": scores(news=66, mail=64)}


def test_the_teacher_stands_above_its_students(tmp_path: Path) -> None:
    taught = content(*LOW, *HIGH) | {"teacher": TAUGHT | {"parameters": 9_870_000}}
    text = report(tmp_path, taught, {"student-low-1": {"1x32": 1.0, "32x32": 2.0}})
    head, teacher, low, _ = rows(text)
    assert teacher == ["teacher", "-", "81.00", "72.00", "71.00", "2.00", "de 70.0", "9.87M", "65.00", "-", "-"]
    assert low[:2] == ["low", "3"] and len(head) == len(teacher) == len(low)
    assert rows(text, "## By language") == [
        ["language", "teacher", "low", "high"], ["de", "70.0", "52.0", "55.0"], ["en", "74.0", "62.0", "65.0"],
    ]  # fmt: skip
    assert rows(text, "## By gold source") == [
        ["source/language", "teacher", "low", "high"], ["mail", "64.0", "-", "-"], ["news", "66.0", "-", "42.0"],
    ]  # fmt: skip
    assert "high (best on dev), all seeds" in text, "the teacher is no variant"
    unknown = rows(report(tmp_path, content(*LOW) | {"teacher": {part: TAUGHT[part] for part in ("dev", "test")}}))
    assert unknown[1][7] == "-", "nobody has counted its parameters"


def test_the_head_names_the_main_source_and_teachers_of_the_recipes_own(tmp_path: Path) -> None:
    assert "reported on WikiANN test" in report(tmp_path, content(*LOW)), "older results name none"
    shape = {"kind": "conv", "decoder": "crf", "embedding": 9, "hidden": 7}
    for together, who in ((False, "one a language"), (True, "one of all languages")):
        own = {"labels": {"source": "pos/ud"}, "teachers": {"together": together, "shape": shape}}
        text = report(tmp_path, content(*LOW, **own))
        assert f"Teacher: trained by the recipe, {who} (conv crf, E=9 H=7)." in text
        assert "reported on pos/ud test" in text and "some/teacher" not in text


def test_zero_shot_languages_have_column_table_and_comparison(tmp_path: Path) -> None:
    far = [one | {"zero_shot": scores(fi=20 + one["seed"] * gain, tr=30)} for one, gain in
           [*((one, 1) for one in LOW), *((one, 3) for one in HIGH)]]  # fmt: skip
    text = report(tmp_path, content(*far, expect=("low < high",)))
    assert [row[-1] for row in rows(text)] == ["zero-shot", "26.00 ± 0.50", "28.00 ± 1.50"]
    assert rows(text, "## Zero-shot") == [["language", "low", "high"], ["fi", "22.0", "26.0"], ["tr", "30.0", "30.0"]]
    table = rows(text, "The same in the zero-shot languages")
    assert table[1][:3] == ["low < high", "0", "+2.00"] and table[1][4:] == ["3", "1 of 2",
                                                                             "holds, within the noise of the seeds"]
    assert "zero-shot languages" not in report(tmp_path, content(*LOW, *HIGH, expect=("low < high",)))


def test_gold_has_its_column_and_table_wherever_a_run_has_it(tmp_path: Path) -> None:
    text = report(tmp_path, content(*LOW, *HIGH))
    assert rows(text, "## By gold source") == [["source/language", "low", "high"], ["news", "-", "42.0"]]
    partly = [HIGH[0], {key: value for key, value in HIGH[1].items() if key != "gold"}]
    text = report(tmp_path, content(*partly))
    assert [row[-1] for row in rows(text)] == ["gold test", "-"], "not of every seed"
    assert "## By gold source" not in report(tmp_path, content(*LOW))


def plotted(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The axes of each plot by its file's name, as the plots are written."""
    found: dict[str, Any] = {}
    original = study_plots._write

    def write(figure: Any, path: Path) -> str:
        found[path.name] = figure.axes[0]
        return original(figure, path)

    monkeypatch.setattr(study_plots, "_write", write)
    return found


def test_every_line_is_drawn_in_a_look_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = plotted(monkeypatch)
    many = [run(f"{x} kind{kind}", 1, x + kind, x, x=float(x), steps=STEPS) for kind in range(8) for x in (10, 20)]
    report(tmp_path, content(*many))
    lines = axes["variants.png"].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(lines) == 8
    assert [text.get_text() for text in axes["variants.png"].get_legend().get_texts()] == [f"kind{k}" for k in range(8)]
    lines = axes["steps.png"].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(lines) == 16


def test_the_teacher_is_a_dashed_line_over_an_x_axis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = plotted(monkeypatch)
    along = [one | {"x": 10.0 + (one["variant"] == "high")} for one in [*LOW, *HIGH]]
    report(tmp_path, content(*along) | {"teacher": TAUGHT})
    (line,) = [one for one in axes["variants.png"].get_lines() if one.get_label() == "teacher"]
    assert line.get_linestyle() == "--" and set(line.get_ydata()) == {72.0}
    assert [text.get_text() for text in axes["variants.png"].get_legend().get_texts()] == ["teacher"]
    report(tmp_path, content(*LOW, *HIGH) | {"teacher": TAUGHT})
    assert not axes["variants.png"].get_lines(), "bars have no x axis"


def test_chains_are_taken_apart_and_what_was_not_run_is_said(tmp_path: Path) -> None:
    variants = [{"name": name} for name in ("low", "never", "high")]
    chain = content(*LOW[:2], HIGH[0], expect=("low < never < high", "low < high"), variants=variants)
    text = report(tmp_path, chain)
    table = rows(text, "## Expected orders")[1:]
    assert [row[0] for row in table] == ["low < never", "never < high", "low < high"]
    assert [row[-1] for row in table] == ["not run", "not run", "holds"]
    assert table[2] == ["low < high", "0", "+2.00", "-", "1", "2 of 2", "holds"], "one seed in common has no interval"
    missing = "low (seed 3), never (seed 1), never (seed 2), never (seed 3), high (seed 2), high (seed 3)"
    assert f"**6 runs are missing:** {missing}." in text


def test_seeds_are_paired() -> None:
    other = [run("other", seed, 1, 1) for seed in (8, 9)]
    results = Results(content(*LOW, *reversed(HIGH), *other))
    assert compare(results, "low", "high")[0] == "+3.00"
    assert compare(results, "low", "other") == ["-", "-", "0", "-", "no seed in common"]
    lucky = [run("lucky", 2, 53, 61), run("lucky", 9, 90, 90)]  # better than low's second seed in de alone
    assert compare(Results(content(*LOW, *lucky)), "low", "lucky")[2:4] == ["1", "1 of 2"]
    many = [run(name, seed, 50 + offset, 50 + offset * seed) for name, offset in (("a", 0), ("b", 1))
            for seed in range(20)]  # fmt: skip
    results = Results(content(*many))
    differences = [(1 + seed) / 2 for seed in range(20)]
    half = 2.23 * statistics.stdev(differences) / math.sqrt(20)  # the widest of the table's end
    mean = statistics.fmean(differences)
    assert compare(results, "a", "b")[1] == f"{mean - half:+.2f} to {mean + half:+.2f}"


def test_steps_languages_confusion_and_vocabulary(tmp_path: Path) -> None:
    text = report(tmp_path, content(*LOW, *HIGH))
    head, *steps = rows(text, "## After each step")
    assert head == ["variant", "stage", "layers that learn", "word-pieces", "dev F1", "minutes"]
    assert steps == [
        ["high", "representation", "projection, encoder", "1.50M", "0.00 ± 0.00", "2.0"],
        ["high", "labels", "head", "1.50M", "61.50 ± 0.00", "2.0"],
    ]
    assert rows(text, "## By language") == [["language", "low", "high"], ["de", "52.0", "55.0"], ["en", "62.0", "65.0"]]
    assert "high (best on dev), all seeds" in text
    head, *confusion = rows(text, "## Confusion of types")
    assert head == ["gold", *TYPES]
    assert confusion[1] == ["ORG", *(str(3 * count) for count in (10, 11, 12, 13, 14))]
    vocabulary = rows(text, "## Vocabulary")
    assert vocabulary == [["language", "longer", "unknown before", "unknown", "kept"],
                          ["de", "1.25", "0.10", "0.20", "80.00"]]  # fmt: skip
    assert "high: 12,345 pieces kept." in text


def test_a_study_without_stages_or_trimming_says_nothing_of_them(tmp_path: Path) -> None:
    text = report(tmp_path, content(*LOW))
    for part in ("## After each step", "## Vocabulary", "## Expected orders", "steps.png", "tradeoff.png"):
        assert part not in text


def test_latency_stands_in_the_table_and_in_a_plot(tmp_path: Path) -> None:
    latency = {f"student-low-{seed}": {"1x32": seed / 2, "32x32": 10.0 * seed} for seed in (1, 2, 3)}
    text = report(tmp_path, content(*LOW, *HIGH), latency)
    head, low, high = rows(text)
    assert head[-2:] == ["ms, 1x32", "ms, 32x32"]
    assert (low[-2:], high[-2:]) == (["1.00", "20.00"], ["-", "-"]), "medians over seeds; what was not measured"
    assert (tmp_path / "report/tradeoff.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("x", [None, 100.0, 0.0])
def test_plots_are_pictures_that_the_report_shows(tmp_path: Path, x: float | None) -> None:
    along = [one | {"x": None if x is None else x + 50 * (one["variant"] == "high")} for one in [*LOW, *HIGH]]
    text = report(tmp_path, content(*along))
    shown = ["variants.png", "steps.png"]
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == sorted(["report.md", *shown])
    for name in shown:
        assert f"({name})" in text
        picture = (tmp_path / "report" / name).read_bytes()
        assert picture.startswith(PNG) and picture[-8:-4] == b"IEND" and len(picture) > 5_000


def test_without_results_there_is_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"no results.json in {tmp_path}: `onoma distill run RECIPE"):
        write_report(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="results.json has no runs"):
        report(tmp_path, content())
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_mean_and_spread() -> None:
    assert mean_and_spread([80.0, 81.0, 82.0]) == "81.00 ± 1.00"
    assert mean_and_spread([80.123]) == "80.12"


def test_a_real_run_is_reported(toy: Toy) -> None:
    variants = [{"name": "D0", "set": {"schedule.strategy": "D0"}}, {"name": "staged"}]
    toy.run({"variants": variants, "expect": ["D0 < staged"], "student.minimum_count": 1})
    text = write_report(toy.root / "out", toy.root / "out").read_text(encoding="utf-8")
    assert [row[0] for row in rows(text)] == ["variant", "teacher", "D0", "staged"]
    assert [row[1] for row in rows(text, "## After each step")][1:] == ["representation", "logits", "labels"]
    assert rows(text, "## Expected orders")[1][0] == "D0 < staged" and "## Vocabulary" in text
    assert [row[0] for row in rows(text, "## By language")] == ["language", "de", "en"]


@pytest.mark.parametrize("places", [[100.0, 300.0], [0.0, 300.0, 1000.0], [0.0]])
def test_the_axis_holds_every_place_and_nothing_far_below(places: list[float]) -> None:
    figure, axes = study_plots.pyplot.subplots()
    study_plots._scale(axes, places)
    low, high = axes.get_xlim()
    assert -places[-1] / 3 - 1 < low <= places[0] and places[-1] < high
    assert axes.get_xticks().tolist() == places
    study_plots.pyplot.close(figure)
