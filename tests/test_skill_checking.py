"""Promises of checking episodes: right ones pass, and each way of being wrong has its reason."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engram_transformers import Episode, named_fact, recall_key
from engram_transformers.errors import EpisodeError
from engram_transformers.skill.checking import check_episode
from engram_transformers.skill.episodes import UNKNOWN_ANSWER
from engram_transformers.skill.quantities import quantities
from engram_transformers.skill.workings import listed, results

VALUES = {
    "birth year": "1993",
    "sister's name": "Ann",
    "sister's birth year": "1996",
    "home city": "Ghent",
    "work start time": "08:15",
    "commute in minutes": "25",
    "weekly activity days": "Monday, Wednesday and Friday",
    "pet": "a cat named Tango",
    "rent": "$1,200",
    "phone ending": "0199",
}
FACTS = [
    *(named_fact(name, value) for name, value in VALUES.items()),
    named_fact("allergy", "peanuts", aliases=("food intolerance",)),
]


def episode(question, answer, names=(), working=""):
    return Episode(FACTS, question, answer, tuple(map(recall_key, names)), working)


AGE = ("How old am I in 2026?", "33", ("birth year",), "2026 - 1993 = 33.")
BOTH = ("birth year", "sister's birth year")
OLDER = "Who is older, me or my sister?"
DAYS = ("weekly activity days",)
LEAVE = ("When do I leave home to be at work in time?", "07:50")
COMMUTE = ("work start time", "commute in minutes")

GOOD = [
    AGE,
    ("How old am I in 2026?", "33 years old", ("birth year",), "age = 2026 - 1993 = 33"),
    ("How old am I ten years after 2026?", "43", ("birth year",), "2026 − 1993 = 33. 33 + 10 = 43"),
    ("Which town do I live in?", "Ghent", ("home city",), ""),
    ("What is my cat called?", "Tango", ("pet",), ""),
    ("Which digits does my number end with?", "0199", ("phone ending",), ""),
    (OLDER, "me", BOTH, "1993 < 1996."),
    ("Among me and my sister, who is older?", "me", BOTH, "1993 < 1996."),
    (OLDER, "my sister", BOTH, "1996 is after 1993, 1993 is before 1996"),
    ("Is my sister younger than me?", "Yes", BOTH, "1996 > 1993."),
    ("By how many years is my sister younger?", "3 years", BOTH, "1993 - 1996 = -3"),
    (*LEAVE, COMMUTE, "08:15 - 25 minutes = 07:50."),
    (LEAVE[0], "7:50 am", COMMUTE, "8:15 am − 25 = 7:50 am"),
    ("What do I pay in a year?", "$14,400", ("rent",), "$1,200 × 12 = $14,400"),
    ("What is my rent, shared by 3?", "400", ("rent",), "1200 / 3 = 400"),
    ("How many days am I busy?", "3", DAYS, "Monday 1, Wednesday 2, Friday 3."),
    ("How many days am I busy?", "3 days", DAYS, "Monday, Wednesday and Friday are 3 days."),
    ("Do I train on Monday?", "Yes", DAYS, ""),
    ("Do I train on Sunday?", "No", DAYS, ""),
    ("Do I meet Ann in Ghent?", "No", ("sister's name", "home city"), "Ann is in Lyon."),
    ("What is the home city of me, Ann's kin?", "Ghent", ("sister's name", "home city"), ""),
    ("Can I have satay?", "No", ("allergy",), "Satay has peanuts."),
    ("What must I not eat?", "peanuts", ("food intolerance",), ""),
    ("Who pulls my teeth?", UNKNOWN_ANSWER, ("dentist",), ""),
    ("Where was she born?", UNKNOWN_ANSWER, ("sister's name", "sister's birthplace"), ""),
]


@pytest.mark.parametrize("parts", GOOD)
def test_what_follows_passes(parts):
    check_episode(episode(*parts))


AGED = ("How old am I in 2026?", "33", ("birth year",))
BAD = [
    # The question
    (("Is 1993 my year? How old am I in 2026?", *AGE[1:]), "the question gives it away: '1993'"),
    (("Which town is Ghent?", "Ghent", ("home city",)), "the question gives it away: 'Ghent'"),
    # What is needed
    (("What is one more than one?", "2", (), "1 + 1 = 2"), "no fact is needed"),
    (("Who?", "Ann", ("sister's name", "sister's name")), "a trigger is needed twice"),
    (("Who is my aunt?", "Ann", ("aunt",)), "a needed trigger is not in the table: 'My aunt is'"),
    (
        ("How old am I in 2026?", "33", ("home city", "birth year"), "2026 - 1993 = 33"),
        "what is recited is not used: 'My home city is'",
    ),
    # What is unknown
    (("Who?", UNKNOWN_ANSWER, ("sister's name",)), "what is there is said to be unknown"),
    (("Who?", UNKNOWN_ANSWER, ("uncle", "aunt")), "a needed trigger is not in the table"),
    (("Who?", UNKNOWN_ANSWER, ("aunt",), "There is none."), "the answer is unknown, and there"),
    (("When?", UNKNOWN_ANSWER, ("year of birth",)), "another name for 'My birth year is'"),
    # Parts that could not be told apart
    ((*AGED, "2026 - 1993 = 33. Answer: 33"), "contain 'Answer:'"),
    ((*AGED, "My birth year is 1993. 2026 - 1993 = 33."), "the working recites"),
    # The working
    ((*AGED, "2026 - 1993 = 34. 34 - 1 = 33"), "working is wrong: .*where 33 stands against 34"),
    ((*AGED, "1993 + 33 = 2026."), "a number comes from nowhere: 33"),
    ((*AGED, "I am 33."), "a number comes from nowhere: 33"),
    ((*AGED, "(2026 - 1993) = 33."), "the working can't be read"),
    ((*AGED, "2026 % 1993 = 33."), "the working can't be read"),
    ((*AGED, "2026 - 1993 = about 33."), "the working can't be read"),
    ((*AGED, "2026 of very many years - 1993 = 33."), "from nowhere: 33"),
    ((*AGED, "2026 years (or so) - 1993 = 33."), "the working can't be read"),
    ((*AGED, "2026 / 0 = 33."), "it divides by zero"),
    ((*LEAVE, COMMUTE, "08:15 - 25 = 07:55, 07:55 - 5 = 07:50"), "08:15.*07:50 stands against 07:"),
    ((*LEAVE, COMMUTE, "08:15 * 25 = 07:50"), "a time of the day is multiplied"),
    ((OLDER, "my sister", BOTH, "1993 > 1996."), "working is wrong"),
    ((OLDER, "my sister", BOTH, "1993 is after 1996."), "working is wrong"),
    ((OLDER, "my sister", BOTH, "1993 = 1996."), "working is wrong"),
    ((OLDER, "my sister", BOTH, "the year < 1996."), "can't be read"),
    (("How many days?", "2", DAYS, "Monday 1, Friday 2."), "does not count all members once"),
    (("How many days?", "2", DAYS, "Monday, Wednesday and Friday are 2."), "does not count all"),
    (("How many days?", "2", DAYS, "Monday 1, Sunday 2."), "answer does not follow"),
    # The answer
    (("How old am I in 2026?", "34", *AGE[2:]), "answer does not follow: it says '34', and the"),
    (("How old am I in 2026?", "33 or 40", *AGE[2:]), "a number in '33 or 40' comes from nowhere"),
    (("How old am I in 2026?", "33 moons", *AGE[2:]), "nothing before '33 moons' says 'moons'"),
    (("Who is she?", "Berta", ("sister's name",), "Ann."), "'Berta' is in nothing"),
    (("Who is she?", "Ann Lee", ("sister's name",)), "nothing before 'Ann Lee' says 'lee'"),
    (("When?", "1994", ("birth year",), "1993."), "'1994' is neither recited nor computed"),
    (("Which digits?", "199", ("phone ending",), "0199."), "'199' is neither recited"),
    (("Is it Ghent?", "No", ("home city",)), "it says 'No' without a working, and the question"),
    (("Do I train on Sunday?", "Yes", DAYS), "it says 'Yes' without a working"),
    (("Am I as old as she?", "the same age", ("birth year",)), "'the same age' without a working"),
]


@pytest.mark.parametrize(("parts", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_what_does_not_follow_is_refused_with_its_reason(parts, reason):
    with pytest.raises(EpisodeError, match=reason) as caught:
        check_episode(episode(*parts))
    assert caught.value.question == parts[0]
    assert re.search(reason, caught.value.reason)


def test_a_missing_trigger_has_the_form_of_a_recall_key():
    for trigger in ("my dentist is", "My dentist", "My my dentist is"):
        with pytest.raises(EpisodeError, match="has another form than 'My … is'"):
            check_episode(Episode(FACTS, "Who?", UNKNOWN_ANSWER, trigger))


@pytest.mark.parametrize(
    ("working", "found"),
    [
        ("100 / 3 = 33.33", ["33.33"]),
        ("3 + 2 × 10 = 23 and 23 ÷ 2 = 11.5", ["23", "11.5"]),
        ("3x10=30", ["30"]),
        ("3 + 3 = 6 = 3 * 2, 6 > 3", ["6"]),
        ("09:00 + 8 hours = 17:00", ["17:00"]),
        ("17:00 - 09:00 = 8 hours, 8 hours * 3 = 24 hours", ["8", "24"]),
        ("17:00 - 09:00 = 480", ["480"]),
        ("23:30 + 60 minutes = 00:30; 00:30 - 23:30 = 60", ["00:30", "60"]),
        ("Days: a 1, b 2. 2 * 3 = 6", ["2", "6"]),
        ("2 - 3 = -1", ["-1"]),
        ("1000 * 1000 + 0.5 = 1,000,000.5", ["1000000.5"]),
        ("the 3-day week", []),
        ("", []),
    ],
)
def test_steps_are_computed_again(working, found):
    values = ["a, b", "3", "09:00", "17:00", "23:30", "8", "0.5"]
    assert [str(one) for one in results(working, values, "")] == found


@pytest.mark.parametrize("working", ["100 / 3 = 33", "100 / 3 = 33.34", "1 + 1 = 2.1"])
def test_only_quotients_are_rounded(working):
    with pytest.raises(ValueError, match="the working is wrong"):
        results(working, ["3"], "")


def test_results_may_be_used_behind_their_step_only():
    assert results("12 + 12 = 24. 24 + 100 = 124. 124 + 1 = 125", [], "")[-1].value == 125
    with pytest.raises(ValueError, match="from nowhere: 124"):
        results("124 + 1 = 125. 24 + 100 = 124", [], "")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1,200.50 and 0.5", ["1200.5", "0.5"]),
        ("three at 9 pm", ["3", "21:00", "9"]),
        ("12:05 am", ["00:05", "12:05"]),
        ("1993-04-12", ["1993", "12"]),
        ("0199, RAV4, 25:99", ["25", "99"]),
    ],
)
def test_quantities_are_found_in_texts(text, found):
    assert [str(one) for one in quantities(text)] == found


def test_lists_are_cut_into_members():
    assert listed("Chess; Judo & Yoga") == ["chess", "judo", "yoga"]


PIECES = st.sampled_from(
    "0 1 3 33 07:50 8:15am 1,200 0.5 = < > - + * / x ( ) , . : % hours days is are after than and "
    "Monday Friday so $ \u2212 \u0660 not".split()
)


@given(st.lists(PIECES, max_size=12).map(" ".join) | st.text(max_size=30))
@example("1 / 0 = 0")
@example(f"{'1000 * ' * 120}1000 / 7 = 0")
def test_any_working_is_computed_or_refused(working):
    refusal = ""
    try:
        results(working, ["3", "Monday, Friday", "07:50"], "In 33 days?")
    except ValueError as error:
        refusal = str(error)
    assert re.match("the working (is wrong|can't be read): |a number comes|$", refusal)
