"""The plots of a study's report, as PNG."""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")  # no display needed

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from distill.study_report import Results

_STYLES = ("-", "--", ":", "-.")
_COLOURS = ("#1f5f8b", "#c8553d", "#4f772d", "#8d6a9f", "#b8860b", "#3d5a80")


def plot_variants(results: Results, out: Path) -> str | None:
    """Macro F1 on test by variant: lines over x where variants have one, else bars; every seed is a dot."""
    names = list(results.by_variant)
    places = {name: results.by_variant[name][0]["x"] for name in names}
    figure, axes = pyplot.subplots(figsize=(7, 3.6), layout="constrained")
    if all(x is not None for x in places.values()) and len(set(places.values())) > 1:
        # Variants that share their last word are one line: "100 with", "300 with".
        lines: dict[str, list[str]] = {}
        repeated = len(set(places.values())) < len(names)
        for name in sorted(names, key=lambda name: places[name]):
            lines.setdefault(name.split()[-1] if repeated else "", []).append(name)
        for at, (label, members) in enumerate(lines.items()):
            colour, style = _look(at)
            means = [statistics.fmean(results.figures(name)) for name in members]
            axes.plot([places[name] for name in members], means, color=colour, linestyle=style, label=label)
            for name in members:
                figures = results.figures(name)
                axes.scatter([places[name]] * len(figures), figures, color=colour, s=12)
        if results.teacher:
            axes.axhline(results.teacher["test"]["all"]["macro_f1"], color="grey", linestyle="--", label="teacher")
        _scale(axes, sorted({x for x in places.values() if x is not None}))
        axes.set_xlabel(results.content["recipe"]["x_label"])
        if repeated or results.teacher:
            axes.legend(frameon=False)
    else:
        means = [statistics.fmean(results.figures(name)) for name in names]
        axes.bar(range(len(names)), means, color=_COLOURS[0], alpha=0.55)
        for at, name in enumerate(names):
            figures = results.figures(name)
            axes.scatter([at] * len(figures), figures, color=_COLOURS[1], s=12, zorder=3)
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
        low = min(min(results.figures(name)) for name in names)
        axes.set_ylim(bottom=max(0, low - 5))
    axes.set_ylabel("macro F1, test")
    return _write(figure, out / "variants.png")


def plot_steps(results: Results, out: Path) -> str | None:
    """Dev F1 after each step of the variants that have several."""
    several = {name: runs for name, runs in results.by_variant.items() if len(runs[0]["steps"]) > 1}
    if not several:
        return None
    figure, axes = pyplot.subplots(figsize=(7, 3.6), layout="constrained")
    for at, (name, runs) in enumerate(several.items()):
        steps = range(1, len(runs[0]["steps"]) + 1)
        means = [statistics.fmean(run["steps"][step - 1]["f1"] for run in runs) for step in steps]
        colour, style = _look(at)
        axes.plot(steps, means, marker="o", markersize=3, label=name, color=colour, linestyle=style)
    axes.set_xlabel("step")
    axes.set_ylabel("dev F1, no decoding")
    axes.legend(frameon=False, fontsize=7)
    return _write(figure, out / "steps.png")


def plot_tradeoff(results: Results, out: Path) -> str | None:
    """Macro F1 against latency of one text of 32 pieces; the area of a mark is the number of parameters."""
    points: list[tuple[str, float, float, float]] = []
    for name, runs in results.by_variant.items():
        milliseconds = results.milliseconds(name, "1x32")
        if milliseconds is not None:
            points.append((name, milliseconds, statistics.fmean(results.figures(name)), runs[0]["parameters"]))
    if not points:
        return None
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    kinds: dict[str, Any] = {}
    for name, x, y, parameters in points:
        colour = kinds.setdefault(name.split()[0], _COLOURS[len(kinds) % len(_COLOURS)])
        axes.scatter([x], [y], s=parameters / 3e4, color=colour, alpha=0.6)
        axes.annotate(name, (x, y), fontsize=7, xytext=(4, 4), textcoords="offset points")
    axes.margins(x=0.2, y=0.1)  # room for the names
    axes.set_xlabel("ms for one text of 32 word-pieces (1 thread)")
    axes.set_ylabel("macro F1, test")
    return _write(figure, out / "tradeoff.png")


def _scale(axes: Axes, places: list[float]) -> None:
    """A logarithmic x axis, with a stretch down to 0 where something stands there, and a tick at every place."""
    least = min((x for x in places if x > 0), default=1.0)
    if places[0] > 0:
        axes.set_xscale("log")
        axes.set_xlim(places[0] / 1.2, places[-1] * 1.2)
    else:
        axes.set_xscale("symlog", linthresh=least)
        axes.set_xlim(-least / 4, max(places[-1], least) * 1.2)
    axes.set_xticks(places, [f"{x:g}" for x in places])
    axes.minorticks_off()


def _look(at: int) -> tuple[str, str]:
    """Colour and style of the n-th line: where the colours begin again, the style changes."""
    return _COLOURS[at % len(_COLOURS)], _STYLES[at // len(_COLOURS) % len(_STYLES)]


def _write(figure: Figure, path: Path) -> str:
    """Write whole or not at all; the name is for the report."""
    temporary = path.with_suffix(".tmp")
    figure.savefig(temporary, format="png", dpi=110)
    pyplot.close(figure)
    os.replace(temporary, path)
    return path.name
