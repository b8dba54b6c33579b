"""Token ids as the memories see them: padding and sequence starts marked.

Ids are stored coded: `PADDING` where there is no token, and -2 - id for a token that starts a
sequence, which no n-gram reaches across.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor
from transformers.cache_utils import Cache

from engram_transformers.caches import cache_of, past_of

PADDING = -1
# Before transformers 5.2, generate() gives left padding position 1, not 0.
_PADDING_HAS_POSITION_ONE = tuple(map(int, transformers.__version__.split(".")[:2])) < (5, 2)


class Uncoded(NamedTuple):
    """What a call was given, as copies in one tensor.

    Attributes:
        given: (batch + positions + mask, seq) int64: input ids, positions and mask below one
            another.
        batch: Rows of ids.
        positions: Rows of positions, 0 if none were given.
    """

    given: Tensor
    batch: int
    positions: int

    def coded(self) -> Tensor:
        """Return (batch, seq) int64; see `encode`."""
        ids, positions, mask = self.given.tensor_split(
            (self.batch, self.batch + self.positions), dim=0
        )
        return _code(
            ids,
            positions if len(positions) else None,
            mask == 0 if len(mask) else None,
            may_hide_padding=False,
        )


def joined(parts: list[Uncoded]) -> list[Uncoded]:
    """Join parts that follow one another and are of one kind."""
    joined: list[Uncoded] = []
    group: list[Uncoded] = []
    for part in [*parts, None]:
        if group and (part is None or part[1:] != group[0][1:] or _rows(part) != _rows(group[0])):
            joined.append(group[0]._replace(given=torch.cat([g.given for g in group], dim=1)))
            group = []
        if part is not None:
            group.append(part)
    return joined


def _rows(part: Uncoded) -> int:
    return part.given.shape[0]


def encode(input_ids: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    """Code the new ids of a call: padding and sequence starts marked.

    Args:
        input_ids: (batch, seq) integer.
        arguments: The call's other arguments: `attention_mask` (2-D, 4-D or a dictionary of 4-D
            ones), `position_ids`, and the cache, whose length places a 4-D mask.

    Returns:
        (batch, seq) int64.
    """
    batch, seq = input_ids.shape
    mask = arguments.get("attention_mask")
    padding: Tensor | None = None
    if isinstance(mask, Tensor) and mask.ndim == 2:
        if mask.shape[0] in (1, batch) and mask.shape[1] >= seq:
            padding = mask[:, mask.shape[1] - seq :] == 0
    elif mask is not None:
        padding = _padding_of_square_mask(mask, seq, arguments)
    positions = _positions(batch, seq, arguments)
    return _code(input_ids.long(), positions, padding, may_hide_padding=mask is not None)


def set_aside(input_ids: Tensor, arguments: Mapping[str, Any]) -> Uncoded | None:
    """Copy what `encode` would need, in one operation.

    Args:
        input_ids: (batch, seq) integer.
        arguments: The call's other arguments.

    Returns:
        The copies; None where that is not possible.
    """
    batch, seq = input_ids.shape
    parts = [input_ids]
    positions, mask = _positions(batch, seq, arguments), arguments.get("attention_mask")
    if positions is not None:
        parts.append(positions)
    if mask is not None:
        fits = isinstance(mask, Tensor) and mask.ndim == 2 and mask.shape[1] >= seq
        if not fits or mask.shape[0] not in (1, batch):
            return None
        parts.append(mask[:, mask.shape[1] - seq :])
    if any(part.is_floating_point() or part.device != input_ids.device for part in parts):
        return None
    given = torch.cat(parts).long() if len(parts) > 1 else input_ids.long().clone()
    return Uncoded(given, batch, 0 if positions is None else positions.shape[0])


def _positions(batch: int, seq: int, arguments: Mapping[str, Any]) -> Tensor | None:
    """Return a call's (1 or batch, seq) positions, None where it has none of that shape."""
    positions = arguments.get("position_ids")
    if not isinstance(positions, Tensor):
        return None
    positions = positions[0] if positions.ndim == 3 else positions
    fits = positions.ndim == 2 and positions.shape[1] == seq and positions.shape[0] in (1, batch)
    return positions if fits else None


def _code(
    ids: Tensor, positions: Tensor | None, padding: Tensor | None, *, may_hide_padding: bool
) -> Tensor:
    """Mark padding and sequence starts in ids.

    Args:
        ids: (batch, seq) int64.
        positions: (1 or batch, seq) integer.
        padding: (1 or batch, seq) bool.
        may_hide_padding: Whether there may be padding that `padding` does not tell of.

    Returns:
        (batch, seq) int64.
    """
    if positions is not None:
        starts = positions == 0
        if padding is None and may_hide_padding:
            # generate() gives left padding position 0 as well.
            padding = starts & torch.nn.functional.pad(starts[:, 1:], (0, 1))
            if _PADDING_HAS_POSITION_ONE:
                padding = padding | _constant_ones(positions)
        ids = torch.where(starts, -2 - ids, ids)
    return ids if padding is None else torch.where(padding, PADDING, ids)


def _constant_ones(positions: Tensor) -> Tensor:
    """Find position 1 where it does not follow 0 or lead up to 2, (batch, seq) bool."""
    ones, starts = positions == 1, positions == 0
    pad = torch.nn.functional.pad
    before = pad(ones[:, :-1], (1, 0))
    after = pad((ones | starts)[:, 1:], (0, 1))
    return ones & (before | after) & ~pad(starts[:, :-1], (1, 0))


def _first_key(cache: Cache, seq: int, keys: int) -> int | None:
    """Return the number of the first key that a static cache's mask covers, None if unknown."""
    if not any(cache.is_sliding):
        return 0
    try:
        covered, first = cache.get_mask_sizes(seq, 0)
    except AttributeError:  # transformers before 5.4 asks for positions, not their number
        return None
    return first if covered == keys else None


def _padding_of_square_mask(mask: Any, seq: int, arguments: Mapping[str, Any]) -> Tensor | None:
    """Read padding off a 4-D mask: a token that may not look at itself is none.

    Args:
        mask: (batch, 1, seq, keys), bool (True: may look) or additive; or one for each kind of
            attention.
        seq: How many tokens are new.
        arguments: The call's, for its cache.

    Returns:
        (batch, seq) bool, or None where the mask does not show it.
    """
    in_full = isinstance(mask, Mapping)
    if in_full:
        mask = mask.get("full_attention")
    if not isinstance(mask, Tensor) or mask.ndim != 4 or mask.shape[2] != seq:
        return None
    cache = cache_of(arguments)
    keys = mask.shape[3]
    if isinstance(cache, Cache) and cache.is_compileable:
        first = 0 if in_full else _first_key(cache, seq, keys)
        if first is None:
            return None
        own = past_of(cache) - first + torch.arange(seq, device=mask.device)
    else:
        own = torch.arange(keys - seq, keys, device=mask.device)
    looks = mask[:, 0].gather(2, own.clamp_max(keys - 1).view(1, seq, 1).expand(len(mask), -1, -1))
    allowed = looks if looks.dtype == torch.bool else looks > -1
    return ~allowed.squeeze(2)
