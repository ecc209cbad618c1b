"""Modules: which parameters they hold, what these are called, and which form their calls build."""

import copy
from collections import OrderedDict

import numpy as np
import pytest

import lazyflow as lf
from lazyflow import nn
from lazyflow.runtime import errors


class Block(nn.Module):
    def __init__(self, width, name=None):
        super().__init__(name)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width, bias=False)])
        self.scale = lf.Parameter(1.0, shape=(width,))

    def forward(self, x):
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x)
        return x * self.scale


BLOCK_NAMES = ["scale", "norm.weight", "norm.bias", "layers.0.weight", "layers.0.bias", "layers.1.weight"]


def names(module):
    return [parameter.name for parameter in module.parameters()]


# --- names --------------------------------------------------------------------------------------------------


def test_parameters_are_named_by_their_path():
    assert names(Block(4)) == BLOCK_NAMES
    assert names(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1, bias=False))) == [
        "0.weight",
        "0.bias",
        "2.weight",
    ]


def test_a_name_begins_the_paths_inside():
    assert names(Block(4, name="model")) == [f"model.{name}" for name in BLOCK_NAMES]
    assert names(nn.Linear(2, 3, name="fc")) == ["fc.weight", "fc.bias"]
    assert names(nn.Sequential(nn.Linear(2, 3, name="fc"))) == ["fc.weight", "fc.bias"]


def test_paths_follow_a_root_that_comes_later():
    inner = nn.Linear(2, 2)
    weight = inner.weight
    assert weight.name == "weight"
    outer = nn.Sequential(OrderedDict(encoder=nn.Sequential(inner)), name="model")
    assert weight.name == "model.encoder.0.weight"
    assert [name for name, _ in outer.named_parameters()] == ["encoder.0.weight", "encoder.0.bias"]


def test_a_given_parameter_name_wins_over_the_path():
    module = nn.Linear(2, 2, name="fc")
    module.weight = lf.Parameter(0.0, shape=(2, 2), name="kernel")
    assert names(module) == ["kernel", "fc.bias"]


def test_the_first_owner_names_what_is_shared():
    model = nn.Module()
    model.embedding = nn.Embedding(5, 3)
    model.head = nn.Linear(3, 5, bias=False)
    model.head.weight = model.embedding.weight
    model.again = model.embedding
    assert names(model) == ["embedding.weight"]
    assert [name for name, _ in model.named_modules()] == ["", "embedding", "head"]


def test_an_attribute_that_is_taken_away_names_nothing():
    module = nn.Linear(2, 2)
    weight, bias = module.weight, module.bias
    module.weight = lf.Parameter(0.0, shape=(2, 2))
    del module.bias
    assert (weight.name, bias.name) == ("(unnamed)", "(unnamed)")
    assert names(module) == ["weight"]
    other = nn.Module()
    other.kernel = weight
    assert weight.name == "kernel"


def test_a_copy_is_a_root_with_parameters_of_its_own():
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2, bias=False), nn.LayerNorm(2, bias=False)))
    copies = nn.ModuleList([copy.deepcopy(model[0]) for _ in range(2)])
    assert names(copies[0]) == ["0.0.weight", "0.1.weight"]
    assert names(copies) == ["0.0.weight", "0.1.weight", "1.0.weight", "1.1.weight"]
    assert names(model) == ["0.0.weight", "0.1.weight"]
    assert len({id(p) for m in (model, copies) for p in m.parameters()}) == 6
    assert copies[0][0].weight.ir is not model[0][0].weight.ir


def test_a_copy_keeps_what_it_shares_inside():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    assert names(copy.deepcopy(model)) == ["0.weight"]


def test_variables_that_are_not_trained_are_named_but_are_no_parameters():
    module = nn.Module(name="norm")
    module.running_mean = lf.Variable(0.0, shape=(3,))
    assert module.running_mean.name == "norm.running_mean"
    assert list(module.parameters()) == []


def test_two_roots_with_equal_paths_are_refused_with_both_lines():
    with lf.Graph() as graph:
        x = lf.placeholder("x", (2,))
        graph.program("main", fetches={"y": nn.Linear(2, 2)(x) + nn.Linear(2, 2)(x)})
    with pytest.raises(errors.GraphError, match="two variables are named 'weight'") as caught:
        lf.compile(graph)
    assert str(caught.value).count("made at test_module.py:") == 2


def test_state_is_keyed_by_the_names():
    with lf.Graph() as graph:
        x = lf.placeholder("x", ("batch", 4))
        graph.program("main", fetches={"y": Block(4, name="model")(x)})
    state = lf.compile(graph).session("numpy").state_dict()
    assert {f"model.{name}" for name in BLOCK_NAMES} <= set(state)


def test_ops_are_named_by_the_module_that_appends_them():
    with lf.Graph() as graph:
        x = lf.placeholder("x", (3, 4))
        model = nn.Sequential(Block(4), nn.ReLU())
        y = model(x)
        assert y.name == "1/relu/where"
        first = model[0].layers[0](x)
        assert first.name == "0.layers.0/linear/add"
    scopes = {op.origins[0].name.rpartition("/")[0] for op in graph.ir.ops}
    assert "0/layers.0/linear" in scopes


# --- what a module holds ------------------------------------------------------------------------------------


def test_a_module_that_does_not_call_its_base_works():
    class Forgetful(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(2, 3)

        def forward(self, x):
            return self.fc(x)

    model = Forgetful()
    assert names(model) == ["fc.weight", "fc.bias"]
    assert model.eval().fc.training is False
    with lf.Graph():
        assert model(lf.placeholder("x", (5, 2))).shape == (5, 3)


def test_parameters_without_those_inside():
    assert [p.name for p in Block(4).parameters(recurse=False)] == ["scale"]
    assert [name for name, _ in Block(4).named_parameters("model")] == [f"model.{n}" for n in BLOCK_NAMES]


def test_children_and_modules():
    block = Block(4)
    assert [name for name, _ in block.named_children()] == ["norm", "layers"]
    assert list(block.children()) == [block.norm, block.layers]
    assert list(block.modules()) == [block, block.norm, block.layers, *block.layers]


def test_a_module_that_would_hold_itself_is_refused():
    block = Block(4)
    with pytest.raises(errors.GraphError, match="Block would hold itself as 'parent'"):
        block.norm.parent = block


def test_modules_are_made_outside_of_a_graph_and_belong_to_the_first():
    model = nn.Linear(2, 2)
    with lf.Graph("first"):
        model(lf.placeholder("x", (2,)))
    with lf.Graph("second"), pytest.raises(errors.GraphError, match="a Tensor of another graph") as caught:
        model(lf.placeholder("x", (2,)))
    assert "'first'" in str(caught.value)
    assert "weight" in str(caught.value)


def test_a_module_called_without_a_graph_says_so():
    with pytest.raises(errors.GraphError, match=r"Linear\(\): no graph is open"):
        nn.Linear(2, 2)(np.zeros((1, 2), np.float32))


def test_a_module_without_forward_says_so():
    with lf.Graph(), pytest.raises(errors.GraphError, match=r"Module has no forward\(\)"):
        nn.Module()()


# --- train and eval -----------------------------------------------------------------------------------------


def test_train_and_eval_choose_the_form_of_the_calls_that_follow():
    model = nn.Sequential(nn.Sequential(nn.Dropout(0.5)))
    with lf.Graph():
        x = lf.placeholder("x", (3,))
        assert model(x) is not x
        assert model.eval() is model
        assert model(x) is x
        assert model.train()[0][0].training is True
        assert model(x) is not x


def test_train_takes_a_bool():
    with pytest.raises(errors.ArgumentTypeError, match="train: mode 'yes' is no bool"):
        nn.Linear(1, 1).train("yes")


# --- containers ---------------------------------------------------------------------------------------------


def test_sequential_applies_its_modules_in_order():
    double = nn.Module()
    double.forward = lambda x: x * 2
    with lf.Graph():
        x = lf.placeholder("x", (3,))
        assert nn.Sequential()(x) is x
        assert nn.Sequential(double, nn.Flatten(0), double)(x).shape == (3,)


def test_a_module_may_stand_twice_in_a_sequential():
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert len(model) == 3
    assert names(model) == ["0.weight", "0.bias"]


def test_containers_are_lists():
    layers = [nn.Linear(1, 1), nn.Linear(1, 2), nn.Linear(2, 1)]
    held = nn.ModuleList(layers[:1]).append(layers[1]).extend(layers[2:])
    assert list(held) == layers
    assert (len(held), held[0], held[-1]) == (3, layers[0], layers[2])
    assert list(held[1:]) == layers[1:]
    assert isinstance(nn.Sequential(*layers)[:2], nn.Sequential)
    held[0] = new = nn.Linear(3, 3)
    assert list(held) == [new, *layers[1:]]


def test_a_slice_leaves_the_names_to_the_whole():
    model = nn.Sequential(nn.ReLU(), nn.Linear(1, 1))
    assert names(model[1:]) == ["1.weight", "1.bias"]


@pytest.mark.parametrize("make", [lambda x: nn.Sequential(x), lambda x: nn.ModuleList([x])])
def test_containers_take_modules_only(make):
    with pytest.raises(errors.ArgumentTypeError, match=r"is no Module(.|\n)*forward"):
        make(nn.functional.relu)


# --- text ---------------------------------------------------------------------------------------------------


def test_text_is_that_of_pytorch():
    assert (
        repr(Block(4))
        == """Block(
  (norm): LayerNorm((4,), eps=1e-05, elementwise_affine=True)
  (layers): ModuleList(
    (0): Linear(in_features=4, out_features=4, bias=True)
    (1): Linear(in_features=4, out_features=4, bias=False)
  )
)"""
    )
    assert repr(
        nn.Sequential(nn.GELU(), nn.Dropout(0.1), nn.Softmax(0), nn.Embedding(2, 3), nn.Flatten())
    ) == (
        "Sequential(\n  (0): GELU(approximate='none')\n  (1): Dropout(p=0.1)\n  (2): Softmax(axis=0)\n"
        "  (3): Embedding(2, 3)\n  (4): Flatten(start_axis=1, end_axis=-1)\n)"
    )
