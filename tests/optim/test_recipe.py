"""What surrounds an update, against a plain loop in float64: the order, accumulation, clips and clocks."""

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.optim import lr_scheduler
from optim import papers
from optim.recipes import ADAMW, BACKENDS, Fed, Loop, adamw, assert_equal, both, problem
from optim.specifications import SPECIFICATIONS


def test_order_of_composition():
    """One update by hand: accumulate, scale, clip by value, clip by norm, maximize, L2, the rule, the EMA."""
    w = np.float64([1.0, -2.0, 0.5])
    first, second = np.float64([8.0, -1.0, 3.0]), np.float64([2.0, -7.0, 1.0])
    options = {"lr": 0.5, "momentum": 0.9, "weight_decay": 0.25, "scale": 0.5, "maximize": True}
    scaler = optim.StaticLossScaler(4.0)
    training = Fed(
        lambda params: optim.SGD(params, **options),
        [w],
        scaler=scaler,
        weighted=True,
        accumulate=2,
        clip_value=1.5,
        clip_norm=1.0,
        skip_nonfinite=True,
        average=optim.EMA(0.75),
    )
    velocity, average = np.zeros(3), None
    for _ in range(2):
        training.micro([first], weight=1.0)
        training.micro([second], weight=3.0)
        d = (1.0 * first + 3.0 * second) / 4.0
        d = np.clip(d * 0.5, -1.5, 1.5)
        d = d * min(1.0, 1.0 / (np.sqrt((d**2).sum()) + 1e-6))
        d = -d
        d = d + 0.25 * w
        velocity = 0.9 * velocity + 0.5 * d
        w = w - velocity
        average = w if average is None else 0.75 * average + 0.25 * w
    assert_equal(training.values, [w])
    assert_equal(training.kept("momentum_buffer"), [velocity])
    assert_equal(training.kept("ema"), [average])


@pytest.mark.parametrize("backend", BACKENDS)
def test_everything_at_once(backend):
    initial, gradients = problem(60)
    recipe = {"accumulate": 3, "clip_value": 1.2, "clip_norm": 0.7, "skip_nonfinite": True, "decay": 0.9}
    groups = [{**ADAMW, "scale": 2.0}, {**ADAMW, "lr": 0.1, "weight_decay": 0.0}]
    training, loop = both(initial, groups, [0, 1, 0], backend, weighted=True, **recipe)
    for step, row in enumerate(gradients):
        if step in (10, 11, 31):
            row[step % 3][...] = [np.inf, np.nan, -np.inf][step % 3]
        training.micro(row, weight=1.0 + step % 4)
        loop.micro(row, weight=1.0 + step % 4)
    assert loop.skipped == 2
    assert_equal(training.values, loop.values)
    assert_equal(training.kept("ema"), loop.averages)
    for name in ("micro_steps", "updates", "applied", "skipped"):
        assert training.clock(name) == getattr(loop, name)


def ours(spec):
    return spec.kind.__module__.count(".") == 2  # not a preset of another system's switches


@pytest.mark.parametrize("spec", list(filter(ours, SPECIFICATIONS)), ids=str)
def test_every_optimizer_takes_the_recipe(spec):
    initial, gradients = problem(12, shapes=((3, 2), (5,)))
    gradients[3][0][0, 0] = np.nan
    recipe = {"accumulate": 2, "skip_nonfinite": True, "clip_norm": 1.5}
    training = Fed(spec.make, initial, weighted=True, average=optim.EMA(0.8), **recipe)
    loop = Loop(spec.loop, initial, [spec.options], decay=0.8, **recipe)
    for step, row in enumerate(gradients):
        training.micro(row, 1.0 + step % 3)
        loop.micro(row, 1.0 + step % 3)
    assert (loop.applied, loop.skipped) == (5, 1)
    assert_equal(training.values, loop.values, rtol=1e-11)
    assert_equal(training.kept("ema"), loop.averages, rtol=1e-11)


# --- accumulation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("accumulate", [2, 5])
def test_accumulate_is_the_mean_of_the_micro_batches(accumulate, backend):
    initial, gradients = problem(4 * accumulate)
    training, loop = both(initial, backend=backend, accumulate=accumulate)
    for row in gradients:
        training.micro(row)
        loop.micro(row)
        assert_equal(training.values, loop.values)
    assert loop.applied == 4


def test_weights_make_it_the_mean_over_samples():
    initial, gradients = problem(6)
    training, loop = both(initial, accumulate=3, weighted=True)
    for row, weight in zip(gradients, (4, 4, 1, 7, 2, 2), strict=True):
        training.micro(row, weight)
        loop.micro(row, weight)
    assert_equal(training.values, loop.values)


def test_weight_may_be_the_size_of_the_batch():
    with lf.Graph() as graph:
        w, x = lf.Parameter([0.0], name="w", dtype=lf.float64), lf.placeholder("x", ("n",), lf.float64)
        optimizer = optim.SGD([w], lr=1.0)
        with graph.program("train"):
            lf.mean(w * x).backward()
            optimizer.step(accumulate=2, weight=lf.size(x, 0))
    session = lf.compile(graph).session(backend="numpy")
    for values in ([1.0, 2.0, 3.0], [10.0]):
        session.run("train", x=np.float64(values))
    assert session.get("w") == -4.0  # the mean over all four samples


@pytest.mark.parametrize("backend", BACKENDS)
def test_flush_applies_an_unfinished_group_and_nothing_else(backend):
    initial, gradients = problem(8)
    recipe = {"accumulate": 3, "clip_norm": 0.5, "decay": 0.5}
    training, loop = both(initial, backend=backend, weighted=True, **recipe)
    for step, row in enumerate(gradients):
        training.micro(row, step + 1.0)
        loop.micro(row, step + 1.0)
        if step in (2, 4):  # after a full group, and with two of three
            training.flush()
            loop.flush()
        assert_equal(training.values, loop.values)
    assert [training.clock(name) for name in ("micro_steps", "updates", "applied")] == [8, 3, 3]


def test_a_micro_batch_that_is_not_finite_drops_its_group():
    initial, gradients = problem(6)
    gradients[1][0][0, 0] = np.nan
    training, loop = both(initial, accumulate=3, skip_nonfinite=True)
    for row in gradients:
        training.micro(row)
        loop.micro(row)
    assert (loop.applied, loop.skipped) == (1, 1)
    assert_equal(training.values, loop.values)


def test_a_flush_of_a_bad_group_skips_too():
    initial, gradients = problem(3)
    gradients[1][1][0] = np.inf
    training, _ = both(initial, accumulate=3, skip_nonfinite=True)
    training.micro(gradients[0])
    training.micro(gradients[1])
    training.flush()
    assert_equal(training.values, initial)
    assert [training.clock(name) for name in ("updates", "applied", "skipped", "accumulated")] == [1, 0, 1, 0]
    assert training.session.groups["adamw"].offender == "w1"


# --- clocks -----------------------------------------------------------------------------------------------


def test_clocks_and_schedules():
    """The table of clocks: per run what has moved."""

    scheduler = []
    initial, gradients = problem(6)

    def make(params):
        optimizer = adamw(lr=1.0)(params)
        scheduler.append(lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5))
        return optimizer

    def more(graph, program, optimizer):
        scheduler[0].step()
        program.fetch(lr=optimizer.lr, applied=optimizer.applied_in(program))

    training = Fed(make, initial, more=more, accumulate=2, skip_nonfinite=True)
    gradients[2][2][...] = np.inf
    names = ("micro_steps", "updates", "applied", "skipped", "schedule")
    rows = []
    for row in gradients:
        fetched = training.micro(row)
        rows.append((float(fetched["lr"]), bool(fetched["applied"]), *map(training.clock, names)))
    assert rows == [
        (1.0, False, 1, 0, 0, 0, 0),
        (1.0, True, 2, 1, 1, 0, 1),
        (0.5, False, 3, 1, 1, 0, 1),
        (0.5, False, 4, 2, 1, 1, 1),
        (0.5, False, 5, 2, 1, 1, 1),
        (0.5, True, 6, 3, 2, 1, 2),
    ]


# --- norms and types --------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1.0, 2.0, np.inf])
def test_norms_of_groups_are_those_of_the_unscaled_mean(p):
    initial, gradients = problem(8)
    limits = (0.5, 2.0)

    def make(params):
        shared = {"clip_grad_norm_type": p, "scale": 3.0}
        rows = zip((params[:2], params[2:]), limits, strict=True)
        return optim.SGD([{"params": row, "clip_grad_max_norm": n, **shared} for row, n in rows], lr=0.1)

    training = Fed(make, initial, scaler=optim.StaticLossScaler(64.0), accumulate=2)
    values = list(initial)
    for first, second in zip(gradients[::2], gradients[1::2], strict=True):
        training.micro(first)
        training.micro(second)
        mean = [3.0 * (a + b) / 2.0 for a, b in zip(first, second, strict=True)]
        for members, limit in zip(((0, 1), (2,)), limits, strict=True):
            norm = np.linalg.norm(np.concatenate([mean[i].reshape(-1) for i in members]), p)
            for i in members:
                values[i] = values[i] - 0.1 * min(1.0, limit / (norm + 1e-6)) * mean[i]
    assert_equal(training.values, values)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes(dtype):
    initial, gradients = problem(6, dtype=lf.bfloat16 if dtype == "bfloat16" else np.dtype(dtype))
    recipe = {"accumulate": 2, "clip_norm": 0.9, "skip_nonfinite": True}
    found = {}
    for backend in BACKENDS:
        training = Fed(adamw(), initial, backend, average=optim.EMA(0.5), weighted=True, **recipe)
        for step, row in enumerate(gradients):
            training.micro(row, 1.0 + step % 2)
        found[backend] = [np.float64(value) for value in (*training.values, *training.kept("ema"))]
    loop = Loop(papers.adamw, [np.float64(w) for w in initial], [ADAMW], decay=0.5, **recipe)
    for step, row in enumerate(gradients):
        loop.micro(row, 1.0 + step % 2)
    digits = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 1e-6}[dtype]  # a few roundings
    assert_equal(found["numpy"], [*loop.values, *loop.averages], rtol=digits)
    assert_equal(found["cpu"], found["numpy"], rtol=digits)
