"""LambdaLR traces a function of the step along all its paths; tables stand in where it cannot."""

import bisect
import math

import numpy as np
import pytest

import lazyflow as lf
from lazyflow.optim import lr_scheduler
from lazyflow.runtime import load_plan
from optim.lr_scheduler.schedules import an_optimizer, run_rates

STEPS = 40


def staged(step):
    if step < 5:
        return 0.1
    if step < 10 or step == 12:
        return 0.5 if step % 2 == 0 else 0.25
    return 1.0


def in_range(step):
    return 1.0 if 3 <= step < 7 else 0.0


def nothing_or(step):
    return step and 1 / step


def alternating(step):
    rate = 1.0
    for threshold in (5, 10, 15, 20):
        if step >= threshold:
            rate *= 0.5
    return rate


def halving(step):
    cycle, within = divmod(step, 7)
    return 0.5**cycle * (1 - within / 7)


FUNCTIONS = [
    lambda step: 0.95**step,
    lambda step: 0.95 * step,
    lambda step: step // 30,
    lambda step: max(0.0, 1 - step / 20),
    lambda step: min(step, 10) / 10,
    lambda step: min(1.0, max(0.1, step / 5), 0.9),
    lambda step: 1.0 if step < 10 and step != 3 else 0.1,
    lambda step: 1.0 if step in (1, 4, 9) else 0.5,
    lambda step: [1.0, 0.1, 0.01][0 if step < 5 else 1 if step < 8 else 2],
    lambda step: 0.1 ** bisect.bisect_right([3, 9, 27], step),
    lambda step: 0.1 ** sum(step >= milestone for milestone in (3, 9, 27)),
    lambda step: 0.5 ** math.floor(step / 3) + math.ceil(step / 4) + round(step / 8),
    lambda step: abs(step - 10),
    lambda step: (step + 1) ** -0.5,
    lambda step: -(-step // 3) % 4,
    lambda step: step < 10,
    lambda step: 3,
    lambda step: True,
    lambda step: np.float32(0.25),
    lambda step: 0.25 if step < 3 else step,
    staged,
    in_range,
    nothing_or,
    alternating,
    halving,
]
NAMES = [f.__name__ if f.__name__ != "<lambda>" else f"line {f.__code__.co_firstlineno}" for f in FUNCTIONS]


@pytest.mark.parametrize("function", FUNCTIONS, ids=NAMES)
def test_function_of_the_step_is_what_python_computes(function):
    expected = [0.5 * float(function(step)) for step in range(STEPS)]
    rates = run_rates(lambda optimizer: lr_scheduler.LambdaLR(optimizer, function), STEPS, [0.5])[:, 0]
    np.testing.assert_allclose(rates, expected, rtol=1e-15)
    np.testing.assert_array_equal(rates, lr_scheduler.LambdaLR(an_optimizer(0.5), function).curve(STEPS))


def test_numpy_and_lazyflow_functions_take_the_step():
    def smooth(step):
        return lf.where(step < 3, lf.cos(step), np.minimum(np.exp(-step), 0.01))

    rates = lr_scheduler.LambdaLR(an_optimizer(1.0), smooth).curve(8)
    steps = np.arange(8.0)
    np.testing.assert_allclose(
        rates, np.where(steps < 3, np.cos(steps), np.minimum(np.exp(-steps), 0.01)), rtol=1e-15
    )


def test_numbers_of_a_schedule_are_float64_wherever_they_meet_the_step():
    def stairs(step):
        return lf.where(step < 2, 0.1, 0.3) + lf.cast(step, lf.int64) / 10 + (step >= 3) * 0.7

    found = lr_scheduler.LambdaLR(an_optimizer(1.0), stairs).curve(5)
    assert found.tolist() == [(0.1 if k < 2 else 0.3) + k / 10 + (k >= 3) * 0.7 for k in range(5)]


def calls(function):
    """The function, and how often it is called to trace it once more."""
    asked = []
    scheduler = lr_scheduler.LambdaLR(an_optimizer(), lambda step: asked.append(1) or function(step))
    asked.clear()
    scheduler.curve(1)
    return len(asked)


def twice(step):
    first = 1.0 if step < 10 else 0.5
    return first + (2.0 if step < 10 else 1.0)


def nested(step):
    if step < 10:
        return 1.0 if step < 5 else 2.0
    return 3.0


@pytest.mark.parametrize(
    ("function", "paths"),
    [(lambda step: 0.5 * step, 1), (twice, 2), (nested, 3), (staged, 6), (alternating, 16)],
    ids=["straight", "same condition", "nested", "staged", "alternating"],
)
def test_function_is_called_once_for_each_path(function, paths):
    assert calls(function) == paths


def by_bits(count):
    return lambda step: sum(2 if (step // 2**i) % 2 == 1 else 1 for i in range(count))


def test_64_paths_are_traced():
    assert calls(by_bits(6)) == 64
    found = lr_scheduler.LambdaLR(an_optimizer(1.0), by_bits(6)).curve(64)
    np.testing.assert_array_equal(found, [6 + bin(step).count("1") for step in range(64)])


def endless(step):
    while step > 0:
        step = step - 1
    return 1.0


@pytest.mark.parametrize("function", [by_bits(7), endless], ids=["128 paths", "no end"])
def test_more_than_64_paths_are_refused(function):
    with pytest.raises(lf.SymbolicError, match="more than 64 paths") as error:
        lr_scheduler.LambdaLR(an_optimizer(), function)
    assert "lf.cos" in str(error.value)
    assert "lf.tabulate(fn, steps=N)" in str(error.value)


NUMBERS = [
    lambda step: math.cos(step),
    lambda step: sum(range(step)),
    lambda step: float(step),
    lambda step: 0.1 ** int(step / 30),
    lambda step: [1.0, 0.5][step],
    lambda step: step.item(),
    lambda step: math.exp(-step),
    lambda step: round(step / 7, 2),
]


@pytest.mark.parametrize("function", NUMBERS, ids=lambda f: f"line {f.__code__.co_firstlineno}")
def test_function_that_needs_the_number_is_refused_where_the_scheduler_is_made(function):
    with pytest.raises(lf.SymbolicError) as error:
        lr_scheduler.LambdaLR(an_optimizer(), function)
    assert "lf.cos" in str(error.value)
    assert "lf.tabulate(fn, steps=N)" in str(error.value)


@pytest.mark.parametrize(
    "result", [None, "0.1", [0.1], (1,), np.ones(2), 1j, {}, math.nan, math.inf, -math.inf]
)
def test_result_that_is_no_finite_number_is_refused(result):
    with pytest.raises(lf.ArgumentError, match=r"LambdaLR: <lambda> \(test_tracing.py:\d+\): returned"):
        lr_scheduler.LambdaLR(an_optimizer(), lambda step: result)


def test_tensor_that_is_no_scalar_is_refused():
    with pytest.raises(lf.ArgumentTypeError, match=r"returned a Tensor of shape \(2,\); expected a scalar"):
        lr_scheduler.LambdaLR(an_optimizer(), lambda step: lf.stack([step, step]))
    with pytest.raises(lf.SymbolicError, match=r"a condition has shape \(2,\); expected a scalar"):
        lr_scheduler.LambdaLR(an_optimizer(), lambda step: 1 if lf.stack([step, step]) else 2)


def test_function_that_is_not_pure_is_refused():
    asked = []

    def moody(step):
        asked.append(1)
        return 1.0 if step < len(asked) else 2.0

    with pytest.raises(lf.SymbolicError, match="called again, it asks for another condition"):
        lr_scheduler.LambdaLR(an_optimizer(), moody)


def test_error_of_the_function_itself_reaches_the_user():
    def broken(step):
        if step < 10:
            return 1.0
        raise KeyError("no rate from step 10 on")

    with pytest.raises(KeyError, match="no rate from step 10 on"):
        lr_scheduler.LambdaLR(an_optimizer(), broken)


def test_conditions_outside_of_a_schedule_still_teach():
    with lf.Graph("outside"):
        lr_scheduler.LambdaLR(an_optimizer(), lambda step: 1 if step < 3 else 2).curve(4)
        x = lf.placeholder("x", ())
        with pytest.raises(lf.SymbolicError, match=r"lf\.where"):
            bool(x < 3)


def test_one_function_per_group():
    def make(optimizer):
        return lr_scheduler.LambdaLR(optimizer, [lambda step: step // 2, lambda step: 0.5**step])

    expected = [[0.1 * (k // 2), 0.2 * 0.5**k] for k in range(6)]
    np.testing.assert_allclose(run_rates(make, 6, [0.1, 0.2]), expected, rtol=1e-15)


def test_bound_methods_and_callable_objects_are_functions():
    class Warm:
        def __call__(self, step):
            return min(1.0, step / 4)

        rate = __call__

    for function in (Warm(), Warm().rate):
        found = lr_scheduler.LambdaLR(an_optimizer(1.0), function).curve(6)
        np.testing.assert_array_equal(found, [0, 0.25, 0.5, 0.75, 1, 1])


# --- tables -------------------------------------------------------------------------------------------------


def test_table_gives_the_numbers_of_the_function_and_holds_the_last():
    table = lf.tabulate(lambda step: math.cos(step) + step % 3, steps=10)
    expected = [0.1 * (math.cos(min(k, 9)) + min(k, 9) % 3) for k in range(15)]
    found = run_rates(lambda optimizer: lr_scheduler.LambdaLR(optimizer, table), 15)[:, 0]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(lr_scheduler.LambdaLR(an_optimizer(), table).curve(15), expected)
    np.testing.assert_array_equal([0.1 * table(k) for k in range(15)], expected)


def test_table_is_a_part_of_a_schedule_and_takes_any_integer():
    table = lf.tabulate(lambda step: step * step, steps=5)

    def mixed(step):
        return table(step - 3) + table(lf.cast(step, lf.int32)) if step < 8 else 0.5

    square = [min(max(k, 0), 4) ** 2 for k in range(-3, 9)]
    expected = [square[k] + square[k + 3] if k < 8 else 0.5 for k in range(9)]
    found = lr_scheduler.LambdaLR(an_optimizer(1.0), mixed).curve(9)
    np.testing.assert_array_equal(found, expected)


def test_table_is_exported_with_the_plan(tmp_path):
    with lf.Graph("table") as graph:
        optimizer = an_optimizer(1.0)
        scheduler = lr_scheduler.LambdaLR(optimizer, lf.tabulate(math.sqrt, steps=100))
        with graph.program("epoch", fetches={"lr": optimizer.lr}):
            scheduler.step()
    path = tmp_path / "table.lfplan"
    lf.compile(graph).save(path)
    session = load_plan(path).session(backend="numpy")
    assert [session.run("epoch")["lr"] for _ in range(4)] == [0.0, 1.0, math.sqrt(2), math.sqrt(3)]


def test_table_calls_its_function_once_for_each_step():
    asked = []
    table = lf.tabulate(lambda step: asked.append(step) or 1.0, steps=4)
    lr_scheduler.LambdaLR(an_optimizer(), table).curve(20)
    assert asked == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("fn", "steps", "text"),
    [
        (3.0, 5, "fn=3.0 is no function"),
        (math.sin, 0, "steps=0 is out of range"),
        (math.sin, -5, "steps=-5 is out of range"),
        (math.sin, 2.0, "steps=2.0 is no integer"),
        (math.sin, True, "steps=True is no integer"),
        (math.sin, None, "steps=None is no integer"),
        (math.sin, "5", "steps='5' is no integer"),
        (lambda step: None, 5, r"fn\(0\): returned None"),
        (lambda step: [1.0, math.nan][step], 2, r"fn\(1\): returned nan"),
    ],
)
def test_tables_refuse(fn, steps, text):
    with pytest.raises(lf.ArgumentError, match=f"tabulate: {text}"):
        lf.tabulate(fn, steps=steps)
