"""Embeddings: rows of a table at integer positions."""

from __future__ import annotations

from lazyflow.compiler.rules import show
from lazyflow.location import user_line
from lazyflow.nn import init
from lazyflow.nn.arguments import check_size
from lazyflow.nn.module import Module
from lazyflow.ops.function import composition
from lazyflow.ops.indexing import take
from lazyflow.runtime.errors import ShapeError, message
from lazyflow.tensor import Tensor, TensorLike
from lazyflow.variable import Parameter


@composition
def embedding(indices: TensorLike, weight: Tensor) -> Tensor:
    """The rows of a table at the given positions.

    Args:
        indices: Integer tensor of any shape, each in [0, rows).
        weight: Tensor of shape (rows, features).

    Returns:
        Tensor of shape (*indices.shape, features).

    Raises:
        ShapeError: if the weight is no matrix.
        OutOfRangeError: while a program runs, if an index is outside of the table; nothing is changed.
    """
    if weight.ndim != 2:
        raise ShapeError(
            message(
                f"embedding: the weight is {show(weight.shape)}",
                expected="a weight of shape (rows, features)",
                weight=weight.describe(),
                here=f"at {user_line()}",
            )
        )
    return take(weight, indices, axis=0)


class Embedding(Module):
    """``functional.embedding`` with a table of normal numbers.

    Args:
        num_embeddings: The number of rows.
        embedding_dim: The size of a row.
        dtype: The element type; float32 unless given.
        name: Begins the name of the parameter.

    Attributes:
        weight: Parameter of shape (num_embeddings, embedding_dim).
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, dtype: object = None, name: str | None = None
    ) -> None:
        super().__init__(name)
        self.num_embeddings = check_size("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = check_size("Embedding", "embedding_dim", embedding_dim)
        self.weight = Parameter(init.normal(), (num_embeddings, embedding_dim), dtype)

    def forward(self, indices: Tensor) -> Tensor:
        return embedding(indices, self.weight)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"
