"""batch_updates: update ops with the same body become one kernel over many segments."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Graph, Op, Origin, Program, Value
from lazyflow.compiler.lower import update_body
from lazyflow.compiler.placement.layout import is_flat
from lazyflow.compiler.reasons import reason
from lazyflow.compiler.rewrite import clone
from lazyflow.compiler.sorting import stable_order
from lazyflow.runtime import schema

LARGE = 2**20  # elements of a segment that gets a batch of its own


def batch_updates(graph: Graph, merge: bool = True) -> Graph:
    """Make multi-tensor kernels of update ops that share their body, their columns and their guard.

    Args:
        graph: A graph behind ``fuse``.
        merge: Whether updates are batched; else each becomes a batch of one segment.

    Updates share a batch where none needs the result of another; a large one has a batch of its own, so that
    it need not wait. A gradient whose elements do not lie one after the other is copied first.

    >>> from lazyflow.compiler.text import from_text, to_text
    >>> print(to_text(batch_updates(from_text('''
    ...     body flip
    ...       %0 = placeholder name=p : float32[n]
    ...       %1 = neg %0 : float32[n]
    ...       fetch p = %1
    ...     end
    ...     var name=a trainable=True initial=0 : float32[3]
    ...     var name=b trainable=True initial=0 : float32[4, 4]
    ...     %0 = variable name=group : int32[]
    ...     update body=flip variables=(a,) elements=0 %0
    ...     update body=flip variables=(b,) elements=0 %0'''))).splitlines()[-1])
    update_batch body={1=neg 0 :float32} results=(1,) segments=(((a,), 3), ((b,), 16))
        elements=0 columns=0 %0 %0
    """
    bodies: dict[Graph, tuple[tuple[schema.Call, ...], tuple[int, ...]]] = {}
    new_ops: list[Op] = []
    leaves: set[Op] = set()
    programs, reasons = {}, list(graph.reasons)
    for program in graph.programs.values():
        rebuild = _Rebuild(program, graph.reachable([program]), bodies)
        programs[program.name] = rebuild.run(merge)
        new_ops += [op for op in rebuild.new_ops if op not in leaves]
        leaves.update(op for op in rebuild.new_ops if op.primitive.leaf)
        reasons += rebuild.reasons
    return graph.replaced(new_ops, programs, reasons=reasons)


class _Rebuild:
    """Rebuilds one program with its updates in batches."""

    def __init__(
        self,
        program: Program,
        ops: Sequence[Op],
        bodies: dict[Graph, tuple[tuple[schema.Call, ...], tuple[int, ...]]],
    ) -> None:
        self.new_ops: list[Op] = []
        self.reasons: list[schema.Reason] = []
        self._program = program
        self._ops = ops
        self._bodies = bodies
        self._values: dict[Value, Value] = {}
        self._flat: dict[Value, Value] = {}

    def run(self, merge: bool) -> Program:
        """The program over new ops."""
        batches = _batches(self._ops, merge)
        nodes = _nodes(self._ops, batches)
        effects: dict[Op, Op] = {}
        for members in nodes:
            first = members[0]
            if first.primitive is primitives.update:
                new = self._batch(members)
                self.reasons.append(_reason(members, merge))
            else:
                new = self._keep(first)
            effects.update(dict.fromkeys(members, new))
        kept = list(dict.fromkeys(effects[op] for op in self._program.effects))
        fetches = {name: self._values[value] for name, value in self._program.fetches.items()}
        return replace(self._program, effects=kept, fetches=fetches)

    def _keep(self, op: Op) -> Op:
        inputs = tuple(self._values[value] for value in op.inputs)
        new = op if inputs == op.inputs else clone(op, inputs)
        self._values.update(zip(op.outputs, new.outputs, strict=True))
        self.new_ops.append(new)
        return new

    def _batch(self, members: Sequence[Op]) -> Op:
        """The batch of these updates, one segment each."""
        first = members[0]
        elements: int = first.attributes["elements"]
        guarded: bool = first.attributes["guarded"]
        columns = [self._flattened(value) for value in _columns(first)]
        inputs = list(columns)
        for op in members:
            inputs += [self._flattened(value) for value in op.inputs[:elements]]
            inputs.append(self._values[op.inputs[elements]])
        if guarded:
            inputs.append(self._values[first.inputs[-1]])
        body = first.attributes["body"]
        if body not in self._bodies:
            self._bodies[body] = update_body(body)
        calls, results = self._bodies[body]
        outputs = [value for op in members for value in op.outputs]
        types = tuple(value.type for value in outputs)
        attributes = {
            "body": calls,
            "results": results,
            "segments": tuple((op.attributes["variables"], _size(op)) for op in members),
            "elements": elements,
            "columns": len(columns),
            "guarded": guarded,
            "types": types,
        }
        origins: dict[Origin, None] = dict.fromkeys(origin for op in members for origin in op.origins)
        new = Op(primitives.update_batch, tuple(inputs), attributes, types, tuple(origins))
        self._values.update(zip(outputs, new.outputs, strict=True))
        self.new_ops.append(new)
        return new

    def _flattened(self, value: Value) -> Value:
        """The new value, or a copy of it where its elements do not lie one after the other."""
        new = self._values[value]
        if is_flat(new):
            return new
        if value not in self._flat:
            copy = Op(primitives.copy, (new,), {}, (new.type,), value.op.origins)
            self.new_ops.append(copy)
            self._flat[value] = copy.output
        return self._flat[value]


def _columns(op: Op) -> tuple[Value, ...]:
    end = len(op.inputs) - bool(op.attributes["guarded"])
    return op.inputs[op.attributes["elements"] + 1 : end]


def _size(op: Op) -> int:
    return math.prod(op.attributes["variables"][0].shape)


def _batches(ops: Sequence[Op], merge: bool) -> dict[Op, list[Op]]:
    """The members of the batch of each update op."""
    depths: dict[Op, int] = {}  # how many effects stand before: updates of one depth do not need each other
    batches: dict[Hashable, list[Op]] = {}
    result: dict[Op, list[Op]] = {}
    for op in ops:
        depth = max([depths[value.op] for value in op.inputs], default=0)
        depths[op] = depth + op.primitive.effect
        if op.primitive is not primitives.update:
            continue
        key: Hashable = op
        if merge and _size(op) < LARGE:
            elements = op.attributes["elements"]
            dtypes = tuple([value.dtype for value in op.inputs[:elements]])  # those of the columns are known
            key = (op.attributes["body"], elements, dtypes, op.when, _columns(op), depth)
        result[op] = batches.setdefault(key, [])
        result[op].append(op)
    return result


def _nodes(ops: Sequence[Op], batches: dict[Op, list[Op]]) -> list[list[Op]]:
    """The ops as nodes, those of a batch as one, so that each stands behind those that it uses."""
    members = list({id(m): m for m in (batches.get(op, [op]) for op in ops)}.values())
    number = {op: node for node, ops_of_node in enumerate(members) for op in ops_of_node}
    positions = {op: position for position, op in enumerate(ops)}
    successors: list[dict[int, None]] = [{} for _ in members]
    for op in ops:
        user = number[op]
        for value in op.inputs:
            successors[number[value.op]][user] = None
    keys = [positions[ops_of_node[-1]] for ops_of_node in members]
    return [members[node] for node in stable_order(keys, [list(each) for each in successors])]


def _reason(members: Sequence[Op], merge: bool) -> schema.Reason:
    body = members[0].attributes["body"].name
    size = _size(members[0])
    if len(members) > 1:
        code, text = "batched", f"{len(members)} updates share the rule {body}, their numbers and their guard"
    elif merge and size >= LARGE:
        code, text = "large", f"{size} elements: updated alone, so that its gradient's memory is free early"
    else:
        code, text = "alone", f"no other update shares the rule {body}, its numbers and its guard"
    return reason("batch_updates", code, text, members[0])
