"""Functions of neural networks, under PyTorch's names and signatures (``axis`` in place of ``dim``).

All are compositions of ops. Half types are computed in float32 where sums or exponentials are taken, and
rounded at the end.
"""

from lazyflow.nn.activation import gelu, log_softmax, relu, silu, softmax, softplus
from lazyflow.nn.attention import scaled_dot_product_attention
from lazyflow.nn.dropout import dropout
from lazyflow.nn.embedding import embedding
from lazyflow.nn.linear import flatten, linear
from lazyflow.nn.loss import binary_cross_entropy_with_logits, cross_entropy, mse_loss
from lazyflow.nn.normalization import layer_norm
from lazyflow.ops.elementwise import sigmoid, tanh
from lazyflow.ops.indexing import one_hot

__all__ = [
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "embedding",
    "flatten",
    "gelu",
    "layer_norm",
    "linear",
    "log_softmax",
    "mse_loss",
    "one_hot",
    "relu",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]
