"""Text that has nothing to do with any fact: surroundings to ask in, sentences to leave alone."""

from __future__ import annotations

import functools
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from benchmarks.foreign_texts import CHAT, PARAGRAPHS

_CHAT = [
    {"role": "user", "content": "Please tell me a short story about a dragon."},
    {
        "role": "assistant",
        "content": "Once there was a dragon who was afraid of fire. It learnt to bake instead.",
    },
    {"role": "user", "content": "Lovely. And now something about my own life."},
]
# Modules without doctests or word lists, in the order in which they are read.
_MODULES = ("textwrap", "queue", "shlex", "bisect", "heapq", "sched", "selectors", "tempfile")


def unseen_contexts(tokenizer: Any) -> dict[str, str]:
    """Return eight texts of 0 to 500 tokens to put before a trigger; none is used in writing."""
    prose = reference_text()
    return {
        "nothing": "",
        "letter": "Dear Anna,\n\nthank you for your postcard from the sea. Here all is well. ",
        "chat": _rendered(tokenizer, _CHAT),
        "code": "import os\n\nclass Loader:\n    def __init__(self, root):\n"
        "        self.root = root\n\n    # TODO, and a note to self: ",
        "numbered list": "1. Wake up at seven.\n2. Feed the cat.\n3. Read the news.\n4. ",
        "Spanish": "El gato duerme en la casa. Mañana vamos a la playa con los niños. ",
        "prose, 200 tokens": cut(tokenizer, prose, 200) + "\n\n",
        "prose, 500 tokens": cut(tokenizer, prose[4000:], 500) + "\n\n",
    }


LONG_KINDS = ("prose", "chat", "code", "other languages")


def long_context(tokenizer: Any, kind: str, tokens: int) -> str:
    """Return a text of about so many tokens, after which a trigger may follow.

    Args:
        tokenizer: The model's.
        kind: One of `LONG_KINDS`: the Python reference manual; turns of a chat, in which the
            assistant speaks next; sources of Python's standard library; paragraphs in twelve
            languages, repeated as often as it takes.
        tokens: How many, with what separates the text from a trigger.
    """
    if tokens == 0:
        return ""
    if kind == "prose":
        return cut(tokenizer, reference_text()[9000:], tokens) + "\n\n"
    if kind == "code":
        return cut(tokenizer, _source_text(), tokens - 1) + "\n\n# "
    if kind == "other languages":
        # A third of its length: where a text is short, it begins with another language.
        start = tokens // 3 % len(PARAGRAPHS)
        rotated = PARAGRAPHS[start:] + PARAGRAPHS[:start]
        enough = "\n\n".join(rotated * (1 + tokens // 200))
        return cut(tokenizer, enough, tokens) + "\n\n"
    return _long_chat(tokenizer, tokens)


def _long_chat(tokenizer: Any, tokens: int) -> str:
    """Return a chat cut at its beginning: its first message is as long as is needed."""
    turns: list[dict[str, str]] = []
    question = {"role": "user", "content": "And now to me."}
    number = 0
    while True:
        user, assistant = CHAT[number % len(CHAT)]
        more = [
            {"role": "user", "content": user if number < len(CHAT) else f"Once more: {user}"},
            {"role": "assistant", "content": assistant},
        ]
        text = _rendered(tokenizer, [*turns, *more, question])
        if length_of(tokenizer, text) > tokens:
            break
        turns += more
        number += 1
    room = tokens - length_of(tokenizer, _rendered(tokenizer, [*turns, question]))
    if room > 6:
        question["content"] = cut(tokenizer, reference_text(), room - 2) + " " + question["content"]
    return _rendered(tokenizer, [*turns, question])


def _rendered(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    if getattr(tokenizer, "chat_template", None):
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    lines = [f"{message['role'].capitalize()}: {message['content']}\n" for message in messages]
    return "".join([*lines, "Assistant: "])


def length_of(tokenizer: Any, text: str) -> int:
    """Return how many tokens a text has, without what the tokenizer puts before it."""
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def sentences(count: int) -> list[str]:
    """Return sentences of the Python reference manual, which comes with Python."""
    found = re.split(r"(?<=[.:?!])\s+", reference_text())
    kept = [sentence for sentence in found if 40 <= len(sentence) <= 400]
    if len(kept) < count:
        raise ValueError(f"Only {len(kept)} sentences, not {count}.")
    return kept[:count]


@functools.cache
def reference_text() -> str:
    """Return the Python reference manual as running text, without markup."""
    pages = [
        re.sub(r"\s+", " ", re.sub(r"[*_=`\-]{2,}", " ", topics[key])) for key in sorted(topics)
    ]
    return " ".join(pages)


def _source_text() -> str:
    return "\n\n".join(_sources())


def _sources() -> Iterator[str]:
    folder = Path(sysconfig.get_path("stdlib"))
    for name in _MODULES:
        yield (folder / f"{name}.py").read_text(encoding="utf-8")


def cut(tokenizer: Any, text: str, tokens: int) -> str:
    """Return the beginning of a text: so many tokens, less 2 for what follows."""
    ids = tokenizer(text[: tokens * 12], add_special_tokens=False)["input_ids"]
    # A cut within a character leaves a replacement character.
    return tokenizer.decode(ids[: max(tokens - 2, 1)]).rstrip("\ufffd")
