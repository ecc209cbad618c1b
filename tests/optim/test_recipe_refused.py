"""Recipes that ``step()`` and ``flush()`` refuse, and what they say."""

import re

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.optim import lr_scheduler
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, GraphError

NAN, INF = float("nan"), float("inf")
TYPES, RANGES = ArgumentTypeError, ArgumentError

# arguments of step(), the class of the error, and what its first line says
STEP = [
    ({"accumulate": 0}, RANGES, "accumulate=0 is out of range"),
    ({"accumulate": -1}, RANGES, "accumulate=-1 is out of range"),
    ({"accumulate": 2.0}, TYPES, "accumulate=2.0 is no integer"),
    ({"accumulate": True}, TYPES, "accumulate=True is no integer"),
    ({"accumulate": "4"}, TYPES, "accumulate='4' is no integer"),
    ({"accumulate": None}, TYPES, "accumulate=None is no integer"),
    ({"weight": 0}, RANGES, "weight=0 is out of range"),
    ({"weight": -1.5}, RANGES, "weight=-1.5 is out of range"),
    ({"weight": NAN}, RANGES, "weight=nan is not finite"),
    ({"weight": INF}, RANGES, "weight=inf is not finite"),
    ({"weight": True}, TYPES, "weight=True is no number"),
    ({"weight": [1, 2]}, TYPES, "weight=[1, 2] is no number"),
    ({"loss_scale": 128.0}, TYPES, "loss_scale=128.0 is of the wrong type"),
    ({"loss_scale": optim.LossScaler}, TYPES, "loss_scale=<class"),
    ({"clip_value": -0.5}, RANGES, "clip_value=-0.5 is out of range"),
    ({"clip_value": NAN}, RANGES, "clip_value=nan is not finite"),
    ({"clip_value": INF}, RANGES, "clip_value=inf is not finite"),
    ({"clip_value": (-1, 1)}, TYPES, "clip_value=(-1, 1) is no number"),
    ({"clip_value": "1"}, TYPES, "clip_value='1' is no number"),
    ({"clip_norm": -1}, RANGES, "clip_norm=-1 is out of range"),
    ({"clip_norm": NAN}, RANGES, "clip_norm=nan is not finite"),
    ({"clip_norm": INF}, RANGES, "clip_norm=inf is not finite"),
    ({"clip_norm": True}, TYPES, "clip_norm=True is no number"),
    ({"clip_norm": np.float32([1.0])}, TYPES, "is no number"),
    ({"skip_nonfinite": 1}, TYPES, "skip_nonfinite=1 is of the wrong type"),
    ({"skip_nonfinite": None}, TYPES, "skip_nonfinite=None is of the wrong type"),
    ({"average": 0.999}, TYPES, "average=0.999 is of the wrong type"),
    ({"average": optim.EMA}, TYPES, "average=<class"),
]
MAKERS = [
    (lambda: optim.EMA(1.0), RANGES, "EMA: decay=1.0 is out of range"),
    (lambda: optim.EMA(-0.1), RANGES, "EMA: decay=-0.1 is out of range"),
    (lambda: optim.EMA(NAN), RANGES, "EMA: decay=nan is not finite"),
    (lambda: optim.EMA(True), TYPES, "EMA: decay=True is no number"),
    (lambda: optim.EMA("0.9"), TYPES, "EMA: decay='0.9' is no number"),
    (lambda: optim.EMA(None), TYPES, "EMA: decay=None is no number"),
    (lambda: optim.SWA(start=-1), RANGES, "SWA: start=-1 is out of range"),
    (lambda: optim.SWA(start=1.5), TYPES, "SWA: start=1.5 is no integer"),
    (lambda: optim.SWA(every=0), RANGES, "SWA: every=0 is out of range"),
    (lambda: optim.SWA(every=True), TYPES, "SWA: every=True is no integer"),
    (lambda: optim.StaticLossScaler(0), RANGES, "StaticLossScaler: scale=0 is out of range"),
    (lambda: optim.StaticLossScaler(-2.0), RANGES, "StaticLossScaler: scale=-2.0 is out of range"),
    (lambda: optim.StaticLossScaler(INF), RANGES, "StaticLossScaler: scale=inf is not finite"),
    (lambda: optim.StaticLossScaler("2"), TYPES, "StaticLossScaler: scale='2' is no number"),
    (lambda: optim.StaticLossScaler(2.0, name=""), TYPES, "StaticLossScaler: name='' is not a name"),
    (lambda: optim.LossScaler(0.0), RANGES, "LossScaler: init_scale=0.0 is out of range"),
    (lambda: optim.LossScaler(NAN), RANGES, "LossScaler: init_scale=nan is not finite"),
    (lambda: optim.LossScaler(growth_factor=1.0), RANGES, "LossScaler: growth_factor=1.0 is out of range"),
    (lambda: optim.LossScaler(growth_factor=None), TYPES, "LossScaler: growth_factor=None is no number"),
    (lambda: optim.LossScaler(backoff_factor=1.0), RANGES, "LossScaler: backoff_factor=1.0 is out of range"),
    (lambda: optim.LossScaler(backoff_factor=0.0), RANGES, "LossScaler: backoff_factor=0.0 is out of range"),
    (lambda: optim.LossScaler(growth_interval=0), RANGES, "LossScaler: growth_interval=0 is out of range"),
    (lambda: optim.LossScaler(growth_interval=2.5), TYPES, "LossScaler: growth_interval=2.5 is no integer"),
    (lambda: optim.SGD([weight()], frozen=1), TYPES, "SGD: frozen=1 is no bool"),
    (lambda: optim.SGD([weight()], frozen="no"), TYPES, "SGD: frozen='no' is no bool"),
    (lambda: optim.SGD([weight()], frozen=None), TYPES, "SGD: frozen=None is no bool"),
]


def weight(name="w"):
    return lf.Parameter([1.0, 2.0], name=name)


def first_line(caught):
    return str(caught.value).splitlines()[0]


@pytest.mark.parametrize(("recipe", "error", "text"), STEP, ids=[text for *_, text in STEP])
def test_arguments_of_step(recipe, error, text):
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w])
        with graph.program("train"):
            with pytest.raises(error) as caught:
                optimizer.step({w: w * 1.0}, **recipe)
            optimizer.step({w: w * 1.0})  # nothing was changed
    assert text in first_line(caught)
    assert first_line(caught).startswith("step: ")
    assert "expected" in str(caught.value)
    assert re.search(r"here +at test_recipe_refused\.py:\d+", str(caught.value))


@pytest.mark.parametrize(("make", "error", "text"), MAKERS, ids=[text for *_, text in MAKERS])
def test_arguments_of_averages_and_scalers(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert text in first_line(caught)


@pytest.mark.parametrize("name", ["weight", "clip_value", "clip_norm"])
def test_tensors_that_are_no_scalars(name):
    with lf.Graph() as graph:
        w = weight()
        with graph.program("train"), pytest.raises(ArgumentTypeError, match=f"step: {name}=.* is no scalar"):
            optim.SGD([w]).step({w: w * 1.0}, **{name: lf.placeholder("x", (2,))})


def test_two_clips_by_norm():
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w], clip_grad_max_norm=1.0)
        with graph.program("train"), pytest.raises(ArgumentError, match="group 0 has clip_grad_max_norm"):
            optimizer.step({w: w * 1.0}, clip_norm=1.0)


def test_a_loss_that_is_no_floating_tensor():
    scaler = optim.LossScaler()
    with lf.Graph(), pytest.raises(ArgumentTypeError, match="the loss is no floating Tensor"):
        scaler.scale(1.0)
    with lf.Graph(), pytest.raises(ArgumentTypeError, match="the loss is no floating Tensor"):
        scaler.scale(lf.placeholder("x", (), lf.int64))


def test_a_scale_that_no_loss_has():
    with lf.Graph() as graph:
        w, scaler = weight(), optim.LossScaler()
        optimizer = optim.SGD([w])
        with graph.program("train"):
            lf.sum(w).backward()
            with pytest.raises(
                GraphError, match="step: loss_scale='loss_scaler' has scaled no loss"
            ) as caught:
                optimizer.step(loss_scale=scaler)
    assert "scaler.scale(loss).backward() first" in str(caught.value)


def test_an_average_of_the_name_of_a_state():
    class Mine(optim.Optimizer):
        def state(self, h):
            return ("ema",)

        def update(self, p, g, lr, t, state, h):
            return p - lr * g, state

    with lf.Graph() as graph:
        w = weight()
        with graph.program("train"), pytest.raises(ArgumentError, match=r"Mine\.state: 'ema' is no name"):
            Mine([w]).step({w: w * 1.0}, average=optim.EMA(0.9))


# --- several programs -------------------------------------------------------------------------------------

BESIDE = [
    ({"accumulate": 2}, {}, "accumulate=1 of 'sgd' is 2 in another program"),
    ({}, {"accumulate": 2}, "accumulate=2 of 'sgd' is 1 in another program"),
    ({"average": optim.EMA(0.9)}, {}, "average=None of 'sgd' is EMA(decay=0.9) in another program"),
    ({"average": optim.EMA(0.9)}, {"average": optim.EMA(0.8)}, "average=EMA(decay=0.8) of 'sgd' is EMA"),
    ({"average": optim.SWA()}, {"average": optim.SWA(every=2)}, "average=SWA(start=0, every=2) of 'sgd' is"),
    ({"clip_norm": 1.0}, {"clip_norm": 2.0}, "clip_norm=2.0 of 'sgd' is 1.0 in another program"),
    ({"clip_value": 1.0}, {"clip_value": 2.0}, "clip_value=2.0 of 'sgd' is 1.0 in another program"),
]


@pytest.mark.parametrize(("first", "second", "text"), BESIDE, ids=[text for *_, text in BESIDE])
def test_recipes_that_share_variables_agree(first, second, text):
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w])
        with graph.program("first"):
            optimizer.step({w: w * 1.0}, **first)
        with graph.program("second"), pytest.raises(GraphError) as caught:
            optimizer.step({w: w * 1.0}, **second)
    assert text in first_line(caught)
    assert len(re.findall(r"at test_recipe_refused\.py:\d+", str(caught.value))) == 2


def test_recipes_may_differ_in_the_rest():
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w])
        average = {"average": optim.EMA(0.9)}
        with graph.program("first"):
            optimizer.step({w: w * 1.0}, clip_norm=1.0, skip_nonfinite=True, **average)
        with graph.program("second"):
            optimizer.step({w: w * 1.0}, clip_value=1.0, average=optim.EMA(0.9))
    assert set(lf.compile(graph).document.optimizers[0].state["w"]) == {"w/ema"}


def test_groups_of_micro_batches_have_one_set_of_parameters():
    with lf.Graph() as graph:
        a, b = weight("a"), weight("b")
        optimizer = optim.SGD([a, b])
        with graph.program("first"):
            optimizer.step({a: a * 1.0}, accumulate=2)
        with graph.program("second"), pytest.raises(GraphError, match="do not update the same parameters"):
            optimizer.step({b: b * 1.0}, accumulate=2)


# --- order of calls ---------------------------------------------------------------------------------------


def test_flush_where_nothing_accumulates():
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w])
        with graph.program("train"):
            optimizer.step({w: w * 1.0})
        with graph.program("flush"), pytest.raises(GraphError, match="no program accumulates gradients") as e:
            optimizer.flush()
    assert "step(accumulate=k)" in str(e.value)


def test_flush_in_the_program_of_the_step():
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w])
        with graph.program("train"):
            optimizer.step({w: w * 1.0}, accumulate=2)
            with pytest.raises(GraphError, match="optimizer 'sgd' steps twice in program 'train'") as caught:
                optimizer.flush()
    assert "flush() in a program of its own" in str(caught.value)


def test_flush_outside_of_a_program():
    with (
        lf.Graph(),
        pytest.raises(GraphError, match=re.escape("sgd.flush() was called outside of a program")),
    ):
        optim.SGD([weight()]).flush()


@pytest.mark.parametrize("recipe", [{"accumulate": 2}, {"skip_nonfinite": True}], ids=str)
def test_a_schedule_that_moves_before_the_update_is_known(recipe):
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w])
        scheduler = lr_scheduler.StepLR(optimizer, step_size=1)
        with graph.program("train"):
            scheduler.step()
            with pytest.raises(GraphError, match="a scheduler of 'sgd' stepped before it") as caught:
                optimizer.step({w: w * 1.0}, **recipe)
    assert "optimizer.step() first" in str(caught.value)


def test_averages_that_are_not_kept():
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w])
        with graph.program("train"):
            optimizer.step({w: w * 1.0})
        with pytest.raises(GraphError, match="averaged: optimizer 'sgd' keeps no averages"):
            optimizer.averaged(w)


def test_gradients_that_follow_from_what_waits_for_them():
    with lf.Graph() as graph:
        a, b = weight("a"), weight("b")
        first, second = optim.SGD([a], name="first"), optim.SGD([b], name="second")
        program = graph.program("train").__enter__()
        first.step({a: a * 1.0}, skip_nonfinite=True)
        second.step({b: a.next * 1.0}, skip_nonfinite=True)
        with pytest.raises(GraphError) as caught:
            program.__exit__(None, None, None)
    text = str(caught.value)
    assert text.startswith("step: the gradients of 'second' follow from next values that wait for them")
    assert "'first', 'second' skip together in program 'train'" in text


def test_next_of_what_was_skipped_may_be_read_by_one_that_does_not_skip():
    with lf.Graph() as graph:
        a, b = weight("a"), weight("b")
        with graph.program("train"):
            optim.SGD([a], lr=1.0, name="first").step({a: lf.placeholder("g", (2,))}, skip_nonfinite=True)
            optim.SGD([b], lr=1.0, name="second").step({b: a.next * 1.0})
    session = lf.compile(graph).session(backend="numpy")
    session.run("train", g=np.float32([np.inf, 0.0]))
    np.testing.assert_array_equal(session.get("b"), np.float32([0.0, 0.0]))


def test_a_scale_that_the_user_assigns_too():
    with lf.Graph() as graph:
        w, scaler = weight(), optim.LossScaler()
        optimizer = optim.SGD([w])
        program = graph.program("train").__enter__()
        optimizer.step({w: w * 1.0}, loss_scale=scaler)
        scaler.factor.assign(1.0)
        with pytest.raises(ArgumentError, match="program 'train' assigns the scale itself"):
            program.__exit__(None, None, None)


def test_two_scalers_of_one_name_are_refused_at_compile():
    with lf.Graph() as graph:
        a, b = weight("a"), weight("b")
        with graph.program("train"):
            for w in (a, b):
                optim.SGD([w], name=f"sgd_{w.name}").step({w: w * 1.0}, loss_scale=optim.LossScaler())
    with pytest.raises(GraphError, match="two variables are named 'loss_scaler/scale'"):
        lf.compile(graph)
