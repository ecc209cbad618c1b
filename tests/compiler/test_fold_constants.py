"""fold_constants: what depends on constants only is computed once, in the same bits."""

import numpy as np
import pytest
from hypothesis import given

from lazyflow.compiler.passes.fold_constants import fold_constants
from lazyflow.compiler.text import from_text, to_text
from strategies import assert_same_bits, cases


def folded(text):
    return to_text(fold_constants(from_text(text)))


def test_a_chain_of_constants_becomes_one_in_its_own_dtype():
    text = """
        %0 = constant value=0.1 : float32[]
        %1 = constant value=0.2 : float32[]
        %2 = add %0 %1 : float32[]
        %3 = cast %2 : float64[]
        fetch y = %3"""
    assert folded(text).splitlines()[2:] == [
        "%2 = constant value=0.3 : float32[]",
        f"%3 = constant value={float(np.float32(0.1) + np.float32(0.2))} : float64[]",
        "fetch y = %3",
    ]


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("reduce_sum %0 axes=(0,) keepdims=False", "value=6.0 : float32[]"),
        ("matmul %1 %1", "value=[[7.0, 10.0], [15.0, 22.0]] : float32[2, 2]"),
        ("slice %0 starts=(2,) sizes=(2,) steps=(-2,)", "value=[3.0, 1.0] : float32[2]"),
        ("transpose %1 axes=(1, 0)", "value=[[1.0, 3.0], [2.0, 4.0]] : float32[2, 2]"),
        ("concat %0 %0 axis=0", "value=[1.0, 2.0, 3.0, 1.0, 2.0, 3.0] : float32[6]"),
        ("argmax %0 axes=(0,) keepdims=True", "value=[2] : int64[1]"),
    ],
)
def test_every_kind_of_op_folds(line, result):
    text = f"""
        %0 = constant value=[1.0, 2.0, 3.0] : float32[3]
        %1 = constant value=[[1.0, 2.0], [3.0, 4.0]] : float32[2, 2]
        %2 = {line}
        fetch y = %2"""
    assert folded(text).splitlines()[2] == f"%2 = constant {result}"


@pytest.mark.parametrize(
    "line",
    [
        "broadcast_to %0 : float32[1000000]",
        "broadcast_to %0 : float32[batch]",
        "pad %1 low=(0,) high=(1,) value=0",
        "check_index %2 size=1",
        "gather %1 %2 axis=0 along=False",
        "iota axis=0 : int64[3]",
        "size size=12",
        "add %0 %3",
    ],
)
def test_what_would_grow_or_can_fail_or_is_not_constant_stays(line):
    text = f"""
        %0 = constant value=1.0 : float32[]
        %1 = constant value=[1.0, 2.0] : float32[2]
        %2 = constant value=7 : int64[]
        %3 = placeholder name=x : float32[2]
        %4 = {line}
        fetch y = %4"""
    assert folded(text) == to_text(from_text(text))


def test_a_draw_stays_because_the_seed_is_a_variable():
    text = """
        %0 = variable name=random/seed : int64[]
        %1 = constant value=0 : int64[]
        %2 = philox %0 %1 %1 %1 : uint32[]
        fetch bits = %2"""
    assert folded(text) == to_text(from_text(text))


def test_a_folded_op_keeps_the_name_and_line_of_the_user():
    text = """
        %0 = constant value=1.0 : float32[]
        %1 = neg %0 : float32[]  # minus train.py:3
        fetch y = %1"""
    assert fold_constants(from_text(text)).ops[1].origins[0].location == "train.py:3"


def test_bodies_of_updates_are_folded_once_and_stay_shared():
    text = """
        body rule
          %0 = placeholder name=p : float32[n]
          %1 = constant value=2.0 : float32[]
          %2 = mul %1 %1 : float32[]
          %3 = mul %0 %2 : float32[n]
          fetch p = %3
        end
        var name=a trainable=True initial=0 : float32[2]
        var name=b trainable=True initial=0 : float32[3]
        %0 = constant value=0 : int32[]
        update body=rule variables=(a,) elements=0 %0
        update body=rule variables=(b,) elements=0 %0"""
    before = from_text(text)
    after = fold_constants(before)
    bodies = [op.attributes["body"] for op in after.programs["main"].effects]
    assert bodies[0] is bodies[1]
    assert "constant value=4.0" in to_text(bodies[0])
    assert "constant value=4.0" not in to_text(before)


@given(cases())
def test_folding_keeps_every_bit(case):
    assert_same_bits(case.run(fold_constants(case.graph)), case.run())


@given(cases())
def test_a_second_run_changes_nothing(case):
    once = fold_constants(case.graph)
    assert to_text(fold_constants(once)) == to_text(once)
