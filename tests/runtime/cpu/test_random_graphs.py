"""Random graphs, compiled, on the cpu backend against what rounding allows, and against itself."""

import numpy as np
from hypothesis import given, settings

from lazyflow.compiler.pipeline import compile_graph
from lazyflow.runtime.plan import Plan
from rounding import bounds
from strategies import cases


def outcomes(case, backend):
    """The fetches and the state of each program of the compiled case, each from the case's state."""
    plan = Plan(*compile_graph(case.graph))
    session = plan.session(backend=backend)
    names = {variable.name for variable in plan.document.variables}
    outcome = {}
    for program in plan.document.programs:
        session.load_state_dict({name: value for name, value in case.state.items() if name in names})
        fetches = session.run(program.name, {feed.name: case.feeds[feed.name] for feed in program.feeds})
        outcome[program.name] = (fetches, session.state_dict())
    return outcome


@given(cases())
@settings(max_examples=60)
def test_a_plan_computes_on_the_cpu_what_its_graph_says(case):
    # tolerance: what rounding each op to its dtype can do to this graph (rounding.py)
    expected = bounds(case)
    for program, (fetches, state) in outcomes(case, "cpu").items():
        assert fetches.keys() == expected[program][0].keys()
        for name, value in [*fetches.items(), *state.items()]:
            part = 0 if name in fetches else 1
            expected[program][part][name].check(value, f"{program}: {name}")


@given(cases(steps=8))
@settings(max_examples=20)
def test_two_sessions_of_a_plan_give_the_same_bits(case):
    first, second = outcomes(case, "cpu"), outcomes(case, "cpu")
    for program in first:
        for one, other in zip(first[program], second[program], strict=True):
            for name in one:
                np.testing.assert_array_equal(one[name].tobytes(), other[name].tobytes())
