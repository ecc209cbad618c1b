"""Text and pictures of a graph before compilation, and the graph as networkx has it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import networkx as nx

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Graph, Op, Origin, Value, make
from lazyflow.compiler.primitives import Primitive
from lazyflow.compiler.text import to_text
from lazyflow.runtime.dimensions import Shape
from lazyflow.runtime.inspect.files import write
from lazyflow.runtime.inspect.listing import shortened
from lazyflow.runtime.inspect.picture import Arrow, Box, Picture, scope_of_variable, scoped
from lazyflow.runtime.inspect.words import counted

_WIDTH = 64  # of the columns of a listing; what is wider pushes the rest of its line


# --- text -------------------------------------------------------------------------------------------------


def listing(graph: Graph) -> str:
    """The text form of a graph in columns, each line with the user's name and line of code for the op.

    It reads back with ``compiler.text.from_text``, but for large constants. Of a very long text the middle is
    left out, and a line says so.
    """
    counts = (
        counted(len(graph.ops), "op"),
        counted(len(graph.variables), "variable"),
        counted(len(graph.programs), "program"),
    )
    head = f'# graph "{graph.name}": {", ".join(counts)}'
    return "\n".join(shortened([head, *_columns(to_text(graph, origins=True).splitlines())]))


def _columns(lines: list[str]) -> Iterator[str]:
    rows = [_cells(line) for line in lines]
    widths = [
        max((len(cell) for cell in column if len(cell) <= _WIDTH), default=0)
        for column in zip(*rows, strict=True)
    ]
    for row in rows:
        # a cell that is too wide pushes the rest of its line, which then needs no columns
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        cells = padded if len(row[0]) <= widths[0] else (cell for cell in row if cell)
        yield "  ".join(cells).rstrip()


def _cells(line: str) -> tuple[str, str, str]:
    """The parts of a line: what it computes, the type, and the comment."""
    body, mark, comment = line.rpartition("  # ")
    if not mark:
        body, comment = line, ""
    call, colon, type_ = body.rpartition(" : ")
    if not colon:
        call, type_ = body, ""
    return call, f": {type_}" if type_ else "", f"# {comment}" if comment else ""


# --- networkx ---------------------------------------------------------------------------------------------


def to_networkx(graph: Graph) -> nx.MultiDiGraph[str]:
    """A graph as a networkx MultiDiGraph without cycles; its attributes are numbers, text and tuples of them.

    Args:
        graph: The graph.

    Returns:
        A node per op, keyed by the user's name for it (``matmul``, then ``matmul#1``), with ``kind`` ("op"),
        ``primitive``, ``name``, ``location``, and the ``shape`` (ints, and the text of sizes that are bound
        at run time) and ``dtype`` of its first output; a variable, also one that only updates read, with
        ``trainable`` too; an op with an effect with its ``program`` and the names of the variables that it
        ``assigns``. A node per program, keyed ``program NAME``, with ``kind`` "program" and ``name``.

        An edge per use of a value, with ``kind`` "operand", ``operand`` (its position), ``output`` (which
        output of the source it is), ``shape`` and ``dtype``. Also an edge of ``kind`` "state" from each
        variable to the updates that change it, of ``kind`` "effect" from each effect to its program, and of
        ``kind`` "fetch", with ``name``, from each fetched value to its program.
    """
    result: nx.MultiDiGraph[str] = nx.MultiDiGraph(name=graph.name)
    keys = _keys([*graph.ops, *_unread(graph)])
    for op, key in keys.items():
        result.add_node(key, **_node(op))
    for op, key in keys.items():
        for position, value in enumerate(op.inputs):
            carried = {"output": value.index, "shape": _sizes(value.shape), "dtype": value.dtype.name}
            result.add_edge(keys[value.op], key, kind="operand", operand=position, **carried)
    stored = {
        op.attributes["variable"]: key for op, key in keys.items() if op.primitive is primitives.variable
    }
    for name, program in graph.programs.items():
        target = f"program {name}"
        result.add_node(target, kind="program", name=name)
        for op in program.effects:
            result.nodes[keys[op]].update(program=name, assigns=tuple(v.name for v in op.assigned))
            result.add_edge(keys[op], target, kind="effect")
        for fetch, value in program.fetches.items():
            carried = {"output": value.index, "shape": _sizes(value.shape), "dtype": value.dtype.name}
            result.add_edge(keys[value.op], target, kind="fetch", name=fetch, **carried)
    for op, key in keys.items():
        for variable in op.assigned if op.primitive is primitives.update else ():
            result.add_edge(stored[variable], key, kind="state")
    return result


def _unread(graph: Graph) -> list[Op]:
    """An op for each variable that updates change and no op reads, such as an optimizer's state."""
    updates = (op for op in graph.ops if op.primitive is primitives.update)
    changed = dict.fromkeys(variable for op in updates for variable in op.assigned)
    for op in graph.ops:
        if op.primitive is primitives.variable:
            changed.pop(op.attributes["variable"], None)
    return [
        make(primitives.variable, (), {"variable": variable}, (Origin(variable.name, variable.location),))
        for variable in changed
    ]


def _keys(ops: Iterable[Op]) -> dict[Op, str]:
    """A key per op: its name, numbered from the second of that name on."""
    seen: Counter[str] = Counter()
    taken: set[str] = set()
    keys: dict[Op, str] = {}
    for op in ops:
        name = key = _name(op)
        while key in taken:
            seen[name] += 1
            key = f"{name}#{seen[name]}"
        taken.add(key)
        keys[op] = key
    return keys


def _node(op: Op) -> dict[str, Any]:
    node: dict[str, Any] = {
        "kind": "op",
        "primitive": op.primitive.name,
        "name": _name(op),
        "location": _location(op),
    }
    if op.outputs:
        node |= {"shape": _sizes(op.outputs[0].shape), "dtype": op.outputs[0].dtype.name}
    if op.primitive is primitives.variable:
        node["trainable"] = op.attributes["variable"].trainable
    return node


def _name(op: Op) -> str:
    """The user's name for an op; that of what it stands for, where it has one."""
    if op.primitive is primitives.variable:
        return str(op.attributes["variable"].name)
    if op.primitive is primitives.placeholder:
        return str(op.attributes["name"])
    return op.origins[0].name if op.origins else op.primitive.name


def _location(op: Op) -> str:
    return op.origins[0].location if op.origins else ""


def _sizes(shape: Shape) -> tuple[int | str, ...]:
    return tuple(size if isinstance(size, int) else str(size) for size in shape)


# --- pictures ---------------------------------------------------------------------------------------------


def draw(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Draw a graph into a file: what its programs need, without constants of one number.

    The scalars that optimizers compute for their updates are one box for each optimizer.

    Args:
        graph: The graph.
        path: A name that ends in ``.svg``, or in ``.dot`` for graphviz.

    Raises:
        ArgumentError: if the suffix is neither.
        OSError: if the file cannot be written.
    """
    write(path, f"graph {graph.name}", [_Drawing(graph).picture()])


class _Drawing:
    """The picture of a graph: a box per op but for those that would hide the others."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.ops = graph.reachable() if graph.programs else graph.ops
        self.owners = {op: program.name for program in graph.programs.values() for op in program.effects}
        fetched = {value for program in graph.programs.values() for value in program.fetches.values()}
        self.rules = _scalar_ops(graph, self.ops, fetched)
        self.hidden = {op for op in self.ops if _number(op) and op.output not in fetched}

    def picture(self) -> Picture:
        """Boxes in the order of the ops, and the fetches behind them."""
        groups: dict[str, list[Op]] = {}
        arrows: dict[Arrow, None] = {}
        keys = {op: self.rules.get(op, f"op {n}") for n, op in enumerate(self.ops) if op not in self.hidden}
        for op, key in keys.items():
            members = groups.pop(key, [])
            groups[key] = members  # where its last op stands
            members.append(op)
            for value in op.inputs:
                if keys.get(value.op, key) != key:
                    arrows[Arrow(keys[value.op], key, str(value.type), value is op.when)] = None
        boxes = [self._box(key, ops) for key, ops in groups.items()]
        for program in self.graph.programs.values():
            for name, value in program.fetches.items():
                key = f"fetch {program.name} {name}"
                boxes.append(Box(key, "fetch", name, (f"fetch of {program.name}",)))
                arrows[Arrow(keys[value.op], key, str(value.type))] = None
        return Picture(counted(len(self.ops), "op"), tuple(boxes), tuple(arrows))

    def _box(self, key: str, ops: Sequence[Op]) -> Box:
        op = ops[0]
        if op in self.rules:
            listed = "\n".join(f"{_name(each)}  {each.primitive.name}" for each in ops[:30])
            return Box(key, "scope", key, (f"{counted(len(ops), 'op')}, once per group",), listed)
        types = (str(value.type) for value in op.outputs)
        tooltip = "\n".join([f"{_name(op)}  {_location(op)}", op.primitive.name, *types])
        title, scope, notes = self._words(op)
        shown = tuple(note for note in notes if note)
        return Box(key, _kind(op), title, shown, tooltip, scope)

    def _words(self, op: Op) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """What a box says: title, scope, and notes."""
        name = _name(op)
        if op.primitive.leaf:
            return name, scope_of_variable(name), (str(op.output.type),)
        title, scope = scoped(name)
        if op in self.owners:
            rule = f" by {op.attributes['body'].name}" if "body" in op.attributes else ""
            note = f"{op.primitive.name}{rule} in {self.owners[op]}"
            return op.assigned[0].name if op.assigned else name, scope, (note,)
        primitive = op.primitive.name if op.primitive.name not in title else ""
        return title, scope, (name.removesuffix(title).strip("/"), primitive, _operands(op))


def _number(op: Op) -> bool:
    """Whether the op is a constant of one element."""
    return op.primitive is primitives.constant and op.attributes["value"].size == 1


def _operands(op: Op) -> str:
    """The numbers among the operands, which have no boxes."""
    numbers = [f"{value.op.attributes['value'].item():g}" for value in op.inputs if _number(value.op)]
    return f"with {', '.join(numbers)}" if numbers else ""


_KINDS: dict[Primitive, str] = {
    primitives.placeholder: "feed",
    primitives.constant: "constant",
    primitives.update: "update",
    primitives.matmul: "matmul",
}


def _kind(op: Op) -> str:
    """The kind of an op's box."""
    primitive = op.primitive
    if primitive in _KINDS:
        return _KINDS[primitive]
    if primitive is primitives.variable:
        return "parameter" if op.attributes["variable"].trainable else "variable"
    if primitive.effect:
        return "effect"
    if primitive.can_fail:
        return "index"
    if primitive.elementwise:
        return "elementwise"
    return "reduction" if primitive.reduction else "shape"


_NUMBERS = "numbers of "  # begins the title of the box of an optimizer's scalars


def _scalar_ops(graph: Graph, ops: Sequence[Op], fetched: Collection[Value]) -> dict[Op, str]:
    """The ops on small values that nothing but updates needs, each with the rule that needs it."""
    rules: dict[Op, str] = {}
    users = graph.users()
    for op in reversed(ops):
        primitive = op.primitive
        if (
            primitive.effect
            or primitive.reduction
            or primitive is primitives.placeholder
            or op.output in fetched
        ):
            continue
        if not all(isinstance(size, int) for size in op.output.shape) or len(op.output.shape) > 1:
            continue
        wanted = {_rule(user, op.output, rules).removeprefix(_NUMBERS) for user in users.get(op.output, ())}
        if wanted and "" not in wanted:
            rules[op] = _NUMBERS + min(wanted)
    return rules


def _rule(user: Op, value: Value, rules: Mapping[Op, str]) -> str:
    """The rule for whose scalars a value is used; empty where it is used for something else."""
    if user.primitive is not primitives.update:
        return rules.get(user, "")
    elements = user.inputs[: user.attributes["elements"]]
    if value in elements or value is user.when:
        return ""
    return str(user.attributes["body"].name)
