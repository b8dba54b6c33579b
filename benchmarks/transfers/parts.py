"""The parts of the transfer experiment. A new one is one entry of `PARTS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.setting import Setting
from benchmarks.transfers import chains, families, paraphrases, told, unseen
from benchmarks.transfers.questions import Part


class Source(NamedTuple):
    """Where a part comes from.

    Attributes:
        name: For `--parts` and in results.
        title: On the page.
        about: What is stored and what is asked.
        make: Makes it.
    """

    name: str
    title: str
    about: str
    make: Callable[[Setting], Part]


PARTS = (
    Source(
        "unseen",
        "Attributes held out of training",
        "Half of them are in one table and half in another, each under its key alone. They are"
        " asked in templates that were held out, by the key and by synonyms that no table has; and"
        " in their own questions, some of which have a word of the key. The same questions go to"
        ' the table that lacks the fact, where "I don\'t know." is right. Synonyms are asked once'
        " more with tables that have them as aliases.",
        unseen.make,
    ),
    Source(
        "told",
        "Facts told in any wording, of groups held out of training",
        "What somebody says of themselves or of something by its name, told in one or two wordings"
        " among other facts and asked in another: a question, or a sentence left unfinished. Some"
        " are asked in the table's own words; of some the table lacks the fact.",
        told.make,
    ),
    Source(
        "families",
        "Kinds of people held out of training",
        "**Direct** questions ask for a fact, **indirect** ones take a fact and more: a sum, a"
        ' comparison, or to see which fact it is. Where something is missing, "I don\'t know." is'
        " right. The **prior** is, for each wording (a template of the family, without what is"
        " filled in), the commonest answer of other made-up people of the family; for a direct"
        " question the fact's commonest value. **Another one's table** is that of somebody else of"
        " the family, who has all facts that are needed.",
        families.make,
    ),
    Source(
        "chains",
        "Chains of two facts",
        "Made up anew are the people and things of the first ones; the skill is trained on their"
        " wordings. The others are the 63 of the evaluation data: in a **true chain** the question"
        " does not end in the second fact's words, with **overlap** it does. Training has chains of"
        " the same general form with made-up people and things, and none of these questions. Some"
        " answers are known to many (where the sitar comes from); the controls with one fact"
        " or none say how often that suffices.",
        chains.make,
    ),
    Source(
        "paraphrases",
        "Paraphrases of statements",
        "16 statements of the evaluation data in one table, each asked in four other ways.",
        paraphrases.make,
    ),
)
