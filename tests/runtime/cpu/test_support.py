"""Where the cpu backend cannot run a plan, the numpy backend does, and that is said once."""

import os
import subprocess
import sys

import numpy as np
import pytest

from documents import Program, call, plan
from lazyflow.runtime import plan as plans
from lazyflow.runtime import schema
from lazyflow.runtime.backends.cpu import support
from lazyflow.runtime.errors import ArgumentError


def doubling(dtype):
    program = Program()
    x = program.feed("x", ("batch",), dtype)
    out = program.arena(("batch",), dtype)
    program.kernel([x], [call("add", 0, 0, dtype=dtype)], [(1, out)])
    program.fetch("out", out)
    return plan(program)


def product():
    """A plan that calls BLAS on every host."""
    program = Program(dimensions=())
    x, y = program.feed("x", (64, 64), "float64"), program.arena((64, 64), "float64")
    program.add(schema.MatMul(batch=(), m=64, n=64, k=64, a=x.access(), b=x.access(), out=y.access()))
    program.fetch("y", y)
    return plan(program)


@pytest.fixture
def plain_processor(monkeypatch):
    """An x86-64 that does not convert float16."""
    monkeypatch.setattr(support, "_host", lambda: ("x86_64-unknown-linux-gnu", {"f16c": False}))
    plans._say_once.cache_clear()


def test_plan_of_float16_runs_on_numpy_where_the_processor_has_none(plain_processor, caplog):
    for _ in range(2):
        session = doubling("float16").session()
        assert session.backend.name == "numpy"
    assert session.run("main", x=np.ones(3, np.float16))["out"].tolist() == [2, 2, 2]
    (record,) = caplog.records
    assert "F16C" in record.getMessage()


def test_other_plans_are_compiled_there_all_the_same(plain_processor, caplog):
    assert doubling("float32").session().backend.name == "cpu"
    assert not caplog.records


def test_cpu_backend_that_was_asked_for_is_refused_with_the_reason(plain_processor):
    with pytest.raises(ArgumentError, match="a processor that converts float16"):
        doubling("float16").session("cpu")


def test_other_systems_run_on_numpy(monkeypatch):
    monkeypatch.setattr(os, "name", "nt")
    assert doubling("float32").session().backend.name == "numpy"


_WITHOUT = """
import sys
sys.modules[{missing!r}] = None
from lazyflow.runtime.plan import load_plan
names = [load_plan({path!r}).session().backend.name for _ in range(2)]
try:
    load_plan({path!r}).session("cpu")
except ValueError as error:
    print(names, error)
"""


@pytest.mark.parametrize(("missing", "made"), [("llvmlite", lambda: doubling("float32")), ("scipy", product)])
def test_without_the_compiler_plans_run_on_numpy(tmp_path, missing, made):
    path = str(tmp_path / "made.lfplan")
    made().save(path)
    script = _WITHOUT.format(missing=missing, path=path)
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.startswith(f"['numpy', 'numpy'] the cpu backend needs {missing}")
    assert found.stderr.count("pip install llvmlite scipy") == 1
