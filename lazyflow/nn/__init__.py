"""Layers, losses and models: compositions of ops, with parameters that are named by their place.

``functional`` has the functions, ``init`` the initial values of parameters.
"""

from lazyflow.nn import functional, init
from lazyflow.nn.activation import GELU, LogSoftmax, ReLU, Sigmoid, SiLU, Softmax, Tanh
from lazyflow.nn.container import ModuleList, Sequential
from lazyflow.nn.dropout import Dropout
from lazyflow.nn.embedding import Embedding
from lazyflow.nn.graph import Graph
from lazyflow.nn.linear import Flatten, Identity, Linear
from lazyflow.nn.loss import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from lazyflow.nn.module import Module
from lazyflow.nn.normalization import LayerNorm
from lazyflow.variable import Parameter

__all__ = [
    "GELU",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "Graph",
    "Identity",
    "LayerNorm",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "ModuleList",
    "Parameter",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "functional",
    "init",
]
