"""An optimizer of your own: one class, one method. State, checkpoints, groups, fusion and pictures follow."""

import numpy as np

import lazyflow as lf
from lazyflow import nn, optim
from lazyflow.ops.elementwise import sign, sqrt
from lazyflow.optim import lr_scheduler

STEPS = 1000


class SignMomentum(optim.Optimizer):
    """p = p - lr * sign(m), where m is a running mean of gradients."""

    def state(self, h):
        return ("mean",)

    def update(self, p, g, lr, t, state, h):
        m = 0.9 * state[0] + 0.1 * g
        return p - lr * sign(m), (m,)


class Cautious(optim.Optimizer):
    """Adam's step where it agrees with the gradient; its options are checked, and set in live sessions."""

    beta: optim.Option[float] = optim.Option(default=0.9, low=0.0, below=1.0)
    weight_decay: optim.Option[float] = optim.Option(default=0.0, low=0.0)

    def state(self, h):
        return ("exp_avg", "exp_avg_sq")

    def update(self, p, g, lr, t, state, h):
        m = h.beta * state[0] + (1 - h.beta) * g
        v = h.beta * state[1] + (1 - h.beta) * g * g
        u = lf.where(m * g > 0.0, m / (sqrt(v) + 1e-8), 0.0)
        return p - lr * u, (m, v)


def build(make):
    """A plan that fits a network of one hidden layer to a wave."""
    with lf.Graph("wave") as graph:
        x = lf.placeholder("x", ("batch", 1))
        model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
        loss = lf.mean((model(x) - lf.sin(3.0 * x)) ** 2)
        optimizer = make(model.parameters())
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, steps=STEPS)
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optimizer.step()
            scheduler.step()
    return lf.compile(graph)


def main():
    x = np.random.default_rng(0).uniform(-2, 2, (256, 1)).astype(np.float32)
    makers = {
        "SignMomentum": lambda params: SignMomentum(params, lr=0.01),
        "Cautious": lambda params: Cautious(params, lr=0.03, beta=0.95, clip_grad_max_norm=1.0),
    }
    for name, make in makers.items():
        session = build(make).session(seed=1)
        first = float(session.run("train", x=x)["loss"])
        losses = [float(session.run("train", x=x)["loss"]) for _ in range(STEPS)]
        state = sorted(key for key in session.state_dict() if key.startswith("0.weight/"))
        print(f"{name}: state {', '.join(state)}")
        print(f"{name}: loss {first:.3f} -> {losses[-1]:.4f}")


if __name__ == "__main__":
    main()
