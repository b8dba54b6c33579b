"""Chats as text: templates, earlier turns, system prompts, and answers that have begun."""

from __future__ import annotations

from typing import Any

from benchmarks.foreign_texts import CHAT
from engram_transformers.facts import Prompt

SYSTEM = "You are a patient assistant in a small town library. Answer briefly."


def has_template(tokenizer: Any) -> bool:
    """Say whether a model has a way of writing chats."""
    return bool(getattr(tokenizer, "chat_template", None))


def rendered(tokenizer: Any, prompt: Prompt, begun: str = "") -> str:
    """Return a prompt as the text that a model is given.

    Args:
        tokenizer: The model's.
        prompt: Text, which stays as it is, or (role, content) messages up to the assistant's turn.
        begun: How the assistant's turn begins already.
    """
    if isinstance(prompt, str):
        return prompt + begun
    messages = [{"role": role, "content": content} for role, content in prompt]
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text + begun


def with_turns(
    question: str, turns: int = 0, system: str | None = None, start: int = 0
) -> tuple[tuple[str, str], ...]:
    """Return a chat that ends with a question.

    Args:
        question: The user's last message.
        turns: So many unrelated questions and answers come before.
        system: The system's message; None leaves it to the template.
        start: Which of the unrelated ones comes first.
    """
    messages: list[tuple[str, str]] = [("system", system)] if system else []
    for number in range(start, start + turns):
        user, assistant = CHAT[number % len(CHAT)]
        messages += [("user", user), ("assistant", assistant)]
    return (*messages, ("user", question))


def end_of_turn(tokenizer: Any) -> str:
    """Return what a template writes behind an assistant's answer."""
    messages = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "answer"}]
    text: str = tokenizer.apply_chat_template(messages, tokenize=False)
    return text.rpartition("answer")[2].split()[0]


def supports_system(tokenizer: Any) -> bool:
    """Say whether a template takes a system message."""
    try:
        rendered(tokenizer, with_turns("Hello?", system=SYSTEM))
    except Exception:  # templates raise what they like
        return False
    return True


def unrelated_questions() -> list[str]:
    """Return questions that nobody wrote an answer to."""
    return [user for user, _ in CHAT]
