"""Promises of the starts of sequences."""

from __future__ import annotations

import pytest
import torch

from engram_transformers.banks.errors import BankDtypeError, BankShapeError
from engram_transformers.banks.starts import (
    EARLIER,
    clear_before_last_start,
    last_starts,
    require_starts,
)

STARTS = torch.tensor([[False, True, False, True], [False, False, False, False]])


def test_every_position_knows_where_its_sequence_started():
    assert last_starts(STARTS).tolist() == [[EARLIER, 1, 1, 3], [EARLIER] * 4]


def test_nothing_before_the_last_start_is_left_for_the_next_call():
    window = torch.arange(1, 7).repeat(2, 1)  # two earlier positions
    expected = [[9, 9, 9, 9, 9, 6], [1, 2, 3, 4, 5, 6]]
    assert clear_before_last_start(window, STARTS, 9).tolist() == expected
    lines = window.view(2, 6, 1, 1).expand(2, 6, 3, 2)
    cleared = clear_before_last_start(lines, STARTS, 9)
    assert cleared[..., 2, 1].tolist() == expected
    assert clear_before_last_start(window, None, 9) is window
    assert clear_before_last_start(window, STARTS[:, :0], 9) is window


@pytest.mark.parametrize(
    ("starts", "error", "message"),
    [
        (STARTS[:1], BankShapeError, r"`starts` has shape \(1, 4\), but must have \(2, 4\)"),
        (STARTS[:, :3], BankShapeError, r"\(2, 3\)"),
        (STARTS.long(), BankDtypeError, "`starts` is torch.int64, but must be torch.bool"),
    ],
)
def test_masks_that_do_not_fit_are_refused(starts, error, message):
    require_starts(STARTS, 2, 4)
    require_starts(None, 2, 4)
    with pytest.raises(error, match=message) as seen:
        require_starts(starts, 2, 4)
    assert seen.value.name == "starts"
