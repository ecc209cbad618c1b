"""Each row of docs/conventions.md: where the three readings of the equations differ, in numbers."""

import math
import re

import ml_dtypes
import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.runtime.errors import ArgumentError, GraphError, ShapeError
from optim.training import Training
from repository import ROOT

MODULES = (optim, optim.oneflow, optim.pytorch)
APPROXIMATELY = {"rel": 1e-9, "abs": 1e-12}


def path(kind, gradients, rates=(), **options):
    """A parameter that starts at 1, after each gradient; the base rate may change from step to step."""
    training = Training(lambda params: kind(params, **options), [np.float64([1.0])])
    values = []
    for step, gradient in enumerate(gradients):
        if rates:
            training.session.groups[kind.__name__.lower()][0]["lr"] = rates[step]
        training.step([np.float64([gradient])])
        values.append(float(training.values[0][0]))
    return values


def approximately(*values):
    return [pytest.approx(value, **APPROXIMATELY) for value in values]


def bias_correction():
    for name in ("Adam", "AdamW"):
        kinds = [getattr(module, name) for module in MODULES]
        first = [path(kind, [1.0], lr=0.1, eps=0.0, weight_decay=0.0)[0] for kind in kinds]
        # OneFlow's moments weigh with float32 betas
        assert first == pytest.approx([1 - 0.1 * 0.1 / math.sqrt(0.001), 0.9, 0.9], rel=1e-5)


def velocity():
    # the rate halves after the first step: a velocity of steps keeps the first one
    paths = [path(m.SGD, [1.0, 1.0], rates=[1.0, 0.5], momentum=0.5) for m in MODULES]
    assert paths == [approximately(0.0, -1.0), approximately(0.0, -0.75), approximately(0.0, -0.75)]
    first = [path(m.SGD, [1.0], lr=1.0, momentum=0.5, dampening=0.25)[0] for m in MODULES]
    assert first == approximately(0.25, 0.25, 0.0)


def place_of_eps():
    first = [path(m.RMSprop, [1.0], lr=0.1, alpha=0.75, eps=0.75)[0] for m in MODULES]
    assert first == approximately(0.9, 0.9, 1 - 0.1 / (0.5 + 0.75))


def rmsprop_momentum():
    paths = [path(m.RMSprop, [1.0, 1.0], [1.0, 0.5], alpha=0.0, eps=0.0, momentum=0.5) for m in MODULES[::2]]
    assert paths == [approximately(0.0, -1.0), approximately(0.0, -0.75)]
    with pytest.raises(ArgumentError, match="OneFlow's RMSprop has no momentum"):
        path(optim.oneflow.RMSprop, [1.0], momentum=0.5)


def default_weight_decay():
    assert [m.AdamW.options["weight_decay"].default for m in MODULES] == [0.0, 0.0, 0.01]
    assert [path(m.AdamW, [0.0], lr=0.5)[0] for m in MODULES] == approximately(1.0, 1.0, 0.995)


def default_rate():
    assert [m.RMSprop.options["lr"].default for m in MODULES] == [0.001, 0.001, 0.01]


def default_rate_of_adagrad():
    assert [m.Adagrad.options["lr"].default for m in MODULES] == [0.001, 0.001, 0.01]


def norm_of_lamb():
    # u is 1: the step is 1 + 0.5, its norm 1.5 or, without the decay, 1
    options = {"lr": 0.5, "weight_decay": 0.5, "eps": 0.0}
    first = [path(m.LAMB, [1.0], **options)[0] for m in MODULES[:2]]
    assert first == pytest.approx([0.5, 0.25], rel=1e-5)  # float32 betas
    assert not hasattr(optim.pytorch, "LAMB")


def eps_of_adafactor():
    options = {"lr": 0.5, "eps": (0.5, 1.0)}
    first = [path(m.Adafactor, [1.0], **options)[0] for m in MODULES[::2]]
    assert first == approximately(1 - 0.5 / math.sqrt(1.5), 0.5)
    assert optim.pytorch.Adafactor.options["eps"].default == (float(np.finfo(np.float32).eps), 1e-3)


def rest_of_muon():
    assert path(optim.Muon, [2.0], lr=0.5, adam_eps=0.0) == approximately(0.5)
    with pytest.raises(ShapeError, match="and is no matrix"):
        path(optim.pytorch.Muon, [2.0])
    assert [m.Muon.options["weight_decay"].default for m in MODULES[::2]] == [0.0, 0.1]


def type_of_muons_steps():
    def step(module):
        training = Training(lambda params: module.Muon(params, lr=1.0, weight_decay=0.0), [np.zeros((2, 2))])
        training.step([np.float64([[1.0, 0.3], [0.2, 0.7]])])
        return training.values[0]

    wide, half = (step(module) for module in MODULES[::2])
    np.testing.assert_array_equal(half, np.float64(half.astype(ml_dtypes.bfloat16)))
    assert not np.array_equal(wide, half)
    np.testing.assert_allclose(wide, half, atol=0.05)  # bfloat16 has eight bits


def maximize():
    # d = -g + w, but for OneFlow: d = -(g + w)
    options = {"lr": 0.5, "weight_decay": 1.0, "maximize": True}
    assert [path(m.SGD, [3.0], **options)[0] for m in MODULES] == approximately(2.0, 3.0, 2.0)


def damped_nesterov():
    options = {"lr": 1.0, "momentum": 0.5, "dampening": 0.5, "nesterov": True}
    assert path(optim.oneflow.SGD, [1.0], **options) == approximately(1 - (1.0 + 0.5 * 0.5))
    for module in (optim, optim.pytorch):
        with pytest.raises(ArgumentError, match=r"nesterov=True with dampening=0\.5"):
            path(module.SGD, [1.0], **options)


def cosine():
    def rates(make):
        optimizer = optim.SGD([lf.Parameter([1.0], name="w")], lr=1.0)
        return make(optimizer).curve(7)[[0, 2, 4, 6]].tolist()

    decay, annealing = approximately(1.0, 0.55, 0.1, 0.1), approximately(1.0, 0.55, 0.1, 0.55)
    documented, oneflow, pytorch = (m.lr_scheduler for m in MODULES)
    assert rates(lambda o: documented.CosineAnnealingLR(o, 4, 0.1)) == decay
    assert rates(lambda o: documented.CosineAnnealingLR(o, steps=4, alpha=0.1)) == decay
    assert rates(lambda o: oneflow.CosineDecayLR(o, decay_steps=4, alpha=0.1)) == decay
    for kind in (documented.CosineLR, oneflow.CosineAnnealingLR, pytorch.CosineAnnealingLR):
        assert rates(lambda o, kind=kind: kind(o, T_max=4, eta_min=0.1)) == annealing


def cycling_momentum():
    def driven(module, kind, args):
        optimizer = optim.Adam([lf.Parameter([1.0], name="w")])
        return getattr(module.lr_scheduler, kind)(optimizer, *args).drives

    for kind, args in (("CyclicLR", (0.1, 0.2)), ("OneCycleLR", (0.1, 20))):
        assert driven(optim, kind, args) == ("lr",)
        assert driven(optim.pytorch, kind, args) == ("lr", "betas/0")
        assert not hasattr(optim.oneflow.lr_scheduler, kind)


def inner_step():
    def rates(module, **options):
        optimizer = module.SGD([lf.Parameter([1.0], name="w")], lr=1.0)
        parts = [module.lr_scheduler.ExponentialLR(optimizer, gamma=gamma) for gamma in (1.0, 0.5)]
        return module.lr_scheduler.SequentialLR(optimizer, parts, milestones=[2], **options).curve(4).tolist()

    from_milestone, globally = [1.0, 1.0, 1.0, 0.5], [1.0, 1.0, 0.25, 0.125]
    assert [rates(module) for module in MODULES] == [from_milestone, globally, from_milestone]
    assert rates(optim.oneflow, interval_rescaling=True) == from_milestone


def programs_that_update_different_parameters():
    def training(module):
        return Training(lambda params: module.Adam(params, lr=0.1), [np.ones(1)] * 2, [{0}, {0, 1}])

    for module in (optim, optim.oneflow):
        both = training(module)
        both.step([np.ones(1), None])
        both.step([np.ones(1), np.ones(1)])
        assert int(both.session.get("adam/applied")) == 2
    with pytest.raises(GraphError, match="do not update the same parameters of 'adam': 'w1'") as caught:
        training(optim.pytorch)
    assert "programs 'update_0' and 'update_0_1'" in str(caught.value)


def float32_weights():
    beta = 0.999
    seconds = []
    for module in MODULES:
        training = Training(lambda params, m=module: m.Adam(params, betas=(0.9, beta)), [np.ones(1)])
        training.step([np.ones(1)])
        seconds.append(float(training.state(0)["exp_avg_sq"][0]))
    assert seconds == [1 - beta, 1 - float(np.float32(beta)), 1 - beta]
    assert abs(seconds[1] / seconds[0] - 1) > 1e-5


ROWS = [
    bias_correction,
    velocity,
    place_of_eps,
    rmsprop_momentum,
    default_weight_decay,
    default_rate,
    default_rate_of_adagrad,
    norm_of_lamb,
    eps_of_adafactor,
    rest_of_muon,
    type_of_muons_steps,
    maximize,
    damped_nesterov,
    cosine,
    cycling_momentum,
    inner_step,
    programs_that_update_different_parameters,
    float32_weights,
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_row(row):
    row()


def test_every_row_of_the_page_has_a_test():
    table = re.findall(
        r"^\|(?! what| ---).*\|$", (ROOT / "docs" / "conventions.md").read_text(), re.MULTILINE
    )
    assert len(table) == len(ROWS)


@pytest.mark.parametrize("module", MODULES[1:], ids=lambda module: module.__name__)
def test_the_modules_hold_the_same_rules_with_other_defaults(module):
    for name in (name for name in module.__all__ if name != "lr_scheduler"):
        assert issubclass(getattr(module, name), getattr(optim, name))
        assert getattr(module, name).update is getattr(optim, name).update
