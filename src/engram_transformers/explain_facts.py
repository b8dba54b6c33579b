"""Whose words an address stands for: found by address, never by row, for facts share rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass

from engram_transformers.attachment import Attachment
from engram_transformers.facts import Fact, Prompt
from engram_transformers.located import locate
from engram_transformers.sequences import Encoder, Wording
from engram_transformers.table import UserTable


@dataclass(frozen=True)
class Meaning:
    """What an address stands for.

    Attributes:
        fact: Whose it is.
        prompt: Which of the fact's wordings it is in.
        part: Which token of the answer it calls for, from 0.
        wording: That wording, in tokens.
        read: Canonical ids of wording and answer up to the position, which the address ends at.
    """

    fact: Fact
    prompt: Prompt
    part: int
    wording: Wording
    read: tuple[int, ...]

    def agreement(self, text: Sequence[int]) -> int:
        """Count how many tokens of a text agree with the wording, from the end of both."""
        count = 0
        for mine, theirs in zip(reversed(self.read), reversed(text), strict=False):
            if mine != theirs:
                break
            count += 1
        return count


def meanings_of(
    attachment: Attachment, table: UserTable, wanted: Set[int]
) -> dict[int, list[Meaning]]:
    """Say what addresses of a table stand for.

    Args:
        attachment: The patch of a model that reads the table.
        table: The table.
        wanted: The addresses to look for.

    Returns:
        Address -> all wordings of all facts that have it, in the order of the table; without those
        that no fact has, and empty for a table without texts. Cost: tokenises all facts.
    """
    found: dict[int, list[Meaning]] = defaultdict(list)
    entries = (table.entries or ()) if wanted else ()
    encoder = Encoder(attachment.tokenizer)
    canonical = attachment.canonical_list
    places = locate(attachment, table, entries, encoder)
    for entry, (lines, addresses, _) in zip(entries, places, strict=True):
        for number, (wording, line) in enumerate(zip(lines, addresses, strict=True)):
            for part, address in enumerate(line):
                if address is None or address not in wanted:
                    continue
                ids = wording.addressed_ids[: wording.trigger_length + part]
                prompt = _prompt_of(encoder, entry.fact, number, wording)
                read = tuple(canonical[i] for i in ids)
                found[address].append(Meaning(entry.fact, prompt, part, wording, read))
    return dict(found)


def _prompt_of(encoder: Encoder, fact: Fact, number: int, wording: Wording) -> Prompt:
    """Return the prompt that a wording was made of; those behind the prompts begin with a space."""
    prompts = fact.prompts
    if number < len(prompts):
        return prompts[number]
    ids = list(wording.prompt_ids[wording.start :])
    texts = (prompt for prompt in prompts if isinstance(prompt, str))
    return next((text for text in texts if encoder(f" {text}") == ids), fact.prompt)
