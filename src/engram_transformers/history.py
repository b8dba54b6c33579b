"""Which tokens came before: known in every call, whatever holds the past.

A suffix n-gram needs tokens that a cached decoding step no longer gets. They live on the cache
itself, so whatever happens to the cache happens to them: rollback (they are cut to the cache's own
length at each call), beam reordering, repetition, selection, deep copies.

Ids are stored coded: `PADDING` where there is no token, and -2 - id for a token that starts a
sequence, which no n-gram reaches across.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from engram_transformers.errors import CacheHistoryError, HistoryError, UnsupportedCacheError

PADDING = -1
_ATTRIBUTE = "_engram_ledger"
CACHE_ARGUMENTS = ("past_key_values", "cache_params")


@dataclass
class Ledger:
    """The coded ids of the tokens in one cache.

    Attributes:
        ids: (batch, tokens) int64; for static caches the last `max_order - 1` only.
        rows_per_sample: How many batch rows each sample of the tables was seen to be expanded to.
    """

    ids: Tensor
    rows_per_sample: int = 1


def encode(input_ids: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    """Code the new ids of a call: padding and sequence starts marked.

    Args:
        input_ids: (batch, seq) integer.
        arguments: The call's other arguments: `attention_mask` (2-D is read; with a 4-D mask or a
            dictionary of masks, runs of position 0 are padding) and `position_ids`.

    Returns:
        (batch, seq) int64.
    """
    coded = input_ids.long()
    batch, seq = coded.shape
    mask, positions = arguments.get("attention_mask"), arguments.get("position_ids")
    if isinstance(positions, Tensor):
        positions = positions[0] if positions.ndim == 3 else positions
        if positions.ndim == 2 and positions.shape[1] == seq and positions.shape[0] in (1, batch):
            starts = positions == 0
            if isinstance(mask, dict) or (isinstance(mask, Tensor) and mask.ndim > 2):
                # A static cache's mask: generate() gives left padding position 0 as well.
                padding = starts & torch.nn.functional.pad(starts[:, 1:], (0, 1))
                coded = torch.where(padding, PADDING, coded)
                starts = starts & ~padding
            coded = torch.where(starts, -2 - coded, coded)
    if isinstance(mask, Tensor) and mask.ndim == 2 and mask.shape[1] >= seq:
        coded = torch.where(mask[:, mask.shape[1] - seq :] == 0, PADDING, coded)
    return coded


def recall(new: Tensor, cache: object, reach: int) -> tuple[Tensor, HistoryError | None]:
    """Return the ids that lead up to and include the new ones, and remember the new ones.

    Args:
        new: (batch, seq) int64, coded.
        cache: What the model was given; None if it will make its own, or uses none.
        reach: How many earlier ids are wanted at most.

    Returns:
        (batch, earlier + seq) int64 with earlier <= reach, and, where earlier ids are unknown, the
        error to raise if anybody needs them.
    """
    if cache is None:
        return new, None
    if not isinstance(cache, Cache):
        reason = "it can't carry attributes; pass use_cache=False or a transformers Cache."
        return new, UnsupportedCacheError(type(cache).__name__, reason)
    ledger = _ledger_of(cache)
    if cache.is_compileable:
        return _recall_static(new, cache, ledger, reach)
    past = int(cache.get_seq_length())
    seen = 0 if ledger is None else ledger.ids.shape[1]
    if seen < past:
        return new, CacheHistoryError(past, seen)
    if ledger is None or past == 0:
        _remember(cache, Ledger(new))
        return new, None
    if ledger.ids.shape[0] != new.shape[0]:
        # A hand-made change of the batch that the ledger was not told of.
        reason = f"it holds {ledger.ids.shape[0]} sequences, the batch has {new.shape[0]}."
        return new, UnsupportedCacheError(type(cache).__name__, reason)
    earlier = ledger.ids[:, :past]
    # In place: the flag of a checked expansion stays with the sequences it was checked on.
    ledger.ids = torch.cat([earlier, new], dim=1)
    return ledger.ids[:, max(past - reach, 0) :], None


def remember_created(new: Tensor, output: object, rows_per_sample: int) -> None:
    """Put the ids on a cache that the model made by itself in this call.

    Args:
        new: (batch, seq) int64, coded.
        output: What the model returned: a ModelOutput or a tuple.
        rows_per_sample: See `Ledger`.
    """
    if isinstance(output, tuple):
        values = output
    else:
        values = tuple(getattr(output, name, None) for name in CACHE_ARGUMENTS)
    for value in values:
        if isinstance(value, Cache) and _ledger_of(value) is None:
            _remember(value, Ledger(new, rows_per_sample))


def ledger_of(cache: object) -> Ledger | None:
    """Return the ledger of a cache, None if it has none."""
    return _ledger_of(cache) if isinstance(cache, Cache) else None


def _recall_static(
    new: Tensor, cache: Cache, ledger: Ledger | None, reach: int
) -> tuple[Tensor, HistoryError | None]:
    """Keep a rolling window: fixed shapes, updated in place, so that compiled steps stay compiled.

    Static caches have no rollback, so the window is enough.
    """
    past = cache.get_seq_length()
    if ledger is None or ledger.ids.shape[0] != new.shape[0]:
        if not torch.compiler.is_compiling() and int(past):
            return new, CacheHistoryError(int(past), 0)
        ids = torch.full((new.shape[0], reach), PADDING, dtype=torch.int64, device=new.device)
        if not torch.compiler.is_compiling():
            torch._dynamo.mark_static_address(ids)
        ledger = Ledger(ids)
        _remember(cache, ledger)
    before_start = torch.arange(-reach, 0, device=new.device) + past < 0
    earlier = torch.where(before_start, PADDING, ledger.ids)  # also right after cache.reset()
    window = torch.cat([earlier, new], dim=1)
    ledger.ids.copy_(window[:, window.shape[1] - reach :])
    return window, None


def _ledger_of(cache: Cache) -> Ledger | None:
    return cache.__dict__.get(_ATTRIBUTE)


def _remember(cache: Cache, ledger: Ledger) -> None:
    cache.__dict__[_ATTRIBUTE] = ledger
    for name, follow in _FOLLOWERS.items():
        if hasattr(type(cache), name) and name not in cache.__dict__:
            # Bound to the instance, not a closure, so that copy.deepcopy(cache) rebinds it.
            cache.__dict__[name] = types.MethodType(follow, cache)


def _follower(name: str, act: Callable[..., Tensor | None]) -> Callable[..., Any]:
    def follow(self: Cache, *args: Any, **kwargs: Any) -> Any:
        result = getattr(type(self), name)(self, *args, **kwargs)
        ledger = _ledger_of(self)
        if ledger is not None:
            ids = act(ledger.ids, *args, *kwargs.values())
            self.__dict__[_ATTRIBUTE] = None if ids is None else Ledger(ids, ledger.rows_per_sample)
        return result

    follow.__name__ = follow.__qualname__ = name
    return follow


def _reorder(ids: Tensor, beams: Tensor) -> Tensor:
    return ids.index_select(0, beams.to(ids.device))


def _repeat(ids: Tensor, repeats: int) -> Tensor:
    return ids.repeat_interleave(repeats, dim=0)


def _select(ids: Tensor, indices: Tensor) -> Tensor:
    return ids[indices.to(ids.device)]


def _forget(ids: Tensor) -> None:
    del ids


_FOLLOWERS = {
    "reorder_cache": _follower("reorder_cache", _reorder),
    "batch_repeat_interleave": _follower("batch_repeat_interleave", _repeat),
    "batch_select_indices": _follower("batch_select_indices", _select),
    "reset": _follower("reset", _forget),
}
