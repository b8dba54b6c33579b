"""Promises of the README beside a table."""

from __future__ import annotations

import dataclasses

import pytest
import tiny
import yaml
from synthetic_tables import made_up_table

from engram_transformers import UserTable, add_engram
from engram_transformers.files import CARD_NAME, _as_stored
from engram_transformers.lora import SharedLora
from engram_transformers.model_card import is_model_card, model_card


@pytest.fixture(scope="module")
def model():
    model = add_engram(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), row_dim=16)
    model.name_or_path = "owner/tiny-llama"
    return model


def card_of(table: UserTable, *, store_text: bool = True) -> str:
    return model_card(_as_stored(table, store_text))


def with_binding(table: UserTable, **fields) -> UserTable:
    table._binding = dataclasses.replace(table.binding, **fields)
    return table


def front_matter(card: str) -> dict:
    _, front, _ = card.split("---\n", 2)
    return yaml.safe_load(front)


def test_the_front_matter_names_library_tags_and_base_model(model):
    front = front_matter(card_of(made_up_table(model)))
    assert front["library_name"] == "engram-transformers"
    assert front["base_model"] == "owner/tiny-llama"
    assert "engram" in front["tags"]


def test_the_card_says_whose_table_it_is_and_how_large(model):
    table = made_up_table(model, 5, shared=True)
    card = card_of(table)
    for line in (
        "# Engram table of `user-42`",
        "| facts | 5 |",
        "| rows | 10 |",
        "| addresses | 20 |",
        f"| bytes of rows and addresses | {table.nbytes} |",
        "| stored as | int8 |",
        "| read at layer | 3 |",
    ):
        assert line in card.splitlines()


def test_the_code_on_the_card_loads_the_table(model, tmp_path, monkeypatch):
    import transformers

    table = made_up_table(model)
    folder = table.save_pretrained(tmp_path)
    card = (folder / CARD_NAME).read_text()
    code = card.split("```python\n")[1].split("```")[0]
    assert '"this folder or repository"' in code
    code = code.replace('"this folder or repository"', repr(str(folder)))
    fresh = tiny.tiny_model("llama")
    asked = []

    def load(value):
        return lambda name: asked.append(name) or value

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", load(fresh))
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", load(tiny.tiny_tokenizer()))
    names: dict = {}
    exec(compile(code, "card", "exec"), names)
    assert asked == ["owner/tiny-llama"] * 2
    assert names["table"].entries == table.entries


def test_the_number_of_facts_is_not_told_where_the_texts_are_left_out(model):
    card = card_of(made_up_table(model), store_text=False)
    assert "facts |" not in card
    assert "holds no plain text of the facts" in card
    assert "holds the facts as plain text too" in card_of(made_up_table(model))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/home/somebody/models/mine", "`mine`"),
        ("C:\\Users\\somebody\\mine\\", "`mine`"),
        ("LlamaForCausalLM", "`LlamaForCausalLM`"),
        ("a/b/c", "`c`"),
    ],
)
def test_a_local_model_is_named_without_its_folder(model, name, shown):
    card = card_of(with_binding(made_up_table(model), model_name=name))
    assert "base_model" not in front_matter(card)
    assert f"memory of {shown}" in card
    assert "somebody" not in card


def test_a_shared_lora_is_named(model):
    lora = SharedLora("owner/skill", "3" * 32)
    card = card_of(with_binding(made_up_table(model), lora=lora))
    assert "| shared LoRA | `owner/skill (333333333333)` |" in card
    assert "attach_shared_lora(model, …)" in card
    assert "attach_shared_lora" not in card_of(made_up_table(model))


@pytest.mark.parametrize("owner", ["`x` | y", "a\n---\nlicense: mit", "---", "`"])
def test_an_owner_can_not_break_out_of_the_card(model, owner):
    table = made_up_table(model)
    table._owner = owner
    card = card_of(table)
    assert set(front_matter(card)) == {"library_name", "tags", "base_model"}
    heading = next(line for line in card.splitlines() if line.startswith("# "))
    assert heading.startswith("# Engram table of `")
    assert heading.count("`") == 2
    assert "license: mit" not in card.splitlines()


def test_only_cards_of_tables_are_taken_for_them(model):
    card = card_of(made_up_table(model)).encode()
    assert is_model_card(card)
    assert is_model_card(card.replace(b"\n", b"\n\n"))
    for other in (b"", b"# Mine", b"---\nlibrary_name: peft\n---\n", b"# x\n" + card):
        assert not is_model_card(other)
