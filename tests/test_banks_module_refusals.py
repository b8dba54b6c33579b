"""What the module of a bank refuses."""

from __future__ import annotations

import pytest
import torch
from banks import SIZE, memory, small

from engram_transformers.banks.errors import (
    BankAddressError,
    BankConfigError,
    BankDtypeError,
    BankLayerError,
    BankShapeError,
)
from engram_transformers.banks.module import BankMemory

HIDDEN, ROWS = torch.zeros(2, 3, 1, SIZE), torch.zeros(2, 3, 4, dtype=torch.int64)
STATE, STARTS = torch.zeros(2, 9, 1, SIZE), torch.zeros(2, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"hidden": HIDDEN[0, :, 0]}, BankShapeError, "`hidden_states` has shape .* or without"),
        ({"hidden": HIDDEN[..., :5]}, BankShapeError, r"the last two 1, 6; or without streams"),
        ({"hidden": HIDDEN.expand(2, 3, 2, SIZE)}, BankShapeError, "`hidden_states`"),
        ({"hidden": HIDDEN.long()}, BankDtypeError, "`hidden_states` is torch.int64.* floating"),
        ({"rows": ROWS[:, :2]}, BankShapeError, r"`addresses` has shape .* \(2, 3, 4\)"),
        ({"rows": ROWS[..., :3]}, BankShapeError, "`addresses`"),
        ({"rows": ROWS.int()}, BankDtypeError, "`addresses` is torch.int32"),
        ({"rows": ROWS - 1}, BankAddressError, "Head 0 has rows 0 to 6, but is asked for row -1"),
        ({"rows": ROWS + 7}, BankAddressError, "asked for row 7: give what .* without offsets"),
        ({"state": STATE[:, 1:]}, BankShapeError, r"`conv_state` .* \(2, 9, 1, 6\)"),
        ({"state": STATE.long()}, BankDtypeError, "`conv_state` is torch.int64"),
        ({"starts": STARTS[:, 1:]}, BankShapeError, "`starts`"),
        ({"starts": STARTS.long()}, BankDtypeError, "`starts` is torch.int64"),
    ],
)
def test_bad_tensors_are_refused(changed, error, message):
    good = {"hidden": HIDDEN, "rows": ROWS, "state": STATE, "starts": STARTS}
    module = memory()
    module(*good.values())
    with pytest.raises(error, match=message):
        module(*{**good, **changed}.values())


def test_several_streams_cannot_be_left_out_of_the_shape():
    with pytest.raises(BankShapeError, match=r"streams, hidden_size, the last two 2, 6\.$"):
        memory(streams=2)(HIDDEN[:, :, 0], ROWS)


@pytest.mark.parametrize(
    ("layer", "size", "vocabulary", "start", "error", "message"),
    [
        (1, 0, 13, "paper", BankConfigError, "`hidden_size` is 0"),
        (1, 6.0, 13, "paper", BankConfigError, "`hidden_size` is 6.0"),
        (1, 6, 13, "zero", BankConfigError, "`start` is 'zero', but must be one of \"identity\""),
        (1, 6, 0, "paper", BankConfigError, "`vocabulary` is 0"),
        (0, 6, 13, "paper", BankLayerError, "Layer 0 has no bank"),
    ],
)
def test_modules_that_make_no_sense_are_refused(layer, size, vocabulary, start, error, message):
    with pytest.raises(error, match=message):
        BankMemory(small(), layer, size, vocabulary, start=start)
