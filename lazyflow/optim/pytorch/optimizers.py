"""PyTorch 2.13's switches and defaults.

PyTorch counts the updates of each parameter, lazyflow those of the optimizer. They agree where all programs
of an optimizer update the same parameters; other programs are refused.
"""

from __future__ import annotations

from lazyflow.optim import adadelta, adagrad, adam, adamax, radam, rmsprop, sgd


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
