"""print(graph), graph.to_networkx() and graph.draw(); the same for the plan of a real training job."""

import json
import xml.etree.ElementTree as ET

import networkx as nx
import numpy as np
import pytest

import lazyflow as lf
from lazyflow import nn, optim
from lazyflow.compiler.text import from_text
from lazyflow.inspect import draw, listing, to_networkx
from lazyflow.runtime.errors import ArgumentError


def digits(name="digits"):
    with lf.Graph(name) as graph:
        x = lf.placeholder("x", ("batch", 64))
        y = lf.placeholder("y", ("batch",), dtype=lf.int64)
        model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        logits = model(x)
        loss = nn.functional.cross_entropy(logits, y)
        optimizer = optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
        with graph.program("train", fetches={"loss": loss, "lr": optimizer.lr}):
            loss.backward()
            optimizer.step()
        graph.program("predict", fetches={"logits": logits})
    return graph


@pytest.fixture(scope="module")
def graph():
    return digits()


@pytest.fixture(scope="module")
def plan():
    return lf.compile(digits())


def small():
    return from_text("""
        %0 = placeholder name=x : float32[batch, 4]   # x job.py:3
        %1 = variable name=w : float32[4]             # w job.py:4
        %2 = constant value=2.0 : float32[]           # two job.py:5
        %3 = mul %0 %2 : float32[batch, 4]            # scaled job.py:5
        %4 = mul %3 %3 : float32[batch, 4]            # squared job.py:6
        %5 = reduce_sum %4 axes=(0,) keepdims=False : float32[4]   # sum job.py:7
        program train
        assign name=w %5                              # step job.py:8
        fetch total = %5""")


# --- text -------------------------------------------------------------------------------------------------


def test_listing_is_the_text_form_in_columns():
    assert listing(small()) == "\n".join(
        [
            '# graph "graph": 7 ops, 1 variable, 1 program',
            "%0 = placeholder name=x                      : float32[batch, 4]  # x job.py:3",
            "%1 = variable name=w                         : float32[4]         # w job.py:4",
            "%2 = constant value=2.0                      : float32[]          # two job.py:5",
            "%3 = mul %0 %2                               : float32[batch, 4]  # scaled job.py:5",
            "%4 = mul %3 %3                               : float32[batch, 4]  # squared job.py:6",
            "%5 = reduce_sum %4 axes=(0,) keepdims=False  : float32[4]         # sum job.py:7",
            "program train",
            "assign name=w %5                                                  # step job.py:8",
            "fetch total = %5",
        ]
    )


def test_a_printed_graph_names_variables_and_lines_before_it_is_compiled(graph):
    text = str(graph)
    assert 'graph "digits"' in text.splitlines()[0]
    assert "name=0.weight trainable=True" in text
    assert "# 0/linear/matmul test_inspect.py:" in text


def test_a_printed_graph_reads_back(graph):
    assert listing(from_text(str(graph), name="digits")) == str(graph)


# --- networkx ---------------------------------------------------------------------------------------------


def test_to_networkx_has_a_node_per_op_and_program():
    found = to_networkx(small())
    assert sorted(found) == ["program train", "scaled", "squared", "step", "sum", "two", "w", "x"]
    assert found.nodes["x"] == {
        "kind": "op",
        "primitive": "placeholder",
        "name": "x",
        "location": "job.py:3",
        "shape": ("batch", 4),
        "dtype": "float32",
    }
    assert found.nodes["step"]["assigns"] == ("w",)
    assert found.nodes["step"]["program"] == "train"
    assert found.nodes["program train"] == {"kind": "program", "name": "train"}


def test_to_networkx_has_an_edge_per_operand_with_its_position():
    found = to_networkx(small())
    edges = found.get_edge_data("scaled", "squared").values()
    assert sorted(edge["operand"] for edge in edges) == [0, 1]
    assert {(edge["shape"], edge["dtype"], edge["output"]) for edge in edges} == {
        (("batch", 4), "float32", 0)
    }


def test_to_networkx_shows_fetches_and_effects_of_programs():
    found = to_networkx(small())
    (fetch,) = found.get_edge_data("sum", "program train").values()
    (effect,) = found.get_edge_data("step", "program train").values()
    assert (fetch["kind"], fetch["name"], fetch["shape"]) == ("fetch", "total", (4,))
    assert effect["kind"] == "effect"


def test_to_networkx_numbers_repeated_names():
    found = to_networkx(
        from_text("""
        %0 = placeholder name=x : float32[4]
        %1 = neg %0 : float32[4]  # neg a.py:1
        %2 = neg %1 : float32[4]  # neg a.py:2
        %3 = neg %2 : float32[4]  # neg#1 a.py:3
        fetch y = %3""")
    )
    assert [key for key in found if key.startswith("neg")] == ["neg", "neg#1", "neg#1#1"]
    assert nx.shortest_path(found, "x", "program main") == ["x", "neg", "neg#1", "neg#1#1", "program main"]


def test_to_networkx_of_a_training_job_can_be_queried(graph):
    found = graph.to_networkx()
    assert nx.is_directed_acyclic_graph(found)
    updates = [key for key, data in found.nodes(data=True) if data.get("primitive") == "update"]
    assert len(updates) == 4
    (update,) = (key for key in updates if found.nodes[key]["assigns"][0] == "0.weight")
    state = [source for source, _, data in found.in_edges(update, data=True) if data["kind"] == "state"]
    assert sorted(state) == ["0.weight", "0.weight/exp_avg", "0.weight/exp_avg_sq"]
    assert found.nodes["0.weight"]["trainable"]
    assert nx.has_path(found, "x", "program predict")
    assert not nx.has_path(found, "y", "program predict")


def test_to_networkx_can_be_written_as_json(graph):
    found = graph.to_networkx()
    data = json.loads(json.dumps(nx.node_link_data(found, edges="links")))
    assert len(data["nodes"]) == len(found)
    assert len(data["links"]) == found.number_of_edges()


# --- pictures ---------------------------------------------------------------------------------------------


def shown(path):
    return [element.text for element in ET.parse(path).iter() if element.tag.endswith("}text")]


def test_draw_shows_ops_and_writes_constants_of_one_number_into_them(tmp_path):
    draw(small(), tmp_path / "graph.svg")
    words = shown(tmp_path / "graph.svg")
    assert {"x", "scaled", "with 2", "squared", "sum", "w", "assign in train", "total"} <= set(words)
    assert "two" not in words


def test_draw_leaves_out_what_no_program_needs(tmp_path):
    graph = from_text("""
        %0 = placeholder name=x : float32[4]
        %1 = exp %0 : float32[4]  # unused a.py:1
        fetch y = %0""")
    draw(graph, tmp_path / "graph.svg")
    assert "unused" not in shown(tmp_path / "graph.svg")


def test_draw_of_a_training_job_is_small_enough_to_read(graph, tmp_path):
    graph.draw(tmp_path / "graph.svg")
    root = ET.parse(tmp_path / "graph.svg").getroot()
    words = shown(tmp_path / "graph.svg")
    assert {"0.weight", "matmul", "update by adamw in train", "fetch of predict"} <= set(words)
    assert words.count("numbers of adamw") == 1
    assert int(root.get("width")) < 2000
    assert int(root.get("height")) < 3000


def test_draw_of_a_graph_for_graphviz(graph, tmp_path):
    graph.draw(tmp_path / "graph.dot")
    assert (tmp_path / "graph.dot").read_text().startswith('digraph "graph digits" {')


def test_draw_of_a_graph_refuses_other_suffixes(graph):
    with pytest.raises(ArgumentError, match=r"graph\.pdf.*\n.*ends in \.dot or \.svg"):
        graph.draw("graph.pdf")


def test_drawing_a_graph_changes_nothing(tmp_path):
    plain, drawn = digits(), digits()
    drawn.draw(tmp_path / "graph.svg")
    assert drawn.to_networkx()
    assert str(drawn)
    assert lf.compile(plain).fingerprint == lf.compile(drawn).fingerprint


# --- the plan of the same job -----------------------------------------------------------------------------


def test_summary_of_a_training_job(plan):
    summary = plan.summary(batch=64)
    train = summary.programs["train"]
    count = 64 * 128 + 128 + 128 * 10 + 10
    assert (summary.parameters.count, summary.parameters.elements) == (4, count)
    assert (summary.optimizer_state.count, summary.optimizer_state.bytes) == (8, 2 * 4 * count)
    assert 0 < train.lower_bound_bytes <= train.peak_bytes
    (update,) = (item for item in train.instructions if item.kind == "kernel_batch")
    assert update.parameters == 4
    assert (update.bytes_read_per_element, update.bytes_written_per_element) == (16.0, 12.0)
    assert any("1/relu/where" in item.members for item in train.instructions)
    assert len(str(summary).splitlines()) < 60
    assert max(map(len, str(summary).splitlines())) <= 110


def test_the_peak_of_a_summary_is_what_the_session_takes(plan):
    session = plan.session(backend="numpy")
    session.run("train", x=np.zeros((64, 64), np.float32), y=np.zeros(64, np.int64))
    programs = plan.summary(batch=64).programs
    assert session.backend.arena.size == max(programs[name].peak_bytes for name in ("train", "init"))


def test_the_plan_of_a_training_job_prints_draws_and_explains(plan, tmp_path):
    text = str(plan)
    assert "program train(x: float32[batch, 64], y: int64[batch])" in text
    assert "kernel_batch over 4 parameters, 9,610 elements" in text
    plan.draw(tmp_path / "plan.svg")
    assert {"program train", "program predict", "logits"} <= set(shown(tmp_path / "plan.svg"))
    assert "share the rule adamw" in plan.explain("adamw")
