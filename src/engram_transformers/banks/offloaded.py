"""A bank's table that is not where the model computes: in host memory, or in its files."""

from __future__ import annotations

import copy
import mmap
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from engram_transformers.banks.addresses import ngram_hashes
from engram_transformers.banks.file_errors import OffloadError
from engram_transformers.banks.starts import starts_of

if TYPE_CHECKING:
    from engram_transformers.banks.attached import AttachedBank

Place = Literal["host", "disk"]


class OffloadedTable(nn.Module):
    """Takes the place of a bank's table, and stays where it is when the model moves.

    Which rows a token reads depends on nothing but token ids, so they can be gathered while the
    blocks below compute. Rows are read, never changed: copies of a model share them. They are in no
    state dict (`save_engram` saves them), and not to be trained.

    Args:
        bank: Whose table this is to be.
        heads: Its rows, head by head, (rows of the head, head_dim), on the CPU.
        place: Where they are.
        maps: The files that they are mapped from.

    Attributes:
        heads: As given.
        place: As given.
        dtype: What rows become on their way: another than theirs once the model was converted.
    """

    def __init__(
        self,
        bank: AttachedBank,
        heads: Sequence[Tensor],
        place: Place,
        maps: Sequence[mmap.mmap] = (),
    ) -> None:
        super().__init__()
        self.place: Place = place
        self.heads = tuple(heads)
        self.dtype = heads[0].dtype
        # In a tuple, where `model.to(device)` does not find them.
        self._ids = (copy.deepcopy(bank.bank_hash).to("cpu"), bank.numbers.to("cpu"))
        self._maps = tuple(maps)
        _advise(self._maps, "MADV_RANDOM")

    @contextmanager
    def read_in_order(self) -> Generator[None]:
        """Tell the system that all rows are going to be read, one after another."""
        _advise(self._maps, "MADV_SEQUENTIAL")
        try:
            yield
        finally:
            _advise(self._maps, "MADV_RANDOM")

    def gather(
        self, window: Tensor, first: int, empty: Callable[..., Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """Look up the rows of some tokens, each n-gram of the batch once.

        Args:
            window: (batch, earlier + seq) int64 coded ids, on the CPU.
            first: Where the new ones begin.
            empty: Makes a tensor on the CPU of a shape and `dtype=`.

        Returns:
            For each order: (heads, n-grams, head_dim) rows, and (batch · seq) int64, the number of
            each position's n-gram.
        """
        bank_hash, numbers = self._ids
        begin = max(first - (bank_hash.config.max_order - 1), 0)
        ids = numbers[window[:, begin:]]  # coded ids count from the end, too
        hashes = ngram_hashes(ids, None, bank_hash, starts=starts_of(window)[:, begin:])
        found: list[tuple[Tensor, Tensor]] = []
        for order, primes in enumerate(bank_hash.primes):
            distinct, which = torch.unique(hashes[:, first - begin :, order], return_inverse=True)
            heads = self.heads[order * len(primes) : (order + 1) * len(primes)]
            rows = empty((len(heads), len(distinct), heads[0].shape[1]), dtype=heads[0].dtype)
            for head, prime, into in zip(heads, primes, rows, strict=True):
                torch.index_select(head, 0, distinct % prime, out=into)
            numbered = empty((which.numel(),), dtype=which.dtype)
            found.append((rows, numbered.copy_(which.flatten())))
        return found

    def _apply(self, fn: Any, recurse: bool = True) -> OffloadedTable:
        """Note to which dtype a model is converted; do not move."""
        del recurse
        self.dtype = fn(torch.empty(0, dtype=self.dtype)).dtype
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> OffloadedTable:
        """Share the rows."""
        copied = OffloadedTable.__new__(OffloadedTable)
        copied.__dict__.update({n: copy.copy(v) for n, v in self.__dict__.items()})
        memo[id(self)] = copied
        return copied

    def __getstate__(self) -> dict[str, Any]:
        """Refuse to pickle what is in files: a pickle would have to hold all of it."""
        if self.place == "disk":
            raise OffloadError(
                "A bank whose rows are in files can't be pickled, as its model is about to be."
                " Pickle the model without it (remove_engram), and load_engram it again elsewhere."
            )
        return self.__dict__.copy()

    def extra_repr(self) -> str:
        """Show where the rows are in `print(model)`."""
        return f"{sum(map(len, self.heads))}, {self.heads[0].shape[1]}, on {self.place}"


def _advise(maps: Sequence[mmap.mmap], advice: str) -> None:
    option = getattr(mmap, advice, None)  # Windows and some others have none
    for one in maps:
        if option is not None:
            one.madvise(option)
