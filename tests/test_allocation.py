"""Promises of allocation: each address is unambiguous, and as short as it may be."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engram_transformers.allocation import Line, allocate
from engram_transformers.errors import ContradictionError


def line(
    trigger, answer, fact=0, min_order=1, *, whole=False, own=0, guards=(), at_least=()
) -> Line:
    """A wording whose token ids are its canonical ids. Each answer token is a target."""
    trigger, answer = tuple(trigger), tuple(answer)
    ids = trigger + answer[:-1]
    return Line(
        ids,
        (*trigger[1:], *answer),
        len(trigger) - 1,
        fact,
        min_order,
        whole,
        own,
        tuple(tuple(guard) for guard in guards),
        tuple(at_least),
        (trigger, answer),
    )


def test_a_trigger_of_its_own_gets_the_shortest_order():
    assert allocate([line([1, 2, 3], [9])], 64) == [[1]]
    assert allocate([line([1, 2, 3], [9], min_order=3)], 64) == [[3]]
    assert allocate([line([1, 2, 3], [9], min_order=5)], 64) == [[3]]  # there is no more


def test_triggers_that_end_alike_reach_back_to_where_they_differ():
    one, other = line([1, 5, 6], [9], 0), line([2, 5, 6], [8], 1)
    assert allocate([one, other], 64) == [[3], [3]]
    third = line([7, 4], [9], 2)
    assert allocate([one, other, third], 64) == [[3], [3], [1]]


def test_facts_that_say_the_same_after_the_same_still_get_addresses_of_their_own():
    """One may be erased, and the other is to stay."""
    one, other = line([1, 5, 6], [9], 0), line([2, 5, 6], [9], 1)
    assert allocate([one, other], 64) == [[3], [3]]


def test_wordings_of_one_fact_may_share_an_address():
    one, other = line([1, 5, 6], [9], 0), line([2, 5, 6], [9], 0)
    assert allocate([one, other], 64) == [[1], [1]]


def test_an_address_is_not_in_a_prompt_that_goes_on_otherwise():
    one, other = line([1, 5, 6], [9], 0), line([5, 6, 7], [8], 1)
    assert allocate([one, other], 64) == [[3], [1]]
    goes_on_alike = line([5, 6, 9, 7], [8], 1)
    assert allocate([one, goes_on_alike], 64) == [[1], [1]]


def test_a_trigger_repeated_in_its_own_prompt_reaches_back():
    assert allocate([line([6, 7, 3, 6], [9])], 64) == [[2]]


def test_behind_each_answer_token_the_address_reaches_back_into_the_trigger():
    assert allocate([line([1, 2, 3, 4], [9, 8, 7], min_order=2)], 64) == [[2, 3, 4]]
    long = allocate([line(range(40), range(100, 125), min_order=1)], 64)[0]
    assert long[:18] == [*range(1, 18), 17]
    assert long[-1] == 17


def test_a_whole_trigger_that_ends_another_one_is_shorter_and_the_longest_match_wins():
    short, longer = line([5, 6], [8], 0), line([1, 5, 6], [9], 1)
    assert allocate([short, longer], 64) == [[2], [3]]


def test_a_whole_trigger_within_another_prompt_lets_that_prompt_off():
    one, other = line([5, 6], [9], 0), line([5, 6, 7, 1], [8], 1)
    assert allocate([one, other], 64) == [[2], [1]]


def test_whole_addresses_are_as_long_as_they_can_be():
    assert allocate([line([1, 2, 3, 4], [9, 8], whole=True)], 64) == [[4, 5]]
    assert allocate([line([1, 2, 3, 4], [9, 8], whole=True)], 3) == [[3, 3]]
    long = allocate([line([1, 2, 3, 4], range(100, 125), whole=True)], 64)[0]
    assert long == [*range(4, 20), *[20] * 9]  # behind 16 tokens of the answer it is long enough


def test_whole_addresses_begin_where_the_trigger_proper_begins():
    assert allocate([line([1, 2, 3, 4], [9, 8], whole=True, own=2)], 64) == [[2, 3]]
    assert allocate([line([1, 2, 3, 4], [9], min_order=3, whole=True, own=2)], 64) == [[3]]
    one = line([1, 2, 3, 4], [9], 0, whole=True, own=2)
    other = line([5, 2, 3, 4], [8], 1, whole=True, own=2)
    assert allocate([one, other], 64) == [[4], [4]]  # the same last message, after another one


def test_addresses_in_a_table_become_longer_and_never_shorter():
    assert allocate([line([1, 2, 3], [9], at_least=[2])], 64) == [[2]]
    one, other = line([1, 5, 6], [9], 0, at_least=[1]), line([2, 5, 6], [8], 1)
    assert allocate([one, other], 64) == [[3], [3]]
    assert allocate([line([1, 2], [9], at_least=[7])], 64) == [[2]]


def test_guards_lengthen_the_address_of_their_own_lines():
    guarded = line([1, 5, 6], [9], 0, guards=[(7, 5, 6, 7)])
    other = line([2, 8, 6], [9], 1)
    assert allocate([guarded, other], 64)[0] == [3]
    assert allocate([line([1, 5, 6], [9]), line([3, 3], [2], 1, guards=[(5, 6)])], 64)[0] == [1]


def test_a_guard_with_the_whole_trigger_is_refused():
    with pytest.raises(ContradictionError, match="a guard text contains its whole trigger"):
        allocate([line([1, 2], [9], guards=[(7, 1, 2, 7)])], 64)
    with pytest.raises(ContradictionError, match="a guard text contains its whole trigger"):
        allocate([line([4, 1, 2], [9], guards=[(7, 1, 2, 7)])], 2)


def test_one_trigger_with_two_answers_is_refused():
    with pytest.raises(ContradictionError, match=r"has the same trigger.*another answer") as seen:
        allocate([line([1, 2], [9], 0), line([1, 2], [8], 1)], 64)
    assert seen.value.fact in (((1, 2), (9,)), ((1, 2), (8,)))


def test_triggers_that_differ_too_far_back_are_refused():
    far = [line([1, *range(5, 10)], [9], 0), line([2, *range(5, 10)], [8], 1)]
    assert allocate(far, 6) == [[6], [6]]
    with pytest.raises(ContradictionError, match="has the same trigger"):
        allocate(far, 5)


def test_nothing_to_allocate_is_no_work():
    assert allocate([], 64) == []


def said(lines: list[Line], orders: list[list[int]], text: tuple[int, ...]) -> int | None:
    """What a table of these addresses says after a text: the longest match, in plain Python."""
    table = {
        one.canonical[one.first + j + 1 - order : one.first + j + 1]: one.next_ids[one.first + j]
        for one, own in zip(lines, orders, strict=True)
        for j, order in enumerate(own)
    }
    for order in range(len(text), 0, -1):
        if text[len(text) - order :] in table:
            return table[text[len(text) - order :]]
    return None


tokens = st.integers(0, 3)


@settings(max_examples=400, deadline=None)
@given(
    triggers=st.lists(
        st.lists(tokens, min_size=1, max_size=6).map(tuple), min_size=1, max_size=6, unique=True
    ),
    data=st.data(),
)
def test_every_fact_is_answered_with_all_others_in_the_table(triggers, data):
    answers = [
        data.draw(st.lists(tokens, min_size=1, max_size=3).map(tuple), label="answer")
        for _ in triggers
    ]
    min_order = data.draw(st.integers(1, 3))
    lines = [
        line(trigger, answer, fact, min_order)
        for fact, (trigger, answer) in enumerate(zip(triggers, answers, strict=True))
    ]
    try:
        orders = allocate(lines, 64)
    except ContradictionError:
        assert any(
            one.canonical[: p + 1] == other.canonical[: p + 1]
            and one.next_ids[p] != other.next_ids[p]
            for one, other in itertools.permutations(lines, 2)
            for p in range(
                max(one.first, other.first), min(len(one.canonical), len(other.canonical))
            )
        )
        assume(False)
    for one in lines:
        for position in range(one.first, len(one.canonical)):
            assert said(lines, orders, one.canonical[: position + 1]) == one.next_ids[position]
