"""The table of functions: NumPy, every backend in every dtype, central differences, and what is refused."""

import inspect

import numpy as np
import pytest

import lazyflow as lf
from lazyflow.compiler import primitives
from lazyflow.compiler.primitives import PRIMITIVES
from lazyflow.ops.function import RULES
from lazyflow.runtime import dtypes
from ops.bad_calls import BAD_CALLS
from ops.cases import ARITHMETIC, CASES, LOGIC, PRODUCTS, REAL, REDUCTION
from ops.evaluation import Call, difference, evaluate, random_directions, run

BACKENDS = ["numpy", "cpu"]
ROOMS = {
    f"lazyflow.ops.{room}"
    for room in ("elementwise", "comparison", "reduction", "linalg", "shaping", "joining", "indexing")
}
FUNCTIONS = {f for f in map(lf.__getattr__, lf.__all__) if getattr(f, "__module__", None) in ROOMS}

SIZE_FREE = [*ARITHMETIC, *REAL, *LOGIC, *REDUCTION, *PRODUCTS]  # rows whose options name no size

# Each op rounds once, and a backend may sum and fuse in another order than the interpreter.
TOLERANCE = {lf.float64: 1e-13, lf.float32: 2e-6, lf.float16: 4e-3, lf.bfloat16: 3e-2}


def as_list(value):
    return value if isinstance(value, list) and value and isinstance(value[0], np.ndarray) else [value]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_function_equals_numpy(case):
    results = Call(case, lf.float64).interpret()
    for result, expected in zip(results, as_list(case.reference(*case.arguments)), strict=True):
        assert result.shape == np.shape(expected)
        # what NumPy gives in float64 for integers has float32 here
        tolerance = 1e-14 if result.dtype != np.float32 else 1e-7
        np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_backend_equals_interpreter(case, backend, dtype):
    call = Call(case, dtype)
    expected = call.interpret()
    for result, value in zip(call.run(backend), expected, strict=True):
        assert result.dtype == value.dtype
        assert result.shape == value.shape
        tolerance = max(TOLERANCE[dtype], TOLERANCE.get(result.dtype, 0.0))
        wide = (a.astype(np.float64) for a in (result, value))
        np.testing.assert_allclose(*wide, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", SIZE_FREE, ids=str)
def test_sizes_bound_at_run_time_change_no_bit(case, backend):
    for result, value in zip(Call(case, named=True).run(backend), Call(case).run(backend), strict=True):
        np.testing.assert_array_equal(result, value)


def differentiable(case):
    call = Call(case, lf.float64)
    inputs = any(feed.dtype == np.float64 for feed in call.feeds.values())
    return case.gradient and inputs and all(dtypes.is_floating(y.dtype) for y in call.results)


DIFFERENTIABLE = [case for case in CASES if differentiable(case)]


class Loss:
    """A scalar of a call: its results weighted by fixed random numbers, so that no two count the same."""

    def __init__(self, case, named):
        self.call = Call(case, lf.float64, named)
        self.feeds = dict(self.call.feeds)
        random = np.random.default_rng(7)
        values = self.call.interpret()
        with self.call.graph:
            parts = [
                lf.sum(y * self._feed(random.standard_normal(v.shape), y))
                for y, v in zip(self.call.results, values, strict=True)
            ]
            self.tensor = sum(parts[1:], parts[0])

    def _feed(self, array, like):
        name = f"given{len(self.feeds)}"
        self.feeds[name] = array
        return lf.placeholder(name, like.shape, lf.float64)

    def along(self, direction):
        """The sum of the gradients times the direction."""
        with self.call.graph:
            wanted = [self.call.inputs[name] for name in direction]
            found = lf.gradients(self.tensor, wanted)
            parts = [lf.sum(g * self._feed(d, g)) for g, d in zip(found, direction.values(), strict=True)]
        return sum(self.evaluate(parts, self.feeds))

    def gradients(self):
        """The gradients by the call's inputs."""
        inputs = [x for x in self.call.inputs.values() if dtypes.is_floating(x.dtype)]
        with self.call.graph:
            return list(lf.gradients(self.tensor, inputs))

    def evaluate(self, tensors, feeds):
        return evaluate(self.call.graph, tensors, feeds, "float64")


@pytest.mark.parametrize(
    ("case", "named"),
    [
        *((c, False) for c in DIFFERENTIABLE),
        *((c, True) for c in DIFFERENTIABLE if any(c is row for row in SIZE_FREE)),
    ],
    ids=str,
)
def test_gradient_equals_central_differences(case, named):
    loss = Loss(case, named)
    direction = random_directions(loss.call.feeds)
    numeric = difference(lambda feeds: loss.evaluate([loss.tensor], feeds)[0], loss.feeds, direction)
    # the step is 1e-6: the difference quotient is exact to about 1e-9 of the loss's terms
    np.testing.assert_allclose(loss.along(direction), numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_gradient_on_a_backend_equals_the_interpreter(case, backend):
    loss = Loss(case, named=False)
    gradients = loss.gradients()
    expected = evaluate(loss.call.graph, gradients, loss.feeds)
    for result, value in zip(run(loss.call.graph, gradients, loss.feeds, backend), expected, strict=True):
        np.testing.assert_allclose(result, value, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("call", BAD_CALLS, ids=str)
def test_bad_call_is_refused(call):
    with lf.Graph(), pytest.raises(call.error) as caught:
        call.call()
    assert str(caught.value).startswith(call.starts)


def test_no_function_lacks_a_row():
    missing = FUNCTIONS - {case.function for case in CASES}
    assert not missing, f"no row in CASES: {missing}"


def test_no_function_that_can_be_called_wrongly_lacks_a_bad_call():
    many = {f for f in FUNCTIONS if len(inspect.signature(f).parameters) > 1}
    missing = many - {call.function for call in BAD_CALLS}
    assert not missing, f"no row in BAD_CALLS: {missing}"


def test_every_primitive_has_a_gradient_rule_or_a_stated_none():
    missing = set(PRIMITIVES.values()) - RULES.keys()
    assert not missing, f"no gradient_rule and no no_gradient: {missing}"


def test_every_gradient_rule_is_checked_by_a_case():
    used = {op.primitive for case in DIFFERENTIABLE for op in Call(case).graph.ir.ops}
    second = {primitives.scatter_add}  # test_autograd.py: the gradient of a gradient
    made_by_passes = {primitives.copy}
    rules = {primitive for primitive, rule in RULES.items() if rule is not None}
    assert rules - second - made_by_passes <= used


def test_a_number_is_one_op_of_its_graph():
    with lf.Graph() as graph:
        x = lf.placeholder("x", (3,))
        y = x * 2 + 2 + 2.0 + 0.0 - (-0.0)
        graph.program("main", fetches={"y": y})
    constants = [op.attributes["value"].item() for op in graph.ir.ops if op.primitive is primitives.constant]
    assert list(map(str, constants)) == ["2.0", "2.0", "0.0", "-0.0"]  # 2 and 2.0 may be of other dtypes
