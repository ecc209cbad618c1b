"""Updates of one program that happen together or not at all."""

from __future__ import annotations

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Op, Value, make
from lazyflow.context import GraphContext, ProgramContext
from lazyflow.location import user_line
from lazyflow.optim.loss_scale import LossScaler
from lazyflow.runtime.errors import GraphError, message
from lazyflow.tensor import Tensor


class Transaction:
    """The optimizers of one program that skip an update where any of them has a gradient that is not finite.

    Which optimizers these are is known when the program's block ends, while updates, and what is computed
    from ``parameter.next``, are appended before. So all of them wait for one op, ``finite``, whose inputs are
    given at the end; it and what follows from it then move behind the ops that make its inputs.

    Args:
        graph: The graph of the program.
        program: The open program.
    """

    def __init__(self, graph: GraphContext, program: ProgramContext) -> None:
        self._graph = graph
        self._program = program
        self._parts: list[tuple[str, Tensor]] = []
        self._scalers: dict[LossScaler, list[Tensor | None]] = {}
        self._op: Op | None = None
        program.closing.append(self._close)

    def join(self, name: str, finite: Tensor) -> Tensor:
        """Take an optimizer in.

        Args:
            name: The optimizer's name.
            finite: The bool scalar that says whether its gradients are finite, true where it does not update.

        Returns:
            The bool scalar that says whether the gradients of all of them are.
        """
        self._parts.append((name, finite))
        if self._op is None:
            origins = self._graph.origin("finite")
            self._op = make(primitives.logical_and, [finite.value, finite.value], {}, origins)
            self._graph.append(self._op)
        return Tensor(self._graph, self._op.output)

    def attempt(self, scaler: LossScaler, when: Tensor | None) -> None:
        """Let a scaler move where an update is attempted; None: in every run."""
        self._scalers.setdefault(scaler, []).append(when)

    def _close(self) -> None:
        if self._op is None:
            return
        if len(self._parts) > 1:
            self._join_parts(self._op)
        finite = Tensor(self._graph, self._op.output)
        for scaler, attempts in self._scalers.items():
            with self._graph.scoped(scaler.name):
                scaler.append_next(self._program, finite, _any(attempts))

    def _join_parts(self, op: Op) -> None:
        """Give the op its inputs, and move it behind them."""
        first, *rest = (finite for _, finite in self._parts)
        others = rest[0]
        for finite in rest[1:]:
            others = others & finite
        behind = _behind(op, self._graph.ir.ops)
        for name, finite in self._parts:
            self._check_free(name, finite.value, behind)
        op.inputs = (first.value, others.value)
        ops = self._graph.ir.ops
        ops[:] = [*(each for each in ops if each not in behind), *(each for each in ops if each in behind)]

    def _check_free(self, name: str, finite: Value, behind: set[Op]) -> None:
        if finite.op in behind:
            names = ", ".join(repr(name) for name, _ in self._parts)
            raise GraphError(
                message(
                    f"step: the gradients of {name!r} follow from next values that wait for them",
                    expected=f"{names} skip together in program {self._program.ir.name!r}: gradients of one "
                    "must not read what another assigns",
                    here=f"at {user_line()}",
                    hint="read the values from before the run, or put the second step into another program",
                )
            )


def transaction_of(graph: GraphContext, program: ProgramContext) -> Transaction:
    """The transaction of an open program, made when it is first asked for."""
    known: dict[ProgramContext, Transaction] = graph.shared.setdefault("transactions", {})
    if program not in known:
        known[program] = Transaction(graph, program)
    return known[program]


def _behind(op: Op, ops: list[Op]) -> set[Op]:
    """The op and all that follow from it."""
    found = {op}
    for each in ops:
        if any(value.op in found for value in each.inputs):
            found.add(each)
    return found


def _any(attempts: list[Tensor | None]) -> Tensor | None:
    """Whether one of them happens; None: always."""
    result: Tensor | None = None
    for number, attempt in enumerate(attempts):
        if attempt is None:
            return None
        result = attempt if number == 0 or result is None else result | attempt
    return result
