"""Compiling takes time in proportion to the number of ops."""

import cProfile
import pstats
import subprocess
import sys

import pytest

import lazyflow as lf
from lazyflow import nn, optim
from repository import ROOT


def train_deep(layers):
    """Build and compile an MLP with Adam."""
    with lf.Graph("deep") as graph:
        x = lf.placeholder("x", ("batch", 8))
        model = nn.Sequential(*(part for _ in range(layers) for part in (nn.Linear(8, 8), nn.ReLU())))
        loss = nn.functional.mse_loss(model(x), x)
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        with graph.program("train", fetches={"loss": loss}):
            loss.backward()
            optimizer.step()
    return lf.compile(graph)


def calls(layers):
    """How many function calls that takes: what does not depend on how busy the machine is."""
    profile = cProfile.Profile()
    profile.runcall(train_deep, layers)
    return pstats.Stats(profile).total_calls


def test_four_times_the_layers_take_four_times_the_calls():
    train_deep(2)  # imports, and caches of what does not depend on the depth
    assert calls(80) <= 4 * calls(20)


def test_updates_that_share_a_rule_are_one_instruction_however_many_they_are():
    kinds = {layers: train_deep(layers).summary().programs["train"].counts for layers in (5, 20)}
    assert kinds[5]["kernel_batch"] == kinds[20]["kernel_batch"] == 1


def test_the_benchmark_prints_a_row_per_phase():
    command = [sys.executable, ROOT / "benchmarks" / "compile_time.py", "--layers", "2", "4", "--rounds", "1"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT.anchor)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["2", "layers", "4", "layers", "ratio"]
    assert {"ops", "total", "build", "lf.compile", "verify"} <= {line.split()[0] for line in lines[1:]}


@pytest.mark.bench
def test_a_thousand_layers_compile_in_seconds():
    command = [sys.executable, ROOT / "benchmarks" / "compile_time.py", "--layers", "100", "1000"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT.anchor, check=True)
    (total,) = (line.split() for line in result.stdout.splitlines() if line.startswith("total"))
    assert float(total[3]) < 6000
    assert float(total[-1]) <= 12
