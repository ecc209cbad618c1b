"""The curve of every scheduler: the formula, and to the last bit what a plan computes."""

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.optim import lr_scheduler
from optim.lr_scheduler.schedules import SPECIFICATIONS, Specification, an_optimizer, run_rates

STEPS = 45  # past the end of every schedule of the table
every = pytest.mark.parametrize("specification", SPECIFICATIONS, ids=str)


def test_no_scheduler_is_missing_from_the_table():
    base, classes = lr_scheduler.LRScheduler, vars(lr_scheduler).values()
    found = {c.__name__ for c in classes if isinstance(c, type) and issubclass(c, base)}
    assert {s.kind for s in SPECIFICATIONS} == found - {"LRScheduler", "ReduceLROnPlateau"}  # without a curve
    assert lr_scheduler.WarmupLR is lr_scheduler.WarmUpLR


@every
def test_curve_is_the_formula(specification):
    found = specification.make(an_optimizer(0.1)).curve(STEPS)
    # sums of a few float64 roundings; those near 0 are of the size of the base rate's
    expected = [specification.rate(0.1, k) for k in range(STEPS)]
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-17)
    assert found.dtype == np.float64


@every
def test_plan_computes_the_curve_to_the_last_bit(specification):
    rates = run_rates(specification.make, STEPS, [0.1, 0.37])
    optimizer = an_optimizer(0.1, 0.37)
    scheduler = specification.make(optimizer)
    for group in range(2):
        np.testing.assert_array_equal(rates[:, group], scheduler.curve(STEPS, group))


@every
def test_compiled_plan_computes_the_curve(specification):
    rates = run_rates(specification.make, STEPS, [0.1, 0.37], backend="cpu")
    scheduler = specification.make(an_optimizer(0.1, 0.37))
    for group in range(2):
        curve = scheduler.curve(STEPS, group)
        # measured over 300 steps: the C library's pow is up to 3e-16 from NumPy's, 2 units in the last place,
        # and all else has the same bits; in 1 + cos near 0 another cos would show in units of the base rate
        np.testing.assert_allclose(rates[:, group], curve, rtol=1e-15, atol=1e-16)


@every
def test_last_step_starts_the_clock_behind_it(specification):
    resumed = run_rates(lambda optimizer: specification.make(optimizer, last_step=6), 5)
    np.testing.assert_array_equal(resumed[:, 0], specification.make(an_optimizer(0.1)).curve(range(7, 12)))


@every
def test_curve_starts_from_the_base_that_is_given(specification):
    found = specification.make(an_optimizer(0.1)).curve(STEPS, base=0.25)
    expected = specification.make(an_optimizer(0.25)).curve(STEPS)
    np.testing.assert_array_equal(found, expected)


FAR = 10**15 + 37
LATE = [
    ("StepLR", {"step_size": 10**13, "gamma": 0.5}, lambda k: 0.5 ** (k // 10**13)),
    ("StepLR", {"step_size": 7 * 10**12 + 1, "gamma": 0.9}, lambda k: 0.9 ** (k // (7 * 10**12 + 1))),
    ("MultiStepLR", {"milestones": [FAR - 1, FAR], "gamma": 0.5}, lambda k: 0.25 if k >= FAR else 0.5),
    ("CosineLR", {"T_max": 4}, lambda k: 0.5 * (1 + np.cos(np.pi * (k % 8) / 4))),
    ("CosineAnnealingWarmRestarts", {"T_0": 9}, lambda k: 0.5 * (1 + np.cos(np.pi * (k % 9) / 9))),
    ("CyclicLR", {"base_lr": 0, "max_lr": 1, "step_size_up": 5}, lambda k: 1 - abs(k % 10 / 5 - 1)),
]


@pytest.mark.parametrize(("kind", "args", "rate"), LATE, ids=lambda x: x if isinstance(x, str) else "")
def test_late_steps_are_exact(kind, args, rate):
    steps = range(FAR - 1, FAR + 12)
    found = getattr(lr_scheduler, kind)(an_optimizer(1.0), **args).curve(steps)
    np.testing.assert_allclose(found, [rate(k) for k in steps], rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("mult", [2, 3, 7])
def test_restarts_come_at_the_first_step_of_each_cycle(mult):
    starts = [(mult**i - 1) // (mult - 1) for i in range(1, 60) if mult**i < 10**15]
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(an_optimizer(1.0), 1, mult, decay_rate=0.5)
    np.testing.assert_array_equal(scheduler.curve(starts), [0.5**i for i in range(1, len(starts) + 1)])
    before = scheduler.curve([start - 1 for start in starts])
    assert (before[5:] < 1e-4).all()  # the end of a long cycle


class Bumpy(lr_scheduler.LRScheduler):
    """A schedule of a user's, with ops that have no reading on many steps at once."""

    height: lr_scheduler.Number[float] = lr_scheduler.Number(default=2.0, low=0.0)

    def rate(self, base, step):
        if step % 4 == 0:
            return base * self.height
        table = lf.concat([lf.reshape(step, (1,)), lf.constant([3.0], lf.float64)])
        return base * lf.max(table)


def test_schedule_of_a_users_own():
    expected = [0.5 * (3.0 if k % 4 == 0 else max(k, 3.0)) for k in range(STEPS)]
    np.testing.assert_array_equal(Bumpy(an_optimizer(0.5), height=3.0).curve(STEPS), expected)
    np.testing.assert_array_equal(run_rates(lambda o: Bumpy(o, 3.0), STEPS, [0.5])[:, 0], expected)
    with pytest.raises(lf.ArgumentError, match="Bumpy: height=-1 is out of range"):
        Bumpy(an_optimizer(), height=-1)


def test_curve_may_be_asked_for_inside_of_a_graph_and_appends_nothing_to_it():
    with lf.Graph("open") as graph:
        scheduler = lr_scheduler.StepLR(an_optimizer(1.0), 2, 0.5)
        with graph.program("epoch"):
            before = len(graph.ir.ops)
            np.testing.assert_array_equal(scheduler.curve(4), [1.0, 1.0, 0.5, 0.5])
            assert len(graph.ir.ops) == before


def test_curve_of_a_hundred_thousand_steps_takes_no_time_per_step():
    specification = Specification("CosineAnnealingLR", None, {"steps": 100_000})
    curve = specification.make(an_optimizer(1.0)).curve(100_001)
    assert curve[0] == 1.0
    assert curve[-1] == 0.0
    assert (np.diff(curve) < 0).all()


def test_curve_of_a_rate_that_depends_on_more_says_what_to_do():
    with lf.Graph("more"):
        factor = lf.placeholder("factor", ())
        scheduler = lr_scheduler.LambdaLR(an_optimizer(), lambda step: factor * step)
        with pytest.raises(lf.GraphError, match="depends on more than the base rate and the step") as error:
            scheduler.curve(3)
    assert "fetch optimizer.lr" in str(error.value)


def test_curve_leaves_variables_that_are_in_no_graph_alone():
    factor = lf.Variable(2.0, name="factor")
    scheduler = lr_scheduler.LambdaLR(an_optimizer(), lambda step: factor * step)
    with pytest.raises(lf.GraphError, match="depends on more"):
        scheduler.curve(3)
    assert not factor.adopted


def test_rates_may_depend_on_tensors_of_the_graph():
    def make(optimizer):
        factor = lf.Variable(2.0, name="factor", dtype=lf.float64)
        return lr_scheduler.LambdaLR(optimizer, lambda step: factor * step)

    np.testing.assert_array_equal(run_rates(make, 3, [0.5])[:, 0], [0.0, 1.0, 2.0])


def test_curve_of_a_base_rate_that_a_tensor_gives_needs_a_base():
    with lf.Graph("fed"):
        base = lf.placeholder("base", (), lf.float64)
        optimizer = optim.SGD([lf.Parameter([0.0], name="w")], lr=base)
        scheduler = lr_scheduler.StepLR(optimizer, 1, 0.5)
        with pytest.raises(lf.ArgumentError, match="base rate of group 0 is computed while the plan runs"):
            scheduler.curve(2)
        np.testing.assert_array_equal(scheduler.curve(2, base=4.0), [4.0, 2.0])


@pytest.mark.parametrize("steps", [0, -1, [], [-1], 2.5, "3", None, [0.5], ["a"]])
def test_curve_refuses_what_is_no_number_of_steps(steps):
    with pytest.raises(lf.ArgumentError, match=r"StepLR\.curve: steps="):
        lr_scheduler.StepLR(an_optimizer(), 1).curve(steps)


@pytest.mark.parametrize("base", ["0.1", [0.1], float("nan"), float("inf")])
def test_curve_refuses_a_base_that_is_no_finite_number(base):
    with pytest.raises(lf.ArgumentError, match=r"StepLR\.curve: base"):
        lr_scheduler.StepLR(an_optimizer(), 1).curve(3, base=base)


@pytest.mark.parametrize("group", [1, -1, "0", True, None, 0.0])
def test_curve_refuses_a_group_that_is_not_there(group):
    with pytest.raises(lf.ArgumentError, match=r"StepLR\.curve: group=.* does not exist; there are 1"):
        lr_scheduler.StepLR(an_optimizer(), 1).curve(3, group)
