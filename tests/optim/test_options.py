"""What optimizers refuse, with the words in which they do, and what they accept."""

import math
import re

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import optim
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, SymbolicError
from optim import golden
from optim.specifications import SPECIFICATIONS

NAN, INF = math.nan, math.inf


class Text:
    """Something that is no number, with a short name."""

    def __repr__(self):
        return "<text>"


# optimizer, options, what is wrong with the value, what is accepted
NON_NEGATIVE = "a number in [0, inf)"
SHARE = "2 numbers, each in [0, 1)"
RANGES = [
    (optim.SGD, {"lr": -0.1}, "is out of range", NON_NEGATIVE),
    (optim.SGD, {"lr": NAN}, "is not finite", NON_NEGATIVE),
    (optim.SGD, {"lr": INF}, "is not finite", NON_NEGATIVE),
    (optim.SGD, {"lr": -INF}, "is not finite", NON_NEGATIVE),
    (optim.SGD, {"momentum": -0.1}, "is out of range", NON_NEGATIVE),
    (optim.SGD, {"momentum": NAN}, "is not finite", NON_NEGATIVE),
    (optim.SGD, {"momentum": INF}, "is not finite", NON_NEGATIVE),
    (optim.SGD, {"dampening": -1e-9}, "is out of range", NON_NEGATIVE),
    (optim.SGD, {"dampening": NAN}, "is not finite", NON_NEGATIVE),
    (optim.SGD, {"weight_decay": -1}, "is out of range", NON_NEGATIVE),
    (optim.SGD, {"weight_decay": INF}, "is not finite", NON_NEGATIVE),
    (optim.SGD, {"scale": -1.0}, "is out of range", NON_NEGATIVE),
    (optim.SGD, {"scale": NAN}, "is not finite", NON_NEGATIVE),
    (optim.SGD, {"lr_scale": -0.5}, "is out of range", NON_NEGATIVE),
    (optim.SGD, {"clip_grad_max_norm": -1.0}, "is out of range", "a number in [0, inf), or None"),
    (optim.SGD, {"clip_grad_max_norm": INF}, "is not finite", "a number in [0, inf), or None"),
    (optim.SGD, {"clip_grad_norm_type": 0}, "is out of range", "a number > 0, inf or -inf"),
    (optim.SGD, {"clip_grad_norm_type": -2.0}, "is out of range", "a number > 0, inf or -inf"),
    (optim.SGD, {"clip_grad_norm_type": NAN}, "is out of range", "a number > 0, inf or -inf"),
    (optim.Adam, {"lr": -1e-3}, "is out of range", NON_NEGATIVE),
    (optim.Adam, {"lr": NAN}, "is not finite", NON_NEGATIVE),
    (optim.Adam, {"eps": -1e-8}, "is out of range", NON_NEGATIVE),
    (optim.Adam, {"eps": NAN}, "is not finite", NON_NEGATIVE),
    (optim.Adam, {"eps": INF}, "is not finite", NON_NEGATIVE),
    (optim.Adam, {"weight_decay": -0.1}, "is out of range", NON_NEGATIVE),
    (optim.Adam, {"betas": (1.0, 0.999)}, "is out of range", SHARE),
    (optim.Adam, {"betas": (0.9, 1.0)}, "is out of range", SHARE),
    (optim.Adam, {"betas": (-0.1, 0.9)}, "is out of range", SHARE),
    (optim.Adam, {"betas": (0.9, -0.1)}, "is out of range", SHARE),
    (optim.Adam, {"betas": (NAN, 0.9)}, "is not finite", SHARE),
    (optim.Adam, {"betas": (0.9, INF)}, "is not finite", SHARE),
    (optim.AdamW, {"lr": INF}, "is not finite", NON_NEGATIVE),
    (optim.AdamW, {"betas": (0.9, 1.5)}, "is out of range", SHARE),
    (optim.AdamW, {"weight_decay": -0.1}, "is out of range", NON_NEGATIVE),
    (optim.AdamW, {"eps": -1.0}, "is out of range", NON_NEGATIVE),
    (optim.RMSprop, {"lr": -1.0}, "is out of range", NON_NEGATIVE),
    (optim.RMSprop, {"alpha": -0.1}, "is out of range", "a number in [0, 1]"),
    (optim.RMSprop, {"alpha": 1.5}, "is out of range", "a number in [0, 1]"),
    (optim.RMSprop, {"alpha": NAN}, "is not finite", "a number in [0, 1]"),
    (optim.RMSprop, {"eps": -1e-8}, "is out of range", NON_NEGATIVE),
    (optim.RMSprop, {"momentum": -0.5}, "is out of range", NON_NEGATIVE),
    (optim.RMSprop, {"weight_decay": NAN}, "is not finite", NON_NEGATIVE),
]
# optimizer: its options that are numbers in [0, inf)
NOT_NEGATIVE = {
    optim.Adagrad: ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"),
    optim.Adadelta: ("lr", "eps", "weight_decay"),
    optim.LAMB: ("lr", "eps", "weight_decay"),
    optim.LARS: ("lr", "momentum", "weight_decay", "trust_coefficient", "eps"),
    optim.Adamax: ("lr", "weight_decay"),
    optim.RAdam: ("lr", "eps", "weight_decay"),
    optim.Lion: ("lr", "weight_decay"),
    optim.Adan: ("lr", "eps", "weight_decay"),
    optim.NAdam: ("lr", "eps", "weight_decay", "momentum_decay"),
    optim.Ftrl: ("lr", "initial_accumulator_value", "l1", "l2", "beta", "weight_decay"),
    optim.Adafactor: ("lr", "weight_decay"),
    optim.Muon: ("lr", "weight_decay", "adam_eps"),
    optim.ScheduleFreeAdamW: ("lr", "eps", "weight_decay", "warmup_steps"),
}
RANGES += [
    (kind, {name: value}, what, NON_NEGATIVE)
    for kind, names in NOT_NEGATIVE.items()
    for name in names
    for value, what in ((-0.5, "is out of range"), (NAN, "is not finite"), (INF, "is not finite"))
]
RANGES += [
    (kind, {"betas": value}, "is out of range", SHARE)
    for kind in (optim.LAMB, optim.Adamax, optim.RAdam, optim.Lion, optim.NAdam, optim.Muon)
    for value in ((1.0, 0.9), (0.9, -0.1))
]
RANGES += [
    (optim.Adamax, {"eps": 0.0}, "is out of range", "a number in (0, inf)"),
    (optim.Adadelta, {"rho": -0.1}, "is out of range", "a number in [0, 1]"),
    (optim.Adadelta, {"rho": NAN}, "is not finite", "a number in [0, 1]"),
    (optim.Adan, {"betas": (0.9, 0.9, 1.0)}, "is out of range", "3 numbers, each in [0, 1)"),
    (optim.Ftrl, {"lr_power": 0.5}, "is out of range", "a number in (-inf, 0]"),
    (optim.Ftrl, {"lr_power": -INF}, "is not finite", "a number in (-inf, 0]"),
    (optim.Adafactor, {"beta2_decay": 0.1}, "is out of range", "a number in (-inf, 0]"),
    (optim.Adafactor, {"d": 0.9}, "is out of range", "a number in [1, inf)"),
    (optim.Adafactor, {"eps": (-1e-30, 1e-3)}, "is out of range", "2 numbers, each in [0, inf)"),
    (optim.Adafactor, {"eps": (1e-30, INF)}, "is not finite", "2 numbers, each in [0, inf)"),
    (optim.Muon, {"momentum": 1.0}, "is out of range", "a number in [0, 1)"),
    (optim.Muon, {"eps": 0.0}, "is out of range", "a number in (0, inf)"),
    (optim.Muon, {"ns_steps": 0}, "is out of range", "an integer in [1, 99]"),
    (optim.Muon, {"ns_steps": 100}, "is out of range", "an integer in [1, 99]"),
    (optim.Muon, {"ns_coefficients": (3.0, NAN, 1.0)}, "is not finite", "3 numbers, each in (-inf, inf)"),
    (optim.Muon, {"adjust_lr_fn": "fast"}, "is unknown", "'original' or 'match_rms_adamw'"),
    (optim.ScheduleFreeAdamW, {"betas": (0.9, 1.0)}, "is out of range", SHARE),
]
TYPES = [
    *[
        (kind, {name: value}, "is no number", kind.options[name].expected)
        for kind, name in [
            (optim.SGD, "lr"),
            (optim.SGD, "momentum"),
            (optim.Adam, "eps"),
            (optim.AdamW, "weight_decay"),
            (optim.RMSprop, "alpha"),
        ]
        for value in ("0.1", None, True, np.True_, [0.1], np.zeros(2), 1j, Text())
    ],
    *[
        (optim.Adam, {"betas": value}, "is not 2 numbers", SHARE)
        for value in (0.9, (0.9,), (0.9, 0.99, 0.999), None, "ab", {0.9, 0.99})
    ],
    (optim.Adam, {"betas": (0.9, "0.99")}, "is no number", SHARE),
    (optim.Adam, {"betas": (True, 0.9)}, "is no number", SHARE),
    (optim.SGD, {"clip_grad_max_norm": "1"}, "is no number", "a number in [0, inf), or None"),
    (optim.SGD, {"clip_grad_norm_type": None}, "is no number", "a number > 0, inf or -inf"),
    *[
        (kind, {name: value}, "is no number", kind.options[name].expected)
        for kind, names in NOT_NEGATIVE.items()
        for name in names[:2]
        for value in ("0.1", True, None)
    ],
    *[
        (optim.Muon, {"ns_steps": value}, "is no integer", "an integer in [1, 99]")
        for value in (5.0, True, "5")
    ],
    (optim.Muon, {"adjust_lr_fn": 3}, "is no name", "'original' or 'match_rms_adamw'"),
    (optim.Muon, {"ns_coefficients": (1.0, 2.0)}, "is not 3 numbers", "3 numbers, each in (-inf, inf)"),
    (optim.Adan, {"betas": (0.9, 0.99)}, "is not 3 numbers", "3 numbers, each in [0, 1)"),
    (optim.Adafactor, {"eps": (None, 1e-3)}, "is no number", "2 numbers, each in [0, inf)"),
    (optim.pytorch.Adafactor, {"eps": (None, None)}, "is no number", "2 numbers, each in [0, inf)"),
    *[
        (kind, {name: value}, "is no bool", "True or False")
        for kind, name in [
            (optim.SGD, "nesterov"),
            (optim.SGD, "maximize"),
            (optim.Adam, "amsgrad"),
            (optim.AdamW, "do_bias_correction"),
            (optim.RMSprop, "centered"),
            (optim.NAdam, "decoupled_weight_decay"),
            (optim.Muon, "nesterov"),
            (optim.Adafactor, "eps_in_square"),
        ]
        for value in (1, 0.0, "yes", None)
    ],
]


def case_name(case):
    kind, options, *_ = case
    return f"{kind.__name__}-{options}"


def weight(name="w"):
    return lf.Parameter([1.0, 2.0], name=name)


def refused(error, kind, *args, **options):
    with pytest.raises(error) as caught:
        kind(*args, **options)
    return str(caught.value)


@pytest.mark.parametrize("case", RANGES, ids=case_name)
def test_out_of_range(case):
    kind, options, what, expected = case
    text = refused(ArgumentError, kind, [weight()], **options)
    ((name, value),) = options.items()
    assert text.splitlines()[0] == f"{kind.__name__}: {name}={value!r} {what}"
    assert f"expected  {expected}" in text
    assert "at test_options.py:" in text


@pytest.mark.parametrize("case", TYPES, ids=case_name)
def test_wrong_type(case):
    kind, options, what, expected = case
    text = refused(ArgumentTypeError, kind, [weight()], **options)
    ((name, value),) = options.items()
    assert text.splitlines()[0] == f"{kind.__name__}: {name}={value!r} {what}"
    assert f"expected  {expected}" in text


@pytest.mark.parametrize("case", [*RANGES[:4], *TYPES[:4]], ids=case_name)
def test_an_option_of_a_group_is_refused_with_the_number_of_the_group(case):
    kind, options, what, _ = case
    groups = [{"params": [weight("a")]}, {"params": [weight("b")], **options}]
    text = refused(ArgumentError, kind, groups)
    assert text.startswith(f"{kind.__name__}, group 1: {next(iter(options))}=")
    assert what in text


PARAMETERS = [
    (list, "holds no parameters"),
    (lambda: (), "holds no parameters"),
    (lambda: iter([]), "was it used before?"),
    (lambda: None, "params is None, not an iterable of Parameters"),
    (lambda: 3, "params is 3, not an iterable of Parameters"),
    (lambda: "w", "params is 'w', not an iterable of Parameters"),
    (lambda: weight(), "params is <Parameter 'w' float32[2]>, not an iterable"),
    (lambda: {weight()}, "is a set, whose order is not the same in another process"),
    (lambda: {"params": [weight()]}, "not an iterable of Parameters"),
    (lambda: [1.0], "params[0] is no Parameter: 1.0"),
    (lambda: [weight(), np.zeros(2)], "params[1] is no Parameter: array([0., 0.])"),
    (lambda: [lf.Variable([1.0], name="v")], "params[0] is no Parameter: <Variable 'v' float32[1]>"),
    (lambda: [("w", weight())], "model.parameters(), not named_parameters()"),
    (lambda: [weight(), {"params": [weight()]}], "params mixes parameters and groups"),
    (lambda: [{"params": []}], "params[0]['params'] holds no parameters"),
    (lambda: [{"lr": 0.1}], "group 0 has no key 'params', only ['lr']"),
    (lambda: [{"params": [weight()], "speed": 1}], "SGD, group 0: unknown option 'speed'"),
    (lambda: [{"params": [weight()], "betas": (0.9, 0.9)}], "SGD, group 0: unknown option 'betas'"),
    (lambda: [{"params": [weight()], "name": "x"}], "SGD, group 0: unknown option 'name'"),
    (lambda: [{"params": ["w"]}], "params[0]['params'][0] is no Parameter: 'w'"),
]


@pytest.mark.parametrize(("make", "text"), PARAMETERS, ids=[text for _, text in PARAMETERS])
def test_refused_parameters(make, text):
    assert text in refused(ArgumentError, optim.SGD, make())


def test_a_generator_that_was_used_says_so():
    parameters = iter([weight()])
    optim.SGD(parameters)
    text = refused(ArgumentError, optim.SGD, parameters)
    assert "an iterator gives its items once" in text
    assert "list(model.parameters())" in text


def test_a_model_in_place_of_its_parameters_gives_the_call_to_write():
    class Model:
        def parameters(self):
            return [weight()]

    assert "SGD(model.parameters(), ...)" in refused(ArgumentTypeError, optim.SGD, Model())


def test_a_parameter_twice_names_both_places():
    w = weight()
    text = refused(ArgumentError, optim.SGD, [w, weight("v"), w])
    assert text.splitlines()[0] == "SGD: parameter 'w' is there twice, in params[0] and params[2]"
    text = refused(ArgumentError, optim.SGD, [{"params": [w]}, {"params": [w]}])
    assert "in params[0]['params'][0] and params[1]['params'][0]" in text


ARGUMENTS = [
    ((optim.Adam, {"learning_rate": 0.1}), "got an unexpected keyword argument 'learning_rate'"),
    ((optim.Adam, {"weight_decy": 0.1}), "did you mean 'weight_decay'?"),
    ((optim.SGD, {"betas": (0.9, 0.9)}), "unexpected keyword argument 'betas'"),
    ((optim.SGD, {"name": 3}), "name=3 is not a name"),
    ((optim.SGD, {"parameters": [1]}), "params and parameters are two names of one argument"),
    ((optim.SGD, {"nesterov": True}), "nesterov=True with momentum=0"),
    ((optim.SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}), "with dampening=0.1"),
    ((optim.pytorch.SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}), "with dampening=0.1"),
    ((optim.oneflow.SGD, {"nesterov": True}), "nesterov=True with momentum=0"),
    ((optim.oneflow.RMSprop, {"momentum": 0.9}), "OneFlow's RMSprop has no momentum"),
    ((optim.ScheduleFreeAdamW, {"betas": (0.0, 0.9)}), "betas=(0.0, 0.9): the average cannot be had"),
]


@pytest.mark.parametrize(("call", "text"), ARGUMENTS, ids=[text for _, text in ARGUMENTS])
def test_refused_arguments(call, text):
    kind, options = call
    assert text in refused(ArgumentError, kind, [weight()], **options)


def test_too_many_arguments_are_refused():
    text = refused(ArgumentTypeError, optim.SGD, [weight()], 0.1, 0.9, 0.0, 0.0, False, 1)
    assert text.startswith("SGD: too many positional arguments")
    assert "expected  params, lr, momentum, dampening, weight_decay, nesterov, " in text


def test_a_tensor_that_is_no_scalar_is_no_option():
    with lf.Graph():
        rates = lf.placeholder("rates", (2,))
        counts = lf.placeholder("counts", (), dtype=lf.int64)
        assert "is no scalar" in refused(ArgumentTypeError, optim.SGD, [weight()], lr=rates)
        assert "is no scalar" in refused(ArgumentTypeError, optim.SGD, [weight()], lr=counts)
        assert "is no number" not in refused(
            ArgumentTypeError, optim.SGD, [weight()], clip_grad_norm_type=rates
        )


def test_setting_an_option_of_an_optimizer_gives_the_call_to_write():
    optimizer = optim.SGD([weight()], name="mine")
    with pytest.raises(SymbolicError, match=re.escape('session.groups["mine"][0]["lr"] = ...')):
        optimizer.lr = 0.1
    with pytest.raises(SymbolicError, match=re.escape('session.groups["NAME"][...]["lr"] = ...')):
        optimizer.param_groups[0]["lr"] = 0.1


def test_options_by_position_follow_pytorch():
    optimizer = optim.SGD([weight()], 0.5, 0.9, 0.1, 0.2, False)
    values = optimizer.param_groups[0].settings
    assert [values[name] for name in ("lr", "momentum", "dampening", "weight_decay")] == [0.5, 0.9, 0.1, 0.2]
    assert list(optim.Adam.__signature__.parameters)[:6] == [
        "params",
        "lr",
        "betas",
        "eps",
        "weight_decay",
        "amsgrad",
    ]


POSITIONS = {  # PyTorch 2.13's arguments by position, less those that say how and not what is computed
    "SGD": "lr momentum dampening weight_decay nesterov",
    "Adam": "lr betas eps weight_decay amsgrad",
    "AdamW": "lr betas eps weight_decay amsgrad",
    "RMSprop": "lr alpha eps weight_decay momentum centered",
    "Adagrad": "lr lr_decay weight_decay initial_accumulator_value eps",
    "Adadelta": "lr rho eps weight_decay",
    "Adamax": "lr betas eps weight_decay",
    "NAdam": "lr betas eps weight_decay momentum_decay decoupled_weight_decay",
    "RAdam": "lr betas eps weight_decay decoupled_weight_decay",
    "Adafactor": "lr beta2_decay eps d weight_decay",
    "Muon": "lr weight_decay momentum nesterov ns_coefficients eps ns_steps adjust_lr_fn",
}


@pytest.mark.parametrize("name", [name for name in optim.pytorch.__all__ if name != "lr_scheduler"])
def test_positions_are_those_of_pytorch(name):
    names = ["params", *POSITIONS[name].split()]
    assert list(getattr(optim.pytorch, name).__signature__.parameters)[: len(names)] == names


def test_as_many_configurations_are_refused_as_by_pytorch():
    assert len(RANGES) + len(TYPES) + len(PARAMETERS) + len(ARGUMENTS) >= 124


def test_numpy_numbers_and_lists_are_numbers():
    optimizer = optim.Adam([weight()], lr=np.float32(0.5), eps=np.int64(1), betas=[0, np.float64(0.5)])
    values = optimizer.param_groups[0].settings
    assert (values["lr"], values["eps"], values["betas"]) == (0.5, 1.0, (0.0, 0.5))


def test_parameters_is_another_name_of_params():
    w = weight()
    assert optim.SGD(parameters=[w], lr=0.1).params == (w,)


LOOSER = {"validation/s-24": "a rule that climbs is the same rule with the sign of the gradient flipped"}
STRICTER = {"validation/s-19": "alpha above 1 lets the mean square grow without bound, and its root with it"}
VALIDATION = [
    case
    for case in golden.cases("validation")
    if case["what"] == "optimizer" and case["target"] in optim.oneflow.__all__
]


@pytest.mark.parametrize("case", VALIDATION, ids=lambda case: case["id"])
def test_what_oneflow_accepts(case):
    kind = getattr(optim.oneflow, case["target"])
    if case["id"] in LOOSER or (case["accepted"] and case["id"] not in STRICTER):
        assert kind([weight()], **case["args"]).params
    else:
        refused(ArgumentError, kind, [weight()], **case["args"])


def test_every_class_writes_its_options_down():
    for kind in {spec.kind for spec in SPECIFICATIONS if spec.kind is getattr(optim, spec.kind.__name__)}:
        missing = [name for name in kind.options if f"{name}: " not in kind.__doc__ + optim.Optimizer.__doc__]
        assert not missing, f"{kind.__name__}: {missing}"
