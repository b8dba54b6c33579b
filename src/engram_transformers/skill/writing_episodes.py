"""Writing episodes: a teacher makes them from somebody's facts, and each is checked."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm

from engram_transformers.canonical import normalise
from engram_transformers.errors import (
    ConfigError,
    ContradictionError,
    EpisodeError,
    NoEpisodesError,
    TeacherError,
)
from engram_transformers.facts import Fact, FactLike, as_facts
from engram_transformers.skill.checking import check_episode, is_unknown
from engram_transformers.skill.episodes import UNKNOWN_ANSWER, Episode
from engram_transformers.skill.replies import Draft, Rejected, read_reply
from engram_transformers.skill.teachers import Teacher, reply_of

KINDS = (
    "a lookup, asked in other words than the trigger's",
    "arithmetic with a value: an age, a duration, a sum, a time of the day",
    "a comparison of two values",
    "counting the members of a list",
    "a question to be answered with Yes or No",
    "two facts that have to be put together",
    "something that the facts do not tell",
)
"""What a teacher is asked for."""
_PER_REQUEST = 8
_MOST_SHOWN = 40
"""Facts in one request; of more, each request shows others."""
_TOLD = 20
"""Earlier questions that a request says not to repeat."""
_INSTRUCTIONS = """\
You write exercises for an assistant that remembers facts about its user. The assistant recites \
the triggers that it needs, reads the value behind each, writes a short working, and answers.

The facts, each a trigger and its value:
{facts}

Write {count} questions that this user could ask, in the first person ("my", "I"), as people talk. \
Mix these kinds:
{kinds}

Reply with JSON, one object per line, and nothing else:
{examples}

Rules:
- "needed" lists the triggers in the order in which they are recited, exactly as they stand above, \
and only those that are used.
- The question must not contain the answer or a value, unless it is answered with Yes or No or \
leaves a choice ("Who is older, me or my sister?"). Say in it what else one must know, such as the \
present year.
- "working" has every step as an equation with its result ("2026 - 1993 = 33", \
"08:15 + 25 = 08:40" for minutes), as a comparison ("1993 < 1996"), or as a count \
("Monday 1, Friday 2"). Numbers come from the values, from the question or from an earlier step. \
A lookup has an empty working.
- "answer" is short: the value, the result of the last step, Yes or No.
- For what the facts do not tell, the last of "needed" is a trigger of the form "My … is" that is \
not above, "working" is empty and "answer" is "{unknown}"
"""
_EXAMPLES = (
    {
        "question": "How old will I be in 2030?",
        "needed": ["My birth year is"],
        "working": "2030 - 1993 = 37.",
        "answer": "37",
    },
    {
        "question": "Who fixes my teeth?",
        "needed": ["My dentist is"],
        "working": "",
        "answer": UNKNOWN_ANSWER,
    },
)


@dataclass(frozen=True)
class WrittenEpisodes:
    """What a teacher wrote.

    Attributes:
        episodes: What passed the checks, in order; fewer than asked for if attempts ran out.
        rejected: What did not, each as (text, reason). Requests that failed are among them.
    """

    episodes: tuple[Episode, ...]
    rejected: tuple[Rejected, ...]

    @property
    def reasons(self) -> dict[str, int]:
        """How often something was rejected for each kind of reason, the commonest first."""
        return dict(Counter(one.kind for one in self.rejected).most_common())


def write_episodes(
    facts: FactLike | Iterable[FactLike],
    teacher: Teacher,
    *,
    count: int,
    seed: int = 0,
    attempts: int = 3,
    progress: bool | None = None,
) -> WrittenEpisodes:
    """Have a teacher write episodes for one person's facts, and keep those that are right.

    The teacher is asked for 8 at a time. Each episode is gone through by `check_episode`; what
    fails is rejected with its reason, and what is written beyond `count` is left out. For several
    people, call this for each of them.

    Args:
        facts: All facts of one person, in any form that `UserTable.write` takes. Each needs a
            trigger that is text: a chat can't be recited.
        teacher: A `ModelTeacher`, an `EndpointTeacher`, or any function from chat messages to text.
        count: How many episodes are wanted.
        seed: Of the order in which facts and kinds of questions are put to the teacher.
        attempts: How often it may be asked, as a multiple of what `count` would take if everything
            passed; also after how many failed requests in a row it is given up.
        progress: Whether to show a progress bar. None: if it takes long, in a terminal.

    Returns:
        The episodes, at most `count`, and what was rejected.

    Raises:
        NoEpisodesError: If not one passes; it has the commonest reasons.
        TeacherError: If requests fail before there is an episode. Later ones are among `rejected`.
        FactError: If something is no fact.
        ContradictionError: If two facts answer the same trigger.
        ConfigError: If an option is not allowed, there is no fact, or one has no trigger of text.

    Example:
        >>> def teacher(messages):
        ...     return '''{"question": "How old am I in 2026?", "needed": ["My birth year is"],
        ...                "working": "2026 - 1993 = 33.", "answer": "33"}'''
        >>> written = write_episodes(("My birth year is", "1993"), teacher, count=1)
        >>> written.episodes[0].answer
        '33'
    """
    for name, value in (("count", count), ("attempts", attempts)):
        if value < 1:
            raise ConfigError(name, value, "at least 1")
    writing = _Writing(as_facts(facts))
    lot = random.Random(seed)
    disable = None if progress is None else not progress
    failures = 0
    bar: Any = tqdm(total=count, unit="episode", desc="writing", delay=2, disable=disable)
    with bar:
        for _ in range(attempts * -(-count // _PER_REQUEST)):
            missing = count - len(writing.episodes)
            messages = [{"role": "user", "content": writing.request(lot, missing)}]
            try:
                reply = reply_of(teacher, messages)
            except TeacherError as error:
                failures += 1
                if failures >= attempts and not writing.episodes:
                    raise
                writing.rejected.append(Rejected("", f"a request failed: {error.reason}"))
                if failures >= attempts:
                    break
                continue
            failures = 0
            writing.take(reply, count)
            bar.update(len(writing.episodes) - bar.n)
            if len(writing.episodes) == count:
                break
    written = WrittenEpisodes(tuple(writing.episodes), tuple(writing.rejected))
    if not written.episodes:
        raise NoEpisodesError(written.rejected, tuple(written.reasons.items()))
    return written


class _Writing:
    """The episodes of one person, while they are written.

    Attributes:
        facts: The facts.
        episodes: What passed.
        rejected: What did not.
    """

    def __init__(self, facts: Sequence[Fact]) -> None:
        if not facts:
            raise ConfigError("facts", [], "at least one")
        self.facts = facts
        self.episodes: list[Episode] = []
        self.rejected: list[Rejected] = []
        self._triggers = _triggers(facts)
        self._asked: set[str] = set()

    def request(self, lot: random.Random, missing: int) -> str:
        """Return what the teacher is told."""
        shown = lot.sample(self.facts, min(len(self.facts), _MOST_SHOWN))
        known = [(_said(fact), fact.answer) for fact in shown]
        kinds = lot.sample(KINDS, len(KINDS))
        text = _INSTRUCTIONS.format(
            facts="\n".join(f"- {_quoted(trigger)}: {_quoted(value)}" for trigger, value in known),
            count=min(missing, _PER_REQUEST),
            kinds="\n".join(f"- {kind}" for kind in kinds),
            examples="\n".join(map(_quoted, _EXAMPLES)),
            unknown=UNKNOWN_ANSWER,
        )
        if self.episodes:
            told = [f"- {episode.question}" for episode in self.episodes[-_TOLD:]]
            text += "\n".join(["- Ask nothing that was asked before:", *told])
        return text

    def take(self, reply: str, count: int) -> None:
        """Check what a reply holds, and keep what passes, until there are `count`."""
        for draft in read_reply(reply):
            if isinstance(draft, Rejected):
                self.rejected.append(draft)
            elif len(self.episodes) < count:
                self._take_draft(draft)

    def _take_draft(self, draft: Draft) -> None:
        asked = " ".join(normalise(draft.question).strip(" ?!.").split())
        try:
            if asked in self._asked:
                raise EpisodeError(draft.question, "the question was asked before")
            needed = [self._triggers.get(normalise(one), one) for one in draft.needed]
            answer = UNKNOWN_ANSWER if is_unknown(draft.answer) else draft.answer
            episode = Episode(self.facts, draft.question, answer, needed, draft.working)
            check_episode(episode)
        except EpisodeError as error:
            self.rejected.append(Rejected(draft.text, error.reason))
            return
        self._asked.add(asked)
        self.episodes.append(episode)


def _triggers(facts: Sequence[Fact]) -> Mapping[str, str]:
    """Return the triggers by which something can be recited: normalised -> as written."""
    triggers: dict[str, str] = {}
    values: dict[str, str] = {}
    for fact in facts:
        _said(fact)  # where there may be none
        for prompt in fact.prompts:
            if isinstance(prompt, str):
                plain = normalise(prompt)
                if values.setdefault(plain, fact.answer) != fact.answer:
                    shown = (prompt, fact.answer)
                    reason = f"{values[plain]!r} was given for the same trigger."
                    raise ContradictionError(shown, reason)
                triggers.setdefault(plain, prompt)
    return triggers


def _said(fact: Fact) -> str:
    """Return the trigger by which a fact is shown to the teacher: the first that is text."""
    for prompt in fact.prompts:
        if isinstance(prompt, str):
            return prompt
    raise ConfigError("facts", fact.prompts, "facts with a trigger of text, as of named_fact")


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
