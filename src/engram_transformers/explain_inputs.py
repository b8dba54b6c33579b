"""What a user gives `explain` to read, as a model takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from engram_transformers.attachment import Attachment
from engram_transformers.caches import cache_of
from engram_transformers.errors import ConfigError
from engram_transformers.facts import Prompt, as_prompt
from engram_transformers.sequences import prompt_ids

Messages: TypeAlias = Sequence[Mapping[str, str]] | Sequence[tuple[str, str]]
"""A chat, as dictionaries or as (role, content) pairs."""

ExplainInputs: TypeAlias = (
    str
    | Messages
    | Sequence[int]
    | Tensor
    | Mapping[str, Any]
    | Sequence[str]
    | Sequence[Messages]
    | Sequence[Sequence[int]]
)
"""A text, a chat, token ids, a tensor of them, what a tokenizer returns, or a list of those."""

_EXPECTED = (
    "a text, chat messages, token ids (a list, or a tensor of shape (seq,) or (batch, seq)), what"
    " the tokenizer returns, or a list of texts, of chats or of lists of token ids"
)


def model_arguments(attachment: Attachment, inputs: Any) -> dict[str, Any]:
    """Return what the model is to be called with.

    Sequences of different lengths are padded on the right: then positions count from 0 in every
    model, as they do for each sequence by itself.

    Args:
        attachment: The model's patch.
        inputs: See `explain`.

    Returns:
        `input_ids`, (batch, seq) int64 on the model's device, with a mask where there is padding;
        of a mapping, everything else as well.

    Raises:
        ConfigError: If it is none of what `explain` takes, or has ids that the model does not.
        FactError: If a chat is not one, or the tokenizer has no chat template.
    """
    if isinstance(inputs, Mapping):
        arguments = _of_mapping(attachment, cast("Mapping[str, Any]", inputs))
        if cache_of(arguments) is not None:
            raise ConfigError("inputs", sorted(arguments), "a whole text, without a cache")
    elif isinstance(inputs, Tensor):
        arguments = {"input_ids": inputs}
    elif _is_one(inputs):
        arguments = _padded([_ids(attachment, inputs)])
    elif isinstance(inputs, (list, tuple)) and inputs:
        arguments = _padded([_ids(attachment, one) for one in cast("Sequence[Any]", inputs)])
    else:
        raise _refusal(inputs)
    device = attachment.device
    placed = {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in arguments.items()
    }
    _require_ids(attachment, placed.get("input_ids"))
    if placed["input_ids"].ndim == 1:
        return {n: v.unsqueeze(0) if isinstance(v, Tensor) else v for n, v in placed.items()}
    return placed


def _of_mapping(attachment: Attachment, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a tokenizer returned, with tensors or with lists."""
    given = inputs.get("input_ids")
    if given is None:
        raise ConfigError("inputs", sorted(inputs), "a mapping that has input_ids")
    if isinstance(given, Tensor):
        return dict(inputs)
    try:
        return {name: torch.as_tensor(value) for name, value in inputs.items()}
    except (TypeError, ValueError):  # sequences of different lengths, without padding
        return _padded([_ids(attachment, one) for one in given])


def _ids(attachment: Attachment, one: Any) -> list[int]:
    """Return the ids of one sequence."""
    if isinstance(one, Tensor) and one.ndim == 1:
        return [int(token) for token in one.tolist()]
    if isinstance(one, str):
        # An empty text may still have what the tokenizer puts before every text.
        return prompt_ids(attachment.tokenizer, one)[0]
    if _is_ids(one):
        return [int(token) for token in one]
    if _is_chat(one):
        return _chat_ids(attachment, as_prompt(one))
    raise _refusal(one)


def _chat_ids(attachment: Attachment, messages: Prompt) -> list[int]:
    """Return the ids of a chat: with the assistant's turn begun, unless the last one is theirs."""
    if isinstance(messages, str) or messages[-1][0] != "assistant":
        return prompt_ids(attachment.tokenizer, messages)[0]
    *earlier, (role, answer) = messages
    tokenizer: Any = attachment.tokenizer
    prompt_ids(tokenizer, messages)  # refuses a tokenizer without a template
    dictionaries = [{"role": r, "content": text} for r, text in (*earlier, (role, answer))]
    rendered = tokenizer.apply_chat_template(dictionaries, tokenize=False)
    return tokenizer(rendered, add_special_tokens=False)["input_ids"]


def _is_one(value: object) -> bool:
    return isinstance(value, str) or _is_ids(value) or _is_chat(value)


def _is_ids(value: object) -> bool:
    if not isinstance(value, (list, tuple)) or not value:
        return False
    return all(type(token) is int for token in cast("Sequence[object]", value))


def _is_chat(value: object) -> bool:
    if not isinstance(value, (list, tuple)) or not value:
        return False
    messages = cast("Sequence[object]", value)
    return all(isinstance(message, Mapping) for message in messages) or all(
        isinstance(message, tuple) and [type(part) for part in message] == [str, str]  # pyright: ignore
        for message in messages
    )


def _padded(sequences: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Stack sequences, padding on the right."""
    lengths = [len(sequence) for sequence in sequences]
    longest = max(lengths)
    ids = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in sequences])
    if min(lengths) == longest:
        return {"input_ids": ids.view(len(sequences), longest)}
    mask = torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)
    return {"input_ids": ids, "attention_mask": mask.long()}


def _require_ids(attachment: Attachment, ids: Any) -> None:
    """Raise unless ids are whole numbers that the model knows: a GPU would not survive others."""
    if not isinstance(ids, Tensor) or ids.ndim not in (1, 2) or ids.numel() == 0:
        shape = tuple(ids.shape) if isinstance(ids, Tensor) else type(ids).__name__
        raise ConfigError("inputs", shape, "token ids of shape (seq,) or (batch, seq), at least 1")
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise ConfigError("inputs", ids.dtype, "token ids, which are integers")
    lowest, highest, known = int(ids.min()), int(ids.max()), attachment.canonical.numel()
    if lowest < 0 or highest >= known:
        seen = lowest if lowest < 0 else highest
        raise ConfigError("inputs", seen, f"token ids from 0 to {known - 1}")


def _refusal(inputs: object) -> ConfigError:
    shown = inputs if isinstance(inputs, (int, float, bool)) or not inputs else type(inputs)
    return ConfigError("inputs", shown, _EXPECTED)
