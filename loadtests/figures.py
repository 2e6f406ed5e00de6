"""From findings to plots and table rows, which the page and the Markdown report share."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

from loadtests.legs import PERCENTILES, Leg
from loadtests.plots import Dot, Series, bars, lines
from loadtests.summary import Findings, Point, Spread, spread
from loadtests.texts import MIX

Table = tuple[list[str], list[list[str]]]  # head and rows; the first column is text


def _note(point: Point, findings: Findings, what: str) -> str:
    why = point.saturated(findings.limits)
    return f"{point.model}, {point.rate:g} requests/s offered: {what}{f'; saturated: {why}' if why else ''}"


def _curves(findings: Findings, value: Callable[[Point], Spread], unit: str, digits: int = 0) -> list[Series]:
    curves = []
    for model in findings.models:
        dots = [
            Dot(
                point.rate,
                value(point),
                bool(point.saturated(findings.limits)),
                _note(point, findings, f"{value(point).text(digits)} {unit}"),
            )
            for point in findings.steps(model)
        ]
        if dots:
            curves.append(Series(model, model, dots))
    return curves


def _latency(percent: int) -> Callable[[Point], Spread]:
    return lambda point: point.latency(percent)


def _share_of(reason: str, declined: bool) -> Callable[[Leg], float]:
    """Percent of a leg's texts."""

    def share(leg: Leg) -> float:
        return 100 * (leg.declined if declined else leg.fallbacks).get(reason, 0) / leg.texts if leg.texts else 0.0

    return share


def latency_plots(findings: Findings) -> list[str]:
    """p50, p95 and p99 against the offered load, on one scale."""
    if not findings.steps():
        return []
    curves = {p: _curves(findings, _latency(p), "ms") for p in PERCENTILES}
    values = [
        value for each in curves.values() for one in each for dot in one.dots for value in (dot.y.least, dot.y.greatest)
    ]
    return [lines(f"p{p}, ms", each, y_values=values) for p, each in curves.items()]


def rate_plots(findings: Findings) -> list[str]:
    """Achieved requests/s and words/s against the offered load."""
    if not findings.steps():
        return []
    achieved = _curves(findings, lambda point: point.over(lambda leg: leg.achieved), "requests/s", 1)
    words = _curves(findings, lambda point: point.over(lambda leg: leg.words_per_second), "words/s")
    return [
        lines("Achieved requests/s (dotted: all that is offered)", achieved, diagonal=True),
        lines("Words/s in good answers", words),
    ]


def fixed_plots(findings: Findings) -> list[str]:
    """Bars for the fixed number of users."""
    if not findings.fixed:
        return []
    shown: list[tuple[str, Callable[[Point], Spread]]] = [
        ("Requests/s", lambda point: point.over(lambda leg: leg.achieved)),
        ("Words/s", lambda point: point.over(lambda leg: leg.words_per_second)),
        *((f"p{p}, ms", _latency(p)) for p in PERCENTILES),
    ]
    return [bars(title, [(point.model, value(point)) for point in findings.fixed]) for title, value in shown]


def fallback_plots(findings: Findings) -> list[str]:
    """Shares of auto's texts by the reason why the teacher answered, or did not; no plot where there are none."""
    plots = []
    points = findings.steps("auto")
    for declined, title in ((False, "Texts that the teacher answered, %"), (True, "Texts that it declined, %")):
        reasons = sorted({reason for point in points for reason in point.by_reason(declined=declined)})
        series = []
        for at, reason in enumerate(reasons):
            dots = []
            for point in points:
                value = point.over(_share_of(reason, declined))
                note = _note(point, findings, f"{value.text(1)} % {reason}")
                dots.append(Dot(point.rate, value, bool(point.saturated(findings.limits)), note))
            series.append(Series(reason, f"r{at % 4}", dots))
        if series:
            plots.append(lines(title, series, log_y=False, label=lambda tick: f"{tick:g} %"))
    return plots


def _share(count: float, whole: float) -> str:
    return f"{100 * count / whole:.1f} %" if whole else "-"


def reasons(point: Point, *, declined: bool = False) -> str:
    """Shares of texts by reason, in words."""
    shares = point.by_reason(declined=declined)
    return ", ".join(f"{reason} {100 * share:.1f} %" for reason, share in sorted(shares.items())) or "none"


HEAD = "requests/s|words/s|p50 ms|p95 ms|p99 ms|rejected|errors".split("|")


def _measured(point: Point) -> list[str]:
    requests = point.total(lambda leg: leg.requests)
    return [
        point.over(lambda leg: leg.achieved).text(1),
        point.over(lambda leg: leg.words_per_second).text(),
        *(point.latency(p).text() for p in PERCENTILES),
        _share(point.total(lambda leg: leg.rejected), requests),
        str(point.total(lambda leg: leg.errors)),
    ]


def fixed_table(findings: Findings) -> Table:
    """The fixed number of users, a row a model."""
    rows = [
        [point.model, *_measured(point), reasons(point), _share(_sum(point, "empty"), _sum(point, "texts"))]
        for point in findings.fixed
    ]
    return ["model", *HEAD, "fallback share", "texts without entities"], rows


def _sum(point: Point, name: str) -> int:
    return sum(getattr(leg, name) for leg in point.legs)


def steps_table(findings: Findings) -> Table:
    """Every step, a row a model and rate."""
    rows = []
    for point in findings.steps():
        achieved, *rest = _measured(point)
        rows.append(
            [
                point.model,
                point.over(lambda leg: leg.offered).text(1),
                achieved,
                point.saturated(findings.limits) or "no",
                *rest,
                f"{100 * point.over(lambda leg: leg.fallback_share).median:.1f} %",
                f"{100 * point.over(lambda leg: leg.generator_cpu).greatest:.0f} %",
                f"{point.over(lambda leg: leg.sent_late).median:.1f}",
                str(len(point.legs)),
            ]
        )
    extra = ["fallback", "generator CPU", "sent late, p99 ms", "runs"]
    return ["model", "offered", "achieved", "saturated", *HEAD[1:], *extra], rows


def kinds_table(points: Sequence[Point]) -> Table:
    """One load by kind of request."""
    rows = []
    for kind in MIX:
        for point in points:
            rows.append(
                [
                    kind,
                    point.model,
                    str(sum(leg.kinds[kind].requests for leg in point.legs)),
                    *(point.latency(p, kind).text() for p in PERCENTILES),
                    spread([leg.kinds[kind].words_per_second for leg in point.legs]).text(),
                ]
            )
    return ["kind", "model", "good answers", "p50 ms", "p95 ms", "p99 ms", "words/s"], rows


def sustained_table(findings: Findings) -> Table:
    """What each model sustains: the highest step under saturation, and why the next is over it."""
    rows = []
    for model in findings.models:
        steps = findings.steps(model)
        best = findings.sustained(model)
        over = next((point for point in steps if point.saturated(findings.limits)), None)
        rate = "under the first step" if best is None else f"{best.rate:g}" + ("" if over else " or more")
        figures = _measured(best)[:5] if best else ["-"] * 5
        beyond = f"{over.rate:g}: {over.saturated(findings.limits)}" if over else "not reached"
        rows.append([model, rate, *figures, beyond])
    return ["model", "sustained requests/s", "achieved", *HEAD[1:5], "saturated at"], rows


def write_csv(path: Path, legs: Sequence[Leg]) -> None:
    """A line for each leg, in the order of the run."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        names = "model,rate,round,offered,achieved,requests,rejected,errors,words_per_second,texts,empty".split(",")
        lines.writerow([*names, "p50_ms", "p95_ms", "p99_ms", "fallback_share", "generator_cpu", "sent_late_p99_ms"])
        for leg in legs:
            timed = [leg.overall.p50, leg.overall.p95, leg.overall.p99]
            last = [*timed, leg.fallback_share, leg.generator_cpu, leg.sent_late]
            values = [getattr(leg, name) for name in names] + last
            lines.writerow([f"{value:.4f}" if isinstance(value, float) else value for value in values])
