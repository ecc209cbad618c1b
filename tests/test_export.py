"""A saved plan goes on in a process that never saw the model; the same code gives the same bytes anywhere."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import nn, optim
from lazyflow.optim import lr_scheduler

STEPS = 100

# What a receiver runs: lazyflow.runtime alone, on feeds that came with the plan.
RECEIVER = """
    import sys
    import numpy as np
    from lazyflow.runtime import load_plan
    feeds = np.load(sys.argv[2])
    session = load_plan(sys.argv[1]).session(backend=sys.argv[3])
    losses = [session.run("train", x=x, y=y)["loss"] for x, y in zip(feeds["x"], feeds["y"])]
    np.savez(sys.argv[4], losses=losses, **session.state_dict())
    loaded = ("networkx", "lazyflow.graph", "lazyflow.compiler", "lazyflow.optim", "scipy", "numpy.ma")
    loaded += ("lazyflow.runtime.inspect", "lazyflow.runtime.backends.numpy")[: 1 + (sys.argv[3] == "cpu")]
    print([name for name in loaded if name in sys.modules])
"""

MODEL = """
    import lazyflow as lf
    from lazyflow import nn, optim
    with lf.Graph("twice") as graph:
        x, y = lf.placeholder("x", ("batch", 8)), lf.placeholder("y", ("batch",), lf.int64)
        model = nn.Sequential(nn.Linear(8, 9), nn.GELU(), nn.LayerNorm(9), nn.Dropout(0.1), nn.Linear(9, 4))
        loss = nn.functional.cross_entropy(model(x), y)
        groups = [{"params": p, "lr": 0.1 / (i + 1)} for i, p in enumerate(model.parameters())]
        optimizer = optim.AdamW(groups)
        scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1.0 if k < 3 else 0.5 ** (k // 4))
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optimizer.step()
            scheduler.step()
    lf.compile(graph).save("twice.lfplan")
"""


def build():
    with lf.Graph("exported") as graph:
        x, y = lf.placeholder("x", ("batch", 8)), lf.placeholder("y", ("batch",), lf.int64)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 4))
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer = optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1, amsgrad=True)
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, steps=300, alpha=0.1)
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optimizer.step()
            scheduler.step()
    return lf.compile(graph)


def python(code, *arguments, cwd, **environment):
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
def test_saved_plan_trains_on_with_the_same_bits_without_the_front(backend, tmp_path):
    plan, random = build(), np.random.default_rng(1)
    session = plan.session(backend, seed=7)
    x = random.normal(size=(2 * STEPS, 16, 8)).astype(np.float32)
    y = random.integers(0, 4, (2 * STEPS, 16))
    for step in range(STEPS):
        session.run("train", x=x[step], y=y[step])
    plan.save(tmp_path / "half.lfplan", session)
    np.savez(tmp_path / "feeds.npz", x=x[STEPS:], y=y[STEPS:])
    losses = [session.run("train", x=x[step], y=y[step])["loss"] for step in range(STEPS, 2 * STEPS)]

    files = [tmp_path / name for name in ("half.lfplan", "feeds.npz", "after.npz")]
    assert python(RECEIVER, files[0], files[1], backend, files[2], cwd=tmp_path) == "[]"
    after = np.load(files[2])
    np.testing.assert_array_equal(after["losses"], losses)
    for name, value in session.state_dict().items():
        assert after[name].tobytes() == value.tobytes(), name


def test_two_processes_write_the_same_bytes(tmp_path):
    contents = []
    for seed in ("1", "2"):
        python(MODEL, cwd=tmp_path, PYTHONHASHSEED=seed)
        contents.append((tmp_path / "twice.lfplan").read_bytes())
    assert contents[0] == contents[1]
