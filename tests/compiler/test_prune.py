"""prune: what no program fetches or assigns goes; what a run must be given stays."""

from hypothesis import given

from lazyflow.compiler.interpret import interpret
from lazyflow.compiler.passes.prune import prune
from lazyflow.compiler.text import from_text, to_text
from lazyflow.runtime import schema
from strategies import assert_same_bits, cases


def pruned(text):
    return to_text(prune(from_text(text)))


def test_ops_that_no_program_reaches_go():
    assert (
        pruned("""
        %0 = placeholder name=x : float32[4]
        %1 = placeholder name=unused : float32[4]
        %2 = exp %0 : float32[4]
        %3 = add %2 %1 : float32[4]
        %4 = constant value=9 : int64[]
        %5 = gather %0 %4 axis=0 along=False : float32[]
        program train
        print text="" on_change=False %2
        program predict
        fetch y = %0""")
        == """
%0 = placeholder name=x : float32[4]
%1 = exp %0 : float32[4]
program train
print text="" on_change=False %1
program predict
fetch y = %0""".strip()
    )


VARIABLES = """
    var name=read trainable=False initial=0 : float32[]
    var name=written trainable=False initial=0 : float32[]
    var name=only_initial trainable=False initial=0 : float32[]
    var name=source trainable=False initial=1 : float32[]
    var name=nowhere trainable=False initial=0 : float32[]
    %0 = variable name=read : float32[]
    %1 = variable name=source : float32[]
    program init
    assign name=read %1
    assign name=only_initial %1
    """


def test_a_variable_that_only_init_assigns_goes_with_its_initial_value():
    graph = prune(from_text(VARIABLES + "program train\nassign name=written %0"))
    assert [variable.name for variable in graph.variables] == ["read", "written", "source"]
    assert [op.attributes["variable"].name for op in graph.programs["init"].effects] == ["read"]
    assert [op.primitive.name for op in graph.ops] == ["variable", "variable", "assign", "assign"]


def test_what_makes_only_a_dropped_initial_value_goes_too():
    graph = prune(from_text(VARIABLES + "%2 = constant value=1.0 : float32[]\nprogram train\nfetch y = %2"))
    assert [op.primitive.name for op in graph.ops] == ["constant"]
    assert graph.variables == []
    assert list(graph.programs) == ["train"]


def test_all_variables_stay_where_init_is_the_only_program():
    kept = prune(from_text(VARIABLES))
    assert len(kept.variables) == 5
    assert len(kept.programs["init"].effects) == 2


def test_variables_of_an_optimizer_stay_with_their_initial_values():
    graph = from_text(VARIABLES + "%2 = constant value=1.0 : float32[]\nprogram train\nfetch y = %2")
    group = schema.Group(scalars={"lr": ("only_initial",)})
    table = schema.Optimizer(
        name="sgd", kind="SGD", groups=(group,), members={"read": "nowhere"}, state={"read": ("written",)}
    )
    graph.optimizers.append(table)
    kept = prune(graph)
    assert [v.name for v in kept.variables] == ["read", "written", "only_initial", "source", "nowhere"]
    assert len(kept.programs["init"].effects) == 2


def test_a_program_keeps_the_feeds_that_it_reached_first():
    graph = prune(
        from_text("""
        %0 = placeholder name=x : float32[batch]
        %1 = placeholder name=y : float32[batch]
        %2 = size size=batch : int64[]
        %3 = add %0 %1 : float32[batch]
        program train
        fetch sum = %3
        program count
        fetch rows = %2
        fetch x = %0""")
    )
    feeds = {
        name: [v.op.attributes["name"] for v in program.feeds] for name, program in graph.programs.items()
    }
    assert feeds == {"train": ["x", "y"], "count": ["x"]}
    graph.programs["train"].fetches = {"rows": graph.ops[2].output}  # as if a pass had found a shorter way
    assert (
        to_text(prune(graph))
        == """
%0 = placeholder name=x : float32[batch]
%1 = placeholder name=y : float32[batch]
%2 = size size=batch : int64[]
program train
fetch rows = %2
feed %0
feed %1
program count
fetch rows = %2
fetch x = %0""".strip()
    )


def test_bodies_of_updates_lose_dead_ops_and_keep_their_arguments():
    graph = prune(
        from_text("""
        body rule
          %0 = placeholder name=p : float32[n]
          %1 = placeholder name=lr : float64[]
          %2 = exp %0 : float32[n]
          %3 = neg %2 : float32[n]
          fetch p = %2
        end
        var name=a trainable=True initial=0 : float32[2]
        %0 = constant value=0 : int32[]
        %1 = placeholder name=lr : float64[1]
        update body=rule variables=(a,) elements=0 %0 %1""")
    )
    (update,) = graph.programs["main"].effects
    body = update.attributes["body"]
    assert [op.primitive.name for op in body.ops] == ["placeholder", "placeholder", "exp"]
    interpret(graph, "main", {"lr": [0.5]})


def test_the_input_is_not_changed():
    graph = from_text(VARIABLES + "program train\nassign name=written %0")
    text = to_text(graph)
    prune(graph)
    assert to_text(graph) == text


@given(cases())
def test_pruning_keeps_every_bit(case):
    outcome = case.run(prune(case.graph))
    expected = case.run()
    for name, (fetches, state) in expected.items():
        kept = {key: value for key, value in state.items() if key in outcome[name][1]}
        assert_same_bits(outcome[name], (fetches, kept))
        for key in state.keys() - kept.keys():  # what is not kept was not changed either
            assert_same_bits(state[key], case.state[key])


@given(cases())
def test_a_second_run_changes_nothing(case):
    once = prune(case.graph)
    assert to_text(prune(once)) == to_text(once)
