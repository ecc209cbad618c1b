"""PyTorch 2.13's switches and defaults.

PyTorch counts the updates of each parameter, lazyflow those of the optimizer. They agree where all programs
of an optimizer update the same parameters; other programs are refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazyflow.compiler.rules import show
from lazyflow.optim import adadelta, adafactor, adagrad, adam, adamax, muon, nadam, radam, rmsprop, sgd
from lazyflow.optim.options import Option, Pair
from lazyflow.runtime.errors import ShapeError, message


class SGD(sgd.SGD):
    """SGD whose velocity gathers gradients, the first one undamped."""

    same_parameters = True
    lr_in_velocity = sgd.SGD.lr_in_velocity.but(default=False)
    first_undamped = sgd.SGD.first_undamped.but(default=True)


class Adam(adam.Adam):
    """Adam with bias correction."""

    same_parameters = True
    do_bias_correction = adam.Adam.do_bias_correction.but(default=True)


class AdamW(adam.AdamW):
    """AdamW with bias correction; weight_decay is 0.01 unless given."""

    same_parameters = True
    weight_decay = adam.AdamW.weight_decay.but(default=0.01)
    do_bias_correction = adam.AdamW.do_bias_correction.but(default=True)


class RMSprop(rmsprop.RMSprop):
    """RMSprop with eps outside of the root and the rate outside of the velocity; lr is 0.01 unless given."""

    same_parameters = True
    lr = rmsprop.RMSprop.lr.but(default=0.01)
    eps_inside_sqrt = rmsprop.RMSprop.eps_inside_sqrt.but(default=False)
    lr_in_velocity = rmsprop.RMSprop.lr_in_velocity.but(default=False)


class Adagrad(adagrad.Adagrad):
    """Adagrad; lr is 0.01 unless given."""

    same_parameters = True
    lr = adagrad.Adagrad.lr.but(default=0.01)


class Adadelta(adadelta.Adadelta):
    """Adadelta: nothing differs."""

    same_parameters = True


class Adamax(adamax.Adamax):
    """Adamax: nothing differs."""

    same_parameters = True


class RAdam(radam.RAdam):
    """RAdam: nothing differs."""

    same_parameters = True


class NAdam(nadam.NAdam):
    """NAdam: nothing differs; PyTorch rounds the product of momenta to float32."""

    same_parameters = True


class _Eps(Option[Any]):
    """Two numbers, the first of which may be None: the eps of float32, whatever the parameter's type."""

    def check(self, value: object, owner: str, here: str) -> Any:
        if isinstance(value, tuple | list) and len(value) == 2 and value[0] is None is not value[1]:
            value = (float(np.finfo(np.float32).eps), value[1])
        return super().check(value, owner, here)


class Adafactor(adafactor.Adafactor):
    """Adafactor whose eps bounds the second moment from below; None means that of float32."""

    same_parameters = True
    eps: Option[Pair] = _Eps(default=(float(np.finfo(np.float32).eps), 1e-3), low=0.0)
    eps_in_square = adafactor.Adafactor.eps_in_square.but(default=False)


class Muon(muon.Muon):
    """Muon for matrices only, whose steps are rounded to bfloat16; weight_decay is 0.1 unless given.

    Raises:
        ShapeError: if a parameter is no matrix.
    """

    same_parameters = True
    weight_decay = muon.Muon.weight_decay.but(default=0.1)
    bfloat16_steps = muon.Muon.bfloat16_steps.but(default=True)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if parameter.ndim != 2:
                text = (
                    f"Muon: parameter {parameter.name!r} has shape {show(parameter.shape)}, and is no matrix"
                )
                hint = (
                    "lazyflow.optim.Muon, which has another rule for the rest; or another optimizer for them"
                )
                raise ShapeError(
                    message(text, expected="2 axes, as in PyTorch", here=f"at {self.location}", hint=hint)
                )
