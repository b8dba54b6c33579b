"""What the tests of `explain` read, and what memories are really given, noted independently."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from engram_transformers import Fact
from engram_transformers.attachment import require_attachment

CHAT = (("user", "Where do I live?"),)
FACTS = [
    Fact("My locker code is", "4471"),
    Fact("My sister lives in", "Oslo", ("The home of my sister:", (("user", "And she?"),))),
    Fact(CHAT, "Bergen"),
]
ORGANISATION = [Fact("The locker code is", "99")]
TEXT = "The harbour opens. My locker code is 4471. The library opens at nine."

Noted = dict[tuple[int, int, int], tuple[Tensor, float, float, float]]


def decoded(sequence: Any) -> str:
    """Return the text of an explained sequence."""
    return "".join(sequence.tokens)


@contextmanager
def memory_reads(model: Any) -> Generator[Noted]:
    """Note what memories are given and add, until the block ends.

    Yields:
        (layer, sequence, position) -> row, gate, norm of what was added, norm before; filled in as
        the model runs.
    """
    attachment = require_attachment(model)
    noted: Noted = {}

    def note(memory: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
        streams, rows, found = args
        gates = memory.gate(streams.float(), rows)
        for spot in found.nonzero().tolist():
            sequence, position = _places(attachment.layout.model_type, found, spot)
            at = _at(attachment.layout.model_type, streams, sequence, position)
            before, after = streams[at].float(), output[at].float()
            noted[memory.layer, sequence, position] = (
                rows[tuple(spot)],
                float(gates[at].mean()),
                float((after - before).norm()),
                float(before.norm()),
            )

    handles = [memory.register_forward_hook(note) for memory in attachment.memories.values()]
    try:
        yield noted
    finally:
        for handle in handles:
            handle.remove()


def _places(model_type: str, found: Tensor, spot: list[int]) -> tuple[int, int]:
    """Return the sequence and the position of a place in a memory's arguments."""
    if model_type == "xlnet":
        return spot[1], spot[0]
    return (spot[1], spot[2]) if model_type.startswith("gemma3n") else (spot[0], spot[1])


def _at(model_type: str, streams: Tensor, sequence: int, position: int) -> tuple[Any, ...]:
    """Return the index of a position in a block's hidden states, with all of its streams."""
    if model_type == "xlnet":
        return position, sequence
    every = slice(None)
    return (every, sequence, position) if model_type.startswith("gemma3n") else (sequence, position)
