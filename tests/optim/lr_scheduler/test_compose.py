"""Schedules made of schedules: who owns whom, and what is refused."""

import numpy as np
import pytest

import lazyflow as lf
from lazyflow.optim import lr_scheduler
from lazyflow.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
    WarmUpLR,
)
from optim.lr_scheduler.schedules import an_optimizer, run_rates


def sequential(optimizer, first, second, **more):
    return SequentialLR(optimizer, [first, second], milestones=[3], **more)


def chained(optimizer, first, second, **more):
    return ChainedScheduler([first, second], **more)


both = pytest.mark.parametrize("compose", [sequential, chained])


@both
def test_composition_is_the_optimizers_one_schedule(compose):
    optimizer = an_optimizer()
    parts = [StepLR(optimizer, 2), ExponentialLR(optimizer, 0.9)]
    assert optimizer.schedulers == parts
    whole = compose(optimizer, *parts)
    assert optimizer.schedulers == [whole]
    assert [part.owner for part in parts] == [whole, whole]


@both
def test_step_of_a_part_names_the_owner(compose):
    with lf.Graph("owned") as graph:
        optimizer = an_optimizer()
        parts = [StepLR(optimizer, 2), ExponentialLR(optimizer, 0.9)]
        owner = type(compose(optimizer, *parts)).__name__
        refused = pytest.raises(lf.GraphError, match=f"StepLR.*: a {owner} owns this schedule")
        with graph.program("train"), refused as error:
            parts[0].step()
    assert f"call step() of the {owner} only" in str(error.value)
    assert "made at test_compose.py:" in str(error.value)


@both
def test_part_of_two_compositions(compose):
    optimizer = an_optimizer()
    parts = [StepLR(optimizer, 2), ExponentialLR(optimizer, 0.9)]
    compose(optimizer, *parts)
    with pytest.raises(lf.GraphError, match="this StepLR has an owner already") as error:
        compose(optimizer, parts[0], ConstantLR(optimizer))
    assert "made at test_compose.py:" in str(error.value)


@both
def test_one_part_twice(compose):
    optimizer = an_optimizer()
    part = StepLR(optimizer, 2)
    with pytest.raises(lf.ArgumentError, match="the same StepLR is there twice"):
        compose(optimizer, part, part)
    assert part.owner is None


@both
def test_part_of_another_optimizer(compose):
    optimizer = an_optimizer()
    with pytest.raises(lf.ArgumentError, match="this StepLR is of optimizer"):
        compose(optimizer, ConstantLR(optimizer), StepLR(an_optimizer(), 2))


@both
def test_part_that_looks_at_a_metric(compose):
    optimizer = an_optimizer()
    with pytest.raises(lf.ArgumentError, match="a ReduceLROnPlateau cannot be composed"):
        compose(optimizer, ConstantLR(optimizer), ReduceLROnPlateau(optimizer))


@both
def test_part_with_a_clock_of_its_own(compose):
    optimizer = an_optimizer()
    with pytest.raises(lf.ArgumentError, match="this StepLR reads a clock of its own"):
        compose(optimizer, ConstantLR(optimizer), StepLR(optimizer, 2, clock=optimizer.updates))


@both
def test_part_with_another_last_step(compose):
    optimizer = an_optimizer()
    parts = [ConstantLR(optimizer, last_step=4), StepLR(optimizer, 2)]
    with pytest.raises(lf.ArgumentError, match="this ConstantLR has last_step=4 of its own"):
        compose(optimizer, *parts)
    assert compose(optimizer, *parts, last_step=4).last_step == 4


@both
def test_verbose_part_makes_the_whole_report(compose, capsys):
    def make(optimizer):
        return compose(optimizer, ConstantLR(optimizer, verbose=True), ExponentialLR(optimizer, 0.5))

    run_rates(make, 2)
    assert "Adjusting learning rate of group 0" in capsys.readouterr().out


@both
def test_parts_after_the_rate_was_read(compose):
    with lf.Graph("read"):
        optimizer = an_optimizer()
        part = StepLR(optimizer, 2)
        _ = optimizer.lr
        with pytest.raises(lf.GraphError, match="after the rate of 'sgd' was read"):
            ChainedScheduler([part])
    assert part.owner is None


@pytest.mark.parametrize(
    ("schedulers", "text"),
    [
        ([], r"schedulers=\[\] is empty"),
        (None, "schedulers=None is no list"),
        (3, "schedulers=3 is no list"),
        ("ab", "schedulers='ab' is no list"),
        (iter([]), "schedulers=.* is no list"),
        ([0.9], r"schedulers\[0\]=0.9 is no scheduler"),
        ([StepLR], r"schedulers\[0\]=.* is no scheduler"),
    ],
)
def test_what_is_no_list_of_schedulers(schedulers, text):
    with pytest.raises(lf.ArgumentError, match=f"SequentialLR: {text}"):
        SequentialLR(an_optimizer(), schedulers, [])
    with pytest.raises(lf.ArgumentError, match=f"ChainedScheduler: {text}"):
        ChainedScheduler(schedulers)


@pytest.mark.parametrize("milestones", [[], [3, 4], [4, 3], [3, 3], [0], [-1], [2.5], [True], None, 3, "3"])
def test_milestones_that_do_not_fit(milestones):
    optimizer = an_optimizer()
    parts = [ConstantLR(optimizer), StepLR(optimizer, 2)]
    with pytest.raises(lf.ArgumentError, match=r"SequentialLR: .*milestones"):
        SequentialLR(optimizer, parts, milestones)
    assert optimizer.schedulers == parts  # nothing was taken over


@pytest.mark.parametrize("rescaling", [1, None, "yes", [], [True, False], [1], (0,)])
def test_interval_rescaling_that_does_not_fit(rescaling):
    optimizer = an_optimizer()
    parts = [ConstantLR(optimizer), StepLR(optimizer, 2)]
    with pytest.raises(lf.ArgumentError, match="SequentialLR: interval_rescaling="):
        SequentialLR(optimizer, parts, [3], rescaling)


def test_global_steps_that_are_no_flag():
    optimizer = an_optimizer()
    with pytest.raises(lf.ArgumentError, match="SequentialLR: global_steps=1 is no bool"):
        SequentialLR(optimizer, [StepLR(optimizer, 2)], [], global_steps=1)


def test_chain_of_another_optimizer():
    optimizer = an_optimizer()
    with pytest.raises(lf.ArgumentError, match="this StepLR is of optimizer 'sgd'"):
        ChainedScheduler([StepLR(optimizer, 2)], optimizer=an_optimizer())
    assert ChainedScheduler([StepLR(optimizer, 2)], optimizer=optimizer).optimizer is optimizer


def test_compositions_compose():
    optimizer = an_optimizer(1.0)
    chain = ChainedScheduler([ConstantLR(optimizer, 0.5, 2), ExponentialLR(optimizer, 0.5)])
    parts = [WarmUpLR(chain, 0.0, 2, warmup_prefix=True), ConstantLR(optimizer, 0.1, 100)]
    whole = SequentialLR(optimizer, parts, [5])
    assert whole.curve(7).tolist() == [0.0, 0.5, 0.5, 0.25, 0.25, 0.1, 0.1]
    assert optimizer.schedulers == [whole]
    found = run_rates(lambda o: ChainedScheduler([StepLR(o, 2, 0.5)]), 4, [1.0])
    assert found[:, 0].tolist() == [1.0, 1.0, 0.5, 0.5]


def test_inner_schedules_never_see_a_step_before_their_first():
    def root(step):  # of a negative number, there is none
        return lf.sqrt(step)

    optimizer = an_optimizer(1.0)
    parts = [ConstantLR(optimizer, 1.0), LambdaLR(optimizer, root)]
    found = SequentialLR(optimizer, parts, [3]).curve(6)
    assert found.tolist() == [1.0, 1.0, 1.0, 0.0, 1.0, 2**0.5]

    def make(optimizer):
        table = lf.constant([4.0, 5.0, 6.0], lf.float64)
        look_up = LambdaLR(optimizer, lambda step: lf.take(table, lf.cast(step, lf.int64), axis=0))
        return WarmUpLR(look_up, 0.5, 2, "constant", warmup_prefix=True)

    assert run_rates(make, 5, [1.0])[:, 0].tolist() == [0.5, 0.5, 4.0, 5.0, 6.0]


def test_rates_differ_by_group_in_compositions():
    def make(optimizer):
        rates = LambdaLR(optimizer, [lambda step: 1.0, lambda step: 0.5**step])
        return WarmUpLR(ChainedScheduler([rates, StepLR(optimizer, 4, 0.1)]), 0.0, 1)

    found = run_rates(make, 3, [1.0, 8.0])
    np.testing.assert_array_equal(found, [[0.0, 0.0], [1.0, 4.0], [1.0, 2.0]])


# --- warm-up ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inner", "args", "whole"),
    [(CosineAnnealingLR, {"steps": 5}, 5), (PolynomialLR, {"decay_batch": 3}, 3)],
)
def test_warm_up_longer_than_the_whole(inner, args, whole):
    with pytest.raises(
        lf.ArgumentError, match=f"warmup_iters=6 is longer than the whole {inner.__name__}"
    ) as error:
        WarmUpLR(inner(an_optimizer(), **args), warmup_iters=6)
    assert f"an integer in [0, {whole}]" in str(error.value)
    assert "warmup_prefix=True" in str(error.value)
    assert WarmUpLR(inner(an_optimizer(), **args), warmup_iters=whole).length == whole
    assert WarmUpLR(inner(an_optimizer(), **args), warmup_iters=6, warmup_prefix=True).length == whole + 6


def test_warm_up_before_a_schedule_without_an_end_may_be_long():
    cyclic = PolynomialLR(an_optimizer(), 3, cycle=True)
    assert WarmUpLR(cyclic, warmup_iters=60).length is None


def test_warm_up_owns_its_inner_schedule():
    optimizer = an_optimizer()
    inner = StepLR(optimizer, 2)
    warm = WarmUpLR(inner)
    assert inner.owner is warm
    assert optimizer.schedulers == [warm]
    with pytest.raises(lf.ArgumentError, match="a ReduceLROnPlateau cannot be composed"):
        WarmUpLR(ReduceLROnPlateau(an_optimizer()))


def test_one_cycle_of_the_groups_own_rates():
    scheduler = lr_scheduler.OneCycleLR(an_optimizer(1.0, 2.0), None, 10)
    assert [scheduler.curve(10, group).max() for group in range(2)] == [1.0, 2.0]
    lists = lr_scheduler.CyclicLR(an_optimizer(1.0, 2.0), [0.5, 0.25], [3, 4], 2)
    assert lists.curve(3, 0).tolist() == [0.5, 1.75, 3.0]
    assert lists.curve(3, 1).tolist() == [0.25, 2.125, 4.0]
    assert lr_scheduler.CyclicLR(an_optimizer(1.0), None, 2, 2).curve(3).tolist() == [1.0, 1.5, 2.0]
