"""Which tokens came before: known in every call, whatever holds the past.

A suffix n-gram needs tokens that a cached decoding step no longer gets. They live on the cache
itself, so whatever happens to the cache happens to them: rollback (they are cut to the cache's own
length at each call), beam reordering, repetition, selection, deep copies.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from engram_transformers.banks.inputs import GrownInputs, RollingInputs
from engram_transformers.caches import (
    CACHE_ARGUMENTS,
    MANY,
    States,
    carries_attributes,
    past_of,
    rolls,
)
from engram_transformers.coded_ids import PADDING, Uncoded
from engram_transformers.errors import CacheHistoryError, HistoryError, UnsupportedCacheError
from engram_transformers.token_ledger import Ledger

if TYPE_CHECKING:
    from engram_transformers.banks.calls import BankCall

_ATTRIBUTE = "_engram_ledger"


class Recalled(NamedTuple):
    """What is known of the tokens that lead up to a call's positions.

    Attributes:
        window: (batch, earlier + seq) int64 coded ids, up to and including the new ones.
        problem: Where earlier ids are unknown, the error to raise if anybody needs them.
        window_after: (batch, reach) int64, for `commit` once the call has succeeded; None where
            there is nothing to commit.
    """

    window: Tensor
    problem: HistoryError | None = None
    window_after: Tensor | None = None


def recall(new: Tensor, cache: object, reach: int) -> Recalled:
    """Return the ids that lead up to and include the new ones, and remember the new ones.

    Args:
        new: (batch, seq) int64, coded.
        cache: What the model was given; None if it will make its own, or uses none.
        reach: How many earlier ids are wanted at most.

    Returns:
        See `Recalled`; at most `reach` earlier ids.
    """
    if cache is None:
        return Recalled(new)
    if not carries_attributes(cache):
        reason = "it can't carry attributes; pass use_cache=False or a transformers Cache."
        return Recalled(new, UnsupportedCacheError(type(cache).__name__, reason))
    ledger = ledger_of(cache)
    if rolls(cache):
        return _recall_rolling(new, cache, ledger, reach)
    past = int(past_of(cache))
    seen = 0 if ledger is None else ledger.length
    if seen < past:
        return Recalled(new, CacheHistoryError(past, seen))
    if ledger is None or past == 0:
        _remember(cache, Ledger(new.clone()))  # the caller may use its tensor again
        return Recalled(new)
    if ledger.batch != new.shape[0]:
        # A hand-made change of the batch that the ledger was not told of.
        reason = f"it holds {ledger.batch} sequences, the batch has {new.shape[0]}."
        return Recalled(new, UnsupportedCacheError(type(cache).__name__, reason))
    earlier = ledger.ids[:, :past]
    ledger.inputs.cut(past)
    # In place: the flag of a checked expansion stays with the sequences it was checked on.
    ledger.ids = torch.cat([earlier, new], dim=1)
    return Recalled(ledger.ids[:, max(past - reach, 0) :])


def note(part: Uncoded, cache: object) -> None:
    """Remember the new ids of a call in which nothing is read.

    Args:
        part: What `set_aside` returned.
        cache: What the model was given: for which `can_note` holds.
    """
    ledger = ledger_of(cache)
    past = int(past_of(cache))
    seen = 0 if ledger is None else ledger.length
    if seen < past:
        return  # unknown, and said so as soon as somebody reads
    if ledger is None or past == 0:
        ledger = Ledger(part.given.new_zeros(part.batch, 0))
        _remember(cache, ledger)
    elif ledger.batch != part.batch:
        return
    elif past < seen:
        ledger.cut(past)
    ledger.add(part)


def can_note(cache: object) -> bool:
    """Say whether a cache takes new ids uncoded: one that grows."""
    return cache is None or (carries_attributes(cache) and not rolls(cache))


def commit(cache: object, window_after: Tensor) -> None:
    """Move a rolling window on, after the call that it was computed for has succeeded.

    Args:
        cache: The one that was recalled from.
        window_after: `Recalled.window_after`.
    """
    ledger = ledger_of(cache)
    if ledger is not None:
        ledger.ids.copy_(window_after)


def commit_inputs(cache: object, banks: BankCall | None) -> None:
    """Keep what banks were given, after their call has succeeded.

    Args:
        cache: The one that the call was given.
        banks: What they were given; None where they did not run, so that nothing is known.
    """
    ledger = ledger_of(cache)
    if ledger is None:
        return
    if banks is None:
        ledger.inputs.forget()
    else:
        ledger.inputs.add(banks.given, banks.pasts())


def remember_created(
    new: Tensor | Uncoded,
    output: object,
    rows_per_sample: int,
    reach: int,
    banks: BankCall | None = None,
) -> None:
    """Put the ids on a cache that the model made by itself in this call.

    Args:
        new: (batch, seq) int64, coded; or what `set_aside` returned.
        output: What the model returned: a ModelOutput or a tuple.
        rows_per_sample: See `Ledger`.
        reach: How many ids a rolling window holds.
        banks: What the banks were given in the call; None for nothing.
    """
    states = getattr(output, "state", None)
    if type(states) is list:
        setattr(output, "state", States(states))  # noqa: B010 (outputs are untyped)
    for cache in _new_caches_of(output):
        if isinstance(new, Uncoded) and not rolls(cache):
            ledger = Ledger(new.given.new_zeros(new.batch, 0), rows_per_sample)
            ledger.add(new)
        else:
            ids = new.coded() if isinstance(new, Uncoded) else new.clone()
            ids = _rolling_window(ids, reach) if rolls(cache) else ids
            inputs = RollingInputs() if rolls(cache) else GrownInputs()
            if banks is not None:
                inputs.add(banks.given, banks.pasts())
            ledger = Ledger(ids, rows_per_sample, inputs)
        _remember(cache, ledger)


def hand_on(cache: object, output: object) -> None:
    """Put the ids of a cache on another that the model returns in its place: Blt wraps it.

    Args:
        cache: What the model was given.
        output: What it returned: a ModelOutput or a tuple.
    """
    if getattr(output, "past_key_values", cache) is cache:
        return  # as nearly always
    ledger = ledger_of(cache)
    if ledger is not None:
        for other in _new_caches_of(output):
            _remember(other, ledger)


def _new_caches_of(output: object) -> list[object]:
    """Return the caches in a model's output that have no ledger."""
    if isinstance(output, tuple):
        values = output
    else:
        values = tuple(getattr(output, name, None) for name in CACHE_ARGUMENTS)
    return [v for v in values if carries_attributes(v) and ledger_of(v) is None]


def ledger_of(cache: object) -> Ledger | None:
    """Return the ledger of a cache, None if it has none."""
    return getattr(cache, _ATTRIBUTE, None)


def _recall_rolling(new: Tensor, cache: object, ledger: Ledger | None, reach: int) -> Recalled:
    """Keep a window of fixed shape, updated in place, so that compiled steps stay compiled."""
    past = past_of(cache)
    if ledger is None or ledger.ids.shape[0] != new.shape[0]:
        if not torch.compiler.is_compiling() and int(past):
            cached = int(past)
            return Recalled(new, CacheHistoryError(None if cached == MANY else cached, 0))
        ids = _rolling_window(new[:, :0], reach)
        if not torch.compiler.is_compiling():
            torch._dynamo.mark_static_address(ids)
        ledger = Ledger(ids, 1, RollingInputs())
        _remember(cache, ledger)
    before_start = torch.arange(-reach, 0, device=new.device) + past < 0
    earlier = torch.where(before_start, PADDING, ledger.ids)  # also right after cache.reset()
    window = torch.cat([earlier, new], dim=1)
    return Recalled(window, None, window[:, window.shape[1] - reach :])


def _rolling_window(ids: Tensor, reach: int) -> Tensor:
    """Return the last `reach` ids, padded on the left, in memory of their own."""
    window = torch.full((ids.shape[0], reach), PADDING, dtype=torch.int64, device=ids.device)
    kept = min(ids.shape[1], reach)
    if kept:
        window[:, reach - kept :] = ids[:, ids.shape[1] - kept :]
    return window


def _remember(cache: Any, ledger: Ledger) -> None:
    setattr(cache, _ATTRIBUTE, ledger)
    for name, follow in _FOLLOWERS.items():
        if hasattr(type(cache), name) and name not in cache.__dict__:
            # Not a closure: copy.deepcopy(cache) gives the copy one of its own.
            setattr(cache, name, functools.partial(follow, cache))


def _follower(name: str, act: Callable[..., Ledger | None]) -> Callable[..., Any]:
    def follow(self: Cache, *args: Any, **kwargs: Any) -> Any:
        result = getattr(type(self), name)(self, *args, **kwargs)
        ledger = ledger_of(self)
        if ledger is not None:
            setattr(self, _ATTRIBUTE, act(ledger, *args, *kwargs.values()))
        return result

    follow.__name__ = follow.__qualname__ = name
    return follow


def _reorder(ledger: Ledger, beams: Tensor) -> Ledger:
    return ledger.moved(lambda t: t.index_select(0, beams.to(t.device)), ledger.rows_per_sample)


def _repeat(ledger: Ledger, repeats: int) -> Ledger:
    rows_per_sample = ledger.rows_per_sample * repeats
    return ledger.moved(lambda t: t.repeat_interleave(repeats, dim=0), rows_per_sample)


def _select(ledger: Ledger, indices: Tensor) -> Ledger:
    # Which rows are left of each sample is not known.
    return ledger.moved(lambda t: t[indices.to(t.device)])


def _forget(ledger: Ledger) -> None:
    del ledger


_FOLLOWERS = {
    "reorder_cache": _follower("reorder_cache", _reorder),
    "batch_repeat_interleave": _follower("batch_repeat_interleave", _repeat),
    "batch_select_indices": _follower("batch_select_indices", _select),
    "reset": _follower("reset", _forget),
}
