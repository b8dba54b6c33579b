"""Facts from what people say: where a statement's trigger ends, and by what name it is recalled."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from engram_transformers.errors import EmptyFactError, FactError
from engram_transformers.facts import Fact, Prompt
from engram_transformers.skill.keys import recall_key

_MOST_WORDS = 8
"""Of a name."""
_IS = "is|are|was|were"
_LINKS = "about|as|at|by|called|for|from|in|into|like|named|of|on|to|with"
"""Behind these words comes the value, as in "I was born in 1993."."""
_VALUE = r"(?P<value>\S.*)"
_NAMED = re.compile(rf"(?P<prompt>my (?P<name>.+?) (?:{_IS})) {_VALUE}", re.I)
_TURNED = re.compile(r"(?P<value>\S.*?) (?:is|are) my (?P<name>[^.,;]+)", re.I)
_LABELLED = re.compile(rf"(?P<name>[^:.?!]+?) ?: {_VALUE}", re.I)
_I = re.compile(
    r"(?P<prompt>(?:I|we)(?:'m|'ve)?(?: also| always| often| usually| never| \w+ly)?"
    rf"(?: am| was| were)?(?: (?!(?:{_LINKS}|an?|the)\b)\S+)?(?: (?:{_LINKS})\b)?) {_VALUE}",
    re.I,
)
_BE = re.compile(rf"(?P<prompt>\S.*? (?:{_IS})(?: \w+ (?:{_LINKS})\b)?) {_VALUE}")
_LINKED = re.compile(rf"(?P<prompt>(?:\S+ ){{1,7}}?(?:{_LINKS})) {_VALUE}")
_QUESTION = re.compile(
    r"(?:(?:so|and|hi|hey|please)[,!]? )?(?:(?:can|could) you tell me )?"
    r"(?:what(?:'s| is| are| was)?|who(?:'s| is| was)?|where(?:'s| is)?|when(?:'s| is)?"
    r"|which(?: is)?|do you (?:know|remember))"
    r"(?: the name of)? my (?P<name>[^?.,]+?)(?: called| again)?\s*\?*",
    re.I,
)


def fact_of(statement: str) -> Fact:
    """Return the fact that a statement tells: what leads up to its value, and the value.

    What has a name ("My dentist is …") can be recalled by it. Of other statements the words before
    the value are the trigger.

    Args:
        statement: One sentence with the value at its end, or a name, a colon and the value.

    Raises:
        EmptyFactError: If it has no text.
        FactError: If it can't be told where the value begins.

    Example:
        >>> fact_of("My dentist is on Main Street.")
        Fact(prompt='My dentist is', answer='on Main Street', paraphrases=())
        >>> fact_of("I was born in 1993.").prompt
        'I was born in'
    """
    text = " ".join(statement.split())
    if not text:
        raise EmptyFactError(statement, "the statement is empty.")
    text = text[:-1] if text.endswith((".", "!")) and not text.endswith("..") else text
    for pattern in (_NAMED, _TURNED, _LABELLED):
        found = pattern.fullmatch(text)
        if found is not None and len(found["name"].split()) <= _MOST_WORDS:
            key = recall_key(_uncapitalised(found["name"]))
            prompt = found["prompt"] if pattern is _NAMED else key
            return Fact(prompt, found["value"], () if prompt == key else (key,))
    for pattern in (_I, _BE, _LINKED):
        found = pattern.fullmatch(text)
        if found is not None:
            return Fact(found["prompt"], found["value"])
    raise FactError(
        statement,
        "it can't be told where its value begins; give a (prompt, answer) pair, or a statement that"
        ' ends with the value, as in "My dentist is on Main Street."',
    )


def with_recall_keys(facts: Sequence[Fact], others: Iterable[Fact] = ()) -> list[Fact]:
    """Give facts that are asked by name the trigger that the skill recites.

    A question ("What is my birth year?") and another form of "is" ("My work days are") get the
    recall key beside them, unless another fact has that trigger.

    Args:
        facts: What is to be written.
        others: What the table holds already.
    """
    taken = {prompt for fact in (*facts, *others) for prompt in fact.prompts}
    found: list[Fact] = []
    for fact in facts:
        names = (name for prompt in fact.prompts if (name := _name_in(prompt)) is not None)
        keys = [key for key in dict.fromkeys(map(recall_key, names)) if key not in taken]
        taken |= set(keys)
        found.append(Fact(fact.prompt, fact.answer, (*fact.paraphrases, *keys)) if keys else fact)
    return found


def _name_in(prompt: Prompt) -> str | None:
    """Return the name by which a trigger asks; of a chat, its last message."""
    text = " ".join((prompt if isinstance(prompt, str) else prompt[-1][1]).split())
    found = _QUESTION.fullmatch(text) or re.fullmatch(rf"my (?P<name>.+) (?:{_IS})", text, re.I)
    if found is None or len(found["name"].split()) > _MOST_WORDS:
        return None
    return found["name"]


def _uncapitalised(name: str) -> str:
    """Return a name without the capital of a sentence's first word; "PIN" keeps its own."""
    return name[0].lower() + name[1:] if name[1:2].islower() else name
