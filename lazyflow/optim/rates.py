"""The numbers of an optimizer's groups: the schedulers that make them, and the clocks they read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from lazyflow.context import GraphContext, ProgramContext, current_graph
from lazyflow.location import user_line
from lazyflow.ops.elementwise import cast
from lazyflow.optim.groups import Group, stored
from lazyflow.optim.options import Scalar
from lazyflow.runtime.dtypes import float64, int64
from lazyflow.runtime.errors import GraphError, message
from lazyflow.tensor import Tensor
from lazyflow.variable import Variable


class Schedule(Protocol):
    """What an optimizer needs of a scheduler."""

    @property
    def location(self) -> str:
        """The user's line that made it."""

    @property
    def clock(self) -> Variable:
        """The int64 scalar that counts its steps."""

    @property
    def stands_still(self) -> bool:
        """Whether no program calls the ``step()`` that would move its clock."""

    @property
    def drives(self) -> tuple[str, ...]:
        """The names of the numbers that it makes: "lr", OPTION or OPTION/INDEX."""

    def value_for(self, name: str, group: int, base: Tensor, step: Tensor, /) -> Tensor:
        """The number of a group at a step; float64 scalars."""


class Scheduled:
    """What an optimizer is for its schedulers: numbers that they make, and clocks.

    Attributes:
        name: The prefix of its variables' names.
        location: The user's line that made it.
        param_groups: Mappings with "params", "lr" (the rate of this update), "initial_lr" and the options.
        schedulers: The schedulers that nobody else owns.
    """

    name: str
    location: str
    param_groups: list[Group]
    schedulers: list[Schedule]

    def _start(self) -> None:
        """Begin without schedulers and clocks."""
        self.schedulers = []
        self._clocks: dict[str, Variable] = {}
        self._numbers: dict[str, Variable] = {}
        self._scheduled: dict[tuple[str, int], Tensor] = {}
        self._read_at: dict[str, str] = {}

    @property
    def micro_steps(self) -> Variable:
        """The clock of the runs that have this optimizer's gradients."""
        return self.clock("micro_steps")

    @property
    def updates(self) -> Variable:
        """The clock of the attempted updates."""
        return self.clock("updates")

    @property
    def applied(self) -> Variable:
        """The clock of the updates that happened; rules read ``t = applied + 1``."""
        return self.clock("applied")

    def clock(self, name: str, initial: int | None = None) -> Variable:
        """The int64 scalar ``OPTIMIZER/NAME``, made when it is first asked for.

        Args:
            name: What it counts.
            initial: Its first value; the last one given holds, until the graph reads the clock.

        Raises:
            GraphError: if the graph has read it, from another first value.
        """
        if name not in self._clocks:
            self._clocks[name] = stored(lambda: self.name, name, self.location, 0, (), int64)
        clock = self._clocks[name]
        if initial is not None and initial != clock.initial:
            if clock.adopted:
                text = (
                    f"clock: {clock.name!r} was read already, starting at {clock.initial}, not at {initial}"
                )
                raise GraphError(message(text, here=f"at {user_line()}"))
            clock.initial = clock.ir.initial = initial
        return clock

    def number(self, name: str, value: Scalar) -> Tensor:
        """The float64 scalar ``OPTIMIZER/NAME``, which starts from a number; a Tensor as float64."""
        return cast(value, float64) if isinstance(value, Tensor) else self.stored_number(name, value)

    def stored_number(self, name: str, value: float) -> Variable:
        """The float64 scalar ``OPTIMIZER/NAME``, made when it is first asked for."""
        if name not in self._numbers:
            self._numbers[name] = stored(lambda: self.name, name, self.location, value, (), float64)
        return self._numbers[name]

    def advance(self, clock: Variable) -> None:
        """Append to the open program that a clock moves by one, where the update of its run was applied."""
        program = current_graph("step()").program_for("step()")
        clock.assign(clock + 1, when=self.applied_in(program))

    def applied_in(self, program: ProgramContext) -> Tensor | None:
        """The bool scalar that says whether a run of the program applies the update; None: every run does."""
        return None

    def attach(self, scheduler: Schedule) -> None:
        """Let a scheduler make the numbers that it drives from their bases.

        Raises:
            GraphError: if one of them was read already.
        """
        self._check_unread("attached", scheduler)
        self.schedulers.append(scheduler)

    def detach(self, scheduler: Schedule) -> None:
        """Give a scheduler to a composition that owns it from now on.

        Raises:
            GraphError: if it is not attached here, or what it drives was read already.
        """
        self._check_unread("composed", scheduler)
        rest = [each for each in self.schedulers if each is not scheduler]
        if len(rest) == len(self.schedulers):
            text = f"{type(scheduler).__name__} is not one of the schedulers of optimizer {self.name!r}"
            hint = "a scheduler belongs to one composition, and to the optimizer that it was made for"
            made = f"at {scheduler.location}"
            raise GraphError(message(text, made=made, here=f"at {user_line()}", hint=hint))
        self.schedulers = rest

    def _check_unread(self, what: str, scheduler: Schedule) -> None:
        for name in scheduler.drives:
            if name in self._read_at:
                raise GraphError(
                    message(
                        f"a scheduler is {what} after {_called(name)} of {self.name!r} was read",
                        read=f"at {self._read_at[name]}",
                        here=f"at {user_line()}",
                        hint=f"make the scheduler first: what read {_called(name)} has the one without it",
                    )
                )

    def scheduler(self, name: str = "lr") -> Schedule | None:
        """The one scheduler that makes a number of the groups, if there is one.

        Raises:
            GraphError: if there are two.
        """
        found = [scheduler for scheduler in self.schedulers if name in scheduler.drives]
        if len(found) > 1:
            first, second = found[:2]
            driven = "" if name == "lr" else f" for {name!r}"
            raise GraphError(
                message(
                    f"optimizer {self.name!r} has {len(found)} schedulers{driven} that nobody composes",
                    first=f"{type(first).__name__} made at {first.location}",
                    second=f"{type(second).__name__} made at {second.location}",
                    hint=f"ChainedScheduler([...]) applies each to {_called(name)} of the one before it, "
                    "SequentialLR(...) one after the other",
                )
            )
        return found[0] if found else None

    def check_schedulers(self) -> None:
        """Refuse two schedulers that make one number.

        Raises:
            GraphError: if there are such.
        """
        for name in dict.fromkeys(name for scheduler in self.schedulers for name in scheduler.drives):
            self.scheduler(name)

    def idle_schedulers(self) -> list[Schedule]:
        """Those whose numbers programs use, and whose clocks none moves."""
        return [scheduler for scheduler in self.schedulers if self._scheduled and scheduler.stands_still]

    def value(self, name: str, index: int) -> Tensor:
        """The number of a group that this update uses: what its scheduler makes of the base.

        Args:
            name: "lr", OPTION or OPTION/INDEX.
            index: The number of the group.
        """
        scheduler, base = self.scheduler(name), self.param_groups[index].base(name)
        plain = scheduler is None and name != "lr"
        if not plain and (name, index) not in self._scheduled:
            graph = self.join(f"{self.name}.{name}")
            with graph.scoped(f"{self.name}/{name}"):
                if scheduler is not None:
                    base = scheduler.value_for(name, index, base, cast(scheduler.clock, float64))
                self._scheduled[name, index] = cast(base, float64)
        if name not in self._read_at:
            self._read_at[name] = user_line()
        return base if plain else self._scheduled[name, index]

    def join(self, call: str) -> GraphContext:
        """Enter the open graph: its list of optimizers, and its state.

        Raises:
            GraphError: if no graph is open, or another one has the optimizer or one of its parameters, or
                another optimizer has one of them.
        """
        graph = current_graph(call)
        if self in graph.optimizers:
            return graph
        graph.check_open()
        self._refuse_shared(graph, call)
        for tensor in self.held():
            if isinstance(tensor, Variable):
                tensor.adopt()
            if tensor.graph is not graph:
                raise GraphError(
                    message(
                        f"{call}: {tensor.name!r} belongs to graph {tensor.graph.ir.name!r}",
                        optimizer=f"made at {self.location}",
                        here=f"at {user_line()}, in graph {graph.ir.name!r}",
                        hint="make one optimizer per graph, from the parameters of that graph",
                    )
                )
        graph.optimizers.append(self)
        return graph

    def _refuse_shared(self, graph: GraphContext, call: str) -> None:
        own = {p for group in self.param_groups for p in group.params}
        for other in graph.optimizers:
            shared = [p for group in other.param_groups for p in group.params if p in own]
            if shared:
                raise GraphError(
                    message(
                        f"{call}: parameter {shared[0].name!r} belongs to optimizer {other.name!r}",
                        first=f"made at {other.location}",
                        second=f"made at {self.location}",
                        expected="one optimizer per parameter, under whose name its state is kept",
                        hint="one optimizer steps in several programs, and its groups have their own options",
                    )
                )

    def held(self) -> Iterable[Tensor]:
        """What enters a graph's state with the optimizer."""
        for group in self.param_groups:
            for tensors in group.numbers.values():
                yield from tensors
            yield from group.kept.values()


def _called(name: str) -> str:
    """A number of the groups, in messages."""
    return "the rate" if name == "lr" else f"the {name!r}"
