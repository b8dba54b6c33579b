"""Resolving: which of the owner's facts is meant by a name that none of them has.

Rows answer exact words. A question about a smartphone makes the skill say "My smartphone is", and
a fact that is stored as "My phone is" stays silent. The names of what the owner's tables hold
(never their values) are shown to the model, which was trained to say the one that is meant, or
"None of these.": the odds between the two say how sure it is. This is for what is left when the
model has started again with the names in view, and for more names than a question is shown with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from engram_transformers.active import use_tables
from engram_transformers.evaluation import left_padded
from engram_transformers.sequences import Encoder
from engram_transformers.skill.keys import are_shown_at_once, name_of
from engram_transformers.skill.traces import NONE_OF_THEM, Form, question_ids, spell
from engram_transformers.table import UserTable

_LEAST_PROBABILITY = 0.5
"""Of a name that is taken, against none of them."""


class Resolved(NamedTuple):
    """A trigger that was said, and the one that was taken in its place.

    Attributes:
        said: What the skill said, which no fact has.
        taken: The fact's own trigger.
    """

    said: str
    taken: str


class Unresolved(NamedTuple):
    """A trigger that no fact has, and where it was said.

    Attributes:
        question: The question.
        before: The ids that were said before it.
        trigger: The trigger.
        triggers: Of the owner's facts.
    """

    question: str
    before: tuple[int, ...]
    trigger: str
    triggers: tuple[str, ...]


def triggers_of(entry: UserTable | Sequence[UserTable] | None) -> tuple[str, ...]:
    """Return the triggers of all facts that a sample reads; of a table without texts none."""
    tables = () if entry is None else (entry,) if isinstance(entry, UserTable) else entry
    facts = [one.fact for table in tables for one in table.entries or ()]
    return tuple(fact.prompt for fact in facts if isinstance(fact.prompt, str))


def resolve(
    model: nn.Module, encoder: Encoder, asked: Sequence[Unresolved], form: Form
) -> list[str | None]:
    """Choose for each what is meant, in one batch; None if nothing that the owner has.

    Args:
        model: A patched model with the skill.
        encoder: Of its tokenizer.
        asked: What is to be resolved.
        form: How questions are put.
    """
    left = [one.triggers for one in asked]
    while any(len(_parts(triggers)) > 1 for triggers in left):
        left = _narrowed(model, encoder, asked, left, form)
    return [
        found.trigger if found is not None and found.probability >= _LEAST_PROBABILITY else None
        for found in _choose(model, encoder, list(zip(asked, left, strict=True)), form)
    ]


class _Chosen(NamedTuple):
    """A trigger that a model said.

    Attributes:
        trigger: The trigger.
        probability: Of its words, against "None of these.", 0 to 1.
    """

    trigger: str
    probability: float


def _parts(triggers: Sequence[str]) -> list[tuple[str, ...]]:
    """Cut a list into parts that are shown at once, of two at least."""
    parts: list[tuple[str, ...]] = []
    for trigger in triggers:
        fits = parts and (len(parts[-1]) < 2 or are_shown_at_once([*parts[-1], trigger]))
        parts[-1:] = [(*parts[-1], trigger)] if fits else [*parts[-1:], (trigger,)]
    return parts


def _narrowed(
    model: nn.Module,
    encoder: Encoder,
    asked: Sequence[Unresolved],
    left: Sequence[tuple[str, ...]],
    form: Form,
) -> list[tuple[str, ...]]:
    """Return of more triggers than are shown at once the likeliest of each part."""
    parts = [
        (number, part)
        for number, triggers in enumerate(left)
        if len(_parts(triggers)) > 1
        for part in _parts(triggers)
    ]
    chosen = _choose(model, encoder, [(asked[number], part) for number, part in parts], form)
    narrowed = [() if len(_parts(triggers)) > 1 else triggers for triggers in left]
    for (number, _), one in zip(parts, chosen, strict=True):
        narrowed[number] += () if one is None else (one.trigger,)
    return narrowed


def _choose(
    model: nn.Module,
    encoder: Encoder,
    asked: Sequence[tuple[Unresolved, tuple[str, ...]]],
    form: Form,
) -> list[_Chosen | None]:
    """Let the model say which of some triggers is meant; None where there are none."""
    some = [(one, triggers) for one, triggers in asked if triggers]
    if not some:
        return [None] * len(asked)
    prompts = [
        question_ids(encoder, one.question, form, list(map(name_of, triggers))) + list(one.before)
        for one, triggers in some
    ]
    spelled = [
        {tuple(spell(encoder, trigger, form, one.before)): trigger for trigger in triggers}
        for one, triggers in some
    ]
    none = [spell(encoder, NONE_OF_THEM, form, one.before)[0] for one, _ in some]
    chosen = iter(_say_one_of(model, encoder, prompts, spelled, none))
    return [next(chosen) if triggers else None for _, triggers in asked]


def _say_one_of(
    model: nn.Module,
    encoder: Encoder,
    prompts: Sequence[Sequence[int]],
    spelled: Sequence[dict[tuple[int, ...], str]],
    none: Sequence[int],
) -> list[_Chosen]:
    """Let the model say one of several texts to each prompt.

    Args:
        model: A patched model.
        encoder: Of its tokenizer.
        prompts: Ids of the prompts.
        spelled: For each the ids of the texts, and the texts.
        none: For each the first id of what is said where none of the texts fits.
    """
    any_model: Any = model
    tokenizer: Any = encoder.tokenizer
    end: int = tokenizer.eos_token_id
    ids, mask = left_padded(prompts, any_model.device)
    start = ids.shape[1]

    def allowed(sample: int, said: Tensor) -> list[int]:
        before = tuple(said[start:].tolist())
        length = len(before)
        texts = [text for text in spelled[sample] if text[:length] == before]
        return list({text[length] if len(text) > length else end for text in texts}) or [end]

    # Names only: what stands in rows is read when the chosen trigger is said.
    with torch.no_grad(), use_tables(model, None):
        output = any_model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max(len(text) for texts in spelled for text in texts) + 1,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=end,
            prefix_allowed_tokens_fn=allowed,
            output_logits=True,
            return_dict_in_generate=True,
        )
    logits = torch.stack(output.logits, dim=1).float()  # (batch, said, vocab)
    said = output.sequences[:, start:]
    log_probabilities = logits.log_softmax(-1).gather(-1, said[..., None])[..., 0]
    chosen: list[_Chosen] = []
    of_none = logits[:, 0].log_softmax(-1)[range(len(none)), list(none)]
    for texts, row, logs, without in zip(
        spelled, said.tolist(), log_probabilities.tolist(), of_none.tolist(), strict=True
    ):
        (text,) = [text for text in texts if tuple([*row, end][: len(text) + 1]) == (*text, end)]
        odds = math.exp(min(without - sum(logs[: len(text)]), 100.0))
        chosen.append(_Chosen(texts[text], 1 / (1 + odds)))
    return chosen
