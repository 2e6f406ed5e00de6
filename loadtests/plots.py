"""Plots as SVG text: lines over an offered load, and bars. Colours are classes: a style suits light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from loadtests.summary import Spread

WIDTH, HEIGHT = 440, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 54, 46
_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"

# Blue, orange and green that people with colour blindness tell apart; marker and dashes differ too.
_COLOURS = {
    "ink": ("#1c2430", "#e7ebf0"),
    "soft": ("#5b6675", "#a3adba"),
    "line": ("#d9dee5", "#343c47"),
    "student": ("#1f66c1", "#74aefb"),
    "teacher": ("#b9540c", "#f3a464"),
    "auto": ("#0b7f63", "#4fd0ac"),
    "r0": ("#8a4fbf", "#c79af0"),
    "r1": ("#b3304f", "#f58aa2"),
    "r2": ("#6b6b00", "#cfcf58"),
    "r3": ("#3d6e7f", "#86c2d4"),
}


def style() -> str:
    """The CSS that the plots need, for both colour schemes."""
    light, dark = (";".join(f"--{name}:{pair[at]}" for name, pair in _COLOURS.items()) for at in (0, 1))
    coloured = "".join(f".{name}{{--c:var(--{name})}}" for name in list(_COLOURS)[3:])
    return (
        f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}{coloured}"
        f".plot text{{font:12px {_FONT};fill:var(--soft)}}"
        ".plot .title{font-size:14px;font-weight:600;fill:var(--ink)}"
        ".plot .value{fill:var(--ink)}.plot .grid{stroke:var(--line);stroke-width:1}"
        ".plot .guide{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 4}"
        ".plot .curve{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}"
        ".plot .auto.curve{stroke-dasharray:7 4}.plot .band{fill:var(--c);opacity:.16}"
        ".plot .mark{fill:var(--c);stroke:var(--c);stroke-width:1.8}.plot .mark.hollow{fill:transparent}"
        ".plot .bar{fill:var(--c)}.plot .whisker{stroke:var(--ink);stroke-width:1.3}"
    )


@dataclass(frozen=True, slots=True)
class Dot:
    """A value at an offered load, over the rounds; hollow if the step was saturated."""

    x: float
    y: Spread
    hollow: bool
    note: str


@dataclass(frozen=True, slots=True)
class Series:
    """A line: its name, and the class that colours it."""

    name: str
    colour: str
    dots: Sequence[Dot]


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to places, by logarithm or evenly."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool

    def __call__(self, value: float) -> float:
        """The place of a value."""
        low, high = self.low, self.high
        share = math.log(max(value, low) / low) / math.log(high / low) if self.is_log else (value - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within the scale, few enough to be read."""
        if not self.is_log:
            step = _round_step((self.high - self.low) / 4)
            return [self.low + at * step for at in range(int((self.high - self.low) / step + 1e-9) + 1)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for digits in ((1, 2, 5), (1, 3), (1,)):
            found = [digit * 10.0**decade for decade in decades for digit in digits]
            found = [value for value in found if self.low * 0.999 <= value <= self.high * 1.001]
            if len(found) <= 7:
                break
        return found


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(digit * power for digit in (1, 2, 2.5, 5, 10) if digit * power >= rough * 0.999)


def log_scale(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale that holds all positive values, with some air on both sides."""
    positive = [value for value in values if value > 0] or [1.0]
    return Scale(min(positive) / 1.2, max(positive) * 1.2, start, end, is_log=True)


def short(value: float) -> str:
    """A tick's or bar's label: at most three digits, and k for thousands."""
    if value >= 10_000:
        return f"{value / 1000:.3g}k"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _text(x: float, y: float, text: str, *, css: str = "", anchor: str = "start", turn: bool = False) -> str:
    turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
    named = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}{turned}>{escape(text)}</text>'


def _marker(colour: str, x: float, y: float, *, hollow: bool = False, note: str = "") -> str:
    css = f"{colour} mark{' hollow' if hollow else ''}"
    title = f"<title>{escape(note)}</title>" if note else ""
    if colour == "teacher":
        return f'<rect class="{css}" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8">{title}</rect>'
    if colour == "auto":
        return f'<path class="{css}" d="M{x:.1f} {y - 5:.1f}l5 9h-10z">{title}</path>'
    return f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="4.2">{title}</circle>'


def _frame(title: str, body: Sequence[str], height: int = HEIGHT) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">{_text(_LEFT - 44, 20, title, css="title")}'
        f"{''.join(body)}</svg>"
    )


def _axes(x: Scale, y: Scale, x_label: str, label: Callable[[float], str]) -> list[str]:
    parts = []
    for tick in y.ticks():
        at = y(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(_text(_LEFT - 7, at + 4, label(tick), anchor="end"))
    for tick in x.ticks():
        at = x(tick)
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>')
        parts.append(_text(at, HEIGHT - _BOTTOM + 17, short(tick), anchor="middle"))
    parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 9, x_label, anchor="middle"))
    return parts


def lines(
    title: str,
    series: Sequence[Series],
    *,
    log_y: bool = True,
    diagonal: bool = False,
    label: Callable[[float], str] = short,
    y_values: Sequence[float] = (),
) -> str:
    """Curves over the offered load, which is logarithmic; bands from least to greatest.

    :param diagonal: draw where y equals x.
    :param label: of the ticks of y.
    :param y_values: further values that the scale must hold, to give several plots one scale.
    """
    dots = [dot for one in series for dot in one.dots]
    right, foot = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    x = log_scale([dot.x for dot in dots], _LEFT, right)
    ys = [value for dot in dots for value in (dot.y.least, dot.y.greatest)] + list(y_values)
    y = log_scale(ys, foot, _TOP) if log_y else Scale(0, max([*ys, 0.01]) * 1.1, foot, _TOP, is_log=False)
    parts = _axes(x, y, "offered requests/s", label)
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(f'<path class="guide" d="M{x(low):.1f} {y(low):.1f}L{x(high):.1f} {y(high):.1f}"/>')
    at = _LEFT - 40.0
    for one in series:
        parts += [_marker(one.colour, at, 37), _text(at + 9, 41, one.name)]
        at += 26 + 7.0 * len(one.name)
        upper = [f"{x(dot.x):.1f} {y(dot.y.greatest):.1f}" for dot in one.dots]
        lower = [f"{x(dot.x):.1f} {y(dot.y.least):.1f}" for dot in reversed(one.dots)]
        middle = [f"{x(dot.x):.1f} {y(dot.y.median):.1f}" for dot in one.dots]
        parts.append(f'<path class="{one.colour} band" d="M{"L".join([*upper, *lower])}z"/>')
        parts.append(f'<path class="{one.colour} curve" d="M{"L".join(middle)}"/>')
    # Markers last, so that no curve hides one.
    for one in series:
        parts += [_marker(one.colour, x(dot.x), y(dot.y.median), hollow=dot.hollow, note=dot.note) for dot in one.dots]
    return _frame(title, parts)


def bars(title: str, values: Sequence[tuple[str, Spread]], *, digits: int = 0) -> str:
    """A horizontal bar for each model, with a whisker from least to greatest."""
    top, gap = 40, 46
    widest = max([spread.greatest for _, spread in values] + [1e-9])
    x = Scale(0, widest, 76, WIDTH - 74, is_log=False)
    parts = []
    for row, (name, spread) in enumerate(values):
        y = top + row * gap
        end, middle = x(spread.median), y + 14
        parts.append(_text(68, middle + 4, name, anchor="end"))
        parts.append(
            f'<rect class="{name} bar" x="76" y="{y}" width="{end - 76:.1f}" height="28" rx="2">'
            f"<title>{escape(f'{name}: {spread.text(digits)}')}</title></rect>"
        )
        if spread.least < spread.greatest:
            parts.append(f'<path class="whisker" d="M{x(spread.least):.1f} {middle}H{x(spread.greatest):.1f}"/>')
        parts.append(_text(max(end, x(spread.greatest)) + 7, middle + 4, f"{spread.median:.{digits}f}", css="value"))
    return _frame(title, parts, top + gap * len(values))


def sheet(plots: Sequence[str]) -> str:
    """Plots side by side in one file that stands alone, such as an image in a Markdown page."""
    placed = [plot.replace("<svg ", f'<svg x="{at * WIDTH}" ', 1) for at, plot in enumerate(plots)]
    width = WIDTH * len(plots)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}">'
        f"<style>{style()}.paper{{fill:#fff}}@media(prefers-color-scheme:dark){{.paper{{fill:#14181d}}}}</style>"
        f'<rect class="paper" width="100%" height="100%"/>{"".join(placed)}</svg>\n'
    )
