from pathlib import Path

import pytest
from explanations import CHAT, CODE, change, explanation, fired, firing, found, sequence

from engram_transformers.explain_text import COLUMNS, percent, shown_token


def test_the_text_names_owner_fact_row_order_gate_and_what_was_added():
    text = str(explanation(fired()))
    assert "ilse: My locker code is → 4471" in text
    (line,) = (line for line in text.splitlines() if "“ is”" in line and "3.00" in line)
    assert line.split() == "3 “ is” “ 44” 3 2 4 4 of 4 1.00 3.00 0.75".split()


def test_columns_stand_below_their_names():
    lines = str(fired()).splitlines()
    header = next(line for line in lines if line.split()[:2] == ["at", "token"])
    rows = lines[lines.index(header) + 1 :][:2]
    for name in ("order", "gate", "hidden"):
        end = header.index(name) + len(name)
        assert all(row[:end].rstrip() == row[:end] and row[end - 1] != " " for row in rows)


def test_next_tokens_are_shown_without_tables_and_with():
    text = str(fired())
    assert "after 3 “ is”" in text
    assert "without  “ a” 50.0 %  “same” 20.0 %" in text
    assert "with     “ 44” 90.0 %  “same” 2.0 %" in text


def test_a_text_in_which_nothing_fires_takes_one_line():
    assert str(explanation(sequence("a", "b"))) == (
        "No row fires at any of 2 tokens, and all logits are those of the bare model. Table: ilse."
    )
    assert "Table: none." in str(sequence("a", owners=()))


def test_several_owners_are_listed_from_the_strongest():
    assert "the strongest first: ilse, acme." in str(fired(owners=("ilse", "acme")))


def test_each_fact_and_wording_stands_by_itself():
    firings = (
        firing(3),
        firing(3, owner="acme", layer=1),
        firing(4, fact=CHAT, prompt=CHAT.prompt),
    )
    text = str(fired(firings=firings))
    titles = [line for line in text.splitlines() if " → " in line]
    assert titles == [
        "ilse: My locker code is → 4471",
        "acme: My locker code is → 4471",
        "ilse: user: Where do I $live_{x? → Oslo",
    ]


def test_a_row_that_fired_on_the_end_of_its_wording_only_is_noted():
    text = str(fired(firings=(firing(3, agreeing=3), firing(4, agreeing=4, length=5))))
    assert text.count("only the end of the wording stands in the text") == 1
    assert "At 3 only the end of the wording stands in the text: 3 of 4 tokens." in text
    assert "only the end" not in str(fired())


def test_shadowed_rows_are_noted_with_the_reason():
    shorter, weaker = found(order=3, row=7), found(owner="acme", place=1, row=9)
    text = str(fired(firings=(firing(3, shadowed=(shorter, weaker)),)))
    assert "At 3 shadowed (shorter address): row 7 of ilse, order 3" in text
    assert "At 3 shadowed (weaker table): row 9 of acme, order 4: My locker code is → 4471" in text


def test_facts_with_the_same_address_are_noted():
    text = str(fired(firings=(firing(3, shared_with=(CHAT,)),)))
    assert "At 3 the address is also that of user: Where do I $live_{x? → Oslo." in text


def test_a_fact_without_text_is_said_to_be_one():
    unknown = dict.fromkeys(("fact", "prompt", "part", "parts", "target", "agreeing", "length"))
    text = str(fired(firings=(firing(3, **unknown),)))
    assert "ilse: a fact whose text is not in the table" in text
    assert "None" not in text


def test_several_sequences_have_headings():
    text = str(explanation(fired(), sequence("a")))
    assert "Sequence 0: Rows fire at 2 of 5 tokens, and the logits change at 2." in text
    assert "Sequence 1: No row fires" in text


def test_tokens_and_texts_are_shown_in_one_line():
    assert shown_token("\n\x00") == "“⏎·”"
    assert len(shown_token("x" * 100)) < 30
    odd = fired(owners=("a\nb",), changes=(change(3, "\n", "\t", "\x1b[31m"),))
    assert "\x1b" not in str(odd)
    assert "\n\n\n" not in str(odd)
    assert CODE.answer in str(odd)


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.0, "0.0 %"), (1e-9, "<0.1 %"), (0.5, "50.0 %"), (0.99999, ">99.9 %"), (1.0, "100.0 %")],
)
def test_a_probability_never_looks_like_a_certainty_that_it_is_not(probability, text):
    assert percent(probability) == text


def test_small_norms_are_not_shown_as_nothing():
    assert "3.0e-05" in str(fired(firings=(firing(3, added=3e-5),)))


def test_the_guide_shows_and_explains_every_column():
    guide = (Path(__file__).parent.parent / "docs" / "explain.md").read_text(encoding="utf-8")
    header = next(line for line in guide.splitlines() if line.startswith("  at  token"))
    assert header.split() == " ".join(COLUMNS).split()
    explained = [line.split("|")[1] for line in guide.splitlines() if line.startswith("| ")][1:]
    assert [name.strip() for names in explained for name in names.split(",")] == [
        "at", "token", "says", "layer", "row", "order", "agrees", "gate", "added", "/ hidden"
    ]  # fmt: skip
