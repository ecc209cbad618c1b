"""OneFlow 0.9's switches and defaults."""

from __future__ import annotations

from types import SimpleNamespace

from lazyflow.optim import adadelta, adagrad, adam, lamb, rmsprop, sgd
from lazyflow.runtime.errors import ArgumentError, message


class SGD(sgd.SGD):
    """SGD whose velocity gathers gradients; nesterov may be damped; maximize negates the weight decay too."""

    lr_in_velocity = sgd.SGD.lr_in_velocity.but(default=False)
    decay_before_sign = sgd.SGD.decay_before_sign.but(default=True)
    damped_nesterov = sgd.SGD.damped_nesterov.but(default=True)


class Adam(adam.Adam):
    """Adam with bias correction, and betas rounded to float32."""

    do_bias_correction = adam.Adam.do_bias_correction.but(default=True)
    float32_betas = adam.Adam.float32_betas.but(default=True)


class AdamW(adam.AdamW):
    """AdamW with bias correction, and betas rounded to float32."""

    do_bias_correction = adam.AdamW.do_bias_correction.but(default=True)
    float32_betas = adam.AdamW.float32_betas.but(default=True)


class RMSprop(rmsprop.RMSprop):
    """RMSprop without momentum, which OneFlow refuses, and with alpha rounded to float32."""

    float32_betas = rmsprop.RMSprop.float32_betas.but(default=True)

    def check(self, h: SimpleNamespace, owner: str) -> None:
        if h.momentum is not None:
            text = f"{owner}: momentum={h.momentum!r}: OneFlow's RMSprop has no momentum"
            hint = "lazyflow.optim.RMSprop, or lazyflow.optim.pytorch.RMSprop"
            raise ArgumentError(message(text, expected="momentum=0", here=f"at {self.location}", hint=hint))


class Adagrad(adagrad.Adagrad):
    """Adagrad: nothing differs."""


class Adadelta(adadelta.Adadelta):
    """Adadelta: nothing differs."""


class LAMB(lamb.LAMB):
    """LAMB whose trust leaves the decay out, with betas rounded to float32."""

    decay_in_trust = lamb.LAMB.decay_in_trust.but(default=False)
    float32_betas = lamb.LAMB.float32_betas.but(default=True)
