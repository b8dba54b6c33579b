import torch

from engram_transformers.explain_changes import changes_at


def test_tokens_are_compared_with_rank_and_probability_on_both_sides():
    before = torch.tensor([[4.0, 3.0, 2.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    after = torch.tensor([[4.0, 3.0, 2.0, 9.0], [0.0, 2.0, 0.0, 1.0]])
    first, second = changes_at([5, 9], [" a", " b"], before, after, 2, "<{}>".format)
    assert (first.position, first.token, second.position) == (5, " a", 9)
    assert [token.token_id for token in first.before] == [0, 1]
    assert [token.token_id for token in first.after] == [3, 0]
    new = first.after[0]
    assert (new.token, new.rank_before, new.rank_after) == ("<3>", 4, 1)
    assert (new.logit_before, new.logit_after) == (1.0, 9.0)
    assert new.probability_before == float(torch.softmax(before[0].double(), -1)[3])
    assert new.probability_after == float(torch.softmax(after[0].double(), -1)[3])
    assert second.after[0].rank_before == 2  # behind one, equal to two others


def test_no_more_tokens_are_compared_than_there_are():
    logits = torch.zeros(1, 3)
    (change,) = changes_at([0], ["a"], logits, logits, 5, str)
    assert len(change.before) == len(change.after) == 3


def test_no_position_gives_no_change():
    assert changes_at([], [], torch.zeros(0, 4), torch.zeros(0, 4), 5, str) == ()


def test_what_is_nearly_certain_is_not_said_to_be_certain():
    logits = torch.tensor([[1.0, 25.0]], dtype=torch.bfloat16)  # 1 in single precision
    (change,) = changes_at([0], ["a"], logits, logits, 1, str)
    assert 0.999999 < change.after[0].probability_after < 1
