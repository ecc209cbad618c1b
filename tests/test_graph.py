"""Graphs, programs, placeholders and names: how they open, close, and refuse."""

import inspect
import re

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import nn, optim


def refused(error, words):
    return pytest.raises(error, match="(?s)" + words)


def line_above():
    """The line before the one that calls this, as messages write it."""
    return f"test_graph.py:{inspect.stack()[1].lineno - 1}"


# --- graphs and programs ----------------------------------------------------------------------------------


def test_a_second_graph_inside_is_refused_and_leaves_the_first_open():
    with lf.Graph("outer"):
        with refused(lf.GraphError, "'inner': graph 'outer' is open already"), lf.Graph("inner"):
            pass
        assert lf.zeros((2,)).shape == (2,)


def test_a_graph_is_closed_where_its_block_fails():
    with pytest.raises(ZeroDivisionError), lf.Graph():
        _ = 1 / 0
    with lf.Graph():
        lf.zeros((2,))


def test_a_graph_can_be_opened_again():
    graph = lf.Graph()
    with graph:
        x = lf.placeholder("x", (2,))
    with graph:
        graph.program("double", fetches={"y": x * 2})
    assert lf.compile(graph).session("numpy").run("double", x=np.ones(2, np.float32))["y"].tolist() == [2, 2]


def test_programs_do_not_nest():
    with lf.Graph() as graph, graph.program("first"):
        second = graph.program("second")
        with refused(lf.GraphError, "program 'second': program 'first' is open already"), second:
            pass


def test_a_program_whose_block_fails_is_closed():
    with lf.Graph() as graph:
        with pytest.raises(ZeroDivisionError), graph.program("failed"):
            _ = 1 / 0
        with graph.program("next"):
            pass


def test_a_program_needs_its_graph_open():
    graph = lf.Graph()
    with refused(lf.GraphError, "program 'late': its graph is not open"), graph.program("late"):
        pass


NO_PROGRAMS = [
    (lambda g, x: g.program("taken"), lf.GraphError, "program: the name 'taken' is taken"),
    (lambda g, x: g.program("init"), lf.GraphError, "'init' is that of the program that draws the initial"),
    (lambda g, x: g.program(""), lf.ArgumentTypeError, "program: name '' is not a name"),
    (lambda g, x: g.program("p", fetches={"y": 3}), lf.ArgumentTypeError, "fetch: y=3 is no Tensor"),
    (lambda g, x: g.program("p", fetches={"y": x}).fetch(y=x), lf.GraphError, "'y' is fetched twice in prog"),
    (lambda g, x: lf.placeholder("x", (3,)), lf.GraphError, "placeholder: the name 'x' is taken"),
]


@pytest.mark.parametrize(("call", "error", "words"), NO_PROGRAMS, ids=[row[2] for row in NO_PROGRAMS])
def test_names_and_fetches_that_are_refused(call, error, words):
    with lf.Graph() as graph:
        x = lf.placeholder("x", ("batch", 4))
        graph.program("taken")
        with refused(error, re.escape(words)):
            call(graph, x)


def test_pure_ops_belong_to_the_graph_wherever_they_are_written():
    with lf.Graph() as graph:
        x = lf.placeholder("x", ("n",))
        with graph.program("first") as first:
            doubled = x * 2
            first.fetch(y=doubled)
        graph.program("second", fetches={"y": doubled + 1})
    plan = lf.compile(graph)
    assert plan.session("numpy").run("second", x=np.ones(2, np.float32))["y"].tolist() == [3, 3]


def test_a_program_feeds_only_what_it_reads():
    with lf.Graph() as graph:
        x, y = lf.placeholder("x", ("n",)), lf.placeholder("y", ("n",))
        graph.program("both", fetches={"sum": x + y})
        graph.program("one", fetches={"x": x * 1})
    session = lf.compile(graph).session("numpy")
    assert session.run("one", x=np.ones(2, np.float32))["x"].tolist() == [1, 1]
    with refused(lf.FeedError, "unknown feed 'y'"):
        session.run("one", x=np.ones(2, np.float32), y=np.ones(2, np.float32))


def test_a_graph_says_what_it_holds():
    with lf.Graph("small") as graph:
        x = lf.placeholder("x", ("n", 2))
        graph.program("predict", fetches={"y": nn.Linear(2, 3)(x)})
    before = repr(graph)
    assert before == "<Graph 'small': 6 ops, 2 variables, programs: predict>"


# --- Tensors of another graph -----------------------------------------------------------------------------

FOREIGN = {
    "operand": lambda g, foreign, w: w + foreign,
    "fetch": lambda g, foreign, w: g.program("p", fetches={"y": foreign}),
    "assigned": lambda g, foreign, w: w.assign(foreign),
    "loss": lambda g, foreign, w: lf.sum(foreign).backward(),
    "gradient": lambda g, foreign, w: optim.SGD([w]).step(gradients={w: foreign}),
}


@pytest.mark.parametrize("call", FOREIGN.values(), ids=FOREIGN)
def test_a_tensor_of_another_graph_is_refused_with_its_name_and_line(call):
    with lf.Graph("first"):
        foreign = lf.placeholder("foreign", (2,))
        line = line_above()
    with lf.Graph("second") as graph:
        w = lf.Parameter([1.0, 2.0], name="w")
        with graph.program("train"), refused(lf.GraphError, f'another graph.*"foreign".*made at {line}'):
            call(graph, foreign, w)


def test_a_parameter_belongs_to_the_first_graph_that_uses_it():
    layer = nn.Linear(2, 2)
    with lf.Graph("first"):
        layer(lf.placeholder("x", ("n", 2)))
    with lf.Graph("second"), refused(lf.GraphError, "another graph.*weight.*'second', got one of 'first'"):
        layer(lf.placeholder("x", ("n", 2)))


# --- placeholders and dimensions --------------------------------------------------------------------------

BAD_PLACEHOLDERS = [
    (("x", (0, 3)), lf.ShapeError, "placeholder: 0 in shape (0, 3) is no size"),
    (("x", (None, 3)), lf.ShapeError, "placeholder: None in shape (None, 3) is no size"),
    (("x", (True,)), lf.ShapeError, "placeholder: True in shape (True,) is no size"),
    (("x", (2.0,)), lf.ShapeError, "placeholder: 2.0 in shape (2.0,) is no size"),
    (("x", ("2 batches",)), lf.ShapeError, "dimension: '2 batches' is not a name"),
    (("x", (3,), "float33"), lf.DTypeError, "dtype: 'float33' is not an element type"),
    (("", (3,)), lf.ArgumentTypeError, "placeholder: name '' is not a name"),
]


@pytest.mark.parametrize(("given", "error", "words"), BAD_PLACEHOLDERS, ids=[r[2] for r in BAD_PLACEHOLDERS])
def test_placeholders_that_are_refused(given, error, words):
    with lf.Graph(), refused(error, re.escape(words)):
        lf.placeholder(*given)


def test_shapes_are_polynomials_of_named_dimensions():
    with lf.Graph():
        x = lf.placeholder("x", ("batch", "seq", 8))
        y = lf.placeholder("y", ("batch", "seq", 8))
        shapes = {
            "merged": x.reshape(-1, 8),
            "heads": x.reshape(x.shape[0], x.shape[1], 2, 4).transpose(0, 2, 1, 3),
            "joined": lf.concat([x, y], axis=1),
            "grown": lf.concat([x, lf.zeros((x.shape[0], 1, 8))], axis=1),
            "scores": x @ y.transpose(0, 2, 1),
            "pooled": x.mean(axis=1),
            "padded": lf.pad(x, [(0, 0), (1, 2), (0, 0)]),
        }
    assert {name: str(t.shape) for name, t in shapes.items()} == {
        "merged": "(batch*seq, 8)",
        "heads": "(batch, 2, seq, 4)",
        "joined": "(batch, 2*seq, 8)",
        "grown": "(batch, seq + 1, 8)",
        "scores": "(batch, seq, seq)",
        "pooled": "(batch, 8)",
        "padded": "(batch, seq + 3, 8)",
    }


def test_one_plan_computes_with_every_size():
    with lf.Graph() as graph:
        x, y = lf.placeholder("x", ("a", 4)), lf.placeholder("y", ("b", 4))
        rows = lf.concat([x, y, lf.ones((1, 4))], axis=0)
        weights = nn.functional.softmax(rows @ x.T, axis=1)
        fetches = {"mean": rows.mean(axis=0), "sums": weights.sum(axis=1), "flat": rows.reshape(-1)}
        graph.program("join", fetches={**fetches, "a": lf.size(x, 0)})
    session = lf.compile(graph).session("numpy")
    for a, b in [(1, 1), (5, 2), (2, 7)]:
        rng = np.random.default_rng(a)
        feeds = {name: rng.standard_normal((n, 4)).astype(np.float32) for name, n in (("x", a), ("y", b))}
        expected = np.concatenate([feeds["x"], feeds["y"], np.ones((1, 4))])
        out = session.run("join", feeds)
        np.testing.assert_allclose(out["mean"], expected.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(out["sums"], np.ones(a + b + 1), rtol=1e-6)
        np.testing.assert_array_equal(out["flat"], expected.astype(np.float32).ravel())
        assert out["a"] == a


MISMATCHES = [
    (lambda x, y: x + y, 'add: shapes do not broadcast: ("batch", 4) and ("rows", 4)'),
    (lambda x, y: x + lf.zeros((2, 4)), 'add: shapes do not broadcast: ("batch", 4) and (2, 4)'),
    (lambda x, y: x @ y, 'matmul: inner dimensions differ: a is ("batch", 4), b is ("rows", 4)'),
    (lambda x, y: x.reshape(3, -1), 'reshape: ("batch", 4) does not divide into (3, -1)'),
    (lambda x, y: lf.split(x, 2, axis=0), 'split: 2 does not make up axis 0 of ("batch", 4)'),
    (lambda x, y: lf.concat([x, y], axis=1), "concat: shapes differ outside of axis 1"),
]


@pytest.mark.parametrize(("call", "starts"), MISMATCHES, ids=[row[1] for row in MISMATCHES])
def test_mismatches_are_told_in_the_users_words_with_both_lines(call, starts):
    with lf.Graph():
        x, y = lf.placeholder("images", ("batch", 4)), lf.placeholder("labels", ("rows", 4))
        with pytest.raises(lf.ShapeError) as caught:
            call(x, y)
    text = str(caught.value)
    assert text.startswith(starts)
    assert '"images"  float32["batch", 4]  made at test_graph.py:' in text
    assert re.search(r"here +at test_graph.py:\d+", text)


def test_a_dimension_that_no_feed_has_is_refused():
    with lf.Graph() as graph:
        graph.program("p", fetches={"zeros": lf.zeros(("batch", 3))})
    with refused(lf.ShapeError, "program 'p': dimension 'batch' is an axis of none of its feeds"):
        lf.compile(graph)


# --- names and lines --------------------------------------------------------------------------------------


def test_scopes_prefix_the_names_of_ops():
    with lf.Graph() as graph:
        x = lf.placeholder("x", (2,))
        with graph.scope("encoder"), graph.scope("0"):
            inside = x * 2
        outside = x * 2
    assert (inside.name, outside.name) == ("encoder/0/mul", "mul")


def test_every_op_knows_the_line_that_made_it():
    with lf.Graph() as graph:
        x = lf.placeholder("x", ("n", 3))
        first = len(graph.ir.ops)
        nn.functional.softmax(x, axis=1)
        line = line_above()
    made = {op.origins[0].location for op in graph.ir.ops[first:]}
    assert made == {line}
