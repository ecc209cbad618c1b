"""simplify: each rule before and after, and in the same bits for every odd number."""

import itertools

import numpy as np
import pytest
from hypothesis import given

from lazyflow.compiler.interpret import interpret
from lazyflow.compiler.passes.prune import prune
from lazyflow.compiler.passes.simplify import RULES, simplify
from lazyflow.compiler.text import from_text, to_text
from lazyflow.runtime import dtypes
from lazyflow.runtime.scalars import cast
from strategies import assert_same_bits, cases

OPERANDS = """
    %x = placeholder name=x : float32[4, 8]
    %y = placeholder name=y : float32[4, 8]
    %b = placeholder name=b : bool[4, 8]
    %d = placeholder name=d : bool[4, 8]
    %i = placeholder name=i : int32[4, 8]
    %one = constant value=1.0 : float32[]
    %minus = constant value=-1.0 : float32[]
    %two = constant value=2.0 : float32[]
    %zero = constant value=0.0 : float32[]
    %minus_zero = constant value=-0.0 : float32[]
    %yes = constant value=True : bool[]
    %no = constant value=False : bool[]
    """

CASES = {  # rule: for each of its primitives, the lines that make %r, and those that should
    "x + -0 = x": {"add": ("%r = add %x %minus_zero", "%x")},
    "-0 + x = x": {"add": ("%r = add %minus_zero %x", "%x")},
    "a + -b = a - b": {"add": ("%n = neg %y\n%r = add %x %n", "%r = sub %x %y")},
    "-b + a = a - b": {"add": ("%n = neg %y\n%r = add %n %x", "%r = sub %x %y")},
    "x - 0 = x": {"sub": ("%r = sub %x %zero", "%x")},
    "a - -b = a + b": {"sub": ("%n = neg %y\n%r = sub %x %n", "%r = add %x %y")},
    "x * 1 = x / 1 = x ** 1 = x": {
        "mul": ("%r = mul %x %one", "%x"),
        "div": ("%r = div %x %one", "%x"),
        "pow": ("%r = pow %x %one", "%x"),
    },
    "1 * x = x": {"mul": ("%r = mul %one %x", "%x")},
    "x * -1 = x / -1 = -x": {
        "mul": ("%r = mul %x %minus", "%r = neg %x"),
        "div": ("%r = div %x %minus", "%r = neg %x"),
    },
    "-1 * x = -x": {"mul": ("%r = mul %minus %x", "%r = neg %x")},
    "-a * -b = a * b, -a / -b = a / b": {
        "mul": ("%n = neg %x\n%m = neg %y\n%r = mul %n %m", "%r = mul %x %y"),
        "div": ("%n = neg %x\n%m = neg %y\n%r = div %n %m", "%r = div %x %y"),
    },
    "x / 2**n = x * 2**-n": {
        "div": (
            "%c = constant value=-8.0 : float32[]\n%r = div %x %c",
            "%c = constant value=-0.125 : float32[]\n%r = mul %x %c",
        )
    },
    "x ** 2 = x * x": {"pow": ("%r = pow %x %two", "%r = mul %x %x")},
    "--x = x, not not x = x": {
        "neg": ("%n = neg %x\n%r = neg %n", "%x"),
        "logical_not": ("%n = logical_not %b\n%r = logical_not %n", "%b"),
    },
    "abs(-x) = abs(x)": {"abs": ("%n = neg %x\n%r = abs %n", "%r = abs %x")},
    "abs(abs(x)) = abs(x)": {"abs": ("%n = abs %x\n%r = abs %n", "%r = abs %x")},
    "max(x, x) = x": {
        "minimum": ("%r = minimum %x %x", "%x"),
        "maximum": ("%r = maximum %x %x", "%x"),
        "logical_and": ("%r = logical_and %b %b", "%b"),
        "logical_or": ("%r = logical_or %b %b", "%b"),
    },
    "x and true = x": {"logical_and": ("%r = logical_and %b %yes", "%b")},
    "true and x = x": {"logical_and": ("%r = logical_and %yes %b", "%b")},
    "x or false = x": {"logical_or": ("%r = logical_or %b %no", "%b")},
    "false or x = x": {"logical_or": ("%r = logical_or %no %b", "%b")},
    "not a == b = a != b": {"logical_not": ("%n = eq %x %y\n%r = logical_not %n", "%r = ne %x %y")},
    "not a != b = a == b": {"logical_not": ("%n = ne %x %y\n%r = logical_not %n", "%r = eq %x %y")},
    "where(c, a, a) = a": {"where": ("%r = where %b %x %x", "%x")},
    "where(true, a, b) = a": {"where": ("%r = where %yes %x %y", "%x")},
    "where(false, a, b) = b": {"where": ("%r = where %no %x %y", "%y")},
    "where(not c, a, b) = where(c, b, a)": {
        "where": ("%n = logical_not %b\n%r = where %n %x %y", "%r = where %b %y %x")
    },
    "cast or view to the type that it has": {
        "cast": ("%r = cast %x : float32[4, 8]", "%x"),
        "reshape": ("%r = reshape %x : float32[4, 8]", "%x"),
        "broadcast_to": ("%r = broadcast_to %x : float32[4, 8]", "%x"),
    },
    "cast of an exact cast": {
        "cast": ("%w = cast %i : float64[4, 8]\n%r = cast %w : float32[4, 8]", "%r = cast %i : float32[4, 8]")
    },
    "reshape of reshape": {
        "reshape": (
            "%w = reshape %x : float32[32]\n%r = reshape %w : float32[8, 4]",
            "%r = reshape %x : float32[8, 4]",
        )
    },
    "transpose that moves nothing": {"transpose": ("%r = transpose %x axes=(0, 1)", "%x")},
    "transpose of transpose": {
        "transpose": (
            "%w = reshape %x : float32[4, 4, 2]\n"
            "%v = transpose %w axes=(1, 2, 0)\n%r = transpose %v axes=(1, 0, 2)",
            "%w = reshape %x : float32[4, 4, 2]\n%r = transpose %w axes=(2, 1, 0)",
        )
    },
    "broadcast of broadcast": {
        "broadcast_to": (
            "%w = broadcast_to %x : float32[1, 4, 8]\n%r = broadcast_to %w : float32[2, 4, 8]",
            "%r = broadcast_to %x : float32[2, 4, 8]",
        )
    },
    "slice of all": {"slice": ("%r = slice %x starts=(0, 0) sizes=(4, 8) steps=(1, 1)", "%x")},
    "slice of slice": {
        "slice": (
            "%w = slice %x starts=(3, 1) sizes=(4, 3) steps=(-1, 2)\n"
            "%r = slice %w starts=(2, 2) sizes=(1, 2) steps=(1, -1)",
            "%r = slice %x starts=(1, 5) sizes=(1, 2) steps=(-1, -2)",
        )
    },
    "view of one broadcast element": {
        "reshape": (
            "%w = broadcast_to %two : float32[4]\n%r = reshape %w : float32[2, 2]",
            "%r = broadcast_to %two : float32[2, 2]",
        ),
        "transpose": (
            "%w = broadcast_to %two : float32[4, 2]\n%r = transpose %w axes=(1, 0)",
            "%r = broadcast_to %two : float32[2, 4]",
        ),
        "slice": (
            "%w = broadcast_to %two : float32[4]\n%r = slice %w starts=(1,) sizes=(2,) steps=(2,)",
            "%r = broadcast_to %two : float32[2]",
        ),
    },
    "elementwise op of broadcasts that it implies": {
        "add": ("%w = broadcast_to %two : float32[4, 8]\n%r = add %x %w", "%r = add %x %two"),
        "where": (
            "%w = broadcast_to %zero : float32[4, 8]\n%v = broadcast_to %yes : bool[4, 8]\n"
            "%u = logical_and %v %b\n%r = where %u %w %x",
            "%r = where %b %zero %x",
        ),
    },
    "max over axes of one element": {
        "reduce_max": (
            "%w = reshape %x : float32[4, 1, 8]\n%r = reduce_max %w axes=(1,) keepdims=False",
            "%x",
        ),
        "reduce_min": (
            "%w = reshape %x : float32[32, 1]\n%r = reduce_min %w axes=(1,) keepdims=False",
            "%r = reshape %x : float32[32]",
        ),
    },
    "pad by nothing": {"pad": ("%r = pad %x low=(0, 0) high=(0, 0) value=3", "%x")},
    "concat of one": {"concat": ("%r = concat %x axis=1", "%x")},
}
MIRRORS = {"-b + a = a - b", "not a != b = a == b", "where(false, a, b) = b"}  # of the rule before
LINES = [(rule, name, *lines) for rule, by_primitive in CASES.items() for name, lines in by_primitive.items()]
EVERY_OP = "elementwise op of broadcasts that it implies"  # tried on a few


def graph_of(lines):
    """The lines and a fetch of their last result, or of the operand that a line alone names."""
    if "=" not in lines:
        return from_text(f"{OPERANDS}\nfetch r = {lines}")
    return from_text(f"{OPERANDS}\n{lines}\nfetch r = %r")


@pytest.mark.parametrize(("rule", "primitive", "before", "after"), LINES)
def test_a_rule_gives_the_simpler_form(rule, primitive, before, after):
    assert to_text(prune(simplify(graph_of(before)))) == to_text(prune(graph_of(after)))


def test_every_rule_is_tested_for_each_of_its_primitives():
    ruled = {(rule.text, primitive.name) for rule in RULES for primitive in rule.primitives}
    tested = {(rule, name) for rule, name, *_ in LINES if rule not in MIRRORS}
    assert {pair for pair in ruled - tested if pair[0] != EVERY_OP} == set()
    assert tested - ruled == set()


def odd_numbers(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    numbers = [0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.5, 1e-40, -3e38, 3e38, 2e-45, 65504, 6e-8, 1 / 3]
    if dtype == np.int32:
        numbers = [0, 1, -1, 2**31 - 1, -(2**31), 7]
    with np.errstate(over="ignore"):
        return rng.choice(numbers, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("before", [line for *_, line, _ in LINES])
def test_a_rule_keeps_every_bit_of_odd_numbers(before, dtype):
    graph = from_text(to_text(graph_of(before)).replace("float32", dtype))
    shapes = {"x": dtypes.ALL[dtype], "y": dtypes.ALL[dtype], "b": bool, "d": bool, "i": np.int32}
    for seed in range(20):
        feeds = {name: odd_numbers((4, 8), kind, (seed, i)) for i, (name, kind) in enumerate(shapes.items())}
        assert_same_bits(interpret(simplify(graph), "main", feeds), interpret(graph, "main", feeds))


NOT_EXACT = [
    "%r = add %x %zero",  # -0.0
    "%r = sub %zero %x",  # 0.0
    "%r = sub %x %minus_zero",  # -0.0
    "%r = mul %x %zero",  # NaN, infinities, signs
    "%r = sub %x %x",  # NaN
    "%r = div %x %x",
    "%r = eq %x %x",
    "%r = reduce_sum %x axes=(1,) keepdims=True",
    "%c = constant value=3.0 : float32[]\n%r = div %x %c",
    "%c = constant value=1e-40 : float32[]\n%r = div %x %c",  # the reciprocal overflows
    "%c = constant value=1.7014118346046923e+38 : float32[]\n%r = div %x %c",  # 2**127: is subnormal
    "%c = constant value=0.5 : float32[]\n%r = pow %x %c",  # -0.0, -inf
    "%n = lt %x %y\n%r = logical_not %n",  # NaN
    "%w = cast %x : float16[4, 8]\n%r = cast %w : float32[4, 8]",
    "%w = cast %i : float32[4, 8]\n%r = cast %w : int32[4, 8]",
    "%w = broadcast_to %two : float32[4, 8]\n%r = exp %w",
    "%w = broadcast_to %x : float32[2, 4, 8]\n%r = add %w %x",
]


@pytest.mark.parametrize("line", NOT_EXACT)
def test_what_is_not_exact_stays(line):
    assert to_text(simplify(graph_of(line))) == to_text(graph_of(line))


def test_an_operand_that_was_broadcast_by_what_goes_is_broadcast_still():
    lines = "%c = constant value=[[[1.0]]] : float32[1, 1, 1]\n%r = mul %x %c"
    assert to_text(prune(simplify(graph_of(lines)))).splitlines()[1:] == [
        "%1 = broadcast_to %0 : float32[1, 4, 8]",
        "fetch r = %1",
    ]


def test_rules_apply_one_after_the_other():
    lines = "%a = neg %x\n%b1 = mul %a %minus\n%c = cast %b1 : float64[4, 8]\n%r = cast %c : float32[4, 8]"
    assert to_text(prune(simplify(graph_of(lines)))) == to_text(prune(graph_of("%x")))


def test_casts_that_go_change_no_number_of_any_dtype():
    numbers = [0, 1, -1, 2, 127, 128, 255, 256, -128, -129, 65504, 32767, 32768, 2**24 + 1, 2**31, 3e9]
    numbers += [2**53 + 1, 2**63, -(2**63), 0.5, -0.5, 1.5, 2.5, 1e-8, 1e-40, 1e39, 1e300, -0.0]
    numbers += [np.nan, np.inf, -np.inf]
    dropped = 0
    for a, b, c in itertools.product(dtypes.ALL.values(), repeat=3):
        graph = from_text(f"""
            %0 = placeholder name=x : {a.name}[n]
            %1 = cast %0 : {b.name}[n]
            %2 = cast %1 : {c.name}[n]
            fetch y = %2""")
        after = prune(simplify(graph))
        dropped += len(graph.ops) - len(after.ops)
        with np.errstate(all="ignore"):
            feeds = {"x": cast(np.array(numbers), a)}
        assert_same_bits(interpret(after, "main", feeds), interpret(graph, "main", feeds))
    assert dropped > 11 * 11  # at least one of the two where types repeat


def test_bodies_of_updates_are_simplified():
    text = """
        body rule
          %0 = placeholder name=p : float32[n]
          %1 = constant value=1.0 : float32[]
          %2 = mul %0 %1 : float32[n]
          fetch p = %2
        end
        var name=a trainable=True initial=0 : float32[2]
        %0 = constant value=0 : int32[]
        update body=rule variables=(a,) elements=0 %0"""
    (update,) = simplify(from_text(text)).programs["main"].effects
    assert to_text(update.attributes["body"]).splitlines()[-1] == "fetch p = %0"


@given(cases())
def test_simplifying_keeps_every_bit(case):
    graph = prune(case.graph)  # which notes the feeds: a rule may drop the one that tells the batch
    assert_same_bits(case.run(simplify(graph)), case.run(graph))


@given(cases())
def test_a_second_run_changes_nothing(case):
    once = simplify(case.graph)
    assert to_text(simplify(once)) == to_text(once)
