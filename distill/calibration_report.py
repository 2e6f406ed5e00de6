"""What `onoma calibrate` found, as Markdown and plots."""

from __future__ import annotations

import io
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from distill.corpora import WIKIANN_45
from distill.files import write_text
from distill.report import markdown_table

RELIABILITY_PLOT, CASCADE_PLOT = "reliability.svg", "cascade.svg"
_STUDENT, _TEACHER, _CHOSEN = "#1f5f8b", "#4f772d", "#c8553d"
_TITLES = {"before": "before", "after": "calibrated"}


def markdown(report: Mapping[str, Any], *, plots: Path | None) -> str:
    """The report of `calibrate_bundles` as a page.

    :param plots: the plots' folder as seen from the page; None leaves them out.
    """
    sentences, calibration = report["sentences"], report["calibration"]
    errors = [f"{_TITLES[name]} {own['expected_error']:.4f}" for name, own in report["reliability"].items()]
    lines = [
        "# Calibration",
        f"`{_command(report)}`, {report['date']}, on {report['machine']}. Of {len(report['languages'])} languages the "
        f"first {report['sentences_per_language']} sentences of {report['split']}, as raw text, each tagged alone: "
        f"{sentences['fitted']} to fit the temperature ({calibration['temperature']:g}) and the "
        f"{len(calibration['confidence'])} points of the confidence, {sentences['measured']} others for every figure "
        "on this page.",
        "## Reliability of the confidence",
        "Of the sentences in a bin, how sure the student is that it tagged them without any error, and how many it "
        f"did. Expected calibration error (mean gap, by sentence): {', '.join(errors)}.",
        *_image("Share right against confidence", plots, RELIABILITY_PLOT),
        _reliability_table(report),
    ]
    if report["curve"]:
        lines += [
            "## The cascade: F1 against latency",
            "Under the threshold the teacher answers. Mean milliseconds of a sentence; where the teacher is asked, "
            "both models count. Bold: chosen, the least handed over with a macro F1 within 0.1 of the best of those "
            f"that hand over at most {100 * report['most_fallback']:g} % of the sentences.",
            *_image("Macro F1 against milliseconds", plots, CASCADE_PLOT),
            _curve_table(report),
        ]
    return "\n\n".join(line.rstrip("\n") for line in lines) + "\n"


def _command(report: Mapping[str, Any]) -> str:
    words = ["onoma", "calibrate", report["student"], "--limit", str(report["sentences_per_language"])]
    if report["teacher"]:
        words += ["--teacher", report["teacher"], "--most-fallback", f"{report['most_fallback']:g}"]
    if report["languages"] != list(WIKIANN_45):
        words += ["--languages", ",".join(report["languages"])]
    return shlex.join(words)


def _image(title: str, plots: Path | None, name: str) -> list[str]:
    return [] if plots is None else [f"![{title}]({(plots / name).as_posix()})"]


def _reliability_table(report: Mapping[str, Any]) -> str:
    both = list(report["reliability"].values())
    head = ["confidence"]
    for name in report["reliability"]:
        head += [f"{_TITLES[name]}: sentences", "mean confidence, %", "right, %"]
    rows = []
    for bins in zip(*(own["bins"] for own in both), strict=True):
        row = [f"{bins[0]['low']:.1f} to {bins[0]['high']:.1f}"]
        for one in bins:
            filled = one["count"] > 0
            row += [str(one["count"]), *(f"{100 * one[key]:.1f}" if filled else "-" for key in ("confidence", "right"))]
        rows.append(row)
    return markdown_table(head, rows)


def _curve_table(report: Mapping[str, Any]) -> str:
    head = ["threshold", "sentences to the teacher, %", "characters to the teacher, %", "macro F1", "ms"]
    rows = []
    for point in report["curve"]:
        cells = [
            f"{point['threshold']:.4f}",
            f"{100 * point['fallback_share']:.1f}",
            f"{100 * point['character_share']:.1f}",
            f"{point['macro_f1']:.2f}",
            f"{point['milliseconds']:.2f}",
        ]
        rows.append([f"**{cell}**" for cell in cells] if point == report["chosen"] else cells)
    alone = report["alone"]["teacher"]
    rows.append(["teacher alone", "100.0", "100.0", f"{alone['macro_f1']:.2f}", f"{alone['milliseconds']:.2f}"])
    return markdown_table(head, rows)


def write_plots(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw the reliability and, where there is a teacher, the cascade's curve; returns the files written."""
    written = [_write(_reliability_figure(report), folder / RELIABILITY_PLOT)]
    if report["curve"]:
        written.append(_write(_cascade_figure(report), folder / CASCADE_PLOT))
    return written


def _reliability_figure(report: Mapping[str, Any]) -> Figure:
    """Share right against confidence, and under it how many sentences each bin has."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=[3, 1])
    for column, (name, own) in enumerate(report["reliability"].items()):
        above, below = axes[0][column], axes[1][column]
        filled = [one for one in own["bins"] if one["count"]]
        above.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
        above.plot([one["confidence"] for one in filled], [one["right"] for one in filled], "o-", color=_STUDENT)
        above.set_title(f"{_TITLES[name]}: expected error {own['expected_error']:.3f}", fontsize=10)
        middles = [(one["low"] + one["high"]) / 2 for one in own["bins"]]
        below.bar(middles, [one["count"] for one in own["bins"]], width=0.09, color=_STUDENT, alpha=0.55)
        below.set_xlabel("confidence")
    axes[0][0].set_ylabel("share right")
    axes[1][0].set_ylabel("sentences")
    return figure


def _cascade_figure(report: Mapping[str, Any]) -> Figure:
    """Macro F1 against milliseconds, for each threshold the share that the teacher answers."""
    curve, chosen, teacher = report["curve"], report["chosen"], report["alone"]["teacher"]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    places = [p["milliseconds"] for p in curve], [p["macro_f1"] for p in curve]
    axes.plot(*places, "o-", color=_STUDENT, markersize=4, label="cascade; numbers: sentences to the teacher")
    for at, point in enumerate(curve):
        if at % 2 == 0:
            axes.annotate(
                f"{100 * point['fallback_share']:.0f} %",
                (point["milliseconds"], point["macro_f1"]),
                fontsize=7,
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
            )
    label = f"chosen: under {chosen['threshold']:.3f}, {100 * chosen['fallback_share']:.1f} % to the teacher"
    axes.plot([chosen["milliseconds"]], [chosen["macro_f1"]], "o", color=_CHOSEN, markersize=9, label=label)
    axes.plot([teacher["milliseconds"]], [teacher["macro_f1"]], "s", color=_TEACHER, label="teacher alone")
    axes.margins(x=0.06, y=0.12)
    axes.set_xlabel("mean milliseconds of a sentence, tagged alone")
    axes.set_ylabel("macro F1, dev")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _write(figure: Figure, path: Path) -> Path:
    drawing = io.StringIO()
    # No date and no random names: the same report gives the same file.
    with matplotlib.rc_context({"svg.hashsalt": "onoma"}):
        figure.savefig(drawing, format="svg", metadata={"Date": None})
    write_text(path, drawing.getvalue())
    return path
