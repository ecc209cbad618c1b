"""merge_common: ops that compute the same become one; effects never do."""

import numpy as np
import pytest
from hypothesis import given

from lazyflow.compiler import primitives as p
from lazyflow.compiler.graph import Graph, make
from lazyflow.compiler.passes.merge_common import merge_common
from lazyflow.compiler.text import from_text, to_text
from strategies import assert_same_bits, cases


def merged(text):
    return to_text(merge_common(from_text(text)))


def test_equal_chains_become_one():
    text = """
        %0 = placeholder name=x : float32[batch, 4]
        %1 = placeholder name=x : float32[batch, 4]
        %2 = reduce_sum %0 axes=(1,) keepdims=True : float32[batch, 1]
        %3 = reduce_sum %1 axes=(1,) keepdims=True : float32[batch, 1]
        %4 = exp %2 : float32[batch, 1]
        %5 = exp %3 : float32[batch, 1]
        %6 = div %4 %5 : float32[batch, 1]
        fetch y = %6"""
    assert (
        merged(text)
        == """
%0 = placeholder name=x : float32[batch, 4]
%1 = reduce_sum %0 axes=(1,) keepdims=True : float32[batch, 1]
%2 = exp %1 : float32[batch, 1]
%3 = div %2 %2 : float32[batch, 1]
fetch y = %3""".strip()
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("exp %0", "log %0"),
        ("sub %0 %1", "sub %1 %0"),
        ("reduce_sum %0 axes=(0,) keepdims=True", "reduce_sum %0 axes=(1,) keepdims=True"),
        ("reduce_sum %0 axes=(0,) keepdims=True", "reduce_sum %0 axes=(0,) keepdims=False"),
        ("pad %0 low=(1, 0) high=(0, 0) value=0.0", "pad %0 low=(1, 0) high=(0, 0) value=-0.0"),
        ("pad %0 low=(1, 0) high=(0, 0) value=0", "pad %0 low=(1, 0) high=(0, 0) value=False"),
        ("cast %0 : int32[3, 3]", "cast %0 : int64[3, 3]"),
        ("constant value=0.0 : float32[]", "constant value=-0.0 : float32[]"),
        ("constant value=1 : int64[]", "constant value=1.0 : float64[]"),
        ("constant value=1.0 : float64[]", "constant value=[1.0] : float64[1]"),
        ("placeholder name=a : int8[]", "placeholder name=b : int8[]"),
        ("variable name=a : int8[]", "variable name=b : int8[]"),
    ],
)
def test_what_differs_in_anything_stays(one, other):
    text = f"""
        %0 = placeholder name=x : float32[3, 3]
        %1 = placeholder name=y : float32[3, 3]
        %2 = {one}
        %3 = {other}
        %4 = {one}
        fetch one = %2
        fetch other = %3
        fetch again = %4"""
    fetches = merge_common(from_text(text)).programs["main"].fetches
    assert fetches["one"] is fetches["again"] is not fetches["other"]


def test_nan_equals_nan():
    graph = Graph()
    for _ in range(2):
        graph.append(make(p.constant, (), {"value": np.array(np.nan)}))
    assert len(merge_common(graph).ops) == 1


def test_effects_are_never_merged():
    text = """
        %0 = placeholder name=x : float32[]
        print text="x" on_change=False %0
        print text="x" on_change=False %0"""
    assert merged(text) == to_text(from_text(text))


def test_bodies_of_updates_are_merged_inside_and_not_with_the_graph_around():
    text = """
        body rule
          %0 = placeholder name=p : float32[n]
          %1 = placeholder name=lr : float64[]
          %2 = exp %0 : float32[n]
          %3 = exp %0 : float32[n]
          %4 = add %2 %3 : float32[n]
          fetch p = %4
        end
        var name=a trainable=True initial=0 : float32[2]
        %0 = constant value=0 : int32[]
        %1 = placeholder name=lr : float64[1]
        update body=rule variables=(a,) elements=0 %0 %1"""
    (update,) = merge_common(from_text(text)).programs["main"].effects
    assert (
        to_text(update.attributes["body"])
        == """
%0 = placeholder name=p : float32[n]
%1 = placeholder name=lr : float64[]
%2 = exp %0 : float32[n]
%3 = add %2 %2 : float32[n]
program update
fetch p = %3""".strip()
    )


@given(cases())
def test_merging_keeps_every_bit(case):
    assert_same_bits(case.run(merge_common(case.graph)), case.run())


@given(cases())
def test_a_second_run_changes_nothing(case):
    once = merge_common(case.graph)
    assert to_text(merge_common(once)) == to_text(once)
