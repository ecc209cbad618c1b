"""validate: each structural error, with the user's lines in its message."""

import pytest

from lazyflow.compiler import primitives as p
from lazyflow.compiler.graph import Graph, Origin, Program, Variable, make
from lazyflow.compiler.passes.validate import validate
from lazyflow.compiler.text import from_text, to_text
from lazyflow.runtime import dtypes
from lazyflow.runtime.errors import GraphError, LazyflowError, ShapeError

UPDATE = """
    body sgd
      %0 = placeholder name=p : float32[n]
      %1 = placeholder name=g : float32[n]
      %2 = placeholder name=lr : float64[]
      %3 = cast %2 : float32[]
      %4 = mul %1 %3 : float32[n]
      %5 = sub %0 %4 : float32[n]
      fetch p = %5
    end
    var name=w trainable=True initial=0 : float32[2, 3]
    var name=v trainable=True initial=0 : float32[2]
    %g = placeholder name=g : float32[2, 3]
    %lr = placeholder name=lr : float64[2]
    %group = placeholder name=group : int32[]
    """

WELL_FORMED = {
    "fetches": "%0 = placeholder name=x : float32[batch]\nfetch y = %0",
    "derived dimensions": """
        %0 = placeholder name=x : float32[batch, 2*batch]
        %1 = reshape %0 : float32[2*batch*batch]
        %2 = size size=(3*batch + 1) : int64[]
        fetch y = %1
        fetch n = %2""",
    "one variable in two programs": """
        %0 = variable name=w : float32[]
        program a
        assign name=w %0
        program b
        assign name=w %0""",
    "one placeholder twice": """
        %0 = placeholder name=x : float32[batch]
        %1 = placeholder name=x : float32[batch]
        fetch a = %0
        fetch b = %1""",
    "one name, another type in another program": """
        %0 = placeholder name=x : float32[batch]
        %1 = placeholder name=x : float32[64]
        program a
        fetch y = %0
        program b
        fetch y = %1""",
    "update": UPDATE + "update body=sgd variables=(w,) elements=1 %g %group %lr",
}


@pytest.mark.parametrize("text", WELL_FORMED.values(), ids=WELL_FORMED)
def test_a_well_formed_graph_comes_back_as_it_is(text):
    graph = from_text(text)
    assert validate(graph) is graph


REFUSED = {  # text, the class of the error, what the message holds
    "nothing to run": ("%0 = placeholder name=x : float32[]", GraphError, ["'graph' has no program"]),
    "an empty program": (
        "program train",
        GraphError,
        ["program 'train' has neither fetches nor effects", "hint      fetch a Tensor"],
    ),
    "two assignments": (
        """
        %0 = placeholder name=x : float32[]
        program train
        assign name=w %0  # w train.py:3
        assign name=w %0  # w train.py:8""",
        GraphError,
        [
            "program 'train': variable 'w' is assigned twice",
            "first     at train.py:3",
            "second    at train.py:8",
        ],
    ),
    "an assignment and an update": (
        UPDATE + "%0 = variable name=w : float32[2, 3]\nassign name=w %0\n"
        "update body=sgd variables=(w,) elements=1 %g %group %lr",
        GraphError,
        ["variable 'w' is assigned twice"],
    ),
    "a guard of rank 1": (
        """
        %0 = placeholder name=x : float32[]
        %1 = placeholder name=ok : bool[1]
        assign name=w %0 when %1  # w train.py:3""",
        GraphError,
        ["assign: when is bool[1]", "expected  a bool scalar", "made      at train.py:3"],
    ),
    "a guard that is no bool": (
        '%0 = placeholder name=x : float32[]\nprint text="" on_change=False %0 when %0',
        GraphError,
        ["print: when is float32[]"],
    ),
    "placeholders of one name that differ": (
        """
        %0 = placeholder name=x : float32[batch]  # x data.py:1
        %1 = placeholder name=x : int64[batch]  # x data.py:2
        fetch a = %0
        fetch b = %1""",
        GraphError,
        [
            "placeholder 'x' is float32[batch] and int64[batch]",
            "first     at data.py:1",
            "second    at data.py:2",
        ],
    ),
    "a placeholder in init": (
        """
        %0 = placeholder name=x : float32[2]  # x data.py:1
        program init
        assign name=w %0""",
        GraphError,
        ["placeholder 'x': an initial value depends on it", "made      at data.py:1", "hint "],
    ),
    "a dimension that no feed binds": (
        """
        %0 = placeholder name=x : float32[batch, 3]
        %1 = placeholder name=y : float32[rows]
        program show
        fetch x = %0
        program count
        %2 = size size=(2*batch) : int64[]  # n count.py:4
        fetch n = %2
        fetch y = %1""",
        ShapeError,
        [
            "program 'count': dimension 'batch' is an axis of none of its feeds",
            'expected  a feed with "batch" as an axis of its own; the feeds are: y ("rows",)',
            "made      at count.py:4",
        ],
    ),
    "a dimension that is only part of an axis": (
        "%0 = placeholder name=x : float32[2*batch]\nfetch x = %0",
        ShapeError,
        ["dimension 'batch' is an axis of none", 'the feeds are: x ("2*batch",)'],
    ),
    "an axis that may be empty": (
        "%0 = placeholder name=x : float32[batch]\n%1 = placeholder name=y : float32[batch - 1]\n"
        "fetch x = %0\nfetch y = %1",
        ShapeError,
        ["""placeholder 'y': axis 0 of ("batch - 1",) can be less than 1"""],
    ),
    "a fetch without a name": (
        '%0 = placeholder name=x : float32[]  # x train.py:1\nfetch "" = %0',
        GraphError,
        ["fetch: '' cannot be a name", "made      at train.py:1", "printable"],
    ),
    "a name of several lines": (
        '%0 = placeholder name="a\\nb" : float32[]\nfetch x = %0',
        GraphError,
        [r"placeholder: 'a\nb' cannot be a name"],
    ),
    "a program with a space at the end": (
        '%0 = placeholder name=x : float32[]\nprogram "train "\nfetch x = %0',
        GraphError,
        ["program: 'train ' cannot be a name"],
    ),
    "an endless name of a variable": (
        f"%0 = variable name={'w' * 256} : float32[]\nfetch x = %0",
        GraphError,
        ["cannot be a name", "1 to 255"],
    ),
    "an update of another shape": (
        UPDATE + "update body=sgd variables=(v,) elements=1 %g %group %lr  # v train.py:9",
        GraphError,
        ["update of v by 'sgd': variables and elements differ in shape", "made      at train.py:9"],
    ),
    "an update with too few columns": (
        UPDATE + "update body=sgd variables=(w,) elements=1 %g %group",
        GraphError,
        ["update of w by 'sgd': takes 3 arguments, got 2"],
    ),
    "an update whose group is no int32": (
        UPDATE + "%0 = cast %group : int64[]\nupdate body=sgd variables=(w,) elements=1 %g %0 %lr",
        GraphError,
        ["its group is no int32 scalar"],
    ),
    "an update with a column of rank 0": (
        UPDATE + "%0 = constant value=0.5 : float64[]\n"
        "update body=sgd variables=(w,) elements=1 %g %group %0",
        GraphError,
        ["its columns are not of rank 1"],
    ),
    "an update with a column of another dtype": (
        UPDATE + "%0 = cast %lr : float32[2]\nupdate body=sgd variables=(w,) elements=1 %g %group %0",
        GraphError,
        ["arguments differ in dtype from its own"],
    ),
    "a body that gives another dtype": (
        UPDATE.replace("fetch p = %5", "fetch p = %2")
        + "update body=sgd variables=(w,) elements=1 %g %group %lr",
        GraphError,
        ["next values differ in dtype"],
    ),
    "a body with an effect": (
        UPDATE.replace("fetch p", 'print text="" on_change=False %5\nfetch p')
        + "update body=sgd variables=(w,) elements=1 %g %group %lr",
        GraphError,
        ["body 'sgd': expected one program, update, without variables and effects"],
    ),
    "a body with two arguments of one name": (
        UPDATE.replace("name=g : float32[n]", "name=p : float32[n]")
        + "update body=sgd variables=(w,) elements=1 %g %group %lr",
        GraphError,
        ["body 'sgd': two placeholders have one name"],
    ),
}


@pytest.mark.parametrize(("text", "error", "parts"), REFUSED.values(), ids=REFUSED)
def test_a_structural_error_is_refused(text, error, parts):
    graph = from_text(text)
    before = to_text(graph)
    with pytest.raises(error) as caught:
        validate(graph)
    assert type(caught.value) is error
    assert [part for part in parts if part not in str(caught.value)] == []
    assert to_text(graph) == before


def test_variables_of_one_name_are_refused_with_both_lines():
    variables = [Variable("w", (), dtypes.float32, location=f"net.py:{line}") for line in (4, 9)]
    graph = Graph(variables=variables)
    reads = [graph.append(make(p.variable, (), {"variable": v}, (Origin("w", ""),))) for v in variables]
    graph.programs["main"] = Program("main", fetches={"a": reads[0].output, "b": reads[1].output})
    with pytest.raises(LazyflowError, match="two variables are named 'w'") as caught:
        validate(graph)
    assert "first     made at net.py:4\n  second    made at net.py:9" in str(caught.value)
