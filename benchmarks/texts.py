"""Text that has nothing to do with any fact: surroundings to ask in, sentences to leave alone."""

from __future__ import annotations

import re
from pydoc_data.topics import topics
from typing import Any

_CHAT = [
    {"role": "user", "content": "Please tell me a short story about a dragon."},
    {
        "role": "assistant",
        "content": "Once there was a dragon who was afraid of fire. It learnt to bake instead.",
    },
    {"role": "user", "content": "Lovely. And now something about my own life."},
]


def unseen_contexts(tokenizer: Any) -> dict[str, str]:
    """Return eight texts of 0 to 500 tokens to put before a trigger; none is used in writing."""
    prose = _reference_text()
    return {
        "nothing": "",
        "letter": "Dear Anna,\n\nthank you for your postcard from the sea. Here all is well. ",
        "chat": tokenizer.apply_chat_template(_CHAT, tokenize=False, add_generation_prompt=True),
        "code": "import os\n\nclass Loader:\n    def __init__(self, root):\n"
        "        self.root = root\n\n    # TODO, and a note to self: ",
        "numbered list": "1. Wake up at seven.\n2. Feed the cat.\n3. Read the news.\n4. ",
        "Spanish": "El gato duerme en la casa. Mañana vamos a la playa con los niños. ",
        "prose, 200 tokens": _cut(tokenizer, prose, 200) + "\n\n",
        "prose, 500 tokens": _cut(tokenizer, prose[4000:], 500) + "\n\n",
    }


def sentences(count: int) -> list[str]:
    """Return sentences of the Python reference manual, which comes with Python."""
    found = re.split(r"(?<=[.:?!])\s+", _reference_text())
    kept = [sentence for sentence in found if 40 <= len(sentence) <= 400]
    if len(kept) < count:
        raise ValueError(f"Only {len(kept)} sentences, not {count}.")
    return kept[:count]


def _reference_text() -> str:
    pages = [
        re.sub(r"\s+", " ", re.sub(r"[*_=`\-]{2,}", " ", topics[key])) for key in sorted(topics)
    ]
    return " ".join(pages)


def _cut(tokenizer: Any, text: str, tokens: int) -> str:
    ids = tokenizer(text[: tokens * 12], add_special_tokens=False)["input_ids"][: tokens - 2]
    return tokenizer.decode(ids)
