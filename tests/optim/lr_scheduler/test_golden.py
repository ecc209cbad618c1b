"""Learning rates that OneFlow computed, in the plan itself."""

import numpy as np
import pytest

import lazyflow as lf
from lazyflow.optim import oneflow
from optim.lr_scheduler.schedules import an_optimizer, described, golden_cases, run_rates

CASES = golden_cases("lr_schedulers")
DIFFERENT = {
    "lr_schedulers/s-restarts-mult3-log-rounding": "OneFlow's logarithm gives the wrong cycle",
}
DIFFERENT_IN_GRAPHS = DIFFERENT | {
    "lr_schedulers/s-sequential-mixed-rescale-differs": "OneFlow's graphs count from another milestone",
}
ON_METRICS = [case for case in CASES if "metrics" in case]
BY_STEP = [case for case in CASES if case not in ON_METRICS]


def selected(cases, mode, different):
    chosen = [c for c in cases if "lr" in c["modes"].get(mode, ()) and c["id"] not in different]
    return pytest.mark.parametrize("case", chosen, ids=[c["id"].split("/")[1] for c in chosen])


def rates(case, base_rates):
    def make(optimizer):
        return described(case["scheduler"], optimizer, oneflow.lr_scheduler)

    return run_rates(make, case["steps"], base_rates)


@selected(BY_STEP, "eager", DIFFERENT)
def test_rates(case):
    np.testing.assert_allclose(rates(case, case["base_lrs"]), case["modes"]["eager"]["lr"], rtol=1e-12)


@selected(BY_STEP, "graph", DIFFERENT_IN_GRAPHS)
def test_rates_of_graphs(case):
    # they start from the base rate in float32, and end in it
    found = rates(case, [float(np.float32(base)) for base in case["base_lrs"]])
    np.testing.assert_allclose(found, case["modes"]["graph"]["lr"], rtol=1e-6)


@selected(ON_METRICS, "eager", {})
def test_rates_on_metrics(case):
    with lf.Graph("metrics") as graph:
        metric = lf.placeholder("metric", (), lf.float64)
        optimizer = an_optimizer(*case["base_lrs"])
        scheduler = described(case["scheduler"], optimizer, oneflow.lr_scheduler)
        fetches = {str(i): group["lr"] for i, group in enumerate(optimizer.param_groups)}
        with graph.program("epoch", fetches=fetches):
            scheduler.step(metric)
    session = lf.compile(graph).session(backend="numpy")
    fetched = [session.run("epoch", metric=value) for value in case["metrics"]]
    found = [[row[str(i)] for i in range(len(case["base_lrs"]))] for row in fetched]
    np.testing.assert_allclose(found, case["modes"]["eager"]["lr"], rtol=1e-12)


def test_where_oneflow_rounds_wrongly_the_cycle_is_the_right_one():
    (case,) = (case for case in CASES if case["id"] in DIFFERENT)
    found, recorded = rates(case, case["base_lrs"])[:, 0], np.array(case["modes"]["eager"]["lr"])[:, 0]
    different = np.flatnonzero(~np.isclose(found, recorded, rtol=1e-12))
    assert different.tolist() == [121]  # 1 + 3 + 9 + 27 + 81: the first step of the fifth cycle
    assert found[121] == case["base_lrs"][0]
