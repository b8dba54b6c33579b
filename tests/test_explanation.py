import dataclasses
import json
import pickle

import pytest
from explanations import CHAT, change, explanation, fired, firing, found, sequence


def test_an_explanation_is_a_sequence_of_its_sequences():
    one, other = fired(), sequence("a")
    whole = explanation(one, other)
    assert len(whole) == 2
    assert list(whole) == [one, other]
    assert whole[1] is other
    assert whole.firings == one.firings
    assert whole.changes == one.changes


def test_nothing_of_it_can_be_changed():
    whole = explanation(fired())
    for part, name in ((whole, "model"), (whole[0], "tokens"), (whole.firings[0], "gate")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, name, None)
    assert pickle.loads(pickle.dumps(whole)) == whole


def test_what_is_added_is_relative_to_the_hidden_state():
    assert firing(0, added=3.0, hidden=4.0).relative == 0.75
    assert firing(0, added=0.0, hidden=0.0).relative == 0.0


def test_a_wording_is_whole_if_all_of_it_stands_in_the_text():
    assert found(agreeing=5, length=5).is_whole is True
    assert found(agreeing=4, length=5).is_whole is False
    assert found(fact=None, agreeing=None, length=None).is_whole is None


def test_the_dictionary_is_json_and_says_everything():
    shadow = found(owner="bob", address=2**63 - 1)
    whole = explanation(fired(firings=(firing(3, fact=CHAT, shadowed=(shadow,)),)), sequence("a"))
    told = json.loads(json.dumps(whole.to_dict()))
    (first,) = told["sequences"][0]["firings"]
    assert first["address"] == "fffffffffffffffe"  # -2, as `show --rows` prints it
    assert first["relative"] == 0.75
    assert first["fact"]["prompt"] == [list(message) for message in CHAT.prompt]
    assert first["shadowed"][0]["address"] == "7fffffffffffffff"
    assert first["shadowed"][0]["owner"] == "bob"
    assert told["sequences"][0]["changes"][0]["after"][0]["rank_before"] == 1203
    assert told["sequences"][1]["firings"] == []
    assert json.loads(json.dumps(whole[0].to_dict())) == told["sequences"][0]


def test_every_firing_and_change_has_all_fields_in_the_dictionary():
    told = explanation(fired()).to_dict()["sequences"][0]
    assert set(told["firings"][0]) == {f.name for f in dataclasses.fields(firing(0))} | {"relative"}
    assert set(told["changes"][0]) == {f.name for f in dataclasses.fields(change(0, "a", "b", "c"))}
