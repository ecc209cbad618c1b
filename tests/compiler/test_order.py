"""order: readers before writers, failures before effects, copies where no order will do, memory free soon."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazyflow.compiler import primitives as p
from lazyflow.compiler.interpret import interpret
from lazyflow.compiler.ordering.dependences import BARRIER, Dependences
from lazyflow.compiler.passes.batch_updates import batch_updates
from lazyflow.compiler.passes.fuse import fuse
from lazyflow.compiler.passes.order import order
from lazyflow.compiler.pipeline import compile_graph
from lazyflow.compiler.text import from_text, to_text
from lazyflow.runtime.errors import GraphError, OutOfRangeError
from lazyflow.runtime.plan import Plan
from strategies import cases


def ordered(text, merge=False):
    return order(batch_updates(fuse(from_text(text), merge), merge))


def sequence(graph, program="main"):
    """What each instruction is: the scalar calls of a kernel, else its kind and what it assigns."""
    return [_word(op) for op in graph.programs[program].order]


def _word(op):
    if op.primitive is p.kernel:
        return " ".join(call.op for call in op.attributes["body"] if call.op != "literal")
    return " ".join([op.primitive.name, *(variable.name for variable in op.assigned)])


def run(text, feeds=None, state=None, program="main"):
    """The fetches of the compiled program, and the state after it."""
    plan = Plan(*compile_graph(from_text(text), check=True))
    session = plan.session(backend="numpy")
    session.load_state_dict({**session.state_dict(), **(state or {})})
    return session.run(program, feeds or {}), session.state_dict()


def test_the_order_is_attached_and_shown():
    graph = ordered("""
        %0 = placeholder name=x : float32[4]
        %1 = exp %0 : float32[4]
        assign name=w %1
        fetch y = %1""")
    assert to_text(graph).splitlines()[-2:] == ["fetch y = %1", "order %1 !0"]


# --- old values -------------------------------------------------------------------------------------------


def test_readers_of_the_old_value_come_before_the_assignment():
    graph = ordered("""
        %0 = variable name=w : float32[4]
        %1 = placeholder name=x : float32[4]
        %2 = assign name=w %1 : float32[4]
        %3 = exp %0 : float32[4]
        %4 = neg %2 : float32[4]
        fetch old = %3
        fetch new = %4""")
    assert sequence(graph) == ["exp", "assign w", "neg"]


def test_a_reader_through_a_view_comes_before_the_assignment():
    graph = ordered("""
        %0 = variable name=w : float32[4, 2]
        %1 = placeholder name=x : float32[4, 2]
        %2 = transpose %0 axes=(1, 0) : float32[2, 4]
        assign name=w %1
        %3 = reshape %2 : float32[8]
        %4 = matmul %2 %1 : float32[2, 2]
        fetch y = %4""")
    assert sequence(graph) == ["matmul", "assign w"]


def test_a_fetch_of_the_old_value_is_a_copy():
    text = """
        %0 = variable name=w : float32[2]
        %1 = placeholder name=x : float32[2]
        assign name=w %1
        fetch w = %0"""
    assert sequence(ordered(text)) == ["copy", "assign w"]
    fetches, state = run(text, {"x": np.ones(2, np.float32)}, {"w": np.array([3, 4], np.float32)})
    assert fetches["w"].tolist() == [3, 4]
    assert state["w"].tolist() == [1, 1]


def test_a_swap_takes_one_copy():
    text = """
        %0 = variable name=a : float32[]
        %1 = variable name=b : float32[]
        assign name=a %1
        assign name=b %0"""
    assert sequence(ordered(text)).count("copy") == 1
    _, state = run(text, state={"a": np.float32(1), "b": np.float32(2)})
    assert (state["a"], state["b"]) == (2, 1)


def test_a_rotation_of_three_variables_takes_one_copy():
    text = """
        %0 = variable name=a : float32[]
        %1 = variable name=b : float32[]
        %2 = variable name=c : float32[]
        assign name=a %1
        assign name=b %2
        assign name=c %0"""
    assert sequence(ordered(text)).count("copy") == 1
    _, state = run(text, state={"a": np.float32(1), "b": np.float32(2), "c": np.float32(3)})
    assert (state["a"], state["b"], state["c"]) == (2, 3, 1)


def test_a_variable_assigned_from_a_view_of_itself_is_copied_first():
    text = """
        %0 = variable name=w : float32[2, 2]
        %1 = transpose %0 axes=(1, 0) : float32[2, 2]
        assign name=w %1"""
    assert sequence(ordered(text)) == ["copy", "assign w"]
    _, state = run(text, state={"w": np.array([[1, 2], [3, 4]], np.float32)})
    assert state["w"].tolist() == [[1, 3], [2, 4]]


def test_a_variable_assigned_its_own_value_needs_nothing():
    assert sequence(ordered("%0 = variable name=w : float32[2]\nassign name=w %0")) == ["assign w"]


def test_the_old_value_is_copied_where_it_meets_the_new_one():
    text = """
        %0 = variable name=w : float32[2]
        %1 = placeholder name=x : float32[2]
        %2 = assign name=w %1 : float32[2]
        %3 = sub %2 %0 : float32[2]
        fetch change = %3"""
    assert sequence(ordered(text)) == ["copy", "assign w", "sub"]
    fetches, _ = run(text, {"x": np.ones(2, np.float32)}, {"w": np.array([3, 4], np.float32)})
    assert fetches["change"].tolist() == [-2, -3]


def test_the_next_value_of_a_guarded_assignment_is_the_old_one_where_it_is_skipped():
    text = """
        %0 = placeholder name=x : float32[2]
        %1 = placeholder name=on : bool[]
        %2 = assign name=w %0 when %1 : float32[2]
        %3 = neg %2 : float32[2]
        fetch y = %3"""
    for on, expected in ((True, [-1, -1]), (False, [-3, -4])):
        feeds = {"x": np.ones(2, np.float32), "on": np.array(on)}
        assert run(text, feeds, {"w": np.array([3, 4], np.float32)})[0]["y"].tolist() == expected


def test_a_batch_reads_a_copy_of_what_another_of_its_segments_assigns():
    text = """
        body swap
          %0 = placeholder name=p : float32[n]
          %1 = placeholder name=g : float32[n]
          fetch p = %1
        end
        %a = variable name=a : float32[2]
        %b = variable name=b : float32[2]
        %group = variable name=group : int32[]
        update body=swap variables=(a,) elements=1 %b %group : float32[2]
        update body=swap variables=(b,) elements=1 %a %group : float32[2]"""
    assert sequence(ordered(text, merge=True)) == ["copy", "copy", "update_batch a b"]
    _, state = run(text, state={"a": np.ones(2, np.float32), "b": np.zeros(2, np.float32)})
    assert (state["a"].tolist(), state["b"].tolist()) == ([0, 0], [1, 1])


# --- failures and effects ---------------------------------------------------------------------------------


def test_a_reader_of_two_old_values_beside_a_new_one_reads_copies_of_both():
    text = """
        body both
          %0 = placeholder name=a : float32[n]
          %1 = placeholder name=b : float32[n]
          %2 = placeholder name=g : float32[n]
          %3 = add %0 %2 : float32[n]
          %4 = sub %1 %2 : float32[n]
          fetch a = %3
          fetch b = %4
        end
        var name=a trainable=True initial=0 : float32[2]
        var name=b trainable=False initial=0 : float32[2]
        var name=group trainable=False initial=0 : int32[]
        %a = variable name=a : float32[2]
        %b = variable name=b : float32[2]
        %g = placeholder name=g : float32[2]
        %group = variable name=group : int32[]
        %na, %nb = update body=both variables=(a, b) elements=1 %g %group : float32[2], float32[2]
        %1 = mul %na %a : float32[2]
        %2 = mul %1 %b : float32[2]
        fetch y = %2"""
    fetches, _ = run(text, {"g": np.float32([1, 2])}, {"a": np.float32([3, 4]), "b": np.float32([5, 6])})
    np.testing.assert_array_equal(fetches["y"], [60, 144])


def test_what_can_fail_comes_before_every_effect():
    graph = ordered("""
        %0 = placeholder name=x : float32[4]
        %1 = placeholder name=table : float32[8]
        %2 = placeholder name=index : int64[3]
        assign name=w %0
        print text="x" on_change=False %0
        %3 = gather %1 %2 axis=0 along=False : float32[3]
        fetch y = %3""")
    assert sequence(graph) == ["gather", "assign w", "print"]


def test_the_index_of_a_lookup_of_a_next_value_is_checked_before_the_effects():
    text = """
        %0 = placeholder name=x : float32[8]
        %1 = placeholder name=index : int64[3]
        %2 = assign name=w %0 : float32[8]
        %3 = gather %2 %1 axis=0 along=False : float32[3]
        fetch y = %3"""
    assert sequence(ordered(text)) == ["check_index", "assign w", "gather"]
    x = np.arange(8, dtype=np.float32)
    assert run(text, {"x": x, "index": np.array([7, 0, 1])})[0]["y"].tolist() == [7, 0, 1]
    session = Plan(*compile_graph(from_text(text))).session(backend="numpy")
    with pytest.raises(OutOfRangeError, match="index 8 is outside"):
        session.run("main", x=x, index=np.array([7, 8, 1]))
    assert session.state_dict()["w"].tolist() == [0] * 8


def test_a_lookup_whose_index_comes_from_an_assignment_is_refused():
    text = """
        %0 = placeholder name=x : float32[8]
        %1 = placeholder name=index : int64[3]
        %2 = assign name=i %1 : int64[3]
        %3 = gather %0 %2 axis=0 along=False : float32[3]  # rows train.py:7
        fetch y = %3"""
    with pytest.raises(
        GraphError, match="check_index: its index comes from an assignment of this run"
    ) as raised:
        ordered(text)
    assert "made      at train.py:7" in str(raised.value)


def test_an_index_that_was_checked_does_not_keep_effects_waiting():
    graph = ordered("""
        %0 = placeholder name=x : float32[8]
        %1 = placeholder name=index : int64[2]
        %2 = gather %0 %1 axis=0 along=False : float32[2]
        assign name=w %2
        %3 = exp %2 : float32[2]
        %4 = neg %3 : float32[2]
        %5 = scatter_add %4 %1 axis=0 along=False : float32[8]
        fetch dx = %5""")
    words = sequence(graph)
    after = Dependences(graph.programs["main"].order, graph.programs["main"]).after(())
    assert words.index("gather") < words.index("assign w")
    failing = [words[a] for a, following in after.items() if BARRIER in following]
    assert failing == ["gather"]


def test_a_checked_variable_is_read_before_it_is_assigned():
    graph = ordered("""
        %0 = variable name=i : int64[2]
        %1 = placeholder name=next : int64[2]
        %2 = check_index %0 size=3 : int64[2]
        assign name=i %1
        %3 = neg %2 : int64[2]
        fetch y = %3""")
    assert sequence(graph) == ["check_index", "neg", "assign i"]


def test_prints_stay_in_the_order_of_the_program():
    text = """
        %0 = placeholder name=x : float32[]
        %1 = variable name=w : float32[]
        %2 = assign name=w %0 : float32[]
        print text="new" on_change=False %2
        print text="old" on_change=False %1"""
    assert sequence(ordered(text)) == ["copy", "assign w", "print", "print"]
    plan = Plan(*compile_graph(from_text(text)))
    texts = [step.text for step in plan.document.programs[0].instructions if hasattr(step, "text")]
    assert texts == ["new", "old"]


# --- memory -----------------------------------------------------------------------------------------------


def test_a_large_gradient_is_used_up_before_the_next_one_is_made():
    update = "update body=descent variables=({0},) elements=1 %g{0} %group %lr"
    graph = ordered(f"""
        body descent
          %0 = placeholder name=p : float32[n]
          %1 = placeholder name=g : float32[n]
          %2 = placeholder name=lr : float64[]
          %3 = cast %2 : float32[]
          %4 = mul %1 %3 : float32[n]
          %5 = sub %0 %4 : float32[n]
          fetch p = %5
        end
        var name=a trainable=True initial=0 : float32[512, 512]
        var name=b trainable=True initial=0 : float32[512, 512]
        var name=group trainable=False initial=0 : int32[]
        %x = placeholder name=x : float32[512, 4]
        %y = placeholder name=y : float32[4, 512]
        %group = variable name=group : int32[]
        %lr = constant value=[0.5] : float64[1]
        %ga = matmul %x %y : float32[512, 512]
        %t = neg %x : float32[512, 4]
        %gb = matmul %t %y : float32[512, 512]
        {update.format("a")}
        {update.format("b")}""")
    assert sequence(graph) == ["matmul", "update_batch a", "neg", "matmul", "update_batch b"]


def test_of_two_that_share_an_input_the_one_that_frees_more_goes_first():
    graph = ordered("""
        %0 = placeholder name=x : float32[64, 64]
        %1 = variable name=w : float32[64, 64]
        %2 = exp %0 : float32[64, 64]
        %3 = matmul %2 %1 : float32[64, 64]
        %4 = tanh %3 : float32[64, 64]
        %5 = matmul %4 %1 : float32[64, 64]
        %6 = transpose %2 axes=(1, 0) : float32[64, 64]
        %7 = matmul %6 %4 : float32[64, 64]
        fetch dx = %5
        fetch dw = %7""")
    assert [op.inputs[0].op.primitive for op in graph.programs["main"].order[-2:]] == [p.transpose, p.kernel]


@given(cases(), st.booleans())
@settings(max_examples=100)
def test_every_order_obeys_the_graph_of_kernels(case, merge):
    graph = batch_updates(fuse(case.graph, merge), merge)
    before = to_text(graph)
    for program in order(graph).programs.values():
        dependences = Dependences(program.order, program)
        after = dependences.after(dependences.hazards())
        edges = [(a, b) for a, following in after.items() for b in following]
        assert nx.is_directed_acyclic_graph(nx.DiGraph(edges))
        assert all(a < b for a, b in edges if a >= 0 and b >= 0)
    assert to_text(graph) == before


# --- random programs of assignments -----------------------------------------------------------------------


@st.composite
def assignments(draw):
    """A text in which variables are assigned from each other's old and next values, seen through views."""
    names = ["a", "b", "c", "d"]
    lines = [f"%{name} = variable name={name} : float32[2, 2]" for name in names]
    lines += ["%x = placeholder name=x : float32[2, 2]", "%on = placeholder name=on : bool[]"]
    values = [*names, "x"]
    for number in range(draw(st.integers(1, 8))):
        value, other = (draw(st.sampled_from(values)) for _ in range(2))
        op = draw(
            st.sampled_from(
                [f"transpose %{value} axes=(1, 0)", f"add %{value} %{other}", f"matmul %{value} %{other}"]
            )
        )
        lines.append(f"%v{number} = {op} : float32[2, 2]")
        values.append(f"v{number}")
        if names and draw(st.booleans()):
            name = names.pop(draw(st.integers(0, len(names) - 1)))
            guard = draw(st.sampled_from(["", " when %on"]))
            lines.append(
                f"%{name}n = assign name={name} %{draw(st.sampled_from(values))}{guard} : float32[2, 2]"
            )
            values.append(f"{name}n")
    fetched = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
    return "\n".join([*lines, *(f"fetch y{n} = %{value}" for n, value in enumerate(fetched))])


@given(assignments(), st.booleans(), st.booleans())
@settings(max_examples=300)
def test_assignments_take_effect_together_at_the_end(text, on, merge):
    rng = np.random.default_rng(0)
    state = {name: rng.integers(-2, 3, (2, 2)).astype(np.float32) for name in "abcd"}
    feeds = {"x": np.ones((2, 2), np.float32), "on": np.array(on)}
    graph = from_text(text)
    plan = Plan(*compile_graph(graph, () if merge else ("fuse",)))
    session = plan.session(backend="numpy")
    names = {variable.name for variable in plan.document.variables}
    session.load_state_dict({name: value for name, value in state.items() if name in names})
    fetches = session.run("main", {feed.name: feeds[feed.name] for feed in plan.document.programs[0].feeds})
    expected, after = interpret(graph, "main", feeds, state)
    for name, value in expected.items():
        np.testing.assert_array_equal(fetches[name], value)
    for name, value in session.state_dict().items():
        np.testing.assert_array_equal(value, after[name])
