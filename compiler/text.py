"""The text form of a graph: one line per op, for tests, docs and people; it reads back.

    body decay                                      the body of update ops, before what uses it
      %0 = placeholder name=p : float32[n]
      fetch p = %0
    end
    var name=w trainable=True initial=0 : float32[64, 10]
    %0 = placeholder name=x : float32[batch, 64]
    %1 = variable name=w : float32[64, 10]
    %2 = matmul %0 %1 : float32[batch, 10]
    program train                                   effects and fetches below belong to it; "main" if absent
    assign name=w %3 when %4
    fetch y = %2

An effect whose outputs nothing uses is written without them. ``var`` lines stand where ``variable`` and
``assign`` lines do not tell all. ``feed %0`` is a placeholder that a program is given though it uses it no
more. What ``order`` and ``place_buffers`` attach follows the fetches of a program.
The graph's name, its optimizers and the passes' reasons are not part of the text, nor are the numbers of
large constants, which are written as a hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from lazyflow.compiler.graph import Graph, Layout, Op, Origin, Placement, Program, Value, Variable, make
from lazyflow.compiler.primitives import PRIMITIVES, Primitive
from lazyflow.compiler.rules import Type
from lazyflow.compiler.spelling import (
    read_attribute,
    read_calls,
    read_name,
    read_sizes,
    read_tuple,
    read_types,
    spell_attribute,
    spell_calls,
    spell_name,
    spell_sizes,
    spell_tuple,
    split,
)
from lazyflow.runtime import schema
from lazyflow.runtime.errors import GraphError, LazyflowError, message

_FROM_TYPES = frozenset(("shape", "dtype", "types"))  # attributes that the types at the end of a line give


# --- writing ----------------------------------------------------------------------------------------------


def to_text(graph: Graph, origins: bool = False) -> str:
    """The text form of a graph.

    Args:
        graph: Any graph, between any two passes.
        origins: Whether to end lines with ``# name file:line``, the user's words for the op.

    Returns:
        Lines without a final newline; :func:`from_text` reads them.
    """
    return "\n".join(_Writer(graph, origins).lines)


class _Writer:
    """Writes one graph; bodies of updates are written by writers of their own."""

    def __init__(self, graph: Graph, origins: bool, program: str = "main") -> None:
        self.graph = graph
        self.origins = origins
        self.current = program
        self.numbers: dict[Value, str] = {}
        self.bodies: dict[Graph, str] = {}
        self.types: dict[Type, str] = {}  # a graph has few types, and numpy is slow to name its dtypes
        self.names: dict[Variable, str] = {}
        self.comments: dict[tuple[Origin, ...], str] = {}  # what is made of one op has its origins
        self.owners = {op: program for program in graph.programs.values() for op in program.effects}
        self.used = {value for op in graph.ops for value in op.inputs}
        for each in graph.programs.values():
            self.used.update(each.fetches.values())
            self.used.update(each.placement.layouts if each.placement is not None else ())
        self.lines = [*self._body_lines(), *self._variable_lines(), *self._program_lines()]

    def _body_lines(self) -> Iterator[str]:
        for op in self.graph.ops:
            body = op.attributes.get("body")
            if not isinstance(body, Graph) or body in self.bodies:
                continue
            taken = sum(other.name == body.name for other in self.bodies)
            self.bodies[body] = spell_name(f"{body.name}.{taken}" if taken else body.name)
            yield f"body {self.bodies[body]}"
            yield from (f"  {line}" for line in _Writer(body, self.origins, "update").lines)
            yield "end"

    def _variable_lines(self) -> Iterator[str]:
        ops = (op for op in self.graph.ops if "variable" in op.attributes)
        told = dict.fromkeys(op.attributes["variable"] for op in ops)
        plain = not any(variable.trainable or variable.initial for variable in self.graph.variables)
        if plain and list(told) == self.graph.variables:
            return
        for v in self.graph.variables:
            name = self._name(v)
            comment = f"  # {name} {v.location}" if self.origins and v.location else ""
            initial = spell_attribute("initial", v.initial)
            type_ = self._type(Type(v.shape, v.dtype))
            yield f"var name={name} trainable={v.trainable} {initial} : {type_}{comment}"

    def _program_lines(self) -> Iterator[str]:
        programs = self.graph.programs
        mentioned = [self.owners[op].name for op in self.graph.ops if op in self.owners]
        if list(dict.fromkeys([*mentioned, *programs])) != list(programs):
            for name in programs:
                yield from self._enter(name)
        for op in self.graph.ops:
            if op in self.owners:
                yield from self._enter(self.owners[op].name)
            yield self._op_line(op)
        for program in programs.values():
            ending = list(self._ending(program))
            if ending or not program.effects:
                yield from self._enter(program.name, new=not ending)
            yield from ending

    def _enter(self, program: str, new: bool = False) -> Iterator[str]:
        if program != self.current or new:
            yield f"program {spell_name(program)}"
        self.current = program

    def _op_line(self, op: Op) -> str:
        primitive = op.primitive
        inputs = [self.numbers[value] for value in op.inputs]
        when = ["when", inputs.pop()] if op.when else []
        attributes = self._attributes(op) if primitive.attributes else ()
        middle = [*attributes, *inputs] if primitive.effect else [*inputs, *attributes]
        line = " ".join([primitive.name, *middle, *when])
        if not primitive.effect or not self.used.isdisjoint(op.outputs):
            for value in op.outputs:
                self.numbers[value] = f"%{len(self.numbers)}"
            results = ", ".join([self.numbers[value] for value in op.outputs])
            line = f"{results} = {line} : {', '.join([self._type(value.type) for value in op.outputs])}"
        return f"{line}{self._comment(op.origins)}" if self.origins and op.origins else line

    def _name(self, variable: Variable) -> str:
        name = self.names.get(variable)
        if name is None:
            name = self.names[variable] = spell_name(variable.name)
        return name

    def _variables(self, variables: Iterable[Variable]) -> str:
        return spell_tuple([self._name(variable) for variable in variables])

    def _type(self, type_: Type) -> str:
        text = self.types.get(type_)
        if text is None:
            text = self.types[type_] = str(type_)
        return text

    def _comment(self, origins: tuple[Origin, ...]) -> str:
        text = self.comments.get(origins)
        if text is None:
            words = ", ".join(f"{spell_name(o.name)} {o.location}" for o in origins)
            text = self.comments[origins] = f"  # {words}"
        return text

    def _attributes(self, op: Op) -> Iterator[str]:
        for name in op.primitive.attributes:
            value = op.attributes[name]
            if name == "variable":
                yield f"name={self._name(value)}"
            elif name == "variables":
                yield f"variables={self._variables(value)}"
            elif name == "segments":
                pairs = (f"({self._variables(each)}, {size})" for each, size in value)
                yield f"segments={spell_tuple(pairs)}"
            elif name == "body":
                body = self.bodies.get(value) if isinstance(value, Graph) else None
                yield f"body={body or spell_calls(value, _arguments(op))}"
            elif name not in _FROM_TYPES and name != "guarded":
                yield spell_attribute(name, value)

    def _ending(self, program: Program) -> Iterator[str]:
        for name, value in program.fetches.items():
            yield f"fetch {spell_name(name)} = {self.numbers[value]}"
        if program.feeds:
            used = set(self.graph.reachable([Program("", program.effects, program.fetches)]))
            yield from (f"feed {self.numbers[value]}" for value in program.feeds if value.op not in used)
        if program.order is not None:
            effects = {op: f"!{number}" for number, op in enumerate(program.effects)}
            names = (self.numbers.get(op.output) if op.outputs else None for op in program.order)
            yield " ".join(["order", *(n or effects[op] for n, op in zip(names, program.order, strict=True))])
        if program.placement is not None:
            yield from self._placement(program.placement)

    def _placement(self, placement: Placement) -> Iterator[str]:
        yield f"slots {spell_sizes(placement.slots)} {spell_sizes(placement.lower_bound)}"
        for buffer in placement.buffers:
            fields = {name: getattr(buffer, name) for name in ("place", "name", "slot", "offset", "size")}
            written = (spell_attribute(name, value) for name, value in fields.items() if value != "")
            yield f"buffer {' '.join(written)} : {buffer.dtype}"
        for value, layout in placement.layouts.items():
            written = (spell_attribute(key, part) for key, part in layout._asdict().items())
            yield f"at {self.numbers[value]} {' '.join(written)}"


def _arguments(op: Op) -> int:
    """How many numbers the arguments of a body of calls take, before those of its calls."""
    attributes = op.attributes
    if "segments" not in attributes:
        return len(op.inputs)
    variables, _ = attributes["segments"][0]
    return len(variables) + int(attributes["elements"]) + int(attributes["columns"])


# --- reading ----------------------------------------------------------------------------------------------


def from_text(text: str, name: str = "graph") -> Graph:
    """The graph that a text describes.

    Args:
        text: Lines as :func:`to_text` writes them; blank lines, indentation and ``# ...`` do not matter.
        name: The graph's name.

    Raises:
        GraphError: if a line does not read, with its number.

    >>> graph = from_text('''
    ...     %0 = placeholder name=x : float32[batch, 4]
    ...     %1 = reduce_sum %0 axes=(0,) keepdims=False : float32[4]
    ...     fetch total = %1''')
    >>> print(graph)
    Graph 'graph': 2 ops, 0 variables, programs: main
    """
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    return _Reader(lines, name, "main").graph


class _Reader:
    """Reads the lines of one graph, up to ``end`` for the body of an update."""

    def __init__(self, lines: Iterator[tuple[int, str]], name: str, program: str) -> None:
        self.graph = Graph(name)
        self.lines = lines
        self.current = program
        self.values: dict[str, Value] = {}
        self.bodies: dict[str, Graph] = {}
        self.variables: dict[str, Variable] = {}
        for number, line in lines:
            if line == "end":
                break
            try:
                self._line(line)
            except (LazyflowError, LookupError, ValueError, TypeError, SyntaxError) as error:
                raise GraphError(message(f"text: line {number} does not read: {error}", line=line)) from error

    def _line(self, line: str) -> None:
        tokens = split(line, " ")
        comment = tokens.index("#") if "#" in tokens else len(tokens)
        origins = _read_origins(" ".join(tokens[comment + 1 :]))
        tokens = tokens[:comment]
        if tokens and tokens[0] in _STATEMENTS:
            _STATEMENTS[tokens[0]](self, tokens[1:], origins)
        elif tokens:
            self._op(tokens, origins)

    @property
    def program(self) -> Program:
        return self.graph.programs.setdefault(self.current, Program(self.current))

    def _body(self, tokens: list[str], origins: tuple[Origin, ...]) -> None:
        name = read_name(tokens[0])
        self.bodies[name] = _Reader(self.lines, name, "update").graph

    def _enter(self, tokens: list[str], origins: tuple[Origin, ...]) -> None:
        self.current = read_name(tokens[0])
        self.graph.programs.setdefault(self.current, Program(self.current))

    def _var(self, tokens: list[str], origins: tuple[Origin, ...]) -> None:
        cut = tokens.index(":")
        fields = {name: read_attribute(name, text) for name, text in _written(tokens[:cut]).items()}
        self._variable(fields.pop("name"), read_types(tokens[cut + 1 :])[0])
        variable = self.graph.variables[-1]
        variable.trainable, variable.initial = fields["trainable"], fields["initial"]
        variable.location = origins[0].location if origins else ""

    def _fetch(self, tokens: list[str], origins: tuple[Origin, ...]) -> None:
        name, _, number = tokens
        self.program.fetches[read_name(name)] = self._value(number)

    def _feed(self, tokens: list[str], origins: tuple[Origin, ...]) -> None:
        self.program.feeds += (self._value(tokens[0]),)

    def _order(self, tokens: list[str], origins: tuple[Origin, ...]) -> None:
        effects = self.program.effects
        self.program.order = tuple(
            effects[int(token[1:])] if token[0] == "!" else self._value(token).op for token in tokens
        )

    def _slots(self, tokens: list[str], origins: tuple[Origin, ...]) -> None:
        slots, lower_bound = map(read_sizes, tokens)
        self.program.placement = Placement(slots=list(slots), lower_bound=list(lower_bound))

    def _buffer(self, tokens: list[str], origins: tuple[Origin, ...]) -> None:
        fields = {name: read_attribute(name, text) for name, text in _written(tokens).items()}
        fields["size"] = fields["size"] if isinstance(fields["size"], int) else str(fields["size"])
        self._placement.buffers.append(schema.Buffer(dtype=tokens[-1], **fields))

    def _at(self, tokens: list[str], origins: tuple[Origin, ...]) -> None:
        layouts = self._placement.layouts
        fields = {name: read_attribute(name, text) for name, text in _written(tokens[1:]).items()}
        layouts[self._value(tokens[0])] = Layout(**fields)

    @property
    def _placement(self) -> Placement:
        if self.program.placement is None:
            raise GraphError("buffers and layouts stand after a line of slots")
        return self.program.placement

    def _op(self, tokens: list[str], origins: tuple[Origin, ...]) -> None:
        colon = tokens.index(":") if ":" in tokens else len(tokens)
        equals = tokens.index("=") if "=" in tokens else -1
        types = read_types(tokens[colon + 1 :])
        name, *rest = tokens[equals + 1 : colon]
        if name not in PRIMITIVES:
            raise GraphError(f"there is no primitive {name!r}")
        inputs = [self._value(token) for token in rest if token.startswith("%")]
        attributes = self._attributes(PRIMITIVES[name], rest, types or [value.type for value in inputs])
        op = self.graph.append(make(PRIMITIVES[name], inputs, attributes, origins))
        if types and types != [value.type for value in op.outputs]:
            raise GraphError(f"the result is {', '.join(str(value.type) for value in op.outputs)}")
        if equals > 0:
            results = (token.rstrip(",") for token in tokens[:equals])
            self.values.update(zip(results, op.outputs, strict=True))
        if op.primitive.effect:
            self.program.effects.append(op)

    def _attributes(self, primitive: Primitive, tokens: list[str], types: list[Type]) -> dict[str, Any]:
        """The attributes; ``types`` are the op's or, for an effect written without, those of its inputs."""
        written = _written(tokens)
        given: dict[str, Any] = {"guarded": "when" in tokens, "types": tuple(types)}
        if types:
            given |= {"shape": types[0].shape, "dtype": types[0].dtype}
        given |= {name: self._attribute(name, text) for name, text in written.items()}
        if "variable" in primitive.attributes:
            given["variable"] = self._variable(given["name"], types[0])
        if primitive.leaf and "value" in given:
            given["value"] = np.array(given["value"], given["dtype"]).reshape(given["shape"])
        return {name: given[name] for name in primitive.attributes if name in given}

    def _attribute(self, name: str, text: str) -> Any:
        if name == "body":
            return read_calls(text) if text.startswith("{") else self.bodies[read_name(text)]
        if name == "variables":
            return tuple(self.variables[read_name(part)] for part in read_tuple(text))
        if name == "segments":
            pairs = (read_tuple(part) for part in read_tuple(text))
            return tuple((self._attribute("variables", each), int(size)) for each, size in pairs)
        return read_attribute(name, text)

    def _value(self, number: str) -> Value:
        if number not in self.values:
            raise GraphError(f"{number} is not the result of a line before")
        return self.values[number]

    def _variable(self, name: str, type_: Type) -> Variable:
        if name not in self.variables:
            shape = tuple(size for size in type_.shape if isinstance(size, int))
            self.variables[name] = Variable(name, shape, type_.dtype)
            self.graph.variables.append(self.variables[name])
        return self.variables[name]


_STATEMENTS: dict[str, Callable[[_Reader, list[str], tuple[Origin, ...]], None]] = {
    "body": _Reader._body,
    "program": _Reader._enter,
    "var": _Reader._var,
    "fetch": _Reader._fetch,
    "feed": _Reader._feed,
    "order": _Reader._order,
    "slots": _Reader._slots,
    "buffer": _Reader._buffer,
    "at": _Reader._at,
}


def _written(tokens: list[str]) -> dict[str, str]:
    return dict(token.split("=", 1) for token in tokens if "=" in token)


def _read_origins(comment: str) -> tuple[Origin, ...]:
    pairs = (split(part, " ") for part in split(comment, ","))
    return tuple(Origin(read_name(name), " ".join(rest)) for name, *rest in pairs)
