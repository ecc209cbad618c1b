"""Graphs of one function, evaluated by the interpreter: values, and gradients beside central differences."""

import numpy as np
import pytest

import lazyflow as lf
from lazyflow.compiler.interpret import interpret


def build(function, arrays, dtypes=None):
    graph = lf.Graph()
    with graph:
        names = [f"x{i}" for i in range(len(arrays))]
        kinds = dtypes or [a.dtype for a in arrays]
        inputs = [lf.placeholder(n, a.shape, d) for n, a, d in zip(names, arrays, kinds, strict=True)]
        graph.program("main", fetches={"y": function(*inputs)})
    return graph, dict(zip(names, arrays, strict=True)), inputs


@pytest.fixture
def evaluate():
    def evaluate(function, *arrays, precision=None):
        """The value of ``function`` of placeholders that are fed the arrays."""
        graph, feeds, _ = build(function, arrays)
        return interpret(graph.ir, "main", feeds, precision=precision)[0]["y"]

    return evaluate


def slope(graph, feeds, name, direction, weights, step=1e-6):
    """The central difference of ``sum(y * weights)`` along a direction of one feed."""
    values = []
    for sign in (1, -1):
        moved = {**feeds, name: feeds[name] + sign * step * direction}
        y = interpret(graph.ir, "main", moved, precision="float64")[0]["y"]
        values.append(np.sum(y * weights))
    return (values[0] - values[1]) / (2 * step)


@pytest.fixture
def check_gradients():
    def check_gradients(function, *arrays):
        """Compare the gradients by all floating arguments with central differences, in float64."""
        arrays = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
        graph, feeds, inputs = build(function, arrays)
        rng = np.random.default_rng(1)
        y = interpret(graph.ir, "main", feeds, precision="float64")[0]["y"]
        weights = rng.standard_normal(y.shape)
        with graph:
            weighted = lf.sum(lf.constant(weights) * lf.Tensor(graph, graph.ir.programs["main"].fetches["y"]))
            floating = [x for x in inputs if x.dtype == lf.float64]
            found = lf.gradients(weighted, floating)
            fetches = {x.name: dx for x, dx in zip(floating, found, strict=True)}
            graph.program("gradients", fetches=fetches)
        gradients = interpret(graph.ir, "gradients", feeds, precision="float64")[0]
        assert gradients
        for name, gradient in gradients.items():
            direction = rng.standard_normal(feeds[name].shape)
            expected = slope(graph, feeds, name, direction, weights)
            assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-6, abs=1e-8), name

    return check_gradients
