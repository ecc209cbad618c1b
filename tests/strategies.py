"""Random graphs of the IR, with feeds and a state to run them on: passes must keep what they compute."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from lazyflow.compiler import primitives as p
from lazyflow.compiler.graph import Graph, Program, Variable, make
from lazyflow.compiler.interpret import interpret
from lazyflow.compiler.text import from_text, to_text
from lazyflow.runtime import dtypes
from lazyflow.runtime.dimensions import divide, elements, evaluate, named, names_of

BATCH = named("batch")
LARGEST_AXIS, LARGEST_RANK = 8, 4
NUMBERS = [0.0, 1.0, 2.0, -1.0, 0.5, 3.0, -0.0, -2.5, 7.0]
ODD_NUMBERS = [float("nan"), float("inf"), float("-inf"), 1e-30, 1e30]
DTYPES = ["float32"] * 6 + ["float64", "int64", "int32", "bool", "float16", "bfloat16", "uint8"]

# an update rule that two parameters share, with a term that fold_constants and one that simplify can change
BODY = from_text(
    """
    %0 = placeholder name=p : float32[n]
    %1 = placeholder name=v : float32[n]
    %2 = placeholder name=g : float32[n]
    %3 = placeholder name=lr : float64[]
    %4 = placeholder name=decay : float64[]
    %5 = constant value=0.5 : float32[]
    %6 = add %5 %5 : float32[]
    %7 = mul %2 %6 : float32[n]
    %8 = cast %4 : float32[]
    %9 = mul %1 %8 : float32[n]
    %10 = add %9 %7 : float32[n]
    %11 = cast %3 : float32[]
    %12 = mul %10 %11 : float32[n]
    %13 = sub %0 %12 : float32[n]
    program update
    fetch p = %13
    fetch v = %10""",
    "momentum",
)


@dataclass
class Case:
    """A graph and what to run it on."""

    graph: Graph
    feeds: dict[str, np.ndarray]
    state: dict[str, np.ndarray]

    def run(self, graph=None, precision=None):
        """For each program, its fetches and the state after it."""
        graph = graph or self.graph
        return {
            name: interpret(graph, name, self.feeds, self.state, precision) for name in self.graph.programs
        }

    def _repr_pretty_(self, printer, cycle):  # how hypothesis shows it
        printer.text(f"\n{to_text(self.graph)}\nfeeds {self.feeds}\nstate {self.state}")


@st.composite
def cases(draw, steps=20, odd=True):
    """A Case whose programs ``train`` and ``evaluate`` share their ops.

    ``odd``: whether feeds and constants may be NaN, infinite or very large.
    """
    maker = Maker(draw, odd)
    _leaves(maker)
    for _ in range(draw(st.integers(4, steps))):
        draw(st.sampled_from(STEPS))(maker)
    _programs(maker)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch = draw(st.integers(1, 4))
    feeds = {
        op.attributes["name"]: _array(rng, op.output.dtype, _extents(op.output.shape, batch), odd)
        for op in maker.graph.ops
        if op.primitive is p.placeholder
    }
    state = {v.name: _array(rng, v.dtype, v.shape, odd=False) for v in maker.graph.variables}
    state.update({f"{name}/group": np.int32(rng.integers(2)) for name in ("w", "b")})
    return Case(maker.graph, feeds, state)


def assert_same_bits(outcome, expected):
    """Nested dicts and tuples hold arrays of the same bits; one NaN is as good as another."""
    if isinstance(outcome, dict):
        assert outcome.keys() == expected.keys()
        for name in outcome:
            assert_same_bits(outcome[name], expected[name])
    elif isinstance(outcome, tuple):
        for one, other in zip(outcome, expected, strict=True):
            assert_same_bits(one, other)
    else:
        assert (outcome.dtype, outcome.shape) == (expected.dtype, expected.shape)
        if dtypes.is_floating(outcome.dtype):  # NaN of bfloat16 is not known as such
            outcome, expected = outcome.astype(np.float64), expected.astype(np.float64)
            zero = outcome == 0
            np.testing.assert_array_equal(np.signbit(outcome[zero]), np.signbit(expected[zero]))
        np.testing.assert_array_equal(outcome, expected)


def _extents(shape, batch):
    return tuple(evaluate(size, {"batch": batch}) for size in shape)


def _array(rng, dtype, shape, odd):
    values = np.asarray(rng.choice([*NUMBERS, *(ODD_NUMBERS if odd else [])], shape))
    values = np.where(rng.random(shape) < 0.5, values, rng.standard_normal(shape))
    if not dtypes.is_floating(dtype):
        values = rng.integers(0, 2 if dtype == dtypes.bool_ else 5, shape)
    with np.errstate(over="ignore"):
        return values.astype(dtype)


@dataclass
class Maker:
    """A graph that grows, and the values that the next op may take."""

    draw: object
    odd: bool
    graph: Graph = field(default_factory=Graph)
    values: list = field(default_factory=list)

    def add(self, primitive, *inputs, **attributes):
        op = self.graph.append(make(primitive, inputs, attributes))
        self.values.extend(op.outputs)
        return op.output

    def one_of(self, choices):
        return self.draw(st.sampled_from(list(choices)))

    def pick(self, accept=lambda value: True):
        """One of the values, or None where none is accepted."""
        accepted = [value for value in self.values if accept(value)]
        return self.one_of(accepted[::-1]) if accepted else None

    def number(self, dtype, value):
        with np.errstate(over="ignore", invalid="ignore"):
            return self.add(p.constant, value=np.asarray(value).astype(dtype))

    def cast(self, value, dtype):
        return value if value.dtype == dtype else self.add(p.cast, value, dtype=dtype)

    def index(self, value, size):
        """The value as indices of an axis."""
        value = self.cast(value, self.one_of([dtypes.int32, dtypes.int64]))
        return self.add(p.mod, value, self.number(value.dtype, size))


def _leaves(m):
    for name, dtype, shape in [
        ("x", dtypes.float32, (BATCH, 3)),
        ("labels", dtypes.int64, (BATCH,)),
        ("mask", dtypes.bool_, (BATCH, 1)),
        ("scale", dtypes.float32, ()),
    ]:
        m.add(p.placeholder, name=name, shape=shape, dtype=dtype)
    for name, shape in [("w", (3, 4)), ("b", (4,))]:
        m.graph.variables.append(Variable(name, shape, dtypes.float32, trainable=True))
        m.graph.variables.append(Variable(f"{name}/v", shape, dtypes.float32))
        m.graph.variables.append(Variable(f"{name}/group", (), dtypes.int32))
    m.graph.variables.append(Variable("steps", (), dtypes.int64))
    for variable in m.graph.variables:
        m.add(p.variable, variable=variable)


# --- one op, or a few, of each kind -------------------------------------------------------------------------

FLOAT_UNARY = [p.neg, p.abs_, p.sign, p.exp, p.expm1, p.log, p.log1p, p.sqrt, p.rsqrt, p.tanh, p.erf, p.sin]
FLOAT_UNARY += [p.cos, p.floor, p.ceil, p.round_, p.isfinite]
ARITHMETIC = [p.add, p.sub, p.mul, p.floor_div, p.mod, p.pow_]
COMPARISONS = [p.eq, p.ne, p.lt, p.le, p.gt, p.ge, p.minimum, p.maximum]


def constant(m):
    dtype = dtypes.ALL[m.one_of(DTYPES)]
    values = NUMBERS + (ODD_NUMBERS if m.odd and dtypes.is_floating(dtype) else [])
    shape = m.one_of([(), (), (3,), (1, 1), (3, 4)])
    m.number(dtype, [m.one_of(values) for _ in range(elements(shape))] if shape else m.one_of(values))
    if len(shape) > 1:
        m.add(p.reshape, m.values[-1], shape=shape)


def unary(m):
    x = m.pick()
    kinds = {0: [p.logical_not], 1: [p.neg, p.abs_, p.sign], 2: FLOAT_UNARY}
    y = m.add(m.one_of(kinds[dtypes.kind(x.dtype)]), x)
    if y.op.primitive in (p.neg, p.logical_not) and m.draw(st.booleans()):
        m.add(y.op.primitive, y)


def binary(m):
    x = m.pick()
    y = m.pick(lambda value: _broadcasts(x.shape, value.shape))
    y = m.cast(y, x.dtype)
    kinds = {0: [p.logical_and, p.logical_or], 1: ARITHMETIC, 2: [*ARITHMETIC, p.div]}
    operands = (x, y) if m.draw(st.booleans()) else (y, x)
    m.add(m.one_of([*kinds[dtypes.kind(x.dtype)], *kinds[dtypes.kind(x.dtype)], *COMPARISONS]), *operands)


def _broadcasts(a, b):
    return all(m in (1, n) or n == 1 for m, n in zip(a[::-1], b[::-1], strict=False))


def with_number(m):
    """What simplify looks for: an operand that is 1, 0, 2, ..."""
    x = m.pick(lambda value: value.dtype != dtypes.bool_)
    number = m.number(x.dtype, m.one_of([1, -1, 0.0, -0.0, 2, 0.25]))
    floating = [p.div] if dtypes.is_floating(x.dtype) else []
    m.add(m.one_of([p.add, p.sub, p.mul, p.pow_, *floating]), *m.one_of([(x, number), (number, x)]))


def where(m):
    condition = m.pick(lambda value: value.dtype == dtypes.bool_)
    x = m.pick(lambda value: _broadcasts(condition.shape, value.shape))
    fits = [value for value in m.values if value.type == x.type]
    m.add(p.where, condition, x, m.one_of(fits))


def cast(m):
    m.add(p.cast, m.pick(), dtype=dtypes.ALL[m.one_of(DTYPES)])


def reduction(m):
    x = m.pick(lambda value: value.shape)
    axes = tuple(sorted(m.draw(st.sets(st.integers(0, len(x.shape) - 1), min_size=1))))
    keepdims = m.draw(st.booleans())
    sums = [] if x.dtype == dtypes.bool_ else [p.reduce_sum] * 3
    primitive = m.one_of([*sums, p.reduce_max, p.reduce_min, p.argmax])
    m.add(primitive, x, axes=axes[:1] if primitive is p.argmax else axes, keepdims=keepdims)


def reshape(m):
    x = m.pick()
    whole = elements(x.shape)
    shapes = [(whole,), (1, whole), (*x.shape, 1), tuple(size for size in x.shape if size != 1)]
    shapes += [(n, rest) for n in (2, 3, BATCH) if (rest := divide(whole, n)) not in (None, 0)]
    m.add(p.reshape, x, shape=m.one_of(shape for shape in shapes if len(shape) <= LARGEST_RANK))


def transpose(m):
    x = m.pick(lambda value: len(value.shape) > 1)
    if x is not None:
        m.add(p.transpose, x, axes=tuple(m.draw(st.permutations(range(len(x.shape))))))


def broadcast_to(m):
    x = m.pick(lambda value: len(value.shape) < LARGEST_RANK)
    shape = tuple(m.one_of([1, 2, BATCH]) if size == 1 else size for size in x.shape)
    m.add(p.broadcast_to, x, shape=m.one_of([shape, (2, *shape), (BATCH, *shape)]))


def slice_(m):
    x = m.pick(lambda value: any(isinstance(size, int) for size in value.shape))
    bounds = []
    for size in x.shape:
        if not isinstance(size, int) or m.draw(st.booleans()):
            bounds.append((0, size, 1))
            continue
        picked = list(range(size))[m.draw(st.slices(size))] or [0]
        step = picked[1] - picked[0] if len(picked) > 1 else 1
        bounds.append((picked[0], len(picked), step))
    starts, sizes, steps = zip(*bounds, strict=True)
    m.add(p.slice_, x, starts=starts, sizes=sizes, steps=steps)


def concat(m):
    x = m.pick(lambda value: value.shape and _static(value) < LARGEST_AXIS)
    axis = m.draw(st.integers(0, len(x.shape) - 1))
    fits = [v for v in m.values if v.type == x.type]
    m.add(p.concat, x, *(m.one_of(fits) for _ in range(m.draw(st.integers(0, 2)))), axis=axis)


def _static(value):
    return max((size for size in value.shape if isinstance(size, int)), default=0)


def pad(m):
    x = m.pick(lambda value: value.shape and _static(value) < LARGEST_AXIS)
    widths = [tuple(m.draw(st.integers(0, 2)) for _ in x.shape) for _ in range(2)]
    m.add(p.pad, x, low=widths[0], high=widths[1], value=m.one_of([0, 1]))


def matmul(m):
    x = m.pick(lambda value: len(value.shape) > 1 and dtypes.is_floating(value.dtype))
    if x is None:
        return
    y = m.pick(lambda value: len(value.shape) > 1 and value.shape[-2] == x.shape[-1])
    if y is not None and _broadcasts(x.shape[:-2], y.shape[:-2]):
        m.add(p.matmul, x, m.cast(y, x.dtype))
    else:
        axes = (*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2)
        m.add(p.matmul, x, m.add(p.transpose, x, axes=axes))


def gather(m):
    table = m.pick(lambda value: any(isinstance(size, int) for size in value.shape))
    axis = m.one_of(i for i, size in enumerate(table.shape) if isinstance(size, int))
    along = m.draw(st.booleans())

    def fits(value):
        if not along:
            return len(value.shape) + len(table.shape) - 1 <= LARGEST_RANK
        rest = [[size for i, size in enumerate(each.shape) if i != axis] for each in (value, table)]
        return len(value.shape) == len(table.shape) and rest[0] == rest[1]

    value = m.pick(fits)
    if value is None:
        return
    index = m.index(value, table.shape[axis])
    if m.draw(st.booleans()):
        index = m.add(p.check_index, index, size=table.shape[axis])
    gathered = m.add(p.gather, table, index, axis=axis, along=along)
    if table.dtype != dtypes.bool_ and m.draw(st.booleans()):
        m.add(p.scatter_add, gathered, index, axis=axis, along=along, shape=table.shape)


def generator(m):
    shape = m.one_of([(3,), (BATCH,), (2, BATCH), (BATCH, 3), (2, 1, BATCH, 3)])
    numeric = [dtypes.int64, dtypes.float32]
    if m.draw(st.booleans()):
        counted = m.add(p.position, shape=shape)
    else:
        axis = m.draw(st.integers(0, len(shape) - 1))
        counted = m.add(p.iota, shape=shape, dtype=m.one_of(numeric), axis=axis)
    size = m.add(p.size, size=m.one_of([BATCH, 3 * BATCH + 1]))
    if m.draw(st.booleans()):
        numbers = [m.number(dtypes.int64, m.one_of([0, 1, 2**40])) for _ in range(2)]
        bits = m.add(p.philox, numbers[0], numbers[1], size, m.cast(counted, dtypes.int64))
        m.add(p.mul, m.cast(bits, dtypes.float32), m.number(dtypes.float32, 2.0**-32))


STEPS = [constant, unary, unary, binary, binary, binary, with_number, with_number, where, cast, reduction]
STEPS += [reduction, reshape, transpose, broadcast_to, slice_, concat, pad, matmul, gather, generator]


# --- programs -----------------------------------------------------------------------------------------------


def _to_type(m, value, shape, dtype):
    """Some value of this type that depends on the given one."""
    value = m.cast(value, dtype)
    if value.shape == shape:
        return value
    if value.shape:
        value = m.add(p.reduce_max, value, axes=tuple(range(len(value.shape))), keepdims=False)
    return value if value.shape == shape else m.add(p.broadcast_to, value, shape=shape)


def _effect(m, program, primitive, *inputs, guard, **attributes):
    guards = [guard] if guard is not None else []
    op = make(primitive, [*inputs, *guards], attributes | {"guarded": guard is not None})
    program.effects.append(m.graph.append(op))
    m.values.extend(op.outputs)


def _programs(m):
    train = m.graph.programs["train"] = Program("train")
    variables = {variable.name: variable for variable in m.graph.variables}
    guard = None
    if m.draw(st.booleans()):
        guard = _to_type(m, m.pick(lambda value: value.dtype == dtypes.bool_), (), dtypes.bool_)
    columns = [m.number(dtypes.float64, [0.1, 0.25]), m.number(dtypes.float64, [0.9, 0.0])]
    for name in m.draw(st.sampled_from([["w", "b"], ["w"], []])):
        parameter = variables[name]
        gradient = _to_type(m, m.pick(), parameter.shape, parameter.dtype)
        group = next(v for v in m.values if v.op.attributes.get("variable") is variables[f"{name}/group"])
        assigned = (parameter, variables[f"{name}/v"])
        attributes = {"body": BODY, "variables": assigned, "elements": 1}
        _effect(m, train, p.update, gradient, group, *columns, guard=guard, **attributes)
    if m.draw(st.booleans()):
        value = _to_type(m, m.pick(), (), dtypes.int64)
        _effect(m, train, p.assign, value, guard=m.one_of([guard, None]), variable=variables["steps"])
    evaluation = m.graph.programs["evaluate"] = Program("evaluate")
    for program, fits in ((train, lambda value: True), (evaluation, _is_pure)):
        for number in range(m.draw(st.integers(1, 3))):
            program.fetches[f"y{number}"] = m.pick(fits)
        _bind_batch(m, program)


def _is_pure(value):
    stack, seen = [value.op], set()
    while stack:
        op = stack.pop()
        if op.primitive.effect:
            return False
        new = {each.op for each in op.inputs} - seen
        seen |= new
        stack.extend(new)
    return True


def _bind_batch(m, program):
    """A program that mentions the batch must have a feed that tells it."""
    ops = m.graph.reachable([program])
    mentions = any(names_of((*v.shape, op.attributes.get("size", 1))) for op in ops for v in op.outputs)
    bound = any(op.primitive is p.placeholder and BATCH in op.output.shape for op in ops)
    if mentions and not bound:
        x = next(value for value in m.values if value.op.attributes.get("name") == "x")
        program.fetches["x"] = x
