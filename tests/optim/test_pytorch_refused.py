"""What PyTorch's own suite has its optimizers refuse, less what only says how and not what is computed.

The rows are those of ``torch.testing._internal.common_optimizers`` 2.13. Where PyTorch warns of a parameter
that is in a group twice, it is refused here.
"""

import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.runtime.errors import ArgumentError, ShapeError

KINDS = [name for name in optim.pytorch.__all__ if name != "lr_scheduler"]


def weight(name="w"):
    return lf.Parameter([[1.0]], name=name)


def twice(make):
    """A list made of one parameter."""
    return make(weight())


PARAMS = {  # what is wrong with the parameters
    "no iterable": (lambda: weight(), "not an iterable of Parameters"),
    "twice in a list": (lambda: twice(lambda w: [w, w]), "'w' is there twice"),
    "twice in groups": (lambda: twice(lambda w: [{"params": w}, {"params": w}]), "'w' is there twice"),
    "some with names": (lambda: [("weight", weight()), weight("bias")], "params[0] is no Parameter"),
    "some groups with names": (
        lambda: [{"params": [weight()], "lr": 0.1}, {"params": [("bias", weight("bias"))]}],
        "params[1]['params'][0] is no Parameter",
    ),
}
OPTIONS = [
    ("Adadelta", {"lr": 0.01, "rho": 1.1}),
    ("Adafactor", {"eps": (-1e-30, 1e-3)}),
    ("Adafactor", {"d": 0.0}),
    ("Adafactor", {"beta2_decay": 0.8}),
    ("Adagrad", {"lr": 0.01, "lr_decay": -0.5}),
    ("Adam", {"lr": 0.01, "betas": (1.0, 0.0)}),
    ("Adam", {"lr": 0.01, "weight_decay": -1}),
    ("AdamW", {"lr": 0.01, "betas": (1.0, 0.0)}),
    ("AdamW", {"lr": 0.01, "weight_decay": -1}),
    ("Adamax", {"lr": 0.01, "betas": (0.0, 1.0)}),
    ("Muon", {"adjust_lr_fn": "arbitrary"}),
    ("NAdam", {"lr": 0.01, "betas": (1.0, 0.0)}),
    ("NAdam", {"lr": 0.01, "momentum_decay": -0.2}),
    ("RAdam", {"lr": 0.01, "betas": (1.0, 0.0)}),
    ("RAdam", {"lr": 0.01, "weight_decay": -1}),
    ("RMSprop", {"lr": 0.01, "momentum": -1.0}),
    ("SGD", {"lr": 0.01, "momentum": -0.5}),
]


@pytest.mark.parametrize("what", PARAMS)
@pytest.mark.parametrize("name", KINDS)
def test_parameters(name, what):
    make, text = PARAMS[what]
    with pytest.raises(ArgumentError) as caught:
        getattr(optim.pytorch, name)(make(), lr=0.1)
    assert text in str(caught.value).splitlines()[0]


@pytest.mark.parametrize("name", KINDS)
def test_a_rate_of_two_elements(name):
    with lf.Graph(), pytest.raises(ArgumentError, match=rf"{name}: lr=<Tensor 'rates' .* is no scalar"):
        getattr(optim.pytorch, name)([weight()], lr=lf.placeholder("rates", (2,)))


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_options(name, options):
    bad = list(options)[-1]
    with pytest.raises(ArgumentError) as caught:
        getattr(optim.pytorch, name)([weight()], **options)
    assert str(caught.value).startswith(f"{name}: {bad}={options[bad]!r} is ")


def test_muon_takes_matrices_only():
    with pytest.raises(ShapeError, match=r"has shape \(1, 1, 1\), and is no matrix"):
        optim.pytorch.Muon([lf.Parameter([[[1.0]]], name="w")])
