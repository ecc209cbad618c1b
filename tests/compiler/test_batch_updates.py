"""batch_updates: updates of one rule become one op over many segments."""

import numpy as np
import pytest
from hypothesis import given, settings

from lazyflow.compiler import primitives as p
from lazyflow.compiler.interpret import interpret
from lazyflow.compiler.passes.batch_updates import LARGE, batch_updates
from lazyflow.compiler.passes.fuse import fuse
from lazyflow.compiler.text import from_text, to_text
from lazyflow.runtime.errors import GraphError
from rounding import bounds
from strategies import cases

DESCENT = """
body descent
  %0 = placeholder name=p : float32[n]
  %1 = placeholder name=g : float32[n]
  %2 = placeholder name=lr : float64[]
  %3 = cast %2 : float32[]
  %4 = mul %1 %3 : float32[n]
  %5 = sub %0 %4 : float32[n]
  fetch p = %5
end
var name=a trainable=True initial=0 : float32[4, 3]
var name=b trainable=True initial=0 : float32[3]
var name=group trainable=False initial=0 : int32[]
%ga = placeholder name=ga : float32[4, 3]
%gb = placeholder name=gb : float32[3]
%on = placeholder name=on : bool[]
%group = variable name=group : int32[]
%lr = constant value=[0.5, 0.25] : float64[2]
"""


def batched(text, merge=True, body=DESCENT):
    """The graph after batching, after checking that it assigns what the text says."""
    graph = fuse(from_text(body + text))
    result = batch_updates(graph, merge)
    rng = np.random.default_rng(0)
    feeds = {
        op.attributes["name"]: rng.standard_normal(op.output.shape) > 0
        if op.output.dtype == bool
        else rng.standard_normal(op.output.shape)
        for op in graph.ops
        if op.primitive is p.placeholder
    }
    state = {v.name: rng.standard_normal(v.shape) for v in graph.variables if v.name != "group"}
    for name in graph.programs:
        for one, other in zip(
            interpret(result, name, feeds, state), interpret(graph, name, feeds, state), strict=True
        ):
            for key in other:
                np.testing.assert_array_equal(one[key], other[key])
    return result


def batches(graph):
    """The variables of each batch."""
    ops = [op for op in graph.ops if op.primitive is p.update_batch]
    return [[variable.name for variable in op.assigned] for op in ops]


def codes(graph):
    return [reason.code for reason in graph.reasons if reason.decision == "batch_updates"]


BOTH = """
update body=descent variables=(a,) elements=1 %ga %group %lr
update body=descent variables=(b,) elements=1 %gb %group %lr
"""


def test_updates_of_one_rule_become_one_batch():
    lines = to_text(batched(BOTH)).splitlines()
    assert lines[3:] == [
        "%0 = placeholder name=ga : float32[4, 3]",
        "%1 = placeholder name=gb : float32[3]",
        "%2 = variable name=group : int32[]",
        "%3 = constant value=[0.5, 0.25] : float64[2]",
        "update_batch body={3=cast 2 :float32; 4=mul 1 3 :float32; 5=sub 0 4 :float32} results=(5,) "
        "segments=(((a,), 12), ((b,), 3)) elements=1 columns=1 %3 %0 %2 %1 %2",
    ]


def test_without_merging_each_update_is_a_batch():
    assert batches(batched(BOTH, merge=False)) == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ("update body=descent variables=(b,) elements=1 %gb %group %lr", [["a", "b"]]),
        ("update body=descent variables=(b,) elements=1 %gb %group %lr when %on", [["a"], ["b"]]),
        ("update body=descent variables=(b,) elements=1 %gb %group %other", [["a"], ["b"]]),
    ],
    ids=["equal", "other guard", "other columns"],
)
def test_only_updates_with_equal_guard_and_columns_share_a_batch(second, expected):
    graph = batched(f"""
        %other = constant value=[0.125, 0.5] : float64[2]
        update body=descent variables=(a,) elements=1 %ga %group %lr
        {second}""")
    assert batches(graph) == expected
    assert codes(graph) == ["batched"] if len(expected) == 1 else ["alone", "alone"]


def test_updates_with_one_guard_share_a_batch_that_has_it():
    graph = batched("""
        update body=descent variables=(a,) elements=1 %ga %group %lr when %on
        update body=descent variables=(b,) elements=1 %gb %group %lr when %on""")
    (batch,) = graph.programs["main"].effects
    assert batch.when.op.attributes["name"] == "on"
    assert batches(graph) == [["a", "b"]]


def test_an_update_that_needs_the_result_of_another_is_not_in_its_batch():
    graph = batched("""
        %next = update body=descent variables=(a,) elements=1 %ga %group %lr : float32[4, 3]
        %sum = reduce_sum %next axes=(0,) keepdims=False : float32[3]
        update body=descent variables=(b,) elements=1 %sum %group %lr""")
    assert batches(graph) == [["a"], ["b"]]


def test_a_large_parameter_is_updated_alone():
    size = LARGE // 4
    text = f"""
        %big = placeholder name=big : float32[4, {size}]
        update body=descent variables=(a,) elements=1 %ga %group %lr
        update body=descent variables=(b,) elements=1 %gb %group %lr
        update body=descent variables=(huge,) elements=1 %big %group %lr"""
    body = DESCENT.replace(
        "var name=group", f"var name=huge trainable=True initial=0 : float32[4, {size}]\nvar name=group"
    )
    graph = batch_updates(fuse(from_text(body + text)))
    assert batches(graph) == [["a", "b"], ["huge"]]
    assert codes(graph) == ["batched", "large"]


@pytest.mark.parametrize(
    ("gradient", "copies"),
    [
        ("%g = reshape %flat : float32[4, 3]", 0),
        ("%g = transpose %turned axes=(1, 0) : float32[4, 3]", 1),
        ("%g = broadcast_to %gb : float32[4, 3]", 1),
        ("%g = slice %long starts=(0, 0) sizes=(4, 3) steps=(1, 1) : float32[4, 3]", 0),
        ("%g = slice %long starts=(1, 0) sizes=(4, 3) steps=(1, 1) : float32[4, 3]", 1),
    ],
)
def test_a_gradient_that_is_not_stored_flat_is_copied(gradient, copies):
    graph = batched(f"""
        %flat = placeholder name=flat : float32[12]
        %turned = placeholder name=turned : float32[3, 4]
        %long = placeholder name=long : float32[6, 3]
        {gradient}
        update body=descent variables=(a,) elements=1 %g %group %lr""")
    assert sum(op.primitive is p.copy for op in graph.ops) == copies


def test_a_rule_may_reduce_over_its_whole_parameter_and_know_its_size():
    body = """
body trust
  %0 = placeholder name=p : float32[n]
  %1 = placeholder name=g : float32[n]
  %2 = mul %0 %0 : float32[n]
  %3 = reduce_sum %2 axes=(0,) keepdims=False : float32[]
  %4 = size size=n : int64[]
  %5 = cast %4 : float32[]
  %6 = div %3 %5 : float32[]
  %7 = reshape %6 : float32[1]
  %8 = broadcast_to %7 : float32[n]
  %9 = mul %8 %1 : float32[n]
  %10 = sub %0 %9 : float32[n]
  fetch p = %10
end
var name=a trainable=True initial=0 : float32[4, 3]
var name=group trainable=False initial=0 : int32[]
%ga = placeholder name=ga : float32[4, 3]
%group = variable name=group : int32[]
"""
    graph = fuse(from_text(f"{body}update body=trust variables=(a,) elements=1 %ga %group"))
    result = batch_updates(graph)
    state = {"a": np.arange(12.0).reshape(4, 3)}
    after = interpret(result, "main", {"ga": np.ones((4, 3))}, state)[1]["a"]
    np.testing.assert_allclose(after, state["a"] - np.mean(state["a"] ** 2), rtol=1e-6)


def test_what_is_not_elementwise_cannot_stand_in_a_rule():
    body = DESCENT.replace("sub %0 %4", "concat %0 axis=0")
    graph = from_text(f"{body}update body=descent variables=(a,) elements=1 %ga %group %lr")
    with pytest.raises(GraphError, match="update: concat cannot stand in the rule of an update"):
        batch_updates(fuse(graph))


@given(cases())
@settings(max_examples=50)
def test_batching_changes_no_number_and_not_the_graph(case):
    graph = fuse(case.graph)
    before = to_text(graph)
    # tolerance: what rounding can do to this graph (rounding.py)
    expected = bounds(case)
    for program, (_, state) in case.run(batch_updates(graph)).items():
        for name, value in state.items():
            expected[program][1][name].check(value, name)
    assert to_text(graph) == before
