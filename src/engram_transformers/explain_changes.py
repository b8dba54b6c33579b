"""What a model most likely says next, with tables and without."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from engram_transformers.explanation import Change, NextToken


def changes_at(
    positions: Sequence[int],
    tokens: Sequence[str],
    before: Tensor,
    after: Tensor,
    top: int,
    decode: Callable[[int], str],
) -> tuple[Change, ...]:
    """Compare the most likely next tokens.

    Args:
        positions: Behind which tokens.
        tokens: Their texts.
        before: (positions, vocab) logits without tables, on the CPU.
        after: The same with them.
        top: How many tokens are wanted.
        decode: Token id -> text.

    Returns:
        One change per position.
    """
    # In double precision, so that what is nearly certain does not look certain.
    before, after = before.double(), after.double()
    probable = torch.softmax(before, dim=-1), torch.softmax(after, dim=-1)
    top = min(top, before.shape[-1])
    changes: list[Change] = []
    for number, (position, token) in enumerate(zip(positions, tokens, strict=True)):
        logits = before[number], after[number]

        def described(token_id: int, number: int = number) -> NextToken:
            old, new = before[number], after[number]
            return NextToken(
                token_id,
                decode(token_id),
                float(probable[0][number, token_id]),
                float(probable[1][number, token_id]),
                float(old[token_id]),
                float(new[token_id]),
                int((old > old[token_id]).sum()) + 1,
                int((new > new[token_id]).sum()) + 1,
            )

        listed = [tuple(map(described, row.topk(top).indices.tolist())) for row in logits]
        changes.append(Change(position, token, *listed))
    return tuple(changes)
