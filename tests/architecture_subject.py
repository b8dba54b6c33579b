"""One class of models, and what to ask it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from architecture_runs import outcome_of
from tables import Synthetic, canonical, frequent_ngrams, make_table
from tiny import HIDDEN_SIZE, tiny_tokenizer
from torch import Tensor

from engram_transformers import add_engram
from engram_transformers.attachment import require_attachment
from engram_transformers.errors import EngramError

PROMPTS = ("Mira's favourite spice is", "The library opens at nine. My number is", "Where do I")
TEXT = f"{PROMPTS[0]} cumin, and the old town's is salt."
OTHER_TEXT = "user: Where do I live? assistant: You live in the old town."
FACT = ("My cousin Parker lives in", "Tucson")


class Subject:
    """One class of models, built, and what to ask it.

    Attributes:
        base: The bare model.
        model: A patched copy, with memories at block 1 and at the last one.
        notes: What transformers itself does not keep.
    """

    def __init__(self, model: Any) -> None:
        self.base = model
        self.tokenizer = tiny_tokenizer()
        self.model = add_engram(
            copy.deepcopy(model), self.tokenizer, layers=[1, -1], row_dim=HIDDEN_SIZE
        )
        self.layers = sorted(require_attachment(self.model).memories)
        self.notes: list[str] = []

    def encode(self, text: str) -> Tensor:
        """Return a text's ids, (1, seq)."""
        return self.tokenizer(text, return_tensors="pt")["input_ids"]

    def at_trigger(self, layer: int, **options: Any) -> Synthetic:
        """Return a table with a row at the last four tokens of the first prompt."""
        ids = self.tokenizer(PROMPTS[0])["input_ids"]
        return make_table(self.model, [canonical(self.model, ids[-4:])], layer=layer, **options)

    def frequent(self, seed: int = 0) -> Synthetic:
        """Return a table at the first memory of which about a third of all positions read a row."""
        ngrams = frequent_ngrams(self.model, seed)
        return make_table(
            self.model, ngrams, seed=seed, distinct_rows=64, scale=3.0, layer=self.layers[0]
        )

    def same_or_noted(self, what: str, ours: Callable[[], str], bare: Callable[[], str]) -> None:
        """Require that two ways agree on our model, unless they don't on the bare one.

        Args:
            what: The promise, for the note.
            ours: Compares two ways on the patched model with tables; says what differs, or "".
            bare: The same on the bare model.
        """
        seen, our_error = outcome_of(ours)
        if not seen:
            return
        without_us, its_error = outcome_of(bare)
        if not without_us:
            raise AssertionError(f"{what}: {seen}")
        if isinstance(our_error, EngramError):
            self.notes.append(f"{what} (with tables it is refused: {seen})")
        else:
            self.notes.append(what if its_error is None else f"{what} ({without_us})")
