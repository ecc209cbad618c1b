"""nn.Graph: OneFlow's way to write a step as a class, over the same calls as everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter as Argument
from inspect import signature
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from lazyflow import graph as front
from lazyflow.append import placeholder
from lazyflow.compile import compile as compile_graph
from lazyflow.compiler import graph as ir
from lazyflow.location import user_line
from lazyflow.nn.module import Module
from lazyflow.optim.lr_scheduler.scheduler import LRScheduler
from lazyflow.optim.optimizer import Optimizer
from lazyflow.runtime import dtypes
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, GraphError, message
from lazyflow.runtime.plan import Plan
from lazyflow.runtime.session import Session
from lazyflow.tensor import Tensor

Array: TypeAlias = NDArray[Any]

_POSITIONAL = (Argument.POSITIONAL_ONLY, Argument.POSITIONAL_OR_KEYWORD)


class Graph(Module):
    """A step written as a class: ``build`` appends its ops, a call runs it.

    The first call, with NumPy arrays, traces ``build`` with placeholders of their shapes and dtypes, compiles
    and runs; further calls run. The first axis of the first array, and all first axes of its size, become the
    dimension "batch", so that later calls may bring batches of other sizes. Where ``build`` calls
    ``loss.backward()``, the optimizers of ``add_optimizer`` step, and then their schedulers.

    Several graphs may hold one model; they share its values. Modes (``train()`` and ``eval()``) are read when
    ``build`` is traced.

    Args:
        name: Begins the names of the parameters, in place of the attributes of this class.
        backend: What executes the plan, as in ``plan.session``.
        seed: What random draws depend on, initial values too.
        static: Whether first axes have the size that they have in the first call.

    Example:
        >>> import numpy as np
        >>> from lazyflow import nn
        >>> class Predict(nn.Graph):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.model = nn.Linear(4, 2)
        ...     def build(self, x):
        ...         return self.model(x)
        >>> predict = Predict()
        >>> predict(np.zeros((8, 4), np.float32)).shape, predict(np.zeros((3, 4), np.float32)).shape
        ((8, 2), (3, 2))
        >>> sorted(predict.state_dict())[:2]
        ['model.bias', 'model.weight']
    """

    # Defaults on the class, as in Module.
    _backend: str = "auto"
    _seed: int | None = None
    _static: bool = False
    _optimizers: tuple[tuple[Optimizer, LRScheduler | None], ...] = ()
    _pending: Mapping[str, object] | None = None
    _compiled: _Compiled | None = None

    def __init__(
        self,
        name: str | None = None,
        *,
        backend: str = "auto",
        seed: int | None = None,
        static: bool = False,
    ) -> None:
        super().__init__(name)
        self._backend, self._seed, self._static = backend, seed, static

    def build(self, *inputs: Any, **named: Any) -> Any:
        """Append the step and return what a call returns: a Tensor, or tuples, lists and dicts of them.

        Raises:
            GraphError: where the subclass has none.
        """
        kind = type(self).__name__
        hint = "def build(self, x, y): ... return loss"
        raise GraphError(message(f"{kind} has no build()", here=f"at {user_line()}", hint=hint))

    def add_optimizer(self, optimizer: Optimizer, *, lr_sch: LRScheduler | None = None) -> None:
        """Let an optimizer step, and then its scheduler, in every call.

        Args:
            optimizer: An optimizer of parameters that ``build`` uses.
            lr_sch: Its learning-rate scheduler.

        Raises:
            ArgumentTypeError: if one is none.
            ArgumentError: if the scheduler is of another optimizer, or is left out.
            GraphError: if the graph is compiled already, or has the optimizer.
        """
        self._check_optimizer(optimizer)
        if lr_sch is not None and not isinstance(lr_sch, LRScheduler):
            text = f"add_optimizer: lr_sch {lr_sch!r} is no scheduler"
            raise ArgumentTypeError(message(text, here=f"at {user_line()}"))
        attached = optimizer.scheduler()
        if lr_sch is not attached:
            given = "no lr_sch is given" if lr_sch is None else f"lr_sch is {type(lr_sch).__name__}"
            made = "none" if attached is None else f"{type(attached).__name__} made at {attached.location}"
            raise ArgumentError(
                message(
                    f"add_optimizer: {given}, which is not the scheduler of {optimizer.name!r}",
                    expected=f"the scheduler that was made for it: {made}",
                    here=f"at {user_line()}",
                )
            )
        self._optimizers = (*self._optimizers, (optimizer, lr_sch))

    def _check_optimizer(self, optimizer: object) -> None:
        here = f"at {user_line()}"
        if not isinstance(optimizer, Optimizer):
            text = f"add_optimizer: {optimizer!r} is no optimizer"
            raise ArgumentTypeError(message(text, expected="one of lazyflow.optim", here=here))
        if self._compiled is not None:
            text = f"add_optimizer: {type(self).__name__} is compiled already"
            raise GraphError(message(text, here=here, hint="add optimizers in __init__"))
        if any(optimizer is known for known, _ in self._optimizers):
            raise GraphError(message(f"add_optimizer: {optimizer.name!r} is added twice", here=here))

    # --- calls ----------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the step with arrays for the arguments of ``build``; returns its result, of arrays."""
        compiled = self.compile(*args, **kwargs)
        given = self._named(args, kwargs)
        feeds = {name: given[name] for name in compiled.feeds if name in given}
        fetched = compiled.session.run(compiled.program, feeds)
        return _mapped(compiled.result, lambda name: fetched[name])

    def compile(self, *args: Any, **kwargs: Any) -> _Compiled:
        """Trace and compile ``build`` for arrays like these, unless that was done, and run nothing."""
        if self._compiled is None:
            self._compiled = self._compile(self._named(args, kwargs), len(args))
        return self._compiled

    @property
    def plan(self) -> Plan:
        """The compiled plan.

        Raises:
            GraphError: before the first call.
        """
        return self._made("plan").plan

    @property
    def session(self) -> Session:
        """The session that calls run in.

        Raises:
            GraphError: before the first call.
        """
        return self._made("session").session

    def state_dict(self) -> dict[str, Array]:
        """A copy of every variable by name: parameters, and the state of the optimizers and schedulers.

        Raises:
            GraphError: before the first call.
        """
        return self._made("state_dict").session.state_dict()

    def load_state_dict(self, values: Mapping[str, object]) -> None:
        """Set all variables; before the first call, when that comes.

        Raises:
            StateError: listing what is missing, unexpected or does not fit.
        """
        if self._compiled is None:
            self._pending = dict(values)
        else:
            self._compiled.session.load_state_dict(values)

    def _made(self, what: str) -> _Compiled:
        if self._compiled is None:
            raise GraphError(
                message(
                    f"{what}: {type(self).__name__} is compiled by its first call",
                    here=f"at {user_line()}",
                    hint="call it first, or compile(...) with arrays like those of the calls",
                )
            )
        return self._compiled

    # --- compilation ----------------------------------------------------------------------------------------

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by the names of ``build``'s parameters."""
        expected = signature(self.build)
        try:
            expected.bind(*args, **kwargs)
        except TypeError as error:
            text = f"{type(self).__name__}: {error}"
            raise ArgumentTypeError(
                message(text, expected=f"build{expected}", here=f"at {user_line()}")
            ) from None
        plain = [p.name for p in expected.parameters.values() if p.kind in _POSITIONAL]
        names = [*plain[: len(args)], *(f"input_{i}" for i in range(len(plain), len(args)))]
        return {**dict(zip(names, args, strict=True)), **kwargs}

    def _compile(self, given: dict[str, Any], positional: int) -> _Compiled:
        graph = front.Graph(self.path or type(self).__name__)
        try:
            with graph:
                tensors = _placeholders(given, self._static)
                program = graph.program("train" if self._optimizers else "evaluate")
                with program:
                    names = list(tensors)
                    arguments = [tensors[name] for name in names[:positional]]
                    result = self.build(*arguments, **{name: tensors[name] for name in names[positional:]})
                    self._step(program)
                fetches: dict[str, Tensor] = {}
                structure = _mapped(result, lambda tensor: _fetched(tensor, fetches))
                program.fetch(**fetches)
            plan = compile_graph(graph)
        finally:
            held = [v for v in graph.variables.values() if v.ir.trainable or v.owner is not None]
            for variable in held:
                variable.release()  # other graphs of the model may take it
        session = plan.session(self._backend, self._seed)
        feeds = next(p.feeds for p in plan.document.programs if p.name == program.name)
        for variable in held:
            _share(variable.ir, session)
        if self._pending is not None:
            session.load_state_dict(self._pending)
        return _Compiled(plan, session, program.name, tuple(feed.name for feed in feeds), structure)

    def _step(self, program: front.Program) -> None:
        """Append the updates, where there are gradients for them."""
        here = f"at {program.location}"
        if bool(program.gradients) != bool(self._optimizers):
            raise GraphError(
                message(
                    f"{type(self).__name__}: build calls loss.backward(), and there is no optimizer"
                    if not self._optimizers
                    else f"{type(self).__name__}: there is an optimizer, and build calls no loss.backward()",
                    here=here,
                    hint="self.add_optimizer(optimizer) in __init__, and loss.backward() in build",
                )
            )
        for optimizer, _ in self._optimizers:
            optimizer.step()
        for _, scheduler in self._optimizers:
            if scheduler is not None:
                scheduler.step()


@dataclass(frozen=True)
class _Compiled:
    """A step that is ready to run.

    Attributes:
        plan: The plan.
        session: Its session.
        program: The name of its program.
        feeds: The arguments that it reads.
        result: What ``build`` returned, with the name of a fetch for each Tensor.
    """

    plan: Plan
    session: Session
    program: str
    feeds: tuple[str, ...]
    result: Any


def _placeholders(given: Mapping[str, Any], static: bool) -> dict[str, Tensor]:
    arrays = {name: _as_array(name, value) for name, value in given.items()}
    batch = None if static else next((array.shape[0] for array in arrays.values() if array.ndim), None)
    shapes = {
        name: ("batch", *array.shape[1:]) if array.ndim and array.shape[0] == batch else array.shape
        for name, array in arrays.items()
    }
    return {name: placeholder(name, shapes[name], array.dtype) for name, array in arrays.items()}


def _as_array(name: str, value: object) -> Array:
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    if isinstance(value, bool | int | float):
        kind = (bool, int, float).index(type(value))
        return np.asarray(value, (dtypes.bool_, dtypes.int64, dtypes.float32)[kind])
    raise ArgumentTypeError(
        message(
            f"{name}: {type(value).__name__} is no array",
            expected="numpy arrays and numbers",
            here=f"at {user_line()}",
            hint="numpy.asarray(...)",
        )
    )


def _mapped(result: Any, leaf: Callable[[Any], Any]) -> Any:
    """The same tuples, lists and dicts with each leaf replaced."""
    if isinstance(result, Mapping):
        return {key: _mapped(value, leaf) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return type(result)([_mapped(value, leaf) for value in result])
    return None if result is None else leaf(result)


def _fetched(tensor: object, fetches: dict[str, Tensor]) -> str:
    if not isinstance(tensor, Tensor):
        text = f"build returned {tensor!r}, which is no Tensor"
        expected = "Tensors, or tuples, lists and dicts of them"
        raise ArgumentTypeError(message(text, expected=expected, here=f"at {user_line()}"))
    name = f"output_{len(fetches)}"
    fetches[name] = tensor
    return name


# --- values that several graphs share -----------------------------------------------------------------------


@dataclass
class _Home:
    """Where the value of a variable lives: in the first session that has it, until a second one comes."""

    session: Session
    name: str
    array: Array | None = None

    def moved_out(self) -> Array:
        """The array that all sessions are bound to."""
        if self.array is None:
            self.array = self.session.get(self.name)
            self.session.bind(self.name, self.array)
        return self.array


_homes: WeakKeyDictionary[ir.Variable, _Home] = WeakKeyDictionary()


def _share(variable: ir.Variable, session: Session) -> None:
    home = _homes.get(variable)
    if home is None:
        _homes[variable] = _Home(session, variable.name)
    else:
        session.bind(variable.name, home.moved_out())
