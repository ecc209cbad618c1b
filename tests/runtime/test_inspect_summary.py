"""plan.summary: figures that agree with counting by hand, on one screen."""

import numpy as np
import pytest

from inspected import DOCUMENT
from lazyflow.runtime import schema
from lazyflow.runtime.dimensions import parse
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError
from lazyflow.runtime.inspect.reasons import explain
from lazyflow.runtime.inspect.summary import summarize
from lazyflow.runtime.inspect.traffic import Traffic, traffic
from lazyflow.runtime.inspect.words import counted, humanized, substitute


def test_summary_counts_what_is_stored():
    summary = summarize(DOCUMENT, {})
    assert (summary.parameters.count, summary.parameters.elements, summary.parameters.bytes) == (1, 12, 48)
    assert (summary.optimizer_state.count, summary.optimizer_state.bytes) == (1, 48)
    assert (summary.other_variables.count, summary.other_variables.bytes) == (2, 8 + 4)
    assert summary.constants.count == 0


def test_summary_gives_numbers_for_given_dimensions():
    train = summarize(DOCUMENT, {"batch": 64}).programs["train"]
    assert train.peak_bytes == 128 + 12 * 64  # the first slot is 112 bytes, rounded up to 64s
    assert train.lower_bound_bytes == 12 * 64 + 52
    assert train.bytes_read == (16 * 64 + 48) + 24 * 64 + 28 * 64 + (3 * 48 + 8 + 4)
    assert train.counts == {"matmul": 2, "kernel": 1, "kernel_batch": 1}


def test_summary_without_values_gives_polynomials_and_says_how_to_get_numbers():
    summary = summarize(DOCUMENT, {})
    train = summary.programs["train"]
    assert train.peak_bytes == parse("12*batch + 128")
    assert train.lower_bound == (parse("12*batch + 52"),)
    assert summary.open_dimensions == ("batch",)
    assert "summary(batch=...)" in str(summary)
    with pytest.raises(ArgumentError, match=r"open dimensions: batch"):
        _ = train.lower_bound_bytes


def test_summary_of_an_update_counts_bytes_per_element():
    update = summarize(DOCUMENT, {}).programs["train"].instructions[3]
    assert update.parameters == 1
    assert (update.bytes_read_per_element, update.bytes_written_per_element) == (12.0, 8.0)


def test_summary_names_members_and_lines_in_the_users_words():
    kernel = summarize(DOCUMENT, {}).programs["train"].instructions[1]
    assert kernel.members == ("sub", "square", "sum")
    assert kernel.lines == ("job.py:6,7",)


def test_summary_text():
    assert str(summarize(DOCUMENT, {"batch": 64})).splitlines()[:14] == [
        'plan "line"  batch=64',
        "",
        "parameters       1  12 elements  48 B",
        "optimizer state  1  12 elements  48 B",
        "other variables  2   2 elements  12 B",
        "",
        "program train(x: float32[batch, 4], y: float32[batch, 3]) -> loss",
        "  instructions  4: 2 matmuls, 1 kernel, 1 kernel_batch",
        "  memory        peak 896 B, lower bound 820 B",
        "  traffic       reads 4.4 KiB, writes 1.6 KiB in a run",
        "     instruction                 reads  writes  members           lines",
        "  0  matmul [64, 3, 4]         1.0 KiB   768 B  layer/matmul      job.py:5",
        "  1  kernel [64, 3]            1.5 KiB   772 B  sub, square, sum  job.py:6,7",
        "  2  matmul [3, 4, 64]         1.8 KiB    48 B  matmul.grad       job.py:8",
    ]


def test_summary_of_a_long_program_stays_on_one_screen():
    train = DOCUMENT.programs[0]
    origins = tuple(schema.Origin(name=f"layers.{i}/{'op' * 20}", location=f"m.py:{i}") for i in range(500))
    kernel = schema.Kernel(
        space=train.instructions[1].space,
        inner=2,
        reads=train.instructions[1].reads,
        body=train.instructions[1].body,
        writes=train.instructions[1].writes,
        origin=tuple(range(500)),
    )
    long = schema.Program(
        name="long", dimensions=("batch",), buffers=train.buffers, instructions=(kernel,) * 3000, slots=(64,)
    )
    text = str(summarize(schema.Document(name="deep", programs=(long,), origins=origins), {"batch": 64}))
    assert len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= 110
    assert "and 2,984 smaller" in text
    assert "layers.0, layers.1, layers.2, layers.3, +496 " in text


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        (
            {"bacth": 64},
            ArgumentError,
            "no dimension is named 'bacth'.*\n.*'batch'.*\n.*did you mean 'batch'",
        ),
        ({"batch": 0}, ArgumentError, "batch=0 is out of range"),
        ({"batch": 2**31}, ArgumentError, "batch=2147483648 is out of range"),
        ({"batch": 64.0}, ArgumentTypeError, "batch=64.0 is no int"),
        ({"batch": True}, ArgumentTypeError, "batch=True is no int"),
    ],
)
def test_summary_refuses_what_is_no_size(values, error, words):
    with pytest.raises(error, match=words):
        summarize(DOCUMENT, values)


def test_summary_takes_numpy_integers():
    assert summarize(DOCUMENT, {"batch": np.int64(64)}).programs["predict"].peak_bytes == 768


BUFFERS = (
    schema.Buffer(dtype="float32", size=50, place="variable", name="table"),
    schema.Buffer(dtype="int64", size=4, place="feed", name="index"),
    schema.Buffer(dtype="float32", size=20, place="arena"),
)
ROWS = schema.Access(buffer=0, strides=(0, 1))
INDEX = schema.Access(buffer=1, strides=(1, 0))
OUT = schema.Access(buffer=2, strides=(5, 1))
WHERE = {"space": (4, 5), "axis_size": 10, "axis_stride": 5, "index": INDEX}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (schema.Gather(**WHERE, table=ROWS, out=OUT), Traffic(4 * 8 + 20 * 4, 20 * 4)),
        (schema.ScatterAdd(**WHERE, table=ROWS, source=OUT), Traffic(4 * 8 + 20 * 4 + 50 * 4, 50 * 4)),
        (schema.Check(space=(4, 5), size=10, index=INDEX), Traffic(4 * 8, 0)),
        (schema.Copy(space=(4, 5), source=ROWS, to=OUT), Traffic(5 * 4, 20 * 4)),
        (schema.Print(text="t", space=(4, 5), source=OUT), Traffic(20 * 4, 0)),
        (
            schema.Kernel(
                space=(4, 5),
                reads=(ROWS, ROWS, OUT),
                body=(schema.Call(op="add", args=(0, 2), dtype="float32"),),
                writes=(schema.Write(value=3, to=OUT),),
            ),
            Traffic(5 * 4 + 20 * 4, 20 * 4),
        ),
    ],
    ids=["gather", "scatter_add", "check", "copy", "print", "kernel"],
)
def test_traffic_counts_each_element_once(item, expected):
    assert traffic(item, BUFFERS) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1024**2 - 1, "1.0 MiB"), (3 * 1024**4, "3.0 TiB")],
)
def test_humanized(size, expected):
    assert humanized(size) == expected


def test_counted():
    assert [counted(2, noun) for noun in ("copy", "kernel_batch", "pass")][:2] == [
        "2 copies",
        "2 kernel_batches",
    ]


def test_substitute_keeps_other_names():
    assert substitute(parse("3*batch*batch*seq + 2*seq + 1"), {"batch": 2}) == parse("14*seq + 1")
    assert substitute(parse("batch*seq"), {"batch": 2, "seq": 3}) == 6


def test_explain_groups_reasons_and_filters():
    assert explain(DOCUMENT).splitlines() == [
        "fuse",
        "  joined  sum job.py:7  one space [batch, 3]",
        "place_buffers",
        "  in_place  square  sub dies there",
    ]
    assert explain(DOCUMENT, "square").splitlines()[0] == "place_buffers"
    assert explain(DOCUMENT, "relu") == "no reason speaks of 'relu'"
    assert explain(schema.Document(name="empty")) == "the plan holds no reasons"
