"""Parameter groups: which parameters an optimizer updates, and with which options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from types import SimpleNamespace
from typing import Any, NoReturn

from lazyflow.ops.elementwise import cast
from lazyflow.optim.options import Option, Switch
from lazyflow.runtime.dtypes import bool_, float64
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, SymbolicError, message
from lazyflow.tensor import Tensor
from lazyflow.variable import Parameter, Variable


class Group(Mapping[str, Any]):
    """One group of an optimizer: ``group["lr"]`` is the rate that this update uses.

    Numbers are float64 scalar Tensors, of a schedule where one drives them; structure is plain Python,
    ``"params"`` is the list of Parameters and ``"initial_lr"`` the base rate, from which the schedule starts.

    Args:
        name: The prefix of its variables' names, ``adamw/groups/0``.
        location: The user's line that made it.
        params: Its parameters.
        settings: A checked value per option.
        options: The options of the optimizer.
        value: Makes the number of a name, OPTION or OPTION/INDEX, that this update uses.
        kept: The first number of each float64 scalar that the optimizer keeps for the group, by name.
    """

    def __init__(
        self,
        name: Callable[[], str],
        location: str,
        params: list[Parameter],
        settings: dict[str, Any],
        options: Mapping[str, Option[Any]],
        value: Callable[[str], Tensor],
        kept: Mapping[str, float],
    ) -> None:
        self.params = params
        self.settings = settings
        self.options = options
        self.value = value
        self._tensors = {
            option: _scalars(name, option, location, value)
            for option, value in settings.items()
            if self.is_number(option)
        }
        self.kept = {key: stored(name, key, location, first, (), float64) for key, first in kept.items()}

    def is_number(self, option: str) -> bool:
        """Whether an option is data in this group: there, and neither a flag nor fixed."""
        declared = self.options[option]
        return not (declared.is_flag or declared.fixed or self.settings[option] is None)

    @cached_property
    def structure(self) -> tuple[Any, ...]:
        """What decides which terms its update has; groups of equal structure share one rule."""
        return tuple(None if self.is_number(option) else (value,) for option, value in self.settings.items())

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each number: OPTION, or OPTION/INDEX for those of a tuple."""
        numbers = [option for option in self._tensors if not isinstance(self.options[option], Switch)]
        return tuple(name for option in numbers for name in self._names(option))

    def _names(self, option: str) -> tuple[str, ...]:
        if not isinstance(self.settings[option], tuple):
            return (option,)
        return tuple(f"{option}/{i}" for i in range(len(self._tensors[option])))

    def base(self, name: str) -> Tensor:
        """What a schedule of a number starts from: a variable, unless the user gave a Tensor."""
        option, _, index = name.partition("/")
        return self._tensors[option][int(index or 0)]

    @property
    def numbers(self) -> dict[str, tuple[Tensor, ...]]:
        """The scalars of each option that is data, as schedules start from them."""
        return dict(self._tensors)

    def fixed(self) -> dict[str, Any]:
        """The options that are structure, as the user wrote them."""
        return {option: self._plain(option) for option in self.settings if not self.is_number(option)}

    def view(self, scalar: Callable[[str], Tensor]) -> SimpleNamespace:
        """The group as an update rule sees it: ``h.eps``, ``h.betas``; an absent term is None.

        Args:
            scalar: Makes the scalar of a name: OPTION, or OPTION/INDEX for those of a tuple.
        """
        seen = dict(self.settings)
        for option in self._tensors:
            seen[option] = self._gathered(option, scalar)
        return SimpleNamespace(**seen, **{name: scalar(name) for name in self.kept})

    def _gathered(self, option: str, scalar: Callable[[str], Tensor]) -> Any:
        made = tuple(map(scalar, self._names(option)))
        return made if isinstance(self.settings[option], tuple) else made[0]

    def scalar(self, name: str) -> Tensor:
        """A number of the group in the open graph, float64: one that is kept, an OPTION, or OPTION/INDEX."""
        if name in self.kept:
            return self.kept[name]
        return cast(self.value(name), float64)

    def _plain(self, option: str) -> Any:
        value = self.settings[option]
        return self.options[option].absent if value is None else value

    def __getitem__(self, key: str) -> Any:
        if key == "params":
            return self.params
        if key == "initial_lr":
            return self.base("lr")
        if key in self._tensors:
            return self._gathered(key, self.value)
        return self._plain(key)

    def __setitem__(self, key: str, value: object) -> NoReturn:
        raise SymbolicError(
            message(
                f'param_groups[...]["{key}"] = {value!r}: a group holds no numbers while the graph is built',
                hint=f'session.groups["NAME"][...]["{key}"] = ..., in a live session; nothing is recompiled',
            )
        )

    def __iter__(self) -> Iterator[str]:
        yield "params"
        yield "initial_lr"
        yield from self.settings

    def __len__(self) -> int:
        return len(self.settings) + 2


def _scalars(prefix: Callable[[], str], key: str, location: str, value: Any) -> tuple[Tensor, ...]:
    """The number of an option, or those of a tuple, as variables; a Tensor of the user's as it is."""
    if isinstance(value, Tensor):
        return (value,)
    if isinstance(value, tuple):
        return tuple(
            each for i, item in enumerate(value) for each in _scalars(prefix, f"{key}/{i}", location, item)
        )
    dtype = bool_ if isinstance(value, bool) else float64
    return (stored(prefix, key, location, value, (), dtype),)


def stored(
    prefix: Callable[[], str],
    key: str,
    location: str,
    initial: Any,
    shape: tuple[int, ...],
    dtype: object,
) -> Variable:
    """A variable of an optimizer: ``PREFIX/KEY``, final at compile; its line is the optimizer's."""
    variable = Variable(initial, shape=shape, dtype=dtype, location=location)
    variable.naming = lambda: f"{prefix()}/{key}"
    return variable


# --- what the user gives ----------------------------------------------------------------------------------


def collect(params: object, kind: str, here: str) -> list[tuple[list[Parameter], dict[str, Any]]]:
    """The groups that the argument ``params`` means: parameters, and the options written beside them.

    Args:
        params: An iterable of Parameters, or of dicts with the key "params".
        kind: The optimizer's class, for messages.
        here: The user's line.

    Raises:
        ArgumentTypeError: if something in it is no Parameter, or its order is not fixed.
        ArgumentError: if a group is empty, or a parameter is there twice.
    """
    items = _listed(params, kind, "params", here)
    dicts = [isinstance(item, Mapping) for item in items]
    if any(dicts) and not all(dicts):
        raise ArgumentTypeError(
            message(f"{kind}: params mixes parameters and groups", expected="Parameters, or dicts", here=here)
        )
    groups = [_group(item, i, kind, here) for i, item in enumerate(items)] if any(dicts) else [(items, {})]
    places: dict[Parameter, str] = {}
    for number, (members, _) in enumerate(groups):
        for place, member in enumerate(members):
            where = f"params[{number}]['params'][{place}]" if any(dicts) else f"params[{place}]"
            _check_member(member, where, kind, here, places)
    return groups


def _listed(params: object, kind: str, where: str, here: str) -> list[Any]:
    if isinstance(params, Tensor):
        text = f"{kind}: {where} is {params!r}, not an iterable of Parameters"
        raise ArgumentTypeError(message(text, hint=f"{kind}([parameter], ...)", here=here))
    if isinstance(params, set | frozenset):
        text = f"{kind}: {where} is a set, whose order is not the same in another process"
        raise ArgumentTypeError(message(text, hint="give a list", here=here))
    if not isinstance(params, Iterable) or isinstance(params, str | bytes | Mapping):
        hint = f"{kind}(model.parameters(), ...)" if hasattr(params, "parameters") else None
        text = f"{kind}: {where} is {params!r}, not an iterable of Parameters"
        raise ArgumentTypeError(message(text, expected="Parameters, or dicts", hint=hint, here=here))
    items = list(params)
    if not items:
        used = isinstance(params, Iterator)
        why = " (an iterator gives its items once: was it used before?)" if used else ""
        hint = "list(model.parameters()), where it is used twice" if used else None
        text = f"{kind}: {where} holds no parameters{why}"
        raise ArgumentError(message(text, expected="at least one Parameter", hint=hint, here=here))
    return items


def _group(item: Mapping[str, Any], number: int, kind: str, here: str) -> tuple[list[Any], dict[str, Any]]:
    options = dict(item)
    if "params" not in options:
        text = f"{kind}: group {number} has no key 'params', only {list(options)}"
        raise ArgumentError(message(text, here=here))
    params = options.pop("params")
    members = [params] if isinstance(params, Parameter) else params
    return _listed(members, kind, f"params[{number}]['params']", here), options


def _check_member(member: Any, where: str, kind: str, here: str, places: dict[Parameter, str]) -> None:
    if not isinstance(member, Parameter):
        named = isinstance(member, tuple) and len(member) == 2 and isinstance(member[1], Parameter)
        hint = "model.parameters(), not named_parameters()" if named else None
        if isinstance(member, Variable):
            hint = "lf.Parameter(...) makes a variable that is trained"
        text = f"{kind}: {where} is no Parameter: {member!r}"
        raise ArgumentTypeError(message(text, expected="a Parameter", hint=hint, here=here))
    if member in places:
        text = f"{kind}: parameter {member.name!r} is there twice, in {places[member]} and {where}"
        raise ArgumentError(message(text, expected="each Parameter once", here=here))
    places[member] = where
