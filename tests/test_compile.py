"""lf.compile: what it adds to a graph, what it refuses, and that a refused graph is as it was."""

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import nn, optim
from lazyflow.runtime import load_plan


def graph_of(build):
    with lf.Graph("compiled") as graph:
        build(graph)
    return graph


def double(graph):
    x = lf.placeholder("x", (3,))
    graph.program("double", fetches={"y": x * 2})


def test_compiled_graph_is_frozen_and_names_both_lines():
    graph = graph_of(double)
    lf.compile(graph)
    with graph:
        with pytest.raises(lf.GraphError, match=r"is compiled; nothing can be appended.*\n.*test_compile.py"):
            lf.placeholder("z", (3,)) * 2
        with pytest.raises(lf.GraphError, match="is compiled"):
            graph.program("late")


def test_compiling_a_frozen_graph_again_gives_an_equal_plan():
    graph = graph_of(double)
    assert lf.compile(graph).fingerprint == lf.compile(graph).fingerprint


def test_equal_names_are_refused_with_both_lines_and_the_graph_stays_open():
    with lf.Graph() as graph:
        first = lf.Variable(0.0, (), name="w")
        second = lf.Variable(0.0, (), name="w")
        graph.program("read", fetches={"sum": first + second})
        with pytest.raises(
            lf.GraphError, match=r"(?s)two variables are named 'w'.*first .*:\d+.*second .*:\d+"
        ):
            lf.compile(graph)
        second.naming = lambda: "v"
        assert lf.compile(graph).session("numpy").run("read")["sum"] == 0.0


def test_failed_initializer_leaves_the_graph_as_it_was():
    with lf.Graph() as graph:
        weight = lf.Parameter(lambda shape, dtype: 3.0, (2,), name="w")
        graph.program("read", fetches={"w": weight})
        operations = len(graph.ir.ops)
        with pytest.raises(lf.ArgumentTypeError, match="initializers are"):
            lf.compile(graph)
        assert len(graph.ir.ops) == operations
        assert "init" not in graph.ir.programs


def test_numbers_of_a_failed_compile_are_forgotten():
    def third(shape, dtype):
        return lf.full(shape, 1.0, dtype) * 3.25 if seen else 0.0

    seen = []
    with lf.Graph() as graph:
        first = lf.Parameter(lambda shape, dtype: lf.full(shape, 1.0, dtype) * 3.25, (2,), name="first")
        second = lf.Parameter(third, (2,), name="second")
        graph.program("read", fetches={"sum": first + second})
        with pytest.raises(lf.ArgumentTypeError, match="initializers are"):
            lf.compile(graph)
        seen.append(True)
        np.testing.assert_array_equal(lf.compile(graph).session("numpy").run("read")["sum"], [6.5, 6.5])


def test_a_variable_that_a_failed_compile_read_can_be_read_again():
    seen = []
    with lf.Graph() as graph:
        first = lf.Parameter(lambda shape, dtype: lf.full(shape, 2.0, dtype), (2,), name="first")
        second = lf.Parameter(lambda s, d: lf.full(s, 1.0, d) if seen else 3.0, (2,), name="second")
        gradient = lf.placeholder("g", (2,))
        optimizer = optim.SGD([first, second], lr=1.0)
        with graph.program("train"):
            optimizer.step({first: gradient, second: gradient})  # reads neither by an op of its own
        with pytest.raises(lf.ArgumentTypeError, match="initializers are"):
            lf.compile(graph)
        seen.append(True)
        graph.program("read", fetches={"twice": first * 2.0})
        session = lf.compile(graph).session("numpy")
    session.run("train", g=np.ones(2, np.float32))
    np.testing.assert_array_equal(session.run("read")["twice"], [2.0, 2.0])


def test_a_plan_keeps_the_text_of_its_graph(tmp_path):
    plan = lf.compile(graph_of(double))
    assert "%2 = mul %0 %1 : float32[3]" in " ".join(plan.source.split())
    assert "test_compile.py:" in plan.source
    plan.save(tmp_path / "double.lfplan")
    assert load_plan(tmp_path / "double.lfplan").source == plan.source


def test_open_program_is_refused_by_name():
    refused = pytest.raises(lf.GraphError, match="program 'train' is still open")
    with lf.Graph() as graph, graph.program("train"), refused:
        lf.compile(graph)


def test_graph_without_a_program_is_refused():
    with pytest.raises(lf.GraphError, match="has no program"):
        lf.compile(graph_of(lambda graph: lf.placeholder("x", (3,))))


def test_what_is_no_graph_is_refused():
    with pytest.raises(lf.ArgumentTypeError, match=r"no lf\.Graph"):
        lf.compile("digits")


def test_numbers_arrays_and_draws_are_initial_values():
    def build(graph):
        number = lf.Variable(2.5, (2,), name="number")
        array = lf.Variable(np.arange(3, dtype=np.int32), name="array")
        drawn = lf.Parameter(nn.init.uniform(1.0, 2.0), (4,), name="drawn")
        graph.program("read", fetches={"number": number, "array": array, "drawn": drawn})

    plan = lf.compile(graph_of(build))
    values = plan.session("numpy", seed=3).run("read")
    assert values["number"].tolist() == [2.5, 2.5]
    assert values["array"].dtype == np.int32
    assert values["array"].tolist() == [0, 1, 2]
    assert ((values["drawn"] >= 1) & (values["drawn"] < 2)).all()
    again, other = (plan.session("numpy", seed=seed).run("read")["drawn"] for seed in (3, 4))
    assert (again == values["drawn"]).all()
    assert (other != values["drawn"]).any()


def test_unnamed_variables_are_numbered_in_the_order_of_use():
    def build(graph):
        graph.program("read", fetches={"a": lf.Variable(1.0, ()), "b": lf.Parameter(2.0, ())})

    assert list(lf.compile(graph_of(build)).session("numpy").state_dict()) == ["variable_0", "parameter_1"]


def test_run_counter_moves_once_per_run_of_a_program_that_draws():
    def build(graph):
        x = lf.placeholder("x", (2,))
        graph.program("draw", fetches={"y": lf.rand(2), "z": lf.rand(2)})
        graph.program("copy", fetches={"x": x})

    session = lf.compile(graph_of(build)).session("numpy")
    first = session.run("draw")
    session.run("copy", x=np.zeros(2, np.float32))
    assert session.get("random/runs") == 1
    assert (session.run("draw")["y"] != first["y"]).all()
    assert (first["y"] != first["z"]).all()


def test_one_compilation_serves_a_job_with_a_schedule_a_changed_rate_and_three_batch_sizes():
    with lf.Graph() as graph:
        x, y = lf.placeholder("x", ("batch", 5)), lf.placeholder("y", ("batch",), lf.int64)
        model = nn.Linear(5, 3)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer = optim.AdamW(model.parameters(), lr=0.01)
        scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps=1000)
        with graph.program("train", fetches={"loss": loss, "lr": optimizer.lr}):
            loss.backward()
            optimizer.step()
            scheduler.step()
    random = np.random.default_rng(0)
    for backend in ("numpy", "cpu"):
        session = lf.compile(graph).session(backend)
        session.run("train", x=np.zeros((2, 5), np.float32), y=np.zeros(2, np.int64))
        prepared = session.backend.prepared
        for step in range(1000):
            batch = (32, 7, 1)[step % 3]
            if step == 500:
                session.groups["adamw"][0]["lr"] = 0.02
            feeds = random.normal(size=(batch, 5)).astype(np.float32), random.integers(0, 3, batch)
            out = session.run("train", x=feeds[0], y=feeds[1])
        assert session.backend.prepared == prepared
        assert 0 <= out["lr"] < 0.02


def test_assignment_in_a_scope_is_named_by_the_path_of_its_variable_alone():
    with lf.Graph() as graph, graph.program("count"), graph.scope("outer"):
        counter = lf.Variable(0, (), name="outer/counter")
        assert counter.assign(counter + 1).name == "outer/counter.assign"
