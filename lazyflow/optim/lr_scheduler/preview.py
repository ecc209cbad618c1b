"""Pictures of schedules: a small SVG without any package, and a plot where matplotlib is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from lazyflow.optim.lr_scheduler.curve import Rates

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 480, 220, 70, 28, 24
_COLORS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df")
_DASHES = ("", "6 3", "2 2")
_MOST = 600  # points of a line: more than one for each pixel show nothing


def shown_steps(count: int) -> list[int]:
    """The steps at which a picture of this many shows the rate; all of them where they are few."""
    return [int(step) for step in np.linspace(0, count - 1, min(count, _MOST))]


def label(option: str) -> str:
    """What a schedule's number is called for people."""
    return "learning rate" if option == "lr" else option


def draw_svg(title: str, option: str, steps: Sequence[int], curves: Mapping[int, Rates]) -> str:
    """A line for each curve, over its steps, with the lowest and highest numbers at the axes.

    Args:
        title: What stands above.
        option: Which number the curves show.
        steps: The steps, from 0.
        curves: By group, an array of the length of ``steps``.

    Returns:
        The text of an SVG image.
    """
    drawn = curves.values()
    low, high = min(0.0, *(float(c.min()) for c in drawn)), max(float(c.max()) for c in drawn)
    right, bottom = _WIDTH - 10, _HEIGHT - _BOTTOM
    x = _LEFT + (right - _LEFT) * np.asarray(steps) / max(steps[-1], 1)
    lines = [
        _line(x, bottom - (bottom - _TOP) * (c - low) / ((high - low) or 1.0), i) for i, c in curves.items()
    ]
    texts = [
        _text(_WIDTH / 2, 16, "middle", title if option == "lr" else f"{title} of {option}"),
        _text(_LEFT - 6, _TOP + 4, "end", f"{high:.4g}"),
        _text(_LEFT - 6, bottom + 4, "end", f"{low:.4g}"),
        _text(_LEFT, bottom + 16, "middle", "0"),
        _text(right, bottom + 16, "end", f"step {steps[-1]}"),
    ]
    frame = f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#888"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}"'
    style = 'font-family="sans-serif" font-size="11" fill="#666"'
    return "\n".join([f"{head} {style}>", frame, *lines, *texts, "</svg>"])


def _line(x: Rates, y: Rates, number: int) -> str:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    color = _COLORS[number % len(_COLORS)]
    dash = _DASHES[number // len(_COLORS) % len(_DASHES)]
    title = f"<title>group {number}</title>"
    drawn = f'fill="none" stroke="{color}" stroke-width="1.5" stroke-dasharray="{dash}"'
    return f'<polyline points="{points}" {drawn}>{title}</polyline>'


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'


def plot(title: str, option: str, steps: Sequence[int], curves: Mapping[int, Rates], axes: Any) -> Any:
    """Draw a line for each curve with matplotlib.

    Args:
        title: What stands above.
        option: Which number the curves show.
        steps: The steps.
        curves: By group, an array of the length of ``steps``.
        axes: Matplotlib axes to draw into; None: new ones.

    Returns:
        The axes.

    Raises:
        ModuleNotFoundError: if axes are not given and matplotlib is not installed.
    """
    axes = _new_axes() if axes is None else axes
    for number, rates in curves.items():
        axes.plot(steps, rates, label=f"group {number}")
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.set_ylabel(label(option))
    if len(curves) > 1:
        axes.legend()
    return axes


def _new_axes() -> Any:
    try:
        from matplotlib import pyplot  # type: ignore[import-not-found, unused-ignore]  # the user's own
    except ModuleNotFoundError as error:
        text = "plot: matplotlib is not installed; install it, or show the scheduler in a notebook, as SVG"
        raise ModuleNotFoundError(text, name=error.name) from None
    return pyplot.subplots()[1]
