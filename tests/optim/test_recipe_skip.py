"""Updates that are skipped as a whole, and the loss scales that move with them."""

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from optim import papers
from optim.recipes import ADAMW, BACKENDS, Fed, Loop, adamw, assert_equal, both, problem

MOVED_BY_A_SKIP = {"adamw/micro_steps", "adamw/updates", "adamw/skipped", "adamw/offender"}
MOVED_BY_A_SKIP |= {"loss_scaler/scale", "loss_scaler/growth_tracker", "loss_scaler/skipped"}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_skipped_step_leaves_every_byte(bad, backend):
    initial, gradients = problem(3, dtype=np.float32)
    training = Fed(
        adamw(amsgrad=True),
        initial,
        backend,
        scaler=optim.LossScaler(8.0, growth_interval=2),
        clip_norm=1.0,
        average=optim.EMA(0.9),
    )
    training.micro(gradients[0])
    before = training.session.state_dict()
    gradients[1][2][...] = bad
    training.micro(gradients[1])
    after = training.session.state_dict()
    assert {name for name in before if before[name].tobytes() != after[name].tobytes()} == MOVED_BY_A_SKIP
    assert training.session.groups["adamw"].offender == "w2"
    training.micro(gradients[2])
    assert training.clock("applied") == 2


@pytest.mark.parametrize(("dtype", "large"), [(np.float32, 3e38), (np.float64, 1e300)])
def test_large_gradients_are_finite_although_their_squares_are_not(dtype, large):
    initial, gradients = problem(1, dtype=dtype)
    training = Fed(adamw(), initial, clip_norm=1.0, skip_nonfinite=True)
    gradients[0][0][...] = large
    training.micro(gradients[0])
    assert [training.clock(name) for name in ("applied", "skipped")] == [1, 0]
    assert all(np.isfinite(value).all() for value in training.values)


def test_the_first_offender_is_named():
    initial, gradients = problem(3)
    training, _ = both(initial, skip_nonfinite=True)
    assert training.session.groups["adamw"].offender is None
    gradients[0][1][0] = gradients[0][2][...] = np.nan
    training.micro(gradients[0])
    assert training.session.groups["adamw"].offender == "w1"
    assert training.clock("offender") == 1


def test_the_offender_counts_parameters_without_gradient():
    with lf.Graph() as graph:
        a, b, c = (lf.Parameter([1.0], name=name) for name in "abc")
        optimizer = optim.SGD([a, b, c], lr=1.0)
        feeds = {b: lf.placeholder("gb", (1,)), c: lf.placeholder("gc", (1,))}
        with graph.program("train"):
            optimizer.step(feeds, skip_nonfinite=True)
    session = lf.compile(graph).session(backend="numpy")
    session.run("train", gb=np.float32([0.0]), gc=np.float32([np.inf]))
    assert session.groups["sgd"].offender == "c"


def two_optimizers(skips=(True, True)):
    with lf.Graph() as graph:
        a, b = (lf.Parameter([1.0], name=name) for name in "ab")
        with graph.program("train") as program:
            for w, name, skip in ((a, "first", skips[0]), (b, "second", skips[1])):
                optimizer = optim.SGD([w], lr=1.0, name=name)
                optimizer.step({w: lf.placeholder(f"g{name}", (1,))}, skip_nonfinite=skip)
                program.fetch(**{name: w.next * 2.0, f"{name}_old": w * 1.0})
    return lf.compile(graph).session(backend="numpy")


def test_all_optimizers_of_a_program_skip_together():
    session = two_optimizers()
    good, bad = np.float32([0.5]), np.float32([np.inf])
    for gradients in ((bad, good), (good, bad)):
        out = session.run("train", gfirst=gradients[0], gsecond=gradients[1])
        assert (out["first"], out["second"]) == (2.0, 2.0)  # what reads ``next`` sees the old values
    assert [int(session.get(f"{name}/skipped")) for name in ("first", "second")] == [2, 2]
    assert session.groups["first"].offender is None  # the last skip was the other's
    assert session.groups["second"].offender == "b"
    out = session.run("train", gfirst=good, gsecond=good)
    assert (out["first"], out["second"]) == (1.0, 1.0)


def test_an_optimizer_that_does_not_ask_is_not_held_back():
    session = two_optimizers(skips=(True, False))
    session.run("train", gfirst=np.float32([np.nan]), gsecond=np.float32([0.5]))
    assert (session.get("a"), session.get("b")) == (1.0, 0.5)
    session.run("train", gfirst=np.float32([0.5]), gsecond=np.float32([np.nan]))
    assert session.get("a") == 0.5
    assert np.isnan(session.get("b"))


def test_optimizers_of_other_micro_batches_share_a_scaler_and_a_skip():
    """One updates in each run, the other in each second one; both by gradients of one scaled loss."""
    with lf.Graph() as graph:
        a, b = (lf.Parameter([1.0], name=name) for name in "ab")
        x, y = lf.placeholder("x", (1,)), lf.placeholder("y", (1,))
        scaler = optim.LossScaler(8.0, growth_interval=100)
        with graph.program("train"):
            scaler.scale(lf.sum(a * x + b * y)).backward()
            optim.SGD([a], lr=0.5, name="each").step(loss_scale=scaler)
            optim.SGD([b], lr=0.5, name="second").step(loss_scale=scaler, accumulate=2)
    session = lf.compile(graph).session(backend="numpy")
    rows = []
    for x, y in ((1.0, 1.0), (1.0, 0.0), (0.0, np.inf), (1.0, 1.0), (np.nan, 1.0), (1.0, 0.0)):
        session.run("train", x=np.float32([x]), y=np.float32([y]))
        rows.append(tuple(float(session.get(name).item()) for name in ("a", "b", "loss_scaler/scale")))
    assert rows == [
        (0.5, 1.0, 8.0),
        (0.0, 0.75, 8.0),
        (0.0, 0.75, 8.0),  # the infinite one waits for its group
        (0.0, 0.75, 4.0),  # and drops it, together with the other's update
        (0.0, 0.75, 2.0),  # the other's own
        (-0.5, 0.5, 2.0),  # the scale fell between the two micro-batches, each is divided by its own
    ]


def test_users_assigns_are_not_guarded():
    with lf.Graph() as graph:
        w, count = lf.Parameter([1.0], name="w"), lf.Variable(0, name="count")
        optimizer = optim.SGD([w], lr=1.0)
        with graph.program("train"):
            optimizer.step({w: lf.placeholder("g", (1,))}, skip_nonfinite=True)
            count.assign(count + 1)
    session = lf.compile(graph).session(backend="numpy")
    session.run("train", g=np.float32([np.nan]))
    assert (session.get("w"), session.get("count")) == (1.0, 1)


# --- loss scales ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
def test_static_scale_is_taken_out_again(accumulate):
    initial, gradients = problem(8)
    scaled = Fed(adamw(), initial, scaler=optim.StaticLossScaler(1024.0), accumulate=accumulate)
    plain = Fed(adamw(), initial, accumulate=accumulate)
    for row in gradients:
        scaled.micro(row)
        plain.micro(row)
    for found, expected in zip(scaled.values, plain.values, strict=True):
        np.testing.assert_array_equal(found, expected)  # a power of 2 rounds nothing


def test_dynamic_scale_falls_and_grows():
    initial, gradients = problem(9)
    scaler = optim.LossScaler(16.0, growth_factor=4.0, backoff_factor=0.25, growth_interval=2)
    training = Fed(adamw(), initial, scaler=scaler)
    scales = []
    for step, row in enumerate(gradients):
        if step in (3, 4, 7):
            row[0][...] = np.inf
        training.micro(row)
        scales.append(float(training.session.get("loss_scaler/scale")))
    assert scales == [16.0, 64.0, 64.0, 16.0, 4.0, 4.0, 16.0, 4.0, 4.0]
    assert int(training.session.get("loss_scaler/skipped")) == training.clock("skipped") == 3


def test_dynamic_scale_moves_once_per_group_of_micro_batches():
    initial, gradients = problem(6)
    training = Fed(adamw(), initial, scaler=optim.LossScaler(8.0, growth_interval=1), accumulate=3)
    loop = Loop(papers.adamw, initial, [ADAMW], accumulate=3, skip_nonfinite=True)
    gradients[4][0][...] = np.nan
    scales = []
    for row in gradients:
        training.micro(row)
        loop.micro(row)
        scales.append(float(training.session.get("loss_scaler/scale")))
    assert scales == [8.0, 8.0, 16.0, 16.0, 16.0, 8.0]
    assert_equal(training.values, loop.values)


def test_scale_never_grows_beyond_float32():
    initial, gradients = problem(2)
    training = Fed(adamw(), initial, scaler=optim.LossScaler(2.0**127, growth_interval=1))
    training.micro(gradients[0])
    assert training.session.get("loss_scaler/scale") == 2.0**127


@pytest.mark.parametrize(("scaled", "expected"), [(False, 1.0), (True, 1.0 - 2.0**-6)])
def test_small_gradients_of_half_types_survive_by_the_scale(scaled, expected):
    scaler = optim.StaticLossScaler(1024.0)
    with lf.Graph() as graph:
        w, x = lf.Parameter([1.0], name="w"), lf.placeholder("x", (1,), lf.float16)
        optimizer = optim.SGD([w], lr=2.0**20)
        loss = lf.sum((w.astype(lf.float16) * x * 2.0**-12).astype(lf.float32))
        with graph.program("train"):
            (scaler.scale(loss) if scaled else loss).backward()
            optimizer.step(loss_scale=scaler if scaled else None)
    session = lf.compile(graph).session(backend="numpy")
    session.run("train", x=np.float16([2.0**-14]))  # the gradient is 2**-26, which is 0 in float16
    assert session.get("w") == np.float32(expected)
