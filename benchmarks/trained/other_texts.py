"""Text of another kind than what is trained on: there a model is to stay as it was."""

from __future__ import annotations

from pathlib import Path

from benchmarks.real_text import LOCOMO, conversations
from benchmarks.skill import general


def other_texts(data: Path) -> tuple[list[str], str]:
    """Return texts, and where they are from.

    Args:
        data: Folder of the evaluation data: chats. Without them, Python's help topics.
    """
    chats = conversations(data)
    if chats:
        return chats, LOCOMO
    return general.texts()[1], "Python's help topics (PSF licence); LoCoMo's chats were not there"
