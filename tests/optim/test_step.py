"""What ``optimizer.step()`` appends, and where it is refused."""

import re

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.optim import lr_scheduler
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, DTypeError, GraphError, ShapeError


def weight(name="w", value=(1.0, 2.0)):
    return lf.Parameter(np.float32(value), name=name)


def run(graph, program, times=1, **feeds):
    session = lf.compile(graph).session(backend="numpy")
    for _ in range(times):
        session.run(program, feeds)
    return session


def test_step_takes_the_gradients_of_the_program():
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w], lr=0.5)
        loss = (w * w).sum()
        with graph.program("train"):
            loss.backward()
            optimizer.step()
    np.testing.assert_array_equal(run(graph, "train").get("w"), np.float32([0.0, 0.0]))


def test_step_takes_given_gradients_in_place_of_those_of_the_program():
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w], lr=0.5)
        with graph.program("train"):
            (w * w).sum().backward()
            optimizer.step({w: lf.placeholder("g", (2,))})
    np.testing.assert_array_equal(run(graph, "train", g=np.float32([2, -2])).get("w"), np.float32([0.0, 3.0]))


def test_clocks_count_the_runs():
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w], name="mine")
        with graph.program("train"):
            (w * w).sum().backward()
            optimizer.step()
    session = run(graph, "train", times=3)
    assert [int(session.get(f"mine/{c}")) for c in ("micro_steps", "updates", "applied")] == [3, 3, 3]


def test_a_parameter_without_gradient_is_left_alone():
    with lf.Graph() as graph:
        used, unused = weight("used"), weight("unused")
        optimizer = optim.AdamW([used, unused], lr=0.1, weight_decay=0.5)
        with graph.program("train"):
            (used * used).sum().backward()
            optimizer.step()
    session = run(graph, "train", times=2)
    np.testing.assert_array_equal(session.get("unused"), np.float32([1.0, 2.0]))
    assert not np.array_equal(session.get("used"), np.float32([1.0, 2.0]))


def test_programs_share_state_and_clocks():
    with lf.Graph() as graph:
        a, b = weight("a"), weight("b")
        optimizer = optim.Adam([a, b], lr=0.1)
        for name, w in (("first", a), ("second", b)):
            with graph.program(name):
                (w * w).sum().backward()
                optimizer.step()
    session = lf.compile(graph).session(backend="numpy")
    for program in ("first", "second", "first"):
        session.run(program)
    assert int(session.get("adam/applied")) == 3
    once, twice = (session.get(f"{name}/exp_avg") for name in "ba")
    np.testing.assert_allclose(once, np.float32([0.2, 0.4]), rtol=1e-6)
    assert (np.abs(twice) > np.abs(once)).all()


def test_reads_in_the_program_see_the_values_from_before_the_run():
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w], lr=1.0)
        with graph.program("train") as program:
            optimizer.step({w: lf.placeholder("g", (2,))})
            program.fetch(before=w * 1.0, after=w.next * 1.0)
    out = lf.compile(graph).session(backend="numpy").run("train", g=np.float32([1, 1]))
    np.testing.assert_array_equal(out["before"], np.float32([1, 2]))
    np.testing.assert_array_equal(out["after"], np.float32([0, 1]))


def test_one_variable_per_parameter_holds_its_group_where_there_are_several():
    with lf.Graph() as graph:
        first, second = weight("first"), weight("second")
        optimizer = optim.SGD([{"params": [first]}, {"params": [second], "lr": 0.1}], lr=1.0, name="opt")
        with graph.program("train"):
            optimizer.step({first: first * 1.0, second: second * 1.0})
    session = run(graph, "train")
    assert (session.get("first/group"), session.get("second/group")) == (0, 1)
    assert "opt/group" not in session.state_dict()


def test_names_of_the_state():
    with lf.Graph() as graph:
        w = weight("layer.weight")
        optimizer = optim.AdamW([{"params": w, "lr": 0.1}], name="opt", amsgrad=True)
        scheduler = lr_scheduler.StepLR(optimizer, step_size=1)
        with graph.program("train"):
            optimizer.step({w: w * 1.0})
            scheduler.step()
    assert set(run(graph, "train").state_dict()) == {
        "layer.weight",
        "layer.weight/exp_avg",
        "layer.weight/exp_avg_sq",
        "layer.weight/max_exp_avg_sq",
        "opt/group",
        "opt/micro_steps",
        "opt/updates",
        "opt/applied",
        "opt/schedule",
        "opt/groups/0/lr",
        "opt/groups/0/scale",
        "opt/groups/0/lr_scale",
        "opt/groups/0/frozen",
        "opt/groups/0/betas/0",
        "opt/groups/0/betas/1",
        "opt/groups/0/eps",
        "opt/groups/0/weight_decay",
    }


def test_two_optimizers_of_one_name_are_refused_at_compile():
    with lf.Graph() as graph:
        a, b = weight("a"), weight("b")
        with graph.program("train"):
            for w in (a, b):
                optim.SGD([w]).step({w: w * 1.0})
    with pytest.raises(GraphError, match="two variables are named 'sgd/group'") as caught:
        lf.compile(graph)
    assert "test_step.py:" in str(caught.value)


def test_a_second_optimizer_of_a_parameter_is_refused_with_both_lines():
    with lf.Graph() as graph:
        w = weight()
        first, second = optim.SGD([w]), optim.Adam([w])
        with graph.program("train"):
            first.step({w: w * 1.0})
        with graph.program("refine"), pytest.raises(GraphError) as caught:
            second.step({w: w * 1.0})
    text = str(caught.value)
    assert text.startswith("adam.step(): parameter 'w' belongs to optimizer 'sgd'")
    assert text.count("made at test_step.py:") == 2


@pytest.mark.parametrize("dtype", [lf.float64, lf.float32, lf.float16, lf.bfloat16], ids=str)
def test_state_has_the_dtype_of_the_parameter(dtype):
    with lf.Graph() as graph:
        w = lf.Parameter([1.0, 2.0], dtype=dtype, name="w")
        optimizer = optim.Adam([w], lr=0.1, eps=1e-3)
        with graph.program("train"):
            optimizer.step({w: w * 1.0})
    session = run(graph, "train")
    assert session.get("w/exp_avg").dtype == session.get("w").dtype == dtype
    expected = np.float64([1, 2]) - 0.1 * np.float64([0.1, 0.2]) / (np.sqrt([1e-3, 4e-3]) + 1e-3)
    tolerance = {2: 2e-2, 4: 1e-6, 8: 1e-14}[dtype.itemsize]  # a few roundings
    np.testing.assert_allclose(np.float64(session.get("w")), expected, rtol=tolerance)


# --- refused ----------------------------------------------------------------------------------------------


def test_step_outside_of_a_program():
    with lf.Graph():
        optimizer = optim.SGD([weight()])
        with pytest.raises(GraphError, match=re.escape("sgd.step() was called outside of a program")):
            optimizer.step()


def test_step_outside_of_a_graph():
    with pytest.raises(GraphError, match="no graph is open"):
        optim.SGD([weight()]).step()


def test_step_without_any_gradient():
    with lf.Graph() as graph:
        optimizer = optim.SGD([weight("a"), weight("b")])
        with graph.program("train"):
            with pytest.raises(GraphError) as caught:
                optimizer.step()
            with pytest.raises(GraphError, match="none of the 2 parameters"):
                optimizer.step({})
    text = str(caught.value)
    assert text.startswith("step: none of the 2 parameters of 'sgd' has a gradient in program 'train'")
    assert "loss.backward() first" in text
    assert not graph.ir.programs["train"].effects


def test_step_twice_in_a_program():
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w])
        with graph.program("train"):
            optimizer.step({w: w * 1.0})
            with pytest.raises(GraphError, match="optimizer 'sgd' steps twice in program 'train'") as caught:
                optimizer.step({w: w * 1.0})
    assert len(re.findall(r"at test_step\.py:\d+", str(caught.value))) == 2


GRADIENTS = [
    (lambda w: {weight("other"): w * 1.0}, ArgumentError, "'other' float32[2]> is no parameter of optimizer"),
    (lambda w: {"w": w * 1.0}, ArgumentError, "'w' is no parameter of optimizer 'sgd'"),
    (
        lambda w: {w: np.zeros(2, np.float32)},
        ArgumentTypeError,
        "is no Tensor: array([0., 0.], dtype=float32)",
    ),
    (lambda w: {w: None}, ArgumentTypeError, "the gradient of 'w' is no Tensor: None"),
    (lambda w: [w * 1.0], ArgumentTypeError, "is no mapping"),
    (lambda w: {w: w.sum()}, ShapeError, "'w' is (2,), its gradient is ()"),
    (lambda w: {w: w.reshape(2, 1)}, ShapeError, "'w' is (2,), its gradient is (2, 1)"),
    (lambda w: {w: w.astype("float64")}, DTypeError, "'w' is float32, its gradient is float64"),
]


@pytest.mark.parametrize(("make", "error", "text"), GRADIENTS, ids=[text for *_, text in GRADIENTS])
def test_gradients_that_do_not_fit(make, error, text):
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w])
        with graph.program("train"), pytest.raises(error) as caught:
            optimizer.step(make(w))
    assert text in str(caught.value).splitlines()[0]
    assert not graph.ir.programs["train"].effects


def test_a_gradient_of_another_graph():
    with lf.Graph("first"):
        foreign = lf.placeholder("g", (2,))
    with lf.Graph("second") as graph:
        w = weight()
        optimizer = optim.SGD([w])
        with graph.program("train"), pytest.raises(GraphError, match="a Tensor of another graph"):
            optimizer.step({w: foreign})


def test_an_optimizer_of_another_graph():
    w = weight()
    optimizer = optim.SGD([w])
    with lf.Graph("first") as first, first.program("train"):
        optimizer.step({w: w * 1.0})
    with (
        lf.Graph("second") as second,
        second.program("train"),
        pytest.raises(GraphError, match=r"sgd\.step\(\): 'w' belongs to graph 'first'"),
    ):
        optimizer.step({w: lf.placeholder("g", (2,))})


def test_step_in_a_compiled_graph():
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w])
        with graph.program("train"):
            optimizer.step({w: w * 1.0})
    lf.compile(graph)
    with pytest.raises(GraphError, match="is compiled"), graph, graph.program("more"):
        optimizer.step({w: w * 1.0})


# --- schedulers -------------------------------------------------------------------------------------------


def test_two_schedulers_name_both_lines_and_what_composes_them():
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w])
        lr_scheduler.StepLR(optimizer, step_size=1)
        lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
        with graph.program("train"), pytest.raises(GraphError) as caught:
            optimizer.step({w: w * 1.0})
    text = str(caught.value)
    assert "has 2 schedulers that nobody composes" in text
    assert re.search(r"StepLR made at test_step\.py:\d+", text)
    assert re.search(r"ExponentialLR made at test_step\.py:\d+", text)
    assert "ChainedScheduler" in text
    assert "SequentialLR" in text


def test_a_scheduler_after_the_rate_was_read():
    with lf.Graph():
        optimizer = optim.SGD([weight()])
        _ = optimizer.lr
        with pytest.raises(GraphError, match="attached after the rate of 'sgd' was read") as caught:
            lr_scheduler.StepLR(optimizer, step_size=1)
    assert "make the scheduler first" in str(caught.value)


def test_the_rate_that_is_fetched_is_that_of_the_update():
    with lf.Graph() as graph:
        w = weight(value=[0.0])
        optimizer = optim.SGD([w], lr=1.0, lr_scale=10.0)
        scheduler = lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        with graph.program("train", fetches={"lr": optimizer.lr}):
            optimizer.step({w: lf.placeholder("g", (1,))})
            scheduler.step()
    session = lf.compile(graph).session(backend="numpy")
    rates = [float(session.run("train", g=np.float32([-1]))["lr"]) for _ in range(3)]
    assert rates == [1.0, 0.5, 0.25]
    assert session.get("w") == np.float32(17.5)  # lr_scale multiplies in the update only


def test_a_schedule_in_a_program_of_its_own_moves_once_per_run_of_it():
    with lf.Graph() as graph:
        w = weight()
        optimizer = optim.SGD([w], lr=1.0)
        scheduler = lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        with graph.program("train", fetches={"lr": optimizer.lr}):
            optimizer.step({w: w * 1.0})
        with graph.program("epoch"):
            scheduler.step()
    session = lf.compile(graph).session(backend="numpy")
    rates = []
    for _ in range(2):
        rates += [float(session.run("train")["lr"]) for _ in range(2)]
        session.run("epoch")
    assert rates == [1.0, 1.0, 0.5, 0.5]


def test_clocks_cannot_start_elsewhere_once_they_are_read():
    with lf.Graph():
        optimizer = optim.SGD([weight()])
        clock = optimizer.clock("mine", initial=3)
        assert optimizer.clock("mine", initial=5) is clock
        assert clock.ir.initial == 5
        _ = clock + 1
        with pytest.raises(GraphError, match="'sgd/mine' was read already, starting at 5, not at 7"):
            optimizer.clock("mine", initial=7)
