"""Configurations that are refused: each message names class, argument, value and what is accepted."""

import math

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.optim import lr_scheduler, oneflow, pytorch
from optim.lr_scheduler.schedules import an_optimizer, golden_cases

# what no setting accepts, then what only some do
NO_NUMBER = [True, "0.5", [0.5], {}, 1j, np.ones(2)]
NO_FLOAT = [*NO_NUMBER, math.nan, math.inf, -math.inf, 10**400]
NO_COUNT = [*NO_NUMBER, 2.0, 2.5, math.nan, -1, 2**53 + 1, np.float32(3)]
NO_FLAG = [1, 0, "yes", None, 1.0]
NO_WORD = [1, True, None, "", "no such word"]
NO_MILESTONES = [
    5,
    "12",
    None,
    {1, 2},
    [5, 3],
    [3, 3],
    [-1, 4],
    [1.0, 2.0],
    [True, 2],
    [None],
    2**53,
    iter(()),
]
NEGATIVE, ZERO, NONE = [-0.1, -1e-300], [0, 0.0], [None]
NO_RATES = [True, "0.1", {}, math.nan, math.inf, *NEGATIVE, [], [0.1, 0.2]]  # for one group
NO_NUMBER_OF_SGD = [
    1,
    True,
    None,
    "",
    "rate",
    "lr/0",
    "momentum",
    "nesterov",
    "params",
    "clip_grad_norm_type",
]
CYCLIC, ONCE = {"base_lr": 0, "max_lr": 1}, {"max_lr": 1, "total_steps": 9}
RISE = {"warmup_steps": 3, "decay_steps": 9}

# class, the arguments that it needs, the argument in question, the values
SETTINGS = [
    ("StepLR", {}, "step_size", [*NO_COUNT, *NONE, 0]),
    ("StepLR", {"step_size": 3}, "gamma", [*NO_FLOAT, *NONE, *ZERO, *NEGATIVE]),
    ("StepLR", {"step_size": 3}, "last_step", [*NO_NUMBER, *NONE, -2, 0.0, 2**53 + 1]),
    ("StepLR", {"step_size": 3}, "verbose", NO_FLAG),
    ("StepLR", {"step_size": 3}, "clock", [3, "updates", True]),
    ("StepLR", {"step_size": 3}, "option", NO_NUMBER_OF_SGD),
    ("WarmUpLR", {}, "option", [x for x in NO_NUMBER_OF_SGD if x is not None]),
    ("CosineAnnealingLR", {}, "steps", [*NO_COUNT, *NONE, 0]),
    ("CosineAnnealingLR", {"steps": 9}, "alpha", [*NO_FLOAT, *NONE, *NEGATIVE, 1.5]),
    ("CosineDecayLR", {}, "decay_steps", [*NO_COUNT, *NONE, 0]),
    ("CosineDecayLR", {"decay_steps": 9}, "alpha", [*NO_FLOAT, *NONE, *NEGATIVE, 1.0001]),
    ("CosineLR", {}, "T_max", [*NO_COUNT, *NONE, 0]),
    ("CosineLR", {"T_max": 9}, "eta_min", [*NO_FLOAT, *NONE, *NEGATIVE]),
    ("MultiStepLR", {}, "milestones", NO_MILESTONES),
    ("MultiStepLR", {"milestones": [3]}, "gamma", [*NO_FLOAT, *NONE, *ZERO, *NEGATIVE]),
    ("ExponentialLR", {}, "gamma", [*NO_FLOAT, *NONE, *ZERO, *NEGATIVE]),
    ("ConstantLR", {}, "factor", [*NO_FLOAT, *NONE, *NEGATIVE, 1.5]),
    ("ConstantLR", {}, "total_iters", [*NO_COUNT, *NONE]),
    ("LinearLR", {}, "start_factor", [*NO_FLOAT, *NONE, *NEGATIVE, 1.5]),
    ("LinearLR", {}, "end_factor", [*NO_FLOAT, *NONE, *NEGATIVE, 1.5]),
    ("LinearLR", {}, "total_iters", [*NO_COUNT, *NONE, 0]),
    ("PolynomialLR", {}, "decay_batch", [*NO_COUNT, *NONE, 0]),
    ("PolynomialLR", {"decay_batch": 9}, "end_learning_rate", [*NO_FLOAT, *NONE, *NEGATIVE]),
    ("PolynomialLR", {"decay_batch": 9}, "power", [*NO_FLOAT, *NONE, *ZERO, *NEGATIVE]),
    ("PolynomialLR", {"decay_batch": 9}, "cycle", NO_FLAG),
    ("CosineAnnealingWarmRestarts", {}, "T_0", [*NO_COUNT, *NONE, 0]),
    ("CosineAnnealingWarmRestarts", {"T_0": 9}, "T_mult", [*NO_COUNT, *NONE, 0]),
    ("CosineAnnealingWarmRestarts", {"T_0": 9}, "eta_min", [*NO_FLOAT, *NONE, *NEGATIVE]),
    ("CosineAnnealingWarmRestarts", {"T_0": 9}, "decay_rate", [*NO_FLOAT, *NONE, *ZERO, *NEGATIVE]),
    ("CosineAnnealingWarmRestarts", {"T_0": 9}, "restart_limit", [*NO_COUNT, *NONE]),
    ("LambdaLR", {}, "lr_lambda", [*NONE, 0.5, "step", {}]),
    ("MultiplicativeLR", {}, "lr_lambda", [*NONE, 0.5, "step", {}]),
    ("MultiplicativeLR", {"lr_lambda": lambda step: 0.9}, "steps", [*NO_COUNT, 0]),
    ("CyclicLR", {"max_lr": 1}, "base_lr", [*NO_RATES, [None]]),
    ("CyclicLR", {"base_lr": 0}, "max_lr", [*NO_RATES, *NONE]),
    ("CyclicLR", {"base_lr": 0.2}, "max_lr", [0.1]),
    ("CyclicLR", {"base_lr": 0, "max_lr": 1}, "step_size_up", [*NO_COUNT, *NONE, 0]),
    ("CyclicLR", {"base_lr": 0, "max_lr": 1}, "step_size_down", [*NO_COUNT, 0]),
    ("CyclicLR", {"base_lr": 0, "max_lr": 1}, "mode", NO_WORD),
    ("CyclicLR", {"base_lr": 0, "max_lr": 1}, "gamma", [*NO_FLOAT, *NONE, *ZERO, *NEGATIVE]),
    ("CyclicLR", {"base_lr": 0, "max_lr": 1}, "scale_fn", [0.5, "cycle"]),
    ("CyclicLR", {"base_lr": 0, "max_lr": 1}, "scale_mode", NO_WORD),
    ("CyclicLR", CYCLIC, "cycle_momentum", NO_FLAG),
    ("CyclicLR", CYCLIC, "base_momentum", [*NO_RATES, *NONE]),
    ("CyclicLR", CYCLIC, "max_momentum", [*NO_RATES, *NONE]),
    ("OneCycleLR", ONCE, "cycle_momentum", NO_FLAG),
    ("OneCycleLR", ONCE, "base_momentum", [*NO_RATES, *NONE]),
    ("OneCycleLR", ONCE, "max_momentum", [*NO_RATES, *NONE]),
    ("OneCycleLR", {"total_steps": 9}, "max_lr", NO_RATES),
    ("OneCycleLR", {"max_lr": 1}, "total_steps", [*NO_COUNT, 0, 1]),
    ("OneCycleLR", {"max_lr": 1, "steps_per_epoch": 3}, "epochs", [*NO_COUNT, *NONE, 0]),
    ("OneCycleLR", {"max_lr": 1, "epochs": 3}, "steps_per_epoch", [*NO_COUNT, *NONE, 0]),
    ("OneCycleLR", {"max_lr": 1, "total_steps": 9}, "pct_start", [*NO_FLOAT, *NONE, *NEGATIVE, 1.5]),
    ("OneCycleLR", {"max_lr": 1, "total_steps": 9, "three_phase": True}, "pct_start", [0.6]),
    ("OneCycleLR", {"max_lr": 1, "total_steps": 9}, "anneal_strategy", NO_WORD),
    ("OneCycleLR", {"max_lr": 1, "total_steps": 9}, "div_factor", [*NO_FLOAT, *NONE, *ZERO, *NEGATIVE]),
    ("OneCycleLR", {"max_lr": 1, "total_steps": 9}, "final_div_factor", [*NO_FLOAT, *NONE, *ZERO, *NEGATIVE]),
    ("OneCycleLR", {"max_lr": 1, "total_steps": 9}, "three_phase", NO_FLAG),
    ("WarmUpLR", {}, "warmup_factor", [*NO_FLOAT, *NONE, *NEGATIVE, 1.5]),
    ("WarmUpLR", {}, "warmup_iters", [*NO_COUNT, *NONE, 0]),
    ("WarmUpLR", {}, "warmup_method", [*NO_WORD, "cosine"]),
    ("WarmUpLR", {}, "warmup_prefix", NO_FLAG),
    ("WarmupCosineLR", {"decay_steps": 9}, "warmup_steps", [*NO_COUNT, *NONE, 9, 10]),
    ("WarmupCosineLR", {"warmup_steps": 3}, "decay_steps", [*NO_COUNT, *NONE, 0, 3, 2]),
    ("WarmupCosineLR", RISE, "init_factor", [*NO_FLOAT, *NONE, *NEGATIVE, 2]),
    ("WarmupCosineLR", RISE, "alpha", [*NO_FLOAT, *NONE, *NEGATIVE, 2]),
    ("WarmupCosineLR", RISE, "exponent", [*NO_FLOAT, *NONE, *ZERO, *NEGATIVE]),
    ("ReduceLROnPlateau", {}, "mode", [*NO_WORD, "other"]),
    ("ReduceLROnPlateau", {}, "factor", [*NO_FLOAT, *NONE, *ZERO, *NEGATIVE, 1.0, 1.5]),
    ("ReduceLROnPlateau", {}, "patience", [*NO_COUNT, *NONE]),
    ("ReduceLROnPlateau", {}, "threshold", [*NO_FLOAT, *NONE, *NEGATIVE]),
    ("ReduceLROnPlateau", {}, "threshold_mode", [*NO_WORD, "absolute"]),
    ("ReduceLROnPlateau", {}, "cooldown", [*NO_COUNT, *NONE]),
    ("ReduceLROnPlateau", {}, "min_lr", [*NO_RATES, *NONE]),
    ("ReduceLROnPlateau", {}, "eps", [*NO_FLOAT, *NONE, *NEGATIVE]),
]  # fmt: skip
REFUSED = [(kind, args, name, value) for kind, args, name, values in SETTINGS for value in values]


def show(value):
    text = repr(value)
    return text if len(text) < 30 else f"{text[:20]}..."


@pytest.mark.parametrize(
    ("kind", "args", "name", "value"), REFUSED, ids=[f"{r[0]}-{r[2]}={show(r[3])}" for r in REFUSED]
)
def test_setting_out_of_range(kind, args, name, value):
    optimizer = an_optimizer()
    with pytest.raises(lf.ArgumentError) as error:
        getattr(lr_scheduler, kind)(optimizer, **args, **{name: value})
    headline, *rows = str(error.value).splitlines()
    assert headline.startswith(f"{kind}: ")
    assert name in headline
    assert repr(value).strip("[]()")[:15] in headline
    assert rows[0].startswith("  expected  ")
    assert any(row.startswith("  here      at test_refused.py:") for row in rows)
    assert optimizer.schedulers == []  # what was refused is nobody's schedule


def test_at_least_100_configurations_are_refused_over_all_schedulers():
    assert len(REFUSED) >= 100
    classes = [c for c in vars(lr_scheduler).values() if isinstance(c, type)]
    shared = {"last_step", "verbose", "clock", "option"}
    own = {c.__name__: {*c.options} - shared for c in classes if hasattr(c, "rate")}
    tested = {(kind, name) for kind, _, name, _ in SETTINGS}
    missing = {(kind, name) for kind, names in own.items() for name in names} - tested
    # those of compositions stand in test_compose.py
    assert missing == {("SequentialLR", "milestones"), ("SequentialLR", "global_steps")}


NO_OPTIMIZERS = [None, 3, 0.1, "sgd", [0.1], object(), optim.SGD, np.ones(3)]


@pytest.mark.parametrize("thing", NO_OPTIMIZERS, ids=show)
@pytest.mark.parametrize("kind", ["StepLR", "LambdaLR", "WarmUpLR", "ReduceLROnPlateau", "SequentialLR"])
def test_scheduler_on_something_that_is_no_optimizer(kind, thing):
    args = {
        "StepLR": [3],
        "LambdaLR": [lambda step: 1],
        "SequentialLR": [[lr_scheduler.StepLR(an_optimizer(), 3)], []],
    }
    with pytest.raises(lf.ArgumentTypeError, match=rf"{kind}: optimizer=.* is no optimizer"):
        getattr(lr_scheduler, kind)(thing, *args.get(kind, []))


def test_optimizer_that_was_forgotten():
    with pytest.raises(lf.ArgumentTypeError, match="StepLR: optimizer=30 is no optimizer") as error:
        lr_scheduler.StepLR(30, 0.1)
    assert "StepLR(optimizer, ...): the optimizer comes first" in str(error.value)
    with pytest.raises(lf.ArgumentTypeError, match="StepLR: missing a required argument: 'optimizer'"):
        lr_scheduler.StepLR()


def test_scheduler_in_the_optimizers_place():
    with pytest.raises(lf.ArgumentTypeError, match="StepLR: optimizer=<ExponentialLR") as error:
        lr_scheduler.StepLR(lr_scheduler.ExponentialLR(an_optimizer(), 0.9), 3)
    assert "WarmUpLR, SequentialLR and ChainedScheduler compose schedulers" in str(error.value)


def test_clock_of_the_wrong_kind():
    with lf.Graph("clocks"):
        optimizer = an_optimizer()
        clocks = [
            lf.placeholder("f", ()),
            lf.placeholder("v", (3,), lf.int64),
            lf.placeholder("i", (), lf.int32),
        ]
        for clock in clocks:
            with pytest.raises(lf.ArgumentTypeError, match=r"StepLR: clock=.* is no int64 scalar"):
                lr_scheduler.StepLR(optimizer, 3, clock=clock)


def test_tensor_in_place_of_a_number():
    with lf.Graph("tensors"), pytest.raises(lf.ArgumentTypeError, match="StepLR: gamma=<Tensor"):
        lr_scheduler.StepLR(an_optimizer(), 3, gamma=lf.placeholder("gamma", (), lf.float64))


def test_misspelt_argument_gets_a_hint():
    with pytest.raises(lf.ArgumentTypeError, match="StepLR: got an unexpected keyword") as error:
        lr_scheduler.StepLR(an_optimizer(), 3, gama=0.5)
    assert "did you mean 'gamma'?" in str(error.value)


@pytest.mark.parametrize("functions", [[], [abs], [abs] * 3, (abs,)], ids=len)
@pytest.mark.parametrize("kind", ["LambdaLR", "MultiplicativeLR"])
def test_functions_that_are_not_one_per_group(kind, functions):
    with pytest.raises(lf.ArgumentError, match=f"{kind}: lr_lambda has {len(functions)} functions for 2"):
        getattr(lr_scheduler, kind)(an_optimizer(0.1, 0.2), functions)


def test_function_among_functions_that_cannot_be_called():
    with pytest.raises(lf.ArgumentTypeError, match=r"LambdaLR: lr_lambda=.* 0.5 is no function"):
        lr_scheduler.LambdaLR(an_optimizer(0.1, 0.2), [abs, 0.5])


@pytest.mark.parametrize("function", [lambda step: 0.9**step, lambda step: 1 if step < 3 else 2, math.sqrt])
def test_product_without_closed_form_needs_a_table(function):
    with pytest.raises(lf.ArgumentError, match="depends on the step") as error:
        lr_scheduler.MultiplicativeLR(an_optimizer(), function)
    assert "MultiplicativeLR(optimizer, fn, steps=N)" in str(error.value)


@pytest.mark.parametrize("factor", [None, "0.9", math.nan, math.inf, [0.9]])
@pytest.mark.parametrize("steps", [None, 3])
def test_factor_that_is_no_finite_number(factor, steps):
    with pytest.raises(lf.ArgumentError, match=r"MultiplicativeLR: <lambda> .* returned"):
        lr_scheduler.MultiplicativeLR(an_optimizer(), lambda step: factor, steps=steps)


def test_numpy_numbers_are_numbers():
    args = {
        "step_size": np.int32(2),
        "gamma": np.float32(0.5),
        "verbose": np.bool_(False),
        "last_step": np.int64(-1),
    }
    assert lr_scheduler.StepLR(an_optimizer(1.0), **args).curve(4).tolist() == [1.0, 1.0, 0.5, 0.5]
    milestones = lr_scheduler.MultiStepLR(an_optimizer(1.0), (k for k in np.array([1, 3])), 0.5)
    assert milestones.curve(5).tolist() == [1.0, 0.5, 0.5, 0.25, 0.25]


# --- what OneFlow accepts -----------------------------------------------------------------------------------

VALIDATION = [case for case in golden_cases("validation") if case["what"] == "scheduler"]
WE_REFUSE = {
    "validation/s-34": "half a step is none",
    "validation/s-42": "a negative alpha makes negative rates",
    "validation/s-61": "a negative factor makes negative rates",
}
WE_ACCEPT = {"validation/s-33": "a schedule is a function of the step: it resumes from the number alone"}


@pytest.mark.parametrize("case", VALIDATION, ids=lambda case: case["id"].split("/")[1])
def test_what_oneflow_accepts(case):
    kind, optimizer = getattr(oneflow.lr_scheduler, case["target"]), an_optimizer(0.1)
    accepted = (case["accepted"] or case["id"] in WE_ACCEPT) and case["id"] not in WE_REFUSE
    if accepted:
        assert kind(optimizer, **case["args"]) in optimizer.schedulers
    else:
        with pytest.raises(lf.ArgumentError):
            kind(optimizer, **case["args"])


def test_differences_from_oneflow_are_differences():
    recorded = {case["id"]: case["accepted"] for case in VALIDATION}
    assert all(recorded[case] for case in WE_REFUSE)
    assert not any(recorded[case] for case in WE_ACCEPT)


def adam(**more):
    return optim.Adam([lf.Parameter([0.0], name="w")], **more)


def adagrad():
    return optim.Adagrad([lf.Parameter([0.0], name="w")])


MOMENTA = [
    (an_optimizer, {}, "cycle_momentum=True, but group 0 of 'sgd' has no momentum", "SGD(..., momentum=...)"),
    (
        adagrad,
        {},
        "cycle_momentum=True, but a Adagrad has neither momentum nor betas",
        "cycle_momentum=False",
    ),
    (adam, {"option": "betas/0"}, "option='betas/0' and cycle_momentum=True", "cycle_momentum=False"),
    (adam, {"max_momentum": 1.0}, "max_momentum=1.0 is out of range for 'betas/0'", "each in [0, 1)"),
    (adam, {"base_momentum": 0.9, "max_momentum": 0.8}, "max_momentum=0.8 is below base_momentum=0.9", ">="),
]


@pytest.mark.parametrize(("make", "more", "text", "instead"), MOMENTA, ids=[m[2] for m in MOMENTA])
@pytest.mark.parametrize(("kind", "args"), [("CyclicLR", [0.1, 0.2]), ("OneCycleLR", [0.1, 20])])
def test_momentum_that_cannot_cycle(kind, args, make, more, text, instead):
    optimizer = make()
    with pytest.raises(lf.ArgumentError) as error:
        getattr(pytorch.lr_scheduler, kind)(optimizer, *args, **more)
    assert str(error.value).startswith(f"{kind}: {text}")
    assert instead in str(error.value)
    assert optimizer.schedulers == []
