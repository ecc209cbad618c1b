"""How a plan makes sessions: backends, seeds, the init program, and the state that was saved along."""

import subprocess
import sys

import numpy as np
import pytest

from documents import Program, call, literal, plan, variable
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, PlanError
from lazyflow.runtime.plan import Plan, load_plan


def drawing():
    """A plan whose init program draws w from the seed; the program "train" adds 1 to it."""
    init = Program("init", dimensions=())
    seed, runs = init.variable("random/seed", (), "int64"), init.variable("random/runs", (), "int64")
    w = init.variable("w", (4,), "int64")
    body = [
        call("index", dtype="int64", value=0),
        literal(0, "int64"),
        call("philox", 0, 1, 3, 2, dtype="uint32"),
        call("cast", 4, dtype="int64"),
    ]
    init.kernel([seed.access((0,)), runs.access((0,))], body, [(5, w)], space=(4,))
    train = Program("train", dimensions=())
    v = train.variable("w", (4,), "int64")
    train.kernel([v], [literal(1, "int64"), call("add", 0, 1, dtype="int64")], [(2, v)])
    names = [variable("random/seed", (), "int64", 0), variable("random/runs", (), "int64", 0)]
    return plan(init, train, variables=[*names, variable("w", (4,), "int64", 0)])


# philox4x32-10 of counter 0 and key 0: a known answer of Random123
FIRST = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def test_session_runs_init_with_seed_zero():
    assert drawing().session("numpy").get("w").tolist() == FIRST


def test_seed_decides_what_init_draws():
    first, second, again = (drawing().session("numpy", seed=seed) for seed in (1, 2, 1))
    assert first.get("random/seed") == 1
    assert first.get("w").tolist() == again.get("w").tolist() != second.get("w").tolist()


def test_saved_state_is_not_drawn_again(tmp_path):
    session = drawing().session("numpy", seed=7)
    session.run("train")
    drawing().save(tmp_path / "a.lfplan", session)
    loaded = load_plan(tmp_path / "a.lfplan").session("numpy")
    assert loaded.get("w").tolist() == session.get("w").tolist()
    assert loaded.get("random/seed") == 7


def test_seed_replaces_that_of_a_saved_state(tmp_path):
    session = drawing().session("numpy", seed=7)
    drawing().save(tmp_path / "a.lfplan", session)
    loaded = load_plan(tmp_path / "a.lfplan").session("numpy", seed=8)
    assert loaded.get("random/seed") == 8
    assert loaded.get("w").tolist() == session.get("w").tolist()


@pytest.mark.parametrize("seed", [-(2**63), 2**63 - 1])
def test_seed_takes_all_of_int64(seed):
    assert drawing().session("numpy", seed=seed).get("random/seed") == seed


def test_seed_of_a_wrong_type_or_range_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"seed: 1\.5 is no int"):
        drawing().session("numpy", seed=1.5)
    with pytest.raises(ArgumentTypeError, match="seed: True is no int"):
        drawing().session("numpy", seed=True)
    with pytest.raises(ArgumentError, match="is out of range"):
        drawing().session("numpy", seed=2**63)


def test_unknown_backend_and_precision_are_refused():
    with pytest.raises(ArgumentError) as caught:
        drawing().session("gpu")
    assert str(caught.value).startswith("no backend is named 'gpu'")
    assert "numpy" in str(caught.value)
    with pytest.raises(ArgumentError, match="precision: 'float32' is none"):
        drawing().session("numpy", precision="float32")


def test_state_must_fit_the_plan():
    made = drawing()
    with pytest.raises(PlanError, match="variable 'random/seed' is missing"):
        Plan(made.document, {}, {"w": np.zeros(4, np.int64)})


def test_runtime_is_imported_lazily():
    code = """
import sys
import lazyflow.runtime
print("numpy" in sys.modules, "networkx" in sys.modules, "scipy" in sys.modules)
from lazyflow.runtime import Plan, Session, errors, load_plan
print(Plan.__name__, Session.__name__, errors.PlanError.__name__, load_plan.__name__)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == ["False False False", "Plan Session PlanError load_plan"]


def test_runtime_has_no_other_names():
    import lazyflow.runtime

    with pytest.raises(AttributeError, match="has no attribute 'Planet'"):
        _ = lazyflow.runtime.Planet
    assert {"Plan", "Session", "errors", "load_plan"} <= set(dir(lazyflow.runtime))
