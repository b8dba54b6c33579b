"""Facts in a bank's own rows: written, answered, saved, erased, and what they touch besides."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from banked import fill_banks, with_banks
from bucketed import WIDE, edited, make_buckets
from decoding import PROMPTS, generate

from engram_transformers import (
    UserTable,
    add_engram,
    engram_disabled,
    offload_banks,
    remove_engram,
    use_tables,
    write_many,
)
from engram_transformers.attachment import require_attachment
from engram_transformers.buckets import writer
from engram_transformers.buckets.bank_rows import BankRows
from engram_transformers.buckets.errors import BucketReadError, NoBucketsError
from engram_transformers.buckets.layout import Bucket
from engram_transformers.buckets.optimise import BucketOptimiser
from engram_transformers.errors import (
    ConfigError,
    LedgerMissingError,
    TableFileError,
    TableMismatchError,
)
from engram_transformers.evaluation import ask
from engram_transformers.files import read_table

FACTS = [
    ("Where do I live?", "Rex"),
    ("My number is", "27"),
    ("Mira's favourite spice is", "cumin"),
]
QUICK: Any = {"stop": None, "contexts": 0}


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return with_banks(tiny_llama, tokenizer, **WIDE)


def table_of(model: Any, owner: str = "ann", **options: Any) -> UserTable:
    return UserTable(model, owner, addressing="bucket", **options)


def said(model: Any, tokenizer: Any, prompt: str, answer: str, tables: Any) -> str:
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    count = len(tokenizer(f" {answer}")["input_ids"])
    with use_tables(model, tables):
        found = generate(model, ids, max_new_tokens=count)
    return tokenizer.decode(found[0, ids.shape[1] :]).strip()


@torch.no_grad()
def logits_of(model: Any, ids: torch.Tensor, tables: Any = None) -> torch.Tensor:
    with use_tables(model, tables):
        return model(ids).logits


@pytest.mark.parametrize("layer", [1, 3])
def test_facts_are_answered_by_their_owner_alone(llama, tokenizer, layer):
    weights = {name: weight.clone() for name, weight in llama.state_dict().items()}
    table = table_of(llama, layer=layer)
    report = table.write(FACTS, **QUICK)
    assert [fact.answer for fact in report.written] == ["Rex", "27", "cumin"], str(report)
    assert table.layer == layer
    for prompt, answer in FACTS:
        assert said(llama, tokenizer, prompt, answer, table) == answer
        assert said(llama, tokenizer, prompt, answer, None) != answer
        assert said(edited(llama, table), tokenizer, prompt, answer, None) == answer
    assert all(torch.equal(weights[name], weight) for name, weight in llama.state_dict().items())
    assert table.nbytes == report.nbytes < 2000


def test_it_replaces_the_rows_that_the_last_tokens_are_hashed_to_and_no_other(llama, tokenizer):
    table = table_of(llama)
    table.write(FACTS[:1], **QUICK)
    text = [*tokenizer(FACTS[0][0])["input_ids"], *tokenizer(" Rex")["input_ids"][:-1]]
    read = BankRows(require_attachment(llama), 3).rows_read(torch.tensor([text]))[0]
    trigger = len(tokenizer(FACTS[0][0])["input_ids"])
    expected = read[trigger - 1 :].unique()
    assert set(expected.tolist()) <= set(table.rows.addresses.tolist())
    layout = table.buckets
    assert layout is not None
    orders = [layout.bucket(row).order for row in read[-1].tolist()]
    assert orders == [2, 2, 3, 3]
    assert layout.bucket(int(read[-1, 3])) == Bucket(3, 1, int(read[-1, 3]) - sum(layout.sizes[:3]))


def test_owners_do_not_meet(llama, tokenizer):
    ann, bob = table_of(llama), table_of(llama, "bob")
    assert not ann.write([("My number is", "27")], **QUICK).failed
    assert not bob.write([("My number is", "9")], **QUICK).failed
    ids = torch.tensor([tokenizer("My number is")["input_ids"]] * 3)
    both = logits_of(llama, ids, [ann, None, bob])
    for sample, table in enumerate((ann, None, bob)):
        assert torch.equal(both[sample], logits_of(llama, ids, table)[sample])
    assert said(llama, tokenizer, "My number is", "27", ann) == "27"
    assert said(llama, tokenizer, "My number is", "9", bob) == "9"


def test_erasing_leaves_the_others_and_at_last_the_bank(llama, tokenizer):
    ids = torch.tensor([tokenizer(PROMPTS[1])["input_ids"]])
    texts = torch.tensor([tokenizer(FACTS[0][0])["input_ids"]])
    base, plain = logits_of(llama, ids), logits_of(llama, texts)
    table = table_of(llama)
    table.write(FACTS, **QUICK)
    alone = table_of(llama)
    before = dict(zip(table.rows.addresses.tolist(), table.rows.values, strict=True))
    receipt = table.erase("My number is")
    left = dict(zip(table.rows.addresses.tolist(), table.rows.values, strict=True))
    assert receipt.rows_erased == len(before) - len(left) > 0
    assert all(torch.equal(before[row], value) for row, value in left.items())
    alone.write([FACTS[0], FACTS[2]], **QUICK)
    assert left.keys() == set(alone.rows.addresses.tolist())
    for prompt, answer in (FACTS[0], FACTS[2]):
        assert said(llama, tokenizer, prompt, answer, table) == answer
    with use_tables(llama, table), torch.no_grad():
        assert not torch.equal(llama(texts).logits, plain)
        table.erase(all=True)
        assert torch.equal(llama(texts).logits, plain)
    assert not table.has_rows
    assert torch.equal(logits_of(llama, ids, table), base)
    table.write(FACTS[:1], **QUICK)
    table.erase([FACTS[0]])
    assert not table.has_rows
    assert table.nbytes == 0


def test_the_latest_answer_wins_and_is_erased_whole(llama, tokenizer):
    table = table_of(llama)
    table.write([("My number is", "27")], **QUICK)
    report = table.write([("My number is", "9")], **QUICK)
    assert [fact.answer for fact in report.superseded] == ["27"]
    assert [fact.answer for fact in table.facts] == ["9"]
    assert said(llama, tokenizer, "My number is", "9", table) == "9"
    table.erase("My number is")
    assert not table.has_rows


def test_facts_that_end_alike_share_rows_and_the_second_is_left_out(llama, tokenizer):
    """The price of a bank's short n-grams; exact addresses hold both."""
    table = table_of(llama)
    table.write([("Ann's sister's favourite spice is", "cumin")], **QUICK)
    rows = table.rows
    report = table.write([("Mira's brother's favourite spice is", "Rex")], **QUICK)
    assert not report.written
    assert "reads rows that \"Ann's sister's favourite spice is\" reads too" in (
        report.failed[0].reason
    )
    assert torch.equal(table.rows.values, rows.values)
    assert said(llama, tokenizer, "Ann's sister's favourite spice is", "cumin", table) == "cumin"
    exact = UserTable(llama, "ann")
    spices = [("Ann's sister's spice is", "cumin"), ("Mira's brother's spice is", "Rex")]
    assert len(exact.write(spices, **QUICK).written) == 2


def test_a_later_fact_that_would_change_an_earlier_answer_is_left_out(
    llama, tokenizer, monkeypatch
):
    """The earlier one's prompt reads a row that the later one replaces."""
    table = table_of(llama, layer=1)
    old = ("My dog is at the", "cumin")
    assert table.write([old], **QUICK).written
    length = len(tokenizer(old[0])["input_ids"])

    def harmed(model: Any, tables: Any, lines: Any) -> Any:
        answers = ask(model, tables, lines)
        is_old = [len(line.prompt_ids) >= length for line in lines]
        return [
            answer._replace(tokens=()) if hurt else answer
            for answer, hurt in zip(answers, is_old, strict=True)
        ]

    monkeypatch.setattr(writer, "ask", harmed)
    report = table.write([("My dog", "the"), ("Where do I", "the")], **QUICK)
    assert [fact.prompt for fact in report.written] == ["Where do I"]
    assert report.failed[0].reason == "it would change the answer to 'My dog is at the'."
    assert said(llama, tokenizer, *old, table) == "cumin"


def test_what_is_written_while_a_table_is_active_is_read(llama, tokenizer):
    table = table_of(llama)
    table.write(FACTS[:1], **QUICK)
    ids = torch.tensor([tokenizer(FACTS[1][0])["input_ids"]])
    base = logits_of(llama, ids)
    with use_tables(llama, table), torch.no_grad():
        assert torch.equal(llama(ids).logits, base)
        table.write(FACTS[1:2], **QUICK)
        found = llama(ids).logits
    assert torch.equal(found, logits_of(edited(llama, table), ids))
    assert not torch.equal(found, base)


def test_a_later_fact_is_written_around_rows_that_an_earlier_one_has(llama, tokenizer, monkeypatch):
    table = table_of(llama)
    table.write([("My dog is", "Rex")], **QUICK)
    before = dict(zip(table.rows.addresses.tolist(), table.rows.values, strict=True))
    texts = [tokenizer(text)["input_ids"][-3:] for text in ("My dog is", "My bag is")]
    dog, bag = BankRows(require_attachment(llama), 3).rows_read(torch.tensor(texts))[:, -1].tolist()
    assert dog[:2] == bag[:2]  # both heads of order 2
    assert set(dog[2:]).isdisjoint(bag[2:])
    moved: list[int] = []

    class Watched(BucketOptimiser):
        def __init__(self, *args: Any) -> None:
            moved.extend(args[5].tolist())
            super().__init__(*args)

    monkeypatch.setattr(writer, "BucketOptimiser", Watched)
    report = table.write([("My bag is", "the")], **QUICK)  # one token: " Rex" begins with a space
    assert report.written, str(report)
    assert moved == sorted(bag[2:])
    after = dict(zip(table.rows.addresses.tolist(), table.rows.values, strict=True))
    assert all(torch.equal(after[row], value) for row, value in before.items())
    assert said(llama, tokenizer, "My dog is", "Rex", table) == "Rex"
    assert said(llama, tokenizer, "My bag is", "the", table) == "the"


def test_what_ends_alike_fires_in_texts_that_were_not_written(llama, tokenizer):
    """Not exact: other texts read replaced rows, where exact addresses leave every bit."""
    written = ("Mira's favourite spice is", "cumin")
    ids = torch.tensor(
        [tokenizer("The library opens at nine. Her dog's favourite spice is")["input_ids"]]
    )
    bucket, exact = table_of(llama), UserTable(llama, "ann")
    bucket.write([written], **QUICK)
    exact.write([written], **QUICK)
    base = logits_of(llama, ids)
    assert torch.equal(logits_of(llama, ids, exact), base)
    assert not torch.allclose(logits_of(llama, ids, bucket)[:, -1], base[:, -1], atol=0.1)


def test_other_texts_read_replaced_rows_as_often_as_chance_has_it(llama):
    """What locality costs: the share of a head's rows that is replaced is the share of its reads
    by other n-grams that find one; of a text, any head at any of the last places will do."""
    table = table_of(llama)
    layout = table.buckets
    assert layout is not None
    table = make_buckets(llama, share=0.05, layer=3)
    generator = torch.Generator().manual_seed(0)
    texts = torch.randint(5, 300, (40, 50), generator=generator)
    read = BankRows(require_attachment(llama), 3).rows_read(texts)  # (40, 50, heads)
    fires = torch.isin(read, table.rows.addresses)
    for head, size in enumerate(layout.sizes):
        first = sum(layout.sizes[:head])
        own = (table.rows.addresses >= first) & (table.rows.addresses < first + size)
        assert abs(fires[..., head].float().mean() - int(own.sum()) / size) < 0.03
    places = fires.any(-1).float().mean()  # of 4 heads, each by chance
    assert 0.1 < places < 0.3
    unread = ~fires.any(-1)
    calm = unread.cummin(1).values  # up to the first that is read
    base, found = logits_of(llama, texts), logits_of(llama, texts, table)
    assert torch.equal(base[calm], found[calm])
    assert not torch.equal(base, found)


def test_stacked_with_an_exact_table_both_answer(llama, tokenizer):
    bucket, exact = table_of(llama, layer=1), UserTable(llama, "org")
    exact.write([("Where do I live?", "Rex")], **QUICK)
    bucket.write([("My number is", "27")], **QUICK)
    for tables in ([[bucket, exact]], [[exact, bucket]]):
        assert said(llama, tokenizer, "My number is", "27", tables) == "27"
        assert said(llama, tokenizer, "Where do I live?", "Rex", tables) == "Rex"


def test_facts_are_written_apart_from_a_table_that_is_active(llama, tokenizer):
    active = make_buckets(llama, layer=1)
    tables = [UserTable(llama, "ann"), table_of(llama, "bob")]
    for table in tables:
        with use_tables(llama, active):
            table.write(FACTS[1:2], **QUICK)
        alone = table.for_owner(table.owner)
        alone.write(FACTS[1:2], **QUICK)
        assert torch.equal(table.rows.addresses, alone.rows.addresses)
        assert torch.equal(table.rows.values, alone.rows.values)
        assert said(llama, tokenizer, *FACTS[1], table) == "27"


def test_forwards_of_other_threads_change_nothing(llama, tokenizer, monkeypatch):
    alone, beside = table_of(llama), table_of(llama)
    alone.write(FACTS[1:2], **QUICK)
    embedding, ids = (
        llama.get_input_embeddings(),
        torch.tensor([tokenizer(PROMPTS[1])["input_ids"]]),
    )

    def ask() -> None:
        louder = embedding.register_forward_hook(lambda module, args, found: 100 * found)
        with torch.no_grad():
            llama(ids)
        louder.remove()

    class Beside(BucketOptimiser):
        def _logits(self, batch: Any, override: Any) -> Any:
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()
            return super()._logits(batch, override)

    monkeypatch.setattr(writer, "BucketOptimiser", Beside)
    beside.write(FACTS[1:2], **QUICK)
    assert torch.equal(beside.rows.values, alone.rows.values)


def test_an_empty_table_is_written_for_the_bank_that_there_is(llama, tokenizer):
    table, wiped = table_of(llama), table_of(llama)
    wiped.write(FACTS[1:2], **QUICK)
    wiped.erase(all=True)
    remove_engram(llama)
    with_banks(llama, tokenizer, **{**WIDE, "memory_size": 1000})
    for own in (table, wiped):
        assert own.write(FACTS[1:2], **QUICK).written
        assert own.buckets == table_of(llama).buckets
        assert said(llama, tokenizer, *FACTS[1], own) == "27"
    table.erase(all=True)
    for memory_size, reason in ((0, "has no bank"), (600, "was not trained")):
        remove_engram(llama)
        add_engram(llama, tokenizer, layers=[1, 3], row_dim=64, memory_size=memory_size)
        with pytest.raises(NoBucketsError, match=reason):
            table.write(FACTS[1:2], **QUICK)
        assert not table.facts


def test_many_owners_are_written_into_tables_that_they_have(llama, tokenizer):
    ann = table_of(llama)
    done = write_many(llama, {"ann": FACTS[:1], "bob": FACTS[1:2]}, tables=[ann], **QUICK)
    assert done.tables["ann"] is ann
    assert {owner: table.addressing for owner, table in done.tables.items()} == {
        "ann": "bucket",
        "bob": "exact",
    }
    assert not done.failed
    assert ann.for_owner("cleo").addressing == "bucket"


def test_it_is_written_over_offloaded_banks_as_over_others(tokenizer):
    found = []
    for offloads in (False, True):
        model = with_banks(tiny.tiny_model("llama"), tokenizer, **WIDE)
        if offloads:
            offload_banks(model)
        table = table_of(model)
        assert not table.write(FACTS[:2], **QUICK).failed
        found.append(table.rows)
    assert torch.equal(found[0].addresses, found[1].addresses)
    assert torch.equal(found[0].values, found[1].values)


# Files


@pytest.mark.parametrize("dtype", ["int4", "int8", "bfloat16", "float32"])
def test_saved_tables_come_back_bit_for_bit(llama, tokenizer, tmp_path, dtype):
    table = table_of(llama, dtype=dtype, layer=1)
    table.write(FACTS, **QUICK)
    table.save_pretrained(tmp_path)
    other = with_banks(tiny.tiny_model("llama"), tokenizer, **WIDE)
    loaded = UserTable.from_pretrained(tmp_path, other)
    assert loaded.addressing == "bucket"
    assert loaded.binding == table.binding
    assert loaded.facts == table.facts
    assert torch.equal(loaded.rows.addresses, table.rows.addresses)
    assert torch.equal(loaded.rows.values, table.rows.values)
    ids = torch.tensor([tokenizer(PROMPTS[0])["input_ids"]])
    assert torch.equal(logits_of(other, ids, loaded), logits_of(llama, ids, table))
    loaded.erase("My number is")
    loaded.write([("Where do I live?", "Pepper")], **QUICK)
    again = loaded.save_pretrained(tmp_path / "again")
    assert torch.equal(UserTable.from_pretrained(again, other).rows.values, loaded.rows.values)
    card = (tmp_path / "README.md").read_text()
    assert "replaces rows of a trained bank" in card
    assert "load_engram(model" in card


def test_an_empty_table_and_one_without_texts_are_saved(llama, tmp_path):
    table = table_of(llama)
    table.save_pretrained(tmp_path / "empty")
    assert not UserTable.from_pretrained(tmp_path / "empty", llama).has_rows
    table.write(FACTS[:1], **QUICK)
    table.save_pretrained(tmp_path / "bare", store_text=False)
    bare = UserTable.from_pretrained(tmp_path / "bare", llama)
    assert torch.equal(bare.rows.values, table.rows.values)
    with pytest.raises(LedgerMissingError):
        bare.write(FACTS[1:2], **QUICK)


def test_other_banks_refuse_the_file(llama, tokenizer, tmp_path):
    table = table_of(llama)
    table.write(FACTS[:1], **QUICK)
    table.save_pretrained(tmp_path)
    fill_banks(llama, seed=5)
    with pytest.raises(TableMismatchError, match="it was written over banks with weights"):
        UserTable.from_pretrained(tmp_path, llama)
    with pytest.raises(TableMismatchError, match="it was written over banks with weights"):
        table.write(FACTS[1:2], **QUICK)


def test_its_files_say_that_they_are_of_format_3(llama, tmp_path):
    """A release that knows only exact addresses must not read them as such."""
    table = table_of(llama)
    table.save_pretrained(tmp_path)
    description = read_table(tmp_path).description
    assert description.format_version == 3
    assert '"format_version": 3' in (tmp_path / "engram_config.json").read_text()
    UserTable(llama, "ann").save_pretrained(tmp_path / "exact")
    assert read_table(tmp_path / "exact").description.format_version == 2


def test_damaged_files_are_refused(llama, tmp_path):
    table = table_of(llama)
    table.write(FACTS[:1], **QUICK)
    table.save_pretrained(tmp_path)
    path = Path(tmp_path) / "table.safetensors"
    whole = path.read_bytes()
    for old, new, message in (
        (b'"format_version\\":3', b'"format_version\\":2', "binding is not of that format"),
        (b'\\"memory\\":\\"bank\\"', b'\\"memory\\":\\"tank\\"', "its memory is 'tank'"),
        (b'\\"width\\":16', b'\\"width\\":12', "row_dim is 12"),
    ):
        assert old in whole
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(TableFileError, match=message):
            read_table(tmp_path)


# What is refused


def test_options_of_exact_addresses_are_refused(llama):
    table = table_of(llama)
    for option in ({"min_order": 4}, {"context": "shortest"}, {"guard": "My dog"}):
        with pytest.raises(ConfigError, match="the memory's own hash decides"):
            table.write(FACTS, **QUICK, **option)
    with engram_disabled(llama), pytest.raises(BucketReadError, match="engram_disabled"):
        table.write(FACTS, **QUICK)
    assert not table.has_rows
    assert table.version == 0


def test_what_the_model_can_not_be_made_to_say_is_left_out_and_named(llama):
    """Two answers to the same tokens, in one call: at most one is kept, and nothing else harmed."""
    table = table_of(llama)
    rivals = [("Ann's dog's favourite spice is", "cumin"), ("The favourite spice is", "Rex")]
    report = table.write([*rivals, FACTS[1]], **QUICK)
    assert FACTS[1][1] in [fact.answer for fact in report.written]
    assert len(report.failed) >= 1
    assert len(table.facts) == len(report.written)
    read = {row for row in table.rows.addresses.tolist()}
    assert len(read) == table.rows.values.shape[0]
