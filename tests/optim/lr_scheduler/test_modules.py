"""The schedulers under OneFlow's and PyTorch's names, arguments and defaults."""

import inspect
import math

import numpy as np
import pytest

import lazyflow as lf
from lazyflow.optim import lr_scheduler, oneflow, pytorch
from optim.lr_scheduler import schedules
from optim.lr_scheduler.schedules import an_optimizer, run_rates

# the arguments behind the first, with their defaults; a third is 1/3
ONEFLOW = {
    "StepLR": "step_size, gamma=0.1",
    "MultiStepLR": "milestones, gamma=0.1",
    "ExponentialLR": "gamma",
    "ConstantLR": "factor=third, total_iters=5",
    "LinearLR": "start_factor=third, end_factor=1.0, total_iters=5",
    "PolynomialLR": "decay_batch, end_learning_rate=0.0001, power=1.0, cycle=False",
    "CosineDecayLR": "decay_steps, alpha=0.0",
    "CosineAnnealingLR": "T_max, eta_min=0.0",
    "CosineAnnealingWarmRestarts": "T_0, T_mult=1, eta_min=0.0, decay_rate=1.0, restart_limit=0",
    "LambdaLR": "lr_lambda",
    "WarmUpLR": "warmup_factor=third, warmup_iters=5, warmup_method='linear', warmup_prefix=False",
    "SequentialLR": "schedulers, milestones, interval_rescaling=False",
    "ReduceLROnPlateau": "mode='min', factor=0.1, patience=10, threshold=0.0001, threshold_mode='rel', "
    "cooldown=0, min_lr=0.0, eps=1e-08",
}
PYTORCH = {
    "StepLR": "step_size, gamma=0.1",
    "MultiStepLR": "milestones, gamma=0.1",
    "ExponentialLR": "gamma",
    "ConstantLR": "factor=third, total_iters=5",
    "LinearLR": "start_factor=third, end_factor=1.0, total_iters=5",
    "PolynomialLR": "total_iters=5, power=1.0",
    "CosineAnnealingLR": "T_max, eta_min=0.0",
    "CosineAnnealingWarmRestarts": "T_0, T_mult=1, eta_min=0.0",
    "LambdaLR": "lr_lambda",
    "MultiplicativeLR": "lr_lambda",
    "SequentialLR": "schedulers, milestones",
    "CyclicLR": "base_lr, max_lr, step_size_up=2000, step_size_down=None, mode='triangular', gamma=1.0, "
    "scale_fn=None, scale_mode='cycle', cycle_momentum=True, base_momentum=0.8, max_momentum=0.9",
    "OneCycleLR": "max_lr, total_steps=None, epochs=None, steps_per_epoch=None, pct_start=0.3, "
    "anneal_strategy='cos', cycle_momentum=True, base_momentum=0.85, max_momentum=0.95, div_factor=25.0, "
    "final_div_factor=10000.0, three_phase=False",
    "ReduceLROnPlateau": ONEFLOW["ReduceLROnPlateau"],
}
CASES = [
    (m, name, text) for m, table in ((oneflow, ONEFLOW), (pytorch, PYTORCH)) for name, text in table.items()
]


@pytest.mark.parametrize(("module", "name", "text"), CASES, ids=[f"{c[0].__name__}.{c[1]}" for c in CASES])
def test_arguments_and_defaults(module, name, text):
    expected = inspect.signature(eval(f"lambda optimizer, {text}: 0", {"third": 1 / 3}))
    signature = inspect.signature(getattr(module.lr_scheduler, name))
    found = [p for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    wanted = list(expected.parameters.values())
    assert [(p.name, p.default) for p in found[: len(wanted)]] == [(p.name, p.default) for p in wanted]
    rest = [p.name for p in found[len(wanted) :]]
    theirs = {"PolynomialLR": [], "CosineAnnealingWarmRestarts": ["decay_rate", "restart_limit"]}
    ours = ["interval_rescaling"] if module is pytorch and name == "SequentialLR" else []
    extra = theirs.get(name, []) if module is pytorch else []
    assert rest == [*extra, *ours, "last_step", "verbose"]


def test_no_class_is_missing_from_the_tables():
    aside = {"LRScheduler", "ChainedScheduler", "WarmupLR"}
    assert set(oneflow.lr_scheduler.__all__) - aside == set(ONEFLOW)
    assert set(pytorch.lr_scheduler.__all__) - aside == set(PYTORCH)


@pytest.mark.parametrize("module", [oneflow, pytorch])
def test_cosine_annealing_rises_again(module):
    found = run_rates(lambda o: module.lr_scheduler.CosineAnnealingLR(o, T_max=6, eta_min=0.01), 25)[:, 0]
    rate = schedules.cosine_wave(6, 0.01)
    np.testing.assert_allclose(found, [rate(0.1, k) for k in range(25)], rtol=1e-13)
    assert found[12] == 0.1


def test_sequence_counts_globally_in_oneflow_and_from_its_milestones_elsewhere():
    def curve(module, **more):
        optimizer = an_optimizer(1.0)
        kinds = module.lr_scheduler if module is not lr_scheduler else lr_scheduler
        parts = [kinds.ConstantLR(optimizer, 0.5, 9), kinds.ExponentialLR(optimizer, 0.5)]
        return kinds.SequentialLR(optimizer, parts, milestones=[2], **more).curve(4).tolist()

    from_its_milestone, globally = [0.5, 0.5, 1.0, 0.5], [0.5, 0.5, 0.25, 0.125]
    assert curve(lr_scheduler) == curve(pytorch) == from_its_milestone
    assert curve(oneflow) == globally
    assert curve(oneflow, interval_rescaling=True) == from_its_milestone


def test_polynomial_of_pytorch_ends_at_zero():
    found = pytorch.lr_scheduler.PolynomialLR(an_optimizer(1.0), 4, power=2.0).curve(6)
    assert found.tolist() == [1.0, 0.75**2, 0.25, 0.0625, 0.0, 0.0]


def test_cycles_of_pytorch():
    cyclic = pytorch.lr_scheduler.CyclicLR(an_optimizer(), 0.1, 0.3, 2, cycle_momentum=False)
    np.testing.assert_allclose(cyclic.curve(5), [0.1, 0.2, 0.3, 0.2, 0.1], rtol=1e-15)
    one = pytorch.lr_scheduler.OneCycleLR(an_optimizer(), 1.0, 10, cycle_momentum=False)
    expected = schedules.one_cycle([(0, 0.04), (2, 1.0), (9, 4e-6)], schedules.cosine_between)
    np.testing.assert_allclose(one.curve(10), [expected(1.0, k) for k in range(10)], rtol=1e-13)


@pytest.mark.parametrize("name", sorted(set(PYTORCH) - {"SequentialLR", "ReduceLROnPlateau"}))
def test_last_epoch_is_last_step_in_the_pytorch_module(name):
    args = {
        "StepLR": {"step_size": 2},
        "MultiStepLR": {"milestones": [3]},
        "ExponentialLR": {"gamma": 0.9},
        "CosineAnnealingLR": {"T_max": 9},
        "CosineAnnealingWarmRestarts": {"T_0": 9},
        "LambdaLR": {"lr_lambda": lambda step: 0.9**step},
        "MultiplicativeLR": {"lr_lambda": lambda step: 0.9},
        "CyclicLR": {"base_lr": 0.1, "max_lr": 0.2, "cycle_momentum": False},
        "OneCycleLR": {"max_lr": 0.2, "total_steps": 20, "cycle_momentum": False},
    }.get(name, {})
    kind = getattr(pytorch.lr_scheduler, name)
    assert kind(an_optimizer(), **args, last_epoch=4).last_step == 4
    with pytest.raises(lf.ArgumentTypeError, match="last_epoch and last_step are one argument"):
        kind(an_optimizer(), **args, last_epoch=4, last_step=4)
    with pytest.raises(lf.ArgumentError, match="last_step=-2 is out of range"):
        kind(an_optimizer(), **args, last_epoch=-2)


def test_last_epoch_is_unknown_elsewhere():
    for module in (lr_scheduler, oneflow.lr_scheduler):
        with pytest.raises(lf.ArgumentTypeError, match="last_epoch"):
            module.StepLR(an_optimizer(), 2, last_epoch=4)


def test_warm_up_of_oneflow_names_its_first_argument():
    inner = oneflow.lr_scheduler.StepLR(an_optimizer(1.0), 3, 0.5)
    warm = oneflow.lr_scheduler.WarmUpLR(lrsch_or_optimizer=inner, warmup_iters=2, warmup_factor=0.0)
    assert warm.curve(4).tolist() == [0.0, 0.5, 1.0, 0.5]
    assert oneflow.lr_scheduler.WarmupLR is oneflow.lr_scheduler.WarmUpLR


def test_lr_scheduler_is_a_module_of_each_convention():
    from lazyflow.optim.oneflow import lr_scheduler as theirs
    from lazyflow.optim.pytorch import lr_scheduler as others

    optimizer = an_optimizer()
    assert isinstance(theirs.StepLR(optimizer, 2), lr_scheduler.LRScheduler)
    assert isinstance(others.StepLR(an_optimizer(), 2), lr_scheduler.StepLR)
    assert math.isclose(others.StepLR(an_optimizer(), 2, 0.5).curve(3)[2], 0.05)
