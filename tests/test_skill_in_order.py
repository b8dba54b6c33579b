"""Promises of work in several processes: the same results in the same order, the same errors."""

from __future__ import annotations

import errno
import pickle

import pytest

from engram_transformers.errors import AnswerError, EngramError, EpisodeError, TableSaveError
from engram_transformers.skill.in_order import in_order


def halved(number: int) -> int:
    if number % 2:
        raise EpisodeError(str(number), "it is odd.")
    return number // 2


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_order(workers):
    assert in_order(halved, range(0, 50, 2), workers, at_once=4) == list(range(25))
    assert in_order(halved, [], workers) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_the_first_error_is_raised_by_its_own_name(workers):
    with pytest.raises(EpisodeError, match="it is odd") as caught:
        in_order(halved, [2, 4, 7, 8, 9], workers, at_once=2)
    assert caught.value.question == "7"


@pytest.mark.parametrize(
    "error",
    [
        EpisodeError("Who?", "it is odd."),
        AnswerError("Who?", "Who", 3, [None]),
        TableSaveError("ann", "folder", "the disk is full", errno.ENOSPC),
    ],
)
def test_errors_can_be_pickled(error):
    again: EngramError = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert getattr(again, "errno", None) == getattr(error, "errno", None)
