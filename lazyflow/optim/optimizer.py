"""Optimizer: options, groups, state, and ``step()``, which appends one update op per parameter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, TypeAlias

from lazyflow.location import user_line
from lazyflow.ops.elementwise import cast, clip
from lazyflow.optim.average import initial_value
from lazyflow.optim.form import Form, Scalars
from lazyflow.optim.groups import Group, collect, stored
from lazyflow.optim.options import Declared, NormType, Option, Scalar, Switch, argument
from lazyflow.optim.stepping import Stepping
from lazyflow.optim.table import Table, make_table
from lazyflow.optim.trace import Kept, Next, Rule, trace
from lazyflow.runtime.dtypes import DType, float64, int32
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, message
from lazyflow.tensor import Tensor
from lazyflow.variable import Parameter, Variable

State: TypeAlias = tuple[Tensor, ...]


class Optimizer(Declared, Stepping, ABC):
    """Base of all optimizers: what stands around an update rule.

    A subclass declares its options as fields, names its state, and gives its rule in ``update``; names in
    the checkpoint, parameter groups, the checks of options, fusion and batching follow.

    Args:
        params: Parameters, or dicts with the key "params" and options of their own; or ``parameters=``.
        lr: Learning rate, >= 0: what a scheduler starts from.
        name: The prefix of its variables' names; the class's name in lower case unless given.
        scale: Multiplies the gradient, >= 0; 1 / S undoes the scaling of a loss by S.
        lr_scale: Multiplies the rate in the update, and not the rate that is fetched, >= 0.
        maximize: Whether to climb: negates the gradient, before weight decay.
        clip_grad_max_norm: The gradients of a group are cut to this norm, before weight decay; None: not.
        clip_grad_norm_type: The p of that norm: > 0, inf or -inf.
        frozen: Whether the parameters of a group, their state and averages stay as they are. A live session
            switches it: ``session.groups[NAME][INDEX]["frozen"] = True``.

    Attributes:
        averages: What ``step(average=...)`` keeps: the average of each parameter, a Variable.

    Example:
        >>> from lazyflow.ops.elementwise import sign
        >>> class SignSGD(Optimizer):
        ...     def update(self, p, g, lr, t, state, h):
        ...         return p - lr * sign(g), ()
    """

    params: Any = argument(default=())
    lr: Option[Scalar] = Option(default=0.001, low=0.0)
    parameters: Any = argument(default=(), kw_only=True)
    name: str = argument(default="", kw_only=True)
    scale: Option[Scalar] = Option(default=1.0, low=0.0, kw_only=True)
    lr_scale: Option[Scalar] = Option(default=1.0, low=0.0, kw_only=True)
    maximize: Option[bool] = Option(default=False, kw_only=True)
    clip_grad_max_norm: Option[Scalar | None] = Option(default=None, low=0.0, kw_only=True)
    clip_grad_norm_type: Option[float] = NormType(default=2.0, fixed=True, kw_only=True)
    frozen: Switch = Switch(default=False, kw_only=True)

    decoupled: ClassVar[bool] = False  # whether weight decay stays out of the gradient

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.location = user_line()
        kind = type(self).__name__
        given = self.bind(args, kwargs, f"at {self.location}")
        self.name = _checked_name(given["name"], kind)
        groups = collect(_params(given, kind), kind, f"at {self.location}")
        self.param_groups = [self._group(i, *group, given) for i, group in enumerate(groups)]
        self.params = self.parameters = tuple(p for group in self.param_groups for p in group.params)
        self._rules: dict[tuple[Any, ...], Rule] = {}
        self._members = self._memberships()
        self._state: dict[Parameter, tuple[Variable, ...]] = {}
        self._start()

    def _memberships(self) -> dict[Parameter, Variable]:
        """The variable that holds each parameter's group: one for all, where there is nowhere to move."""
        if len(self.param_groups) == 1:
            only = stored(lambda: self.name, "group", self.location, 0, (), int32)
            return dict.fromkeys(self.params, only)
        groups = enumerate(self.param_groups)
        return {p: self._stored(p, "group", i, (), int32) for i, group in groups for p in group.params}

    def _group(
        self, index: int, params: list[Parameter], own: dict[str, Any], given: dict[str, Any]
    ) -> Group:
        kind, here = type(self).__name__, f"at {self.location}"
        owner = f"{kind}, group {index}" if own else kind
        for key in own:
            if key not in self.options:
                text = f"{owner}: unknown option {key!r}"
                raise ArgumentError(message(text, expected=", ".join(("params", *self.options)), here=here))
        settings = {
            name: option.check(own.get(name, given[name]), owner if name in own else kind, here)
            for name, option in self.options.items()
        }
        self.check(SimpleNamespace(**settings), owner)
        return Group(
            lambda: f"{self.name}/groups/{index}",
            self.location,
            params,
            settings,
            self.options,
            lambda name: self.value(name, index),
            self.group_state(SimpleNamespace(**settings)),
        )

    def __repr__(self) -> str:
        counts = f"{len(self.params)} parameters in {len(self.param_groups)} groups"
        return f"<{type(self).__name__} {self.name!r}: {counts}, made at {self.location}>"

    # --- what a subclass gives ----------------------------------------------------------------------------

    def check(self, h: SimpleNamespace, owner: str) -> None:
        """Refuse options that do not go together.

        Args:
            h: The plain values of a group's options; an absent term is None.
            owner: The class and group, for messages.
        """

    def state(self, h: Any) -> Sequence[str] | Mapping[str, float | Kept]:
        """The names of the variables kept per parameter, 0 at first, or how each starts, by name.

        Args:
            h: The group, as ``update`` sees it.
        """
        return ()

    def group_state(self, h: Any) -> Mapping[str, float]:
        """The first numbers of the float64 scalars kept per group, by name; ``update`` sees them in ``h``.

        Args:
            h: The plain values of the group's options; an absent term is None.
        """
        return {}

    def next_group_state(self, lr: Tensor, t: Tensor, h: Any) -> Mapping[str, Tensor]:
        """Their next values, which follow from scalars alone; the arguments are those of ``update``."""
        return {}

    def looks_at_shape(self, shape: tuple[int, ...], h: Any) -> bool:
        """Whether the rule of a parameter works on its shape, which it finds in ``h.shape``.

        Other rules see parameters of shape (n,), ``h.shape`` is None for them, and all parameters of a rule
        are one kernel. One that looks at the shape may multiply matrices and keep state of other shapes; its
        ops become part of the program.

        Args:
            shape: The shape of the parameter.
            h: The plain values of the group's options; an absent term is None.
        """
        return False

    @abstractmethod
    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        """The next value of a parameter, and those of its state.

        Args:
            p: The parameter, shape (n,).
            g: Its gradient: scaled, clipped, and with the weight decay that is not decoupled.
            lr: The rate of this update, a float64 scalar.
            t: The number of this update, from 1, a float64 scalar.
            state: Its state, in the order of ``state``.
            h: The group: numbers are float64 scalars, structure is plain Python, an absent term is None.

        Returns:
            The next parameter, and a tuple of next states.
        """

    def gradient(self, p: Tensor, g: Tensor, h: Any) -> Tensor:
        """The gradient as the rule sees it: scaled and clipped, then the sign, then L2 weight decay."""
        d = self.scaled(g, h)
        return self.decayed(p, -d if h.maximize else d, h)

    def scaled(self, g: Tensor, h: Any) -> Tensor:
        """The gradient times ``scale``, without the loss scale, and clipped by value and by norm."""
        factor: Tensor = h.scale if h.unscale is None else h.scale * h.unscale
        if h.limit is not None:
            g, factor = clip(g * factor, -h.limit, h.limit), h.clip
        elif h.clip is not None:
            factor = factor * h.clip
        return g if factor is None else g * factor

    def decayed(self, p: Tensor, d: Tensor, h: Any) -> Tensor:
        """The gradient with L2 weight decay, unless the decay is decoupled or there is none."""
        if self.decoupled or "weight_decay" not in self.options:
            return d
        decay: Tensor = h.weight_decay * p
        return d + decay

    # --- what a step asks for -----------------------------------------------------------------------------

    def member(self, parameter: Parameter) -> Variable:
        return self._members[parameter]

    def next_of_group(self, group: Group, t: Tensor) -> list[tuple[Variable, Tensor]]:
        """The scalars kept for a group, and their next values."""
        if not group.kept:
            return []
        h = group.view(group.scalar)
        after = self.next_group_state(cast(group["lr"], float64) * h.lr_scale, t, h)
        return [(variable, after[name]) for name, variable in group.kept.items()]

    def kept(self, parameter: Parameter, rule: Rule, average: str) -> tuple[Variable, ...]:
        """The state of a parameter, in the graph; and its average, where one of that name is kept."""
        if parameter not in self._state:
            state = {name: kept for name, kept in rule.state.items() if name != average}
            self._state[parameter] = tuple(
                self._stored(
                    parameter,
                    name,
                    kept.initial,
                    parameter.shape if kept.shape is None else kept.shape,
                    parameter.dtype,
                )
                for name, kept in state.items()
            )
        if average and parameter not in self.averages:
            start = initial_value(parameter)
            made = self._stored(parameter, average, start, parameter.shape, parameter.dtype)
            self.averages[parameter] = made
        variables = (*self._state[parameter], *([self.averages[parameter]] if average else []))
        for variable in variables:
            variable.adopt()
        return variables

    def _stored(
        self, parameter: Parameter, key: str, initial: Any, shape: tuple[int, ...], dtype: DType
    ) -> Variable:
        return stored(lambda: parameter.name, key, self.location, initial, shape, dtype)

    def rule(self, group: Group, parameter: Parameter, form: Form) -> Rule:
        """The traced update rule of a parameter in a group, one for all of equal structure, form and dtype.

        Where the rule looks at the shape, it is one for all of equal shape.
        """
        seen = self.looks_at_shape(parameter.shape, SimpleNamespace(**group.settings))
        shape = parameter.shape if seen else None
        key = (group.structure, parameter.dtype, shape, form)
        if key not in self._rules:
            self._rules[key] = trace(
                type(self).__name__,
                parameter.dtype,
                lambda scalars: self._first(group, shape, scalars),
                lambda p, g, state, scalars: self._traced(
                    p, g, state, form, _seen(group, shape, scalars), scalars
                ),
                shape,
                form,
            )
        return self._rules[key]

    def _first(self, group: Group, shape: tuple[int, ...] | None, scalars: Scalars) -> Mapping[str, Kept]:
        """How each variable of the state starts."""
        state = self.state(_seen(group, shape, scalars))
        numbers = state if isinstance(state, Mapping) else dict.fromkeys(state, 0.0)
        return {name: each if isinstance(each, Kept) else Kept(each) for name, each in numbers.items()}

    def _traced(self, p: Tensor, g: Tensor, state: State, form: Form, h: Any, scalars: Scalars) -> Next:
        form.show(h, scalars)
        lr = scalars("lr") * h.lr_scale
        return self.update(p, self.gradient(p, g, h), lr, scalars("t"), state, h)

    def held(self) -> Iterable[Tensor]:
        """What enters a graph's state with the optimizer: parameters too that no program updates."""
        return (*self._members, *dict.fromkeys(self._members.values()), *super().held())

    def table(self) -> Table:
        """What a plan keeps of the optimizer, for ``session.groups``; names are final by then."""
        kind = type(self).__name__
        state = {p: (*kept, *self._around(p)) for p, kept in self._state.items()}
        return make_table(self.name, kind, self.param_groups, self._members, state)

    def _around(self, parameter: Parameter) -> list[Variable]:
        """The variables of a parameter that its rule does not know: its average, its sum of gradients."""
        sums = self.filling.sums
        return [kept[parameter] for kept in (self.averages, sums) if parameter in kept]


def _checked_name(name: object, kind: str) -> str:
    if not isinstance(name, str):
        raise ArgumentTypeError(f"{kind}: name={name!r} is not a name; expected a string")
    return name or kind.lower()


def _params(given: Mapping[str, Any], kind: str) -> Any:
    """The argument ``params`` or its other name."""
    first, second = given["params"], given["parameters"]
    if isinstance(first, tuple) and first == ():
        return second
    if not (isinstance(second, tuple) and second == ()):
        raise ArgumentTypeError(f"{kind}: params and parameters are two names of one argument, both given")
    return first


def _seen(group: Group, shape: tuple[int, ...] | None, scalars: Scalars) -> Any:
    """A group as a rule sees it, with the shape that the rule looks at."""
    h = group.view(scalars)
    h.shape = shape
    return h
