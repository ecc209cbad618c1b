"""Pictures of schedules: SVG without any package, and matplotlib's axes."""

import sys
import types
from xml.etree import ElementTree

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.optim import lr_scheduler
from optim.lr_scheduler.schedules import an_optimizer

NAMES = {"svg": "http://www.w3.org/2000/svg"}


def points(scheduler):
    """The points of each line of the picture, and the texts beside them."""
    root = ElementTree.fromstring(scheduler._repr_svg_())
    lines = [line.get("points") for line in root.findall("svg:polyline", NAMES)]
    texts = [text.text for text in root.findall("svg:text", NAMES)]
    return [np.array([p.split(",") for p in line.split()], float) for line in lines], texts


def test_picture_has_a_line_for_each_group():
    scheduler = lr_scheduler.CosineAnnealingLR(an_optimizer(0.2, 0.1), 80)
    (first, second), texts = points(scheduler)
    assert texts == ["CosineAnnealingLR", "0.2", "0", "0", "step 91"]
    bottom, top = first[:, 1].max(), first[:, 1].min()
    np.testing.assert_allclose((bottom - first[:, 1]) / (bottom - top), scheduler.curve(92) / 0.2, atol=1e-3)
    assert second[:, 1].min() == pytest.approx((bottom + top) / 2, abs=0.1)


def test_picture_of_a_long_schedule_is_small():
    (line,), texts = points(lr_scheduler.CosineAnnealingLR(an_optimizer(), 1_000_000))
    assert len(line) == 600
    assert texts[-1] == "step 1125001"


def test_picture_of_rates_that_are_all_zero():
    (line,), _ = points(lr_scheduler.StepLR(an_optimizer(0.0), 3))
    assert np.ptp(line[:, 1]) == 0


def test_no_picture_of_what_has_no_curve():
    assert lr_scheduler.ReduceLROnPlateau(an_optimizer())._repr_svg_() is None
    with lf.Graph("fed"):
        rate = lf.placeholder("lr", (), lf.float64)
        optimizer = optim.SGD([lf.Parameter([0.0], name="w")], lr=rate)
        assert lr_scheduler.StepLR(optimizer, 3)._repr_svg_() is None


class Axes:
    """What a plot does to matplotlib's axes."""

    def __init__(self):
        self.lines, self.texts = [], []

    def plot(self, steps, rates, label):
        self.lines.append((list(steps), rates.tolist(), label))

    def __getattr__(self, name):
        return lambda *args: self.texts.append((name, *args))


def test_plot_draws_into_axes():
    axes = Axes()
    assert lr_scheduler.StepLR(an_optimizer(1.0, 4.0), 2, 0.5).plot(4, axes) is axes
    steps = [0, 1, 2, 3]
    assert axes.lines == [(steps, [1, 1, 0.5, 0.5], "group 0"), (steps, [4, 4, 2, 2], "group 1")]
    assert ("set_title", "StepLR") in axes.texts
    assert ("legend",) in axes.texts


def test_plot_makes_axes_where_matplotlib_is(monkeypatch):
    axes = Axes()
    pyplot = types.SimpleNamespace(subplots=lambda: (None, axes))
    monkeypatch.setitem(sys.modules, "matplotlib", types.SimpleNamespace(pyplot=pyplot))
    assert lr_scheduler.StepLR(an_optimizer(), 2).plot() is axes
    assert len(axes.lines[0][0]) == 100


def test_plot_without_matplotlib_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match="matplotlib is not installed"):
        lr_scheduler.StepLR(an_optimizer(), 2).plot()


@pytest.mark.parametrize("steps", [0, -3, 2.5, "9"])
def test_plot_refuses_what_is_no_number_of_steps(steps):
    with pytest.raises(lf.ArgumentError, match=r"StepLR\.plot: steps="):
        lr_scheduler.StepLR(an_optimizer(), 2).plot(steps, Axes())
