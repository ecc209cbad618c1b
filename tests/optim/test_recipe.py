"""What surrounds an update, against a plain loop in float64: each part, and their order."""

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.optim import lr_scheduler
from optim import papers
from optim.recipes import Fed, Loop, assert_equal, problem
from optim.specifications import SPECIFICATIONS

ADAMW = {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}
BACKENDS = ("numpy", "cpu")


def adamw(**options):
    return lambda params: optim.pytorch.AdamW(params, **{**ADAMW, **options})


def both(initial, groups=None, members=None, backend="numpy", **recipe):
    """A training and its loop, of AdamW with bias correction."""
    groups = groups or [ADAMW]
    members = members or [0] * len(initial)

    def make(params):
        rows = [[p for p, m in zip(params, members, strict=True) if m == i] for i in range(len(groups))]
        return optim.pytorch.AdamW([{"params": row, **g} for row, g in zip(rows, groups, strict=True)])

    fed = {name: value for name, value in recipe.items() if name != "decay"}
    if "decay" in recipe:
        fed["average"] = optim.EMA(recipe["decay"])
    return Fed(make, initial, backend, **fed), Loop(papers.adamw, initial, groups, members, **recipe)


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


# --- skip -------------------------------------------------------------------------------------------------

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


# --- averages ---------------------------------------------------------------------------------------------


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
