"""The prior: the commonest answer of other people to a question, without any facts of the user.

It is told more than a model is: where nobody was asked the same words, it may look at the data's
own label of the question, which may give the answer away ("activity_off_day").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from benchmarks.layers.users import Asked, User

_OPENING = 4
"""So many words of a question tell its kind, where the data has no label for it."""


class Prior:
    """Answers as most others did.

    Asked in the same words; else under the same label; else in the same first words; else of the
    same kind.

    Args:
        others: Whose answers are known.
    """

    def __init__(self, others: Sequence[User]) -> None:
        self._answers: dict[tuple[str, ...], Counter[str]] = {}
        for user in others:
            for one in user.indirect:
                for key in _keys(one):
                    self._answers.setdefault(key, Counter())[one.answer] += 1

    def answer(self, asked: Asked) -> str:
        """Return the commonest answer; of several the one that was seen first; "" for none."""
        known = next((self._answers[key] for key in _keys(asked) if key in self._answers), None)
        return known.most_common(1)[0][0] if known else ""


def _keys(asked: Asked) -> Iterator[tuple[str, ...]]:
    """Yield what a question is looked up by, the closest first."""
    yield ("question", asked.question)
    if asked.variant:
        yield ("variant", asked.schema, asked.variant)
    yield ("opening", asked.schema, *asked.question.split()[:_OPENING])
    yield ("schema", asked.schema)
