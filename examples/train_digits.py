"""Train a network on the handwritten digits of scikit-learn: one graph, two programs, one plan."""

import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import lazyflow as lf
from lazyflow import nn, optim
from lazyflow.optim import lr_scheduler

BATCH, EPOCHS, SEED = 64, 30, 0


def load():
    """1,797 images of 8x8 pixels, a quarter of them held out."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype(np.float32)
    return train_test_split(images, labels, test_size=0.25, random_state=SEED, stratify=labels)


def build(steps):
    """The graph of the training step and of the prediction, compiled."""
    with lf.Graph("digits") as graph:
        x = lf.placeholder("x", ("batch", 64))  # a string names a dimension that is bound at run time
        y = lf.placeholder("y", ("batch",), dtype=lf.int64)
        model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
        logits = model(x)
        loss = nn.functional.cross_entropy(logits, y)

        optimizer = optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.01, do_bias_correction=True)
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, steps=steps, alpha=0.01)

        with graph.program("train", fetches={"loss": loss, "lr": optimizer.lr}):
            loss.backward()
            optimizer.step()
            scheduler.step()
        graph.program("predict", fetches={"label": lf.argmax(logits, axis=-1)})
    return lf.compile(graph)


def batches(images, labels, rng):
    """One epoch in a new order; the last batch is smaller, and needs no other plan."""
    order = rng.permutation(len(images))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        yield {"x": images[chosen], "y": labels[chosen]}


def main():
    images, test_images, labels, test_labels = load()
    steps = EPOCHS * -(-len(images) // BATCH)
    plan = build(steps)
    print(plan.summary(batch=BATCH))

    session = plan.session(seed=SEED)
    rng = np.random.default_rng(SEED)
    start = time.perf_counter()
    for epoch in range(EPOCHS):
        runs = session.run_many("train", batches(images, labels, rng), fetch="all")
        loss = np.mean([run["loss"] for run in runs])
        if epoch % 3 == 0 or epoch == EPOCHS - 1:
            print(f"epoch {epoch + 1:2}/{EPOCHS}  lr {runs[-1]['lr']:.2e}  loss {loss:.4f}")
    print(f"{steps} steps in {time.perf_counter() - start:.1f} s")

    predicted = session.run("predict", x=test_images)["label"]
    print(f"test accuracy {100 * np.mean(predicted == test_labels):.1f} %")


if __name__ == "__main__":
    main()
