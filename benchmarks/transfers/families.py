"""People of families that the skill was never trained on, and what is said without their facts."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence

from benchmarks.layers.scoring import is_exact
from benchmarks.setting import Setting
from benchmarks.skill import families
from benchmarks.skill.families.asking import OTHER_YEAR, Form, forms
from benchmarks.skill.families.family import Family, Told
from benchmarks.skill.moves import NOW
from benchmarks.skill.wordings import GENERAL
from benchmarks.transfers.questions import SEED, Part, Question, tables_of
from engram_transformers import Episode, recall_key
from engram_transformers.facts import FactLike
from engram_transformers.skill.episodes import UNKNOWN_ANSWER

DIRECT, INDIRECT, UNKNOWN = "direct", "indirect", "something is missing"
ANOTHERS = "{}, another one's table"
PEOPLE_SEED = 90_000
"""The people of the prior are others than those who are asked."""
_QUICK_PEOPLE = 20


class Prior:
    """The commonest answer of other people of a family to a question in the same wording.

    A wording is a template of the family, before numbers, names and an opening are put to it; so
    what a question says beyond its template is not looked at. All wordings that ask for a fact
    itself have one answer, the fact's commonest value.

    Args:
        family: Whose people they are.
        people: How many.
        seed: Of the people.
    """

    def __init__(self, family: Family, people: int, seed: int) -> None:
        self._lot = random.Random(f"{seed}, {family.name}")
        self._people = [family.person(self._lot) for _ in range(people)]
        self._answers: dict[tuple[str, str], str] = {}

    def answer(self, form: Form) -> str:
        """Return the commonest answer; of several the one that was seen first."""
        key = (form.question, form.answer)
        if key not in self._answers:
            given = [self._given(form, values) for values in self._people]
            self._answers[key] = Counter(given).most_common(1)[0][0]
        return self._answers[key]

    def _given(self, form: Form, values: dict[str, str]) -> str:
        if isinstance(form.asked, Told):
            return values[form.asked.name]
        is_other_year = "{now}" in form.question and self._lot.random() < OTHER_YEAR
        now = str(NOW + self._lot.randint(1, 9) if is_other_year else NOW)
        _, said = form.asked.solver.solve(values | {"now": now}, self._lot)
        return form.answer.format(**said | {"now": now})


def form_of(family: Family, episode: Episode) -> Form:
    """Return the wording in which an episode asks for something that its table has.

    It has to need the same triggers; of several that fit the question, the longest is taken.

    Raises:
        ValueError: If it is none of the family's.
    """
    direct, around = forms(family)
    for form in direct:
        if isinstance(form.asked, Told) and (recall_key(form.asked.name),) == episode.needed:
            general = (one.format(key=form.asked.name) for one in GENERAL)
            if episode.question == form.question or episode.question in general:
                return form
    fitting = [
        form
        for form in around
        if not isinstance(form.asked, Told)
        and tuple(map(recall_key, form.asked.solver.needs)) == episode.needed
        and _fits(form.question, episode.question)
    ]
    if not fitting:
        raise ValueError(f"No question of a {family.name} is put like {episode.question!r}.")
    return max(fitting, key=lambda form: len(form.question))


def _fits(template: str, question: str) -> bool:
    """Say whether a question is made of a template, behind an opening and in any case."""
    parts = re.split(r"\{\w+\}", template.rstrip("?."))
    pattern = ".+".join(map(re.escape, parts))
    return re.search(rf"(?<!\w){pattern}[?.]*$", question, re.IGNORECASE) is not None


def make(setting: Setting) -> Part:
    """Ask people of held-out families, and each with another one's table as well."""
    tables: dict[str, Sequence[FactLike]] = {}
    questions: list[Question] = []
    right: Counter[str] = Counter()
    people = _QUICK_PEOPLE if setting.quick else setting.options.prior_people
    chosen = families.held_out()
    for family in chosen:
        count = -(-setting.options.episodes // len(chosen))
        made = families.episodes((family,), count, SEED + setting.seed)
        theirs = tables_of(made, family.name)
        tables |= theirs
        prior = Prior(family, people, PEOPLE_SEED + setting.seed)
        names = list(theirs)
        for number, one in enumerate(made):
            if one.answer == UNKNOWN_ANSWER:
                questions.append(Question(UNKNOWN, one.question, one.answer, names[number]))
                continue
            form = form_of(family, one)
            kind = DIRECT if isinstance(form.asked, Told) else INDIRECT
            questions.append(Question(kind, one.question, one.answer, names[number]))
            right[kind] += is_exact(prior.answer(form), one.answer)
            if (other := another(made, number)) is not None:
                about = ANOTHERS.format(kind)
                questions.append(Question(about, one.question, one.answer, names[other], True))
    asked = Counter(one.kind for one in questions)
    return Part(
        tables, questions, {kind: (right[kind], asked[kind]) for kind in (DIRECT, INDIRECT)}
    )


def another(episodes: Sequence[Episode], number: int) -> int | None:
    """Return the next one whose table has all facts that an episode needs; None if none has."""
    needed = episodes[number].needed
    order = [*range(number + 1, len(episodes)), *range(number)]
    has_all = (i for i in order if all(episodes[i].value(one) is not None for one in needed))
    return next(has_all, None)
