"""Drops what no program fetches or assigns."""

from __future__ import annotations

from dataclasses import replace

from lazyflow.compiler.graph import Graph, Op, Variable
from lazyflow.compiler.primitives import placeholder, variable
from lazyflow.compiler.rewrite import rewrite

INIT = "init"  # the program that gives variables their drawn or computed initial values


def prune(graph: Graph) -> Graph:
    """Keep the ops that a program's effects and fetches need, and the variables that they touch.

    What ``init`` assigns is not needed for that alone: a variable that no other program reads or assigns
    goes, with its initial value, unless the initial value of another is made from it or the table of an
    optimizer, which live sessions read, names it. Where ``init`` is the only program, all variables stay.
    Each program keeps the placeholders that it reached at first (``Program.feeds``). Bodies of updates lose
    the ops that no next value needs, and keep their placeholders, which are arguments.

    >>> from lazyflow.compiler.text import from_text, to_text
    >>> print(to_text(prune(from_text('''
    ...     %0 = placeholder name=x : float32[4]
    ...     %1 = variable name=unused : float32[4]
    ...     %2 = exp %0 : float32[4]
    ...     %3 = add %2 %1 : float32[4]
    ...     fetch y = %2'''))))
    %0 = placeholder name=x : float32[4]
    %1 = exp %0 : float32[4]
    fetch y = %1
    """
    needed, variables = _needed(graph)
    effects = {name: [op for op in p.effects if op in needed] for name, p in graph.programs.items()}
    programs = {
        name: replace(program, effects=effects[name])
        for name, program in graph.programs.items()
        if name != INIT or effects[name] or program.fetches
    }
    kept = graph.replaced(
        [op for op in graph.ops if op in needed],
        programs,
        variables=[each for each in graph.variables if each in variables],
    )
    for name, program in programs.items():
        reached = [op.output for op in kept.reachable([program]) if op.primitive is placeholder]
        programs[name] = kept.programs[name] = replace(program, feeds=tuple(reached))
    return rewrite(kept, None, bodies=_prune_body)


def _needed(graph: Graph) -> tuple[set[Op], set[Variable]]:
    """The ops that programs need, and the variables that they touch."""
    init = graph.programs.get(INIT)
    deferred = init is not None and len(graph.programs) > 1
    initial = {v: op for op in init.effects for v in op.assigned} if init and deferred else {}
    roots = [op for program in graph.programs.values() for op in program.roots()]
    given = set(initial.values())
    needed = {op for op in roots if op not in given}
    variables = set(graph.variables) if init and not deferred else _of_optimizers(graph)
    stack = [*needed, *(initial[each] for each in variables if each in initial)]
    needed.update(stack)
    while stack:
        op = stack.pop()
        before = [value.op for value in op.inputs]
        if op.primitive is variable or op.primitive.effect:
            touched = (op.attributes["variable"],) if op.primitive is variable else op.assigned
            variables.update(touched)
            if initial:
                before += [initial[each] for each in touched if each in initial]
        new = [each for each in before if each not in needed]
        needed.update(new)
        stack += new
    return needed, variables


def _of_optimizers(graph: Graph) -> set[Variable]:
    names: set[str] = set()
    for optimizer in graph.optimizers:
        names.update(optimizer.members, optimizer.members.values(), *optimizer.state.values())
        names.update(name for group in optimizer.groups for each in group.scalars.values() for name in each)
    return {each for each in graph.variables if each.name in names}


def _prune_body(body: Graph) -> Graph:
    needed = set(body.reachable())
    kept = [op for op in body.ops if op in needed or op.primitive is placeholder]
    return body if len(kept) == len(body.ops) else body.replaced(kept, body.programs)
