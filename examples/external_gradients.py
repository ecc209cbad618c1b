"""lazyflow as an optimizer only: NumPy computes the gradients, and the parameters live in NumPy arrays."""

import numpy as np

import lazyflow as lf
from lazyflow import optim

STEPS = 300


def loss_and_gradients(model, x, y):
    """The mean squared error of a linear model, and its gradients: any code that gives arrays would do."""
    error = x @ model["weight"] + model["bias"] - y
    weight = 2 * x.T @ error / len(x)
    return np.mean(error**2), {"weight": weight, "bias": 2 * np.mean(error, keepdims=True)}


def build(model):
    """A plan whose only program updates the model's arrays from gradients that are fed."""
    with lf.Graph("external") as graph:
        parameters = {name: lf.Parameter(array, name=name) for name, array in model.items()}
        fed = {p: lf.placeholder(f"{name}_gradient", p.shape) for name, p in parameters.items()}
        optimizer = optim.AdamW(parameters.values(), lr=0.1, weight_decay=1e-4, do_bias_correction=True)
        scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps=STEPS)
        with graph.program("update", fetches={"lr": optimizer.lr}):
            optimizer.step(gradients=fed)
            scheduler.step()
    return lf.compile(graph)


def main():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(8).astype(np.float32)
    x = rng.standard_normal((256, 8)).astype(np.float32)
    y = x @ truth + 0.5 + 0.1 * rng.standard_normal(256).astype(np.float32)

    model = {"weight": np.zeros(8, np.float32), "bias": np.zeros(1, np.float32)}
    session = build(model).session()
    for name, array in model.items():
        session.bind(name, array)  # from here on, every run changes the caller's array in place

    for step in range(STEPS):
        loss, gradients = loss_and_gradients(model, x, y)
        out = session.run("update", {f"{name}_gradient": g for name, g in gradients.items()})
        if step % 50 == 0:
            print(f"step {step:3}  lr {out['lr']:.4f}  loss {loss:.6f}")
    print(f"largest error of the weights {np.abs(model['weight'] - truth).max():.4f}")


if __name__ == "__main__":
    main()
