"""Variables and Parameters: what they start from, what they refuse, and what runs read and write of them."""

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import nn, optim

STARTS = [
    (lambda: lf.Variable(3), (), np.int64, 3),
    (lambda: lf.Variable(0.5), (), np.float32, 0.5),
    (lambda: lf.Variable(True), (), np.bool_, True),
    (lambda: lf.Variable(np.float64(0.1)), (), np.float64, 0.1),
    (lambda: lf.Variable(2.0, shape=(2, 2)), (2, 2), np.float32, 2.0),
    (lambda: lf.Variable(1, shape=(3,), dtype="float64"), (3,), np.float64, 1.0),
    (lambda: lf.Variable([1, 2, 3]), (3,), np.float32, [1.0, 2.0, 3.0]),
    (lambda: lf.Variable([1, 2], dtype=lf.int8), (2,), np.int8, [1, 2]),
    (lambda: lf.Variable(np.arange(3)), (3,), np.int64, [0, 1, 2]),
    (lambda: lf.Variable(np.arange(4.0).reshape(2, 2).T), (2, 2), np.float64, [[0.0, 2.0], [1.0, 3.0]]),
    (lambda: lf.Parameter(nn.init.ones(), shape=(2,)), (2,), np.float32, [1.0, 1.0]),
    (lambda: lf.Parameter(lambda s, d: lf.full(s, 7.0, d), (2,), lf.float64), (2,), np.float64, [7.0, 7.0]),
]


@pytest.mark.parametrize(("make", "shape", "dtype", "value"), STARTS)
def test_what_a_variable_starts_from(make, shape, dtype, value):
    with lf.Graph() as graph:
        variable = make()
        graph.program("read", fetches={"v": variable})
    found = lf.compile(graph).session(backend="numpy").run("read")["v"]
    assert (variable.shape, variable.dtype, found.shape, found.dtype) == (shape, dtype, shape, dtype)
    np.testing.assert_array_equal(found, np.broadcast_to(value, shape))


def test_the_callers_array_is_copied():
    array = np.ones(3, np.float32)
    with lf.Graph() as graph:
        variable = lf.Variable(array)
        graph.program("read", fetches={"v": variable})
    array[:] = 5
    np.testing.assert_array_equal(lf.compile(graph).session(backend="numpy").run("read")["v"], np.ones(3))


REFUSED = [
    (lambda: lf.Parameter(np.arange(3)), lf.DTypeError, "Parameter: int64 cannot be trained"),
    (lambda: lf.Variable(None), lf.ArgumentTypeError, "Variable: None is no initial value"),
    (lambda: lf.Variable("one"), lf.ArgumentTypeError, "Variable: 'one' is no initial value"),
    (lambda: lf.Variable([[1.0], [1.0, 2.0]]), lf.ArgumentTypeError, "is not a list of numbers"),
    (lambda: lf.Variable(["one"]), lf.ArgumentTypeError, "is not a list of numbers"),
    (lambda: lf.Variable([]), lf.ShapeError, "Variable: 0 in shape"),
    (lambda: lf.Variable(1.0, shape=("batch", 3)), lf.ShapeError, "is not static"),
    (lambda: lf.Variable([1.0, 2.0], shape=(3,)), lf.ShapeError, "is not that of the array"),
    (lambda: lf.Variable(nn.init.ones, shape=(2,)), lf.ArgumentTypeError, "ones is no initializer"),
    (lambda: lf.Variable(nn.init.ones()), lf.ArgumentError, "an initializer needs shape="),
    (lambda: lf.Variable(1.0, dtype="complex64"), lf.DTypeError, "is not an element type"),
    (lambda: lf.Variable(1.0, name=""), lf.ArgumentTypeError, "name '' is not a name"),
]


@pytest.mark.parametrize(("make", "error", "words"), REFUSED, ids=[row[2] for row in REFUSED])
def test_what_is_no_variable(make, error, words):
    with pytest.raises(error) as caught:
        make()
    assert words in str(caught.value).splitlines()[0]


def test_an_initializer_must_return_a_tensor():
    with lf.Graph() as graph:
        w = lf.Parameter(lambda shape, dtype: np.zeros(shape, dtype), shape=(2,), name="w")
        graph.program("read", fetches={"w": w})
    with pytest.raises(lf.ArgumentTypeError, match=r"(?s)initializer of 'w'.*expected .*\(shape, dtype\)"):
        lf.compile(graph)


# --- snapshot semantics -----------------------------------------------------------------------------------


def session_of(graph):
    return lf.compile(graph).session(backend="numpy")


def test_two_variables_swap_and_fetches_are_the_values_from_before():
    with lf.Graph() as graph:
        u, v = lf.Variable([1.0, 2.0], name="u"), lf.Variable([3.0, 4.0], name="v")
        with graph.program("swap", fetches={"u": u, "v": v}):
            u.assign(v)
            v.assign(u)
    session = session_of(graph)
    out = session.run("swap")
    np.testing.assert_array_equal([out["u"], out["v"]], [[1, 2], [3, 4]])
    np.testing.assert_array_equal([session.get("u"), session.get("v")], [[3, 4], [1, 2]])


def test_one_program_reads_the_old_value_and_the_new():
    with lf.Graph() as graph:
        w = lf.Variable([1.0, 2.0], name="w")
        with graph.program("grow") as program:
            w.assign(w * 10)
            program.fetch(old=w, new=w.next, moved=w.next - w, first=w[0])
    out = session_of(graph).run("grow")
    expected = {"old": [1, 2], "new": [10, 20], "moved": [9, 18], "first": 1}
    assert {name: value.tolist() for name, value in out.items()} == expected


def test_a_matrix_becomes_its_transpose():
    start = np.arange(9, dtype=np.float32).reshape(3, 3)
    with lf.Graph() as graph:
        w = lf.Variable(start, name="w")
        with graph.program("flip", fetches={"row": w[0], "columns": w.T}):
            w.assign(w.T)
    session = session_of(graph)
    out = session.run("flip")
    np.testing.assert_array_equal(session.get("w"), start.T)
    np.testing.assert_array_equal(out["row"], start[0])
    np.testing.assert_array_equal(out["columns"], start.T)


def test_next_is_the_old_value_where_the_assignment_is_skipped():
    with lf.Graph() as graph:
        go = lf.placeholder("go", (), lf.bool_)
        w, mean = lf.Variable(1.0, name="w"), lf.Variable(0.0, name="mean")
        with graph.program("step"):
            w.assign(w + 1, when=go)
            mean.assign(0.5 * mean + 0.5 * w.next)
    session = session_of(graph)
    for go, w, mean in [(False, 1, 0.5), (True, 2, 1.25), (False, 2, 1.625)]:
        session.run("step", go=go)
        assert (session.get("w"), session.get("mean")) == (w, mean)


def test_next_of_an_optimizers_parameter_is_its_new_value():
    with lf.Graph() as graph:
        w = lf.Parameter([1.0, 2.0], name="w")
        optimizer = optim.SGD([w], lr=0.5)
        with graph.program("train") as program:
            lf.sum(w * w).backward()
            optimizer.step()
            program.fetch(old=w, new=w.next)
    out = session_of(graph).run("train")
    np.testing.assert_array_equal([out["old"], out["new"]], [[1, 2], [0, 0]])


def test_programs_share_variables():
    with lf.Graph() as graph:
        w = lf.Variable(1.0, name="w")
        with graph.program("double", fetches={"w": w}):
            w.assign(w * 2)
        with graph.program("add", fetches={"w": w}):
            w.assign(w + 1)
    session = session_of(graph)
    assert [session.run(name)["w"] for name in ("double", "add", "double", "add")] == [1, 2, 3, 6]
    assert session.get("w") == 7


def test_a_failing_run_changes_nothing():
    with lf.Graph() as graph:
        rows = lf.placeholder("rows", ("n",), lf.int64)
        table, count = lf.Parameter(np.ones((4, 2), np.float32), name="table"), lf.Variable(0, name="count")
        optimizer = optim.Adam([table], lr=0.1)
        with graph.program("train"):
            count.assign(count + 1)  # before the op that fails, as the user wrote them
            lf.sum(lf.take(table, rows, axis=0) ** 2).backward()
            optimizer.step()
    session = session_of(graph)
    before = session.state_dict()
    with pytest.raises(lf.OutOfRangeError, match=r"(?s)index 4 is outside.*made +at test_variable.py"):
        session.run("train", rows=np.array([0, 4]))
    after = session.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    session.run("train", rows=np.array([0, 3]))
    assert session.get("count") == 1


def test_an_op_that_can_fail_and_needs_a_next_value_is_refused():
    with lf.Graph() as graph:
        place, table = lf.Variable([0], dtype=lf.int64, name="place"), lf.constant([1.0, 2.0])
        with graph.program("step") as program:
            program.fetch(v=lf.take(table, place.assign(place + 1), axis=0))
    with pytest.raises(
        lf.GraphError, match=r"(?s)so that it could fail after that.*made +at test_variable.py"
    ):
        lf.compile(graph)


# --- what assignments refuse ------------------------------------------------------------------------------


ASSIGNMENTS = [
    (lambda w: [w.assign(w), w.assign(w)], lf.GraphError, "assign: 'w' is assigned twice in program 'step'"),
    (lambda w: w.next, lf.GraphError, "next: 'w' is not assigned in program 'step' yet"),
    (lambda w: w.assign(lf.zeros((3,))), lf.ShapeError, "assign: 'w' is (2,), the value is (3,)"),
    (lambda w: w.assign(w.astype(lf.float64)), lf.DTypeError, "assign: 'w' is float32, the value is float64"),
    (lambda w: w.assign(np.zeros(2)), lf.DTypeError, "assign: 'w' is float32, the value is float64"),
    (lambda w: w.assign(w, when=True), lf.ArgumentTypeError, "assign: when must be a bool scalar Tensor"),
    (lambda w: w.assign(w, when=w > 0), lf.ArgumentTypeError, "assign: when must be a bool scalar Tensor"),
]


@pytest.mark.parametrize(("call", "error", "starts"), ASSIGNMENTS, ids=[row[2] for row in ASSIGNMENTS])
def test_assignments_that_are_refused(call, error, starts):
    with lf.Graph() as graph:
        w = lf.Variable([1.0, 2.0], name="w")
        with graph.program("step"), pytest.raises(error) as caught:
            call(w)
    assert str(caught.value).startswith(starts)


def test_an_assignment_needs_a_program():
    with lf.Graph():
        w = lf.Variable(1.0, name="w")
        with pytest.raises(lf.GraphError, match=r"(?s)w.assign\(\) was called outside of a program.*hint"):
            w.assign(w + 1)
        with pytest.raises(lf.GraphError, match=r"w\.next was called outside of a program"):
            _ = w.next


def test_a_step_after_an_assignment_is_a_second_assignment():
    with lf.Graph() as graph:
        w = lf.Parameter([1.0, 2.0], name="w")
        optimizer = optim.SGD([w], lr=0.1)
        with graph.program("train"):
            lf.sum(w * w).backward()
            optimizer.step()
            with pytest.raises(
                lf.GraphError, match=r"(?s)'w' is assigned twice.*first .*:\d+.*second .*:\d+"
            ):
                w.assign(w * 2)
