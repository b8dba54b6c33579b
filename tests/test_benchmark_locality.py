import argparse
import gzip
import json
from pathlib import Path

import pytest
import tiny
import torch
from benchmark_setting import setting_of

from benchmarks import bit_equality, locality, near_texts, other_owners, real_text
from benchmarks.addresses import allocated, allocated_again
from benchmarks.false_fires import Stream, count_fires, fires
from benchmarks.hundred_facts import FactSet, fact_sets
from benchmarks.real_text import Source
from engram_transformers import UserTable, add_engram
from engram_transformers.attachment import require_attachment
from engram_transformers.plan import find_rows

FACTS = [("The harbour opens at", "seven"), ("My dog's name is", "Pepper")]
CPU = torch.device("cpu")


@pytest.fixture
def patched(tiny_llama, tiny_tokenizer):
    tiny_tokenizer.padding_side = "left"
    add_engram(tiny_llama, tiny_tokenizer)
    return tiny_llama


def test_the_benchmark_runs_and_shows_its_results(tiny_llama, tiny_tokenizer, tmp_path):
    parser = argparse.ArgumentParser()
    locality.add_arguments(parser)
    setting = setting_of(tiny_llama, tiny_tokenizer, tmp_path, parser.parse_args([]))
    results = json.loads(json.dumps(locality.run(setting)))
    equal = results["bits"]["float32"]["sentences"]
    assert equal["equal"] == equal["without_row"]
    assert results["bits"]["float32"]["trigger_in_the_middle"]["with_row"] == results["facts"]
    addresses = results["near"][locality.DEFAULT]["addresses"]
    assert addresses["same"] > 0
    assert results["false_fires"]["ways"][locality.DEFAULT]["all"]["tokens"] > 1_000
    assert results["other_owners"]["identical_triggers"]["foreign_rows"] == 0
    environment = {"device": "a CPU", "threads": 1, "commit": "abc", "torch": "2"}
    environment["transformers"] = "5"
    run = {"model": "tiny", "dtype": "float32", "environment": environment, **results}
    page = locality.section([run])
    assert page[0].startswith("## ")
    assert any(line.startswith("| unrelated sentences |") for line in page)
    figure = locality.plot([run])
    assert len(figure.axes) == 2
    assert figure.axes[0].lines
    assert figure.axes[1].lines


def test_every_fire_is_found_and_nothing_else(patched):
    attachment = require_attachment(patched)
    allocation = allocated(attachment, FACTS, context="shortest")
    texts = ["The harbour opens at nine, and my dog's name is long.", "opens", " at", "s name is"]
    texts += [real_text.sources(Path("nowhere"), quick=True)[0].documents[0]]
    stream = Stream.of(Source("texts", texts), attachment, CPU)
    (found,) = fires(attachment, [allocation], stream)
    keys = {part.order for part in allocation.parts.values()}
    known = set(allocation.parts)
    expected = 0
    for text in texts:
        canonical = [
            attachment.canonical_list[i]
            for i in attachment.tokenizer(text, add_special_tokens=False)["input_ids"]
        ]
        expected += sum(
            any(
                attachment.hasher.address(canonical[end - order : end]) in known
                for order in keys
                if order <= end
            )
            for end in range(1, len(canonical) + 1)
        )
    assert len(found) == expected >= 2
    assert {fire.part.fact for fire in found if fire.is_said} == {0, 1}
    assert any(not fire.is_said for fire in found)  # "s name is" alone


def test_no_address_reaches_from_one_document_into_the_next(patched):
    attachment = require_attachment(patched)
    allocation = allocated(attachment, FACTS[:1], context="full")
    whole = Stream.of(Source("whole", ["The harbour opens at"]), attachment, CPU)
    parted = Stream.of(Source("parted", ["The harbour", " opens at"]), attachment, CPU)
    assert torch.equal(whole.ids, parted.ids)
    assert [len(found) for found in fires(attachment, [allocation], whole)] == [1]
    assert fires(attachment, [allocation], parted) == [[]]


def test_many_tables_are_looked_up_as_each_would_be(patched):
    attachment = require_attachment(patched)
    orders = (2, 3, 5)
    tables = [
        allocated(attachment, FACTS[n % 2 :], context="shortest", min_order=orders[n])
        for n in range(3)
    ]
    text = Source("text", [*(f"The shop opens at {n}, my name is 7." for n in range(9)), " is"])
    stream = Stream.of(text, attachment, CPU)
    alone = [fires(attachment, [one], stream)[0] for one in tables]
    assert fires(attachment, tables, stream) == alone
    assert len({len(found) for found in alone}) == 3


def test_fires_are_counted_by_source_kind_and_way(patched):
    attachment = require_attachment(patched)
    text = [Source("said", ["The harbour opens at"]), Source("unsaid", ["a shop opens at"])]
    sets = [FactSet("one", FACTS), FactSet("two", FACTS[1:])]
    ways = {"short": {"context": "shortest"}, "full": {"context": "full"}}
    found = count_fires(attachment, CPU, text, sets, ways)
    short, full = found["ways"]["short"]["by_kind"], found["ways"]["full"]["by_kind"]
    assert short["one"]["said"]["fires"] == full["one"]["said"]["fires"] == 1
    assert short["one"]["unsaid"]["unsaid"] == 1
    assert full["one"]["unsaid"]["fires"] == 0
    assert short["two"]["said"]["fires"] == 0
    total = found["ways"]["short"]["all"]
    assert total["tokens"] == 2 * sum(found["text"].values())
    assert (total["fires"], total["unsaid"], total["in_answers"]) == (2, 1, 0)
    assert total["long"] == 2  # in the tiny tokenizer's tokens


@pytest.mark.parametrize(
    "options", [{}, {"context": "shortest"}, {"context": "shortest", "min_order": 5}]
)
def test_addresses_are_those_of_a_table_that_was_written(patched, options):
    table = UserTable(patched, "owner")
    report = table.write(FACTS, progress=False, **options)
    assert not report.failed
    planned = allocated(table.attachment, FACTS, **options)
    again = allocated_again(table.attachment, table.entries)
    assert set(table.rows.addresses.tolist()) <= set(again.parts)
    assert len(set(table.rows.addresses.tolist()) & set(planned.parts)) > 4
    # Where a row was found needless there is no address; the first answer tokens have theirs.
    ids = torch.tensor([table.attachment.tokenizer(FACTS[0][0])["input_ids"]])
    mask = torch.ones_like(ids)
    written = find_rows(table.attachment, table.rows, ids, mask) >= 0
    assert torch.equal(written, find_rows(table.attachment, planned.rows, ids, mask) >= 0)


def test_near_texts_share_the_end_and_nothing_more():
    triggers = ["My dog's name is", "The harbour opens at", "name is"]
    others = ["Our old cat likes", "Her sister's boat lies in", "Some shops close at"]
    found = near_texts.near_texts(triggers, others, seed=1)
    assert found == near_texts.near_texts(triggers, others, seed=1)
    assert found != near_texts.near_texts(triggers, others, seed=2)
    assert {one.shared for one in found} == {1, 2, 3}
    ends = [trigger.split() for trigger in triggers]
    for one in found:
        words = one.text.split()
        assert any(words[-one.shared :] == end[-one.shared :] for end in ends)
        assert not any(f" {trigger} " in f" {one.text} " for trigger in triggers)


def test_a_guard_keeps_near_texts_as_they_are(patched):
    near = [near_texts.NearText("Her cat's name is", 2), near_texts.NearText("It rains today", 1)]
    texts = near_texts.continued(patched, tiny.tiny_tokenizer(), near[:1], 3, 4)
    texts += near_texts.continued(patched, tiny.tiny_tokenizer(), near[1:], 3, 4)
    plain, guarded = UserTable(patched, "a"), UserTable(patched, "b")
    plain.write(FACTS, context="shortest", progress=False)
    guards = [one.text for one in near]
    guarded.write(FACTS, context="shortest", guard=guards, progress=False)
    seen = near_texts.effects(patched, plain, texts, batch=2)
    kept = near_texts.effects(patched, guarded, texts, batch=2)
    assert [one.fired_at_end for one in seen] == [True, False]
    assert seen[0].divergence > 0
    assert not any(one.fired_at_end for one in kept)
    assert kept[0].first == 0.0
    summary = near_texts.summary(seen)
    assert (summary["texts"], summary["fired"]) == (2, 1)
    assert summary["by_shared_words"]["2"]["fired_at_end"] == 1


def test_a_model_that_changes_other_text_does_not_pass(tiny_llama, patched, tiny_tokenizer):
    bare = tiny.tiny_model("llama")
    tiny_tokenizer.padding_side = "left"
    table = UserTable(patched, "owner")
    table.write(FACTS, progress=False)
    texts = ["It rains today, and nobody minds.", "It rains. My dog's name is long, they say."]
    found = bit_equality.compare_logits(bare, patched, table, tiny_tokenizer, texts, batch=2)
    assert (found["equal"], found["equal_before"], found["with_row"]) == (1, 1, 1)
    assert found["tokens_before"] > 0
    assert found["at_rows"]["divergence_nats"] > 0
    same = bit_equality.compare_answers(bare, patched, table, tiny_tokenizer, texts, 3, 2)
    assert same["without_row_same"] == same["without_row"] >= 1
    with torch.no_grad():
        bare.lm_head.weight[7, 7] += 1e-3
    with pytest.raises(SystemExit):
        bit_equality.compare_logits(bare, patched, table, tiny_tokenizer, texts, batch=2)


def test_rows_of_other_owners_would_be_noticed(patched):
    attachment = require_attachment(patched)
    people = other_owners.crowd(attachment, CPU, seed=0)
    found = other_owners.look_ups(people, 20_000, seed=0)
    assert found["look_ups"] >= 20_000
    assert found["own_row"] > 0
    assert found["no_row"] > 0
    assert other_owners.forged(people, 5_000, seed=0)["foreign_rows"] == 0
    people.prepared.index.values[:, 0] += 1  # every row is somebody else's now
    with pytest.raises(SystemExit):
        other_owners.look_ups(people, 20_000, seed=0)


def test_text_is_read_from_files_of_several_kinds(tmp_path):
    words = "words that are long enough to be kept, whatever comes before them"
    (tmp_path / "page.html").write_text(f"<p>First &amp; <b>{words}</b></p>", encoding="utf-8")
    (tmp_path / "notes.txt.gz").write_bytes(gzip.compress(f"second {words}".encode()))
    (tmp_path / "quotes").write_text(f"third {words}\n%\nfourth {words}\n", encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG" + bytes(200))
    (tmp_path / "latin").write_bytes(f"caf\xe9 {words}".encode("latin-1"))
    found = real_text.sources(tmp_path / "none", [tmp_path], quick=True)[-1]
    assert found.name == tmp_path.name
    texts = [" ".join(text.split()) for text in found.documents]
    assert sorted(texts) == sorted(
        [f"First & {words}", f"second {words}", f"third {words}", f"fourth {words}"]
    )


def test_chats_are_read_where_they_are(tmp_path, capsys):
    assert real_text.conversations(tmp_path) == []
    (tmp_path / "locomo").mkdir()
    turns = [{"speaker": "Ada", "text": "I live in Oslo."}, {"speaker": "Bo"}]
    sample = {"conversation": {"speaker_a": "Ada", "session_1": turns}}
    (tmp_path / "locomo" / "locomo10.json").write_text(json.dumps([sample]), encoding="utf-8")
    assert real_text.conversations(tmp_path) == ["Ada: I live in Oslo."]


def test_tables_hold_a_hundred_distinct_triggers(tmp_path):
    for one in fact_sets(tmp_path, seed=0):
        prompts = [prompt for prompt, _ in one.facts]
        assert len(prompts) == len(set(prompts)) == 100
    users = tmp_path / "user_as_engram" / "users"
    users.mkdir(parents=True)
    for number in range(8):
        facts = [
            {"answer": f"a{n}", "paraphrases": [f"My {n} of {number} is a{n}.", f"A{n} is a{n}."]}
            for n in range(60)
        ]
        (users / f"u{number}.json").write_text(json.dumps({"facts": facts}), encoding="utf-8")
    listed = [{"prompt": f"p {n}", "gold": "g", "schema": n % 50} for n in range(150)]
    (users.parent / "facts_xxl_2000.json").write_text(json.dumps(listed), encoding="utf-8")
    sets = fact_sets(tmp_path, seed=0)
    assert len(sets) == 10
    assert sets[0].facts[0][0].startswith("My 0 of ")
    for one in sets:
        prompts = [prompt for prompt, _ in one.facts]
        assert len(prompts) == len(set(prompts)) == 100
