"""`onoma distill report` of a run of sentence encoders: what each stage and each variant is worth, over seeds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.expectations import expected_pairs
from distill.files import write_text
from distill.report import markdown_table
from distill.studies import RESULTS
from distill.study_report import REPORT, interval, mean_and_spread

Run = dict[str, Any]
STAGES = ("assistant", "bottleneck", "recurrent", "student")


def write_sentence_report(run: Path, out: Path) -> Path:
    """Write report.md to `out`; returns its path.

    :raises FileNotFoundError: if there are no results in `run`.
    :raises ValueError: if none of its runs is through.
    """
    content = json.loads((run / RESULTS).read_text(encoding="utf-8"))
    runs: dict[str, list[Run]] = {}
    for one in content["runs"]:
        runs.setdefault(one["variant"], []).append(one)
    if not runs:
        raise ValueError(f"{run / RESULTS} has no run that is through")
    recipe = content["recipe"]
    parts = [f"# {recipe['name']}", recipe["description"], _students(runs)]
    if all("test" in one for one in content["runs"]):
        parts.append(_stages(runs))
    parts.append(_expectations(recipe, runs))
    path = out / REPORT
    write_text(path, "\n\n".join(part.strip() for part in parts if part) + "\n")
    return path


def is_sentence_run(run: Path) -> bool:
    """Whether a folder of results is of sentence encoders."""
    path = run / RESULTS
    return path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("kind") == "sentence-encoder"


def score_of(run: Run) -> float:
    """What variants are compared by: STS-B test in each language and across all; dev where test was not judged."""
    if "test" not in run:
        return float(run["dev"]["score"])
    sts = run["test"]["student"]["sts"]
    return (float(sts["mean"]) + float(sts["cross"]["mean"])) / 2


def _figures(sts: Mapping[str, Any]) -> tuple[float, float, float]:
    cross = sts["cross"]
    return float(sts["mean"]), float(cross["mean"]), float(cross["english"])


def _students(runs: Mapping[str, Sequence[Run]]) -> str:
    head = ["variant", "parameters", "passes", "dev", "dev, one language", "dev, across", "minutes", "seeds"]
    rows = []
    for name, own in runs.items():
        config = own[0]["config"]
        minutes = statistics.fmean(sum(stage["minutes"] for stage in one["stages"]) for one in own)
        dev = [mean_and_spread([one["dev"][key] for one in own]) for key in ("score", "mono", "cross")]
        passes = config["layers"] * config["repeats"]
        rows.append([name, f"{own[0]['parameters']['student']:,}", str(passes), *dev, f"{minutes:.0f}", str(len(own))])
    text = (
        "## Students\n\nDev is Spearman's correlation in percent on the first rows of STS-B train, which no stage "
        "learns: each language alone, English with each other one, and the mean of both. Passes are layers times "
        "repeats.\n\n"
    )
    return text + markdown_table(head, rows)


def _stages(runs: Mapping[str, Sequence[Run]]) -> str:
    head = ["variant", "stage", "parameters", "STS-B test", "across all", "with English", "Tatoeba test"]
    rows = []
    for name, own in runs.items():
        for stage in STAGES:
            if not all(stage in one["test"] for one in own):
                continue
            found = [one["test"][stage] for one in own]
            columns = zip(*(_figures(one["sts"]) for one in found), strict=True)
            accuracy = mean_and_spread([one["tatoeba"]["mean"] for one in found])
            spread = [mean_and_spread(list(column)) for column in columns]
            rows.append([name, stage, f"{own[0]['parameters'][stage]:,}", *spread, accuracy])
    text = (
        "## Stages\n\nSpearman's correlation on STS-B test: the mean over 11 languages, over all ordered pairs of two, "
        "and over English with each other one; accuracy of finding translations among Tatoeba's test lines, both "
        "ways.\n\n"
    )
    return text + markdown_table(head, rows)


def _expectations(recipe: Mapping[str, Any], runs: Mapping[str, Sequence[Run]]) -> str:
    names = [variant["name"] for variant in recipe["variants"]]
    pairs = [pair for order in recipe["expect"] for pair in expected_pairs(order, names)]
    if not pairs:
        return ""
    rows = [[f"{low} < {high}", f"{margin:g}", *_compared(runs, low, high, margin)] for low, margin, high in pairs]
    text = (
        "## Expected orders\n\nDifferences of the mean of both figures, in one language and across (on test, where it "
        "was judged), paired by seed (Student's t).\n\n"
    )
    return text + markdown_table(["expected", "margin", "difference", "95 % interval", "seeds", "verdict"], rows)


def _compared(runs: Mapping[str, Sequence[Run]], low: str, high: str, margin: float) -> list[str]:
    of_low, of_high = ({run["seed"]: score_of(run) for run in runs.get(name, ())} for name in (low, high))
    differences = [of_high[seed] - of_low[seed] for seed in of_low if seed in of_high]
    if not differences:
        return ["-", "-", "0", "not run"]
    mean, half = statistics.fmean(differences), interval(differences)
    verdict = "holds" if mean > margin else "does not hold"
    if half is None:
        return [f"{mean:+.2f}", "-", "1", verdict]
    if abs(mean - margin) <= half:
        verdict += ", within the noise of the seeds"
    return [f"{mean:+.2f}", f"{mean - half:+.2f} to {mean + half:+.2f}", str(len(differences)), verdict]
