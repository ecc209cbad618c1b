"""Averages that are kept of the parameters."""

import numpy as np

import lazyflow as lf
from lazyflow import optim
from optim.recipes import Fed, adamw, assert_equal, problem


def test_swa_is_the_mean_after_each_period():
    initial, gradients = problem(9)
    training = Fed(adamw(), initial, average=optim.SWA(start=2, every=3))
    taken = []
    for step, row in enumerate(gradients, start=1):
        training.micro(row)
        if step in (5, 8):
            taken.append(training.values)
    expected = [np.mean(values, axis=0) for values in zip(*taken, strict=True)]
    assert_equal(training.kept("swa"), expected)
    assert training.clock("averaged") == 2


def test_averages_start_from_the_initial_values():
    drawn = lambda shape, dtype: lf.normal(shape, dtype=dtype)  # noqa: E731
    with lf.Graph() as graph:
        a = lf.Parameter(drawn, (3,), name="a")
        b = lf.Parameter(2.0, (2,), name="b")
        c = lf.Parameter([5.0, 6.0], name="c")
        optimizer = optim.SGD([a, b, c])
        with graph.program("train"):
            optimizer.step({w: w * 1.0 for w in (a, b, c)}, average=optim.EMA(0.5))
    session = lf.compile(graph).session(backend="numpy", seed=7)
    for name in "abc":
        np.testing.assert_array_equal(session.get(f"{name}/ema"), session.get(name))
    assert np.ptp(session.get("a")) > 0


def test_decay_may_be_a_schedule():
    initial, gradients = problem(3)

    def make(params):
        return optim.SGD(params, lr=1.0)

    with lf.Graph() as graph:
        w = lf.Parameter(initial[1], name="w")
        optimizer = make([w])
        t = optimizer.applied.astype(lf.float64)
        with graph.program("train"):
            average = optim.EMA(lf.minimum(0.9, (1.0 + t) / (10.0 + t)))
            optimizer.step({w: lf.placeholder("g", w.shape, w.dtype)}, average=average)
    session = lf.compile(graph).session(backend="numpy")
    value, average = initial[1], None
    for t, row in enumerate(gradients):
        session.run("train", g=row[1])
        value = value - row[1]
        decay = min(0.9, (1.0 + t) / (10.0 + t)) if t else 0.0
        average = value if average is None else decay * average + (1 - decay) * value
    assert_equal([session.get("w/ema")], [average])


def test_averaged_reads_the_averages():
    with lf.Graph() as graph:
        w = lf.Parameter([4.0], name="w")
        loss = (w * w).sum()
        optimizer = optim.SGD([w], lr=0.25)
        with graph.program("train"):
            loss.backward()
            optimizer.step(average=optim.EMA(0.5))
        graph.program("evaluate", fetches={"now": loss, "averaged": optimizer.averaged(loss)})
    session = lf.compile(graph).session(backend="numpy")
    for _ in range(2):
        session.run("train")
    out = session.run("evaluate")
    assert (out["now"], out["averaged"]) == (1.0, 2.25)  # w: 4, 2, 1; ema: 2, 1.5
