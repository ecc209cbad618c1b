"""How far rounding may take the numbers of a graph from those of exact arithmetic.

One tolerance for all random graphs is too wide for most and too narrow for some: where nearly equal numbers
are subtracted or compared, the last bit may turn into anything. So each graph is run in float64 many times,
with the result of every op rounded to its dtype and shaken by a few units of its last place. What those runs
differ by is what rounding can do to that graph; where they do not agree on what is finite, or on an integer
or a bool, the number says nothing and is not compared.
"""

from dataclasses import dataclass
from unittest import mock

import ml_dtypes
import numpy as np

from lazyflow.compiler import interpret as interpreter
from lazyflow.compiler import primitives as p
from lazyflow.runtime import dtypes

RUNS = 12
UNITS = 4.0  # of the last place: the error of numpy's functions
MARGIN = 8.0  # times the largest difference seen, as a few runs do not show the largest there is
EXACT = {p.neg, p.abs_, p.sign, p.floor, p.ceil, p.round_, p.minimum, p.maximum, p.where, p.cast}
EXACT |= {p.iota, p.position, p.reduce_max, p.reduce_min, p.concat, p.pad, p.gather, p.assign}


@dataclass
class Bound:
    """The exact values, how far rounding may be from them, and where that is known."""

    exact: np.ndarray
    tolerance: np.ndarray
    known: np.ndarray

    def check(self, outcome, what):
        assert outcome.shape == self.exact.shape, what
        outcome = outcome.astype(self.exact.dtype)
        same = (outcome == self.exact) | ((outcome != outcome) & (self.exact != self.exact))
        with np.errstate(invalid="ignore"):
            near = np.abs(outcome - self.exact) <= self.tolerance if outcome.dtype == np.float64 else same
        wrong = self.known & ~same & ~near
        assert not wrong.any(), (
            f"{what}: {outcome} is not {self.exact} +- {self.tolerance} where {self.known}"
        )


def bounds(case, rounded=True):
    """For each program of the case, the Bounds of its fetches and of the state after it.

    ``rounded``: whether each op is rounded to its own dtype; else to float64.
    """
    exact = case.run(precision="float64")
    runs = []
    for seed in range(RUNS):
        with mock.patch.object(interpreter, "Run", _shaken(np.random.default_rng(seed), rounded)):
            runs.append(case.run(precision="float64"))
    return {
        name: tuple(
            {key: _bound(value, [run[name][part][key] for run in runs]) for key, value in values.items()}
            for part, values in enumerate(exact[name])
        )
        for name in exact
    }


def _bound(exact, samples):
    samples = np.stack(samples)
    if exact.dtype != np.float64:
        return Bound(exact, np.zeros(exact.shape), np.all(samples == exact, axis=0))
    with np.errstate(invalid="ignore"):
        differences = np.max(np.abs(samples - exact), axis=0)
    agreed = np.all((samples == exact) | (np.isnan(samples) & np.isnan(exact)), axis=0)
    finite = np.isfinite(exact) & np.all(np.isfinite(samples), axis=0)
    return Bound(exact, np.where(finite, MARGIN * differences, 0), finite | agreed)


def _shaken(rng, rounded):
    class Shaken(interpreter_run):
        def evaluate(self, op, inputs):
            inexact = not (op.primitive in EXACT or op.primitive.leaf or op.primitive.view)
            if inexact and not op.primitive.elementwise:  # sums: the error is relative to the terms
                inputs = [shake(x, value.dtype, x.size) for x, value in zip(inputs, op.inputs, strict=True)]
            results = super().evaluate(op, inputs)
            pairs = zip(results, op.outputs, strict=True)
            return tuple(shake(x, value.dtype, 1 if inexact else 0) for x, value in pairs)

    def shake(x, dtype, units):
        if not dtypes.is_floating(dtype):
            return x
        kept = dtype if rounded else dtypes.float64
        error = UNITS * np.sqrt(units) * float(ml_dtypes.finfo(kept).eps)
        with np.errstate(all="ignore"):
            return (x * (1 + error * rng.uniform(-1, 1, x.shape))).astype(kept).astype(np.float64)

    return Shaken


interpreter_run = interpreter.Run
