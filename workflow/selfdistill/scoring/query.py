"""Declares what is read of a model's distributions, from a scorer down to the output layer."""

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Query:
    """Holds what is read of a model's distribution at each token, besides the log-prob of the token itself.

    Attributes:
        top_k: number of ids that make the support, the model's own most likely ones at each token; 0 is the full
            vocabulary, None no support. It says nothing where `ids` are given.
        ids: (..., k) int64, the support's ids where they are chosen already; they may repeat. The leading axes are
            those of the tokens that the query goes with: (N, T) of responses, (M,) of picked positions.
        entropy: whether entropies over the full vocabulary are read.
    """

    top_k: int | None = None
    ids: Tensor | None = None
    entropy: bool = False

    @property
    def full_vocabulary(self) -> bool:
        """Returns whether the support is every id."""
        return self.ids is None and self.top_k == 0

    @property
    def model_chooses(self) -> bool:
        """Returns whether the model that is read chooses the support's ids."""
        return self.ids is None and bool(self.top_k)

    @property
    def has_support(self) -> bool:
        """Returns whether a support is read at all."""
        return self.ids is not None or self.top_k is not None

    def at(self, ids: Tensor | None) -> "Query":
        """Return the same query with its support at these ids."""
        return replace(self, ids=ids)

    def part(self, index: Any) -> "Query":
        """Return the query of some of its tokens: `index` selects along the leading axes of `ids`, if there are any."""
        return self if self.ids is None else self.at(self.ids[index])


#: Nothing besides the log-probs of the tokens.
LOGPROBS_ONLY = Query()
