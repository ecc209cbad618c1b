import re

import pytest

import lazyflow as lf


def test_print_is_an_effect_of_the_open_program():
    with lf.Graph() as graph:
        loss = lf.sum(lf.placeholder("x", (3,)))
        with graph.program("train") as program:
            lf.print(loss, "loss")
            lf.print(loss)
    printed = [(op.primitive.name, op.attributes["text"], op.inputs) for op in program.ir.effects]
    assert printed == [("print", "loss", (loss.value,)), ("print", "reduce_sum", (loss.value,))]


def test_print_outside_of_a_program():
    with (
        lf.Graph(),
        pytest.raises(lf.GraphError, match=re.escape("lf.print() was called outside of a program")),
    ):
        lf.print(lf.zeros((2,)))


@pytest.mark.parametrize(("arguments", "wrong"), [(("text",), "'text'"), ((None, "text"), "None")])
def test_print_of_something_else(arguments, wrong):
    with (
        lf.Graph() as graph,
        graph.program("train"),
        pytest.raises(lf.ArgumentTypeError, match=f"print: {wrong}"),
    ):
        lf.print(*arguments)
