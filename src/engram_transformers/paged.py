"""Token history under continuous batching, where requests of any age stand behind one another.

transformers' paged cache keeps keys and values in numbered slots, and each call says which slots
its requests write and read. The token ids are kept by the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engram_transformers.coded_ids import PADDING
from engram_transformers.errors import HistoryError, UnsupportedCacheError
from engram_transformers.history import Recalled

_SLOTS = "_engram_slots"
_TABLES = "_engram_tables"
_FULL = "full_attention"


def is_paged(arguments: Mapping[str, Any]) -> bool:
    """Say whether a call is one of continuous batching."""
    return arguments.get("write_index") is not None


def recall_paged(new: Tensor, arguments: Mapping[str, Any], reach: int) -> Recalled:
    """Return each token's own window, and remember the new tokens.

    Args:
        new: (1, tokens) int64, coded; the requests stand behind one another.
        arguments: The call's: `cache`, `write_index`, `read_index`, `position_ids` and the
            cumulative lengths of transformers' paged attention.
        reach: How many earlier ids are wanted.

    Returns:
        A window of (tokens, reach + 1), or the error to raise if anybody needs it.
    """
    cache: Any = arguments.get("cache")
    group = _full_attention_group(cache)
    if group is None or arguments.get("block_table") is not None:
        if not isinstance(getattr(cache, "cache_allocators", None), dict):
            reason = "continuous batching reads tables with transformers 5.18 or newer."
        elif group is None:
            reason = "there is no layer of full attention."
        else:
            reason = "its block tables are not read; set max_blocks_per_request=0."
        return Recalled(new, UnsupportedCacheError(type(cache).__name__, reason))
    positions = arguments["position_ids"][0]  # (tokens,)
    write, read = arguments["write_index"][group], arguments["read_index"][group]
    slots = _slots_of(cache, group, new.device)
    stored = torch.stack([new[0], positions.long()], dim=1)  # (tokens, 2)
    slots.index_copy_(0, write, stored[: write.shape[0]])
    tokens = torch.arange(new.shape[1], device=new.device)
    if read.numel() == 0:  # whole prompts only
        known, last = stored, tokens
        queries = torch.full_like(tokens, True, dtype=torch.bool)
    else:
        known = slots[read]
        ends = arguments["cu_seq_lens_q"].long()[1:]
        key_ends = arguments["cu_seq_lens_k"]
        if isinstance(key_ends, Mapping):  # transformers 5.18: not if there is one kind only
            key_ends = key_ends[_FULL]
        key_ends = key_ends.long()[1:]
        request = torch.searchsorted(ends.contiguous(), tokens, right=True)
        queries = request < ends.numel()  # what is padded for a static shape belongs to nobody
        request = request.clamp_max(ends.numel() - 1)
        last = key_ends[request] - (ends[request] - tokens)
    back = torch.arange(-reach, 1, device=new.device)
    place = last.unsqueeze(1) + back  # (tokens, reach + 1)
    exists = (positions.unsqueeze(1) + back >= 0) & queries.unsqueeze(1)
    found = known[place.clamp(0, known.shape[0] - 1)]  # (tokens, reach + 1, 2)
    if bool((exists & (found[..., 1] != positions.unsqueeze(1) + back)).any()):
        # Blocks that were copied (forked requests) or brought back from elsewhere.
        reason = "it holds tokens that the memories never saw (several returned sequences?)."
        return Recalled(new, UnsupportedCacheError(type(cache).__name__, reason))
    return Recalled(torch.where(exists, found[..., 0], PADDING))


def require_same_tables(cache: Any, state: tuple[object, ...]) -> None:
    """Raise if a paged cache was filled with other tables than those that are active.

    It hands keys of one request's prompt to the next, and keys depend on what was read.

    Args:
        cache: transformers' paged cache.
        state: `Frame.state` of what is active, () for nothing.

    Raises:
        HistoryError: If it differs from the first call's.
    """
    first = getattr(cache, _TABLES, None)
    if first is None:
        setattr(cache, _TABLES, state)
    elif first != state:
        raise HistoryError(
            "The active tables changed while one continuous batch was running: its cache holds keys"
            " that were computed with the others. Start generate_batch (or its manager) anew for"
            " each state of the tables."
        )


def _full_attention_group(cache: Any) -> int | None:
    allocators = getattr(cache, "cache_allocators", None)
    if not isinstance(allocators, dict):
        return None
    # transformers 5.18 tells their kinds by their names only.
    kinds = (getattr(group, "layer_type", name) for name, group in allocators.items())
    return next((number for number, kind in enumerate(kinds) if kind == _FULL), None)


def _slots_of(cache: Any, group: int, device: torch.device) -> Tensor:
    """Return (slots, 2) int64: each slot's coded id and position."""
    slots = getattr(cache, _SLOTS, None)
    if slots is None:
        allocator = list(cache.cache_allocators.values())[group]
        keys, _ = next(iter(allocator._kv_token_views.values()))
        slots = torch.full((keys.shape[0], 2), PADDING, dtype=torch.int64, device=device)
        setattr(cache, _SLOTS, slots)
    return slots
