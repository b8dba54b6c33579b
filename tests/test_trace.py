import threading

import pytest
import torch

from engram_transformers import UserTable, add_engram, use_tables
from engram_transformers.errors import TableMismatchError
from engram_transformers.facts import Fact
from engram_transformers.trace import trace

FACTS = [Fact("My locker code is", "4471"), Fact("My sister lives in", "Trondheim")]
TEXT = "The harbour opens. My locker code is 4471. The library opens at nine."


@pytest.fixture
def written(tiny_llama, tiny_tokenizer):
    add_engram(tiny_llama, tiny_tokenizer, gate_type="content")
    table = UserTable(tiny_llama, "ilse")
    assert table.write(FACTS).recalled == 1
    return tiny_llama, tiny_tokenizer, table


def ids_of(tokenizer, text):
    return tokenizer(text, return_tensors="pt").input_ids


def test_rows_fire_at_the_trigger_and_along_the_answer_and_nowhere_else(written):
    model, tokenizer, table = written
    ids = ids_of(tokenizer, TEXT)
    tokens = trace(model, ids, table)
    assert "".join(token.text for token in tokens) == TEXT
    fired = [number for number, token in enumerate(tokens) if token.firing is not None]
    before = len(tokenizer(TEXT[: TEXT.index(" 4471")]).input_ids) - 1
    answer = len(tokenizer(" 4471").input_ids)
    assert fired == list(range(before, before + answer + 1))  # the last row says the full stop
    assert [tokens[n].firing.part for n in fired] == list(range(answer + 1))
    assert {tokens[n].firing.fact for n in fired} == {FACTS[0]}
    assert {tokens[n].firing.owner for n in fired} == {"ilse"}
    assert all(tokens[n].firing.order in table.rows.orders for n in fired)


def test_gate_and_strength_are_what_the_memory_computes(written):
    model, tokenizer, table = written
    ids = ids_of(tokenizer, TEXT)
    memory = next(module for module in model.modules() if type(module).__name__ == "EngramMemory")
    seen = []
    handle = memory.register_forward_hook(lambda m, args, output: seen.append((args[0], output)))
    with use_tables(model, table), torch.no_grad():
        model(ids)
    handle.remove()
    before, after = seen[0]
    strengths = ((after - before).norm(dim=-1) / before.norm(dim=-1))[0]
    for number, token in enumerate(trace(model, ids, table)):
        if token.firing is None:
            assert strengths[number] == 0
        else:
            assert token.firing.strength == pytest.approx(strengths[number].item(), rel=1e-3)
            assert 0 < token.firing.gate < 1


def test_tracing_leaves_nothing_on_the_model(written):
    model, tokenizer, table = written
    hooks = [len(module._forward_hooks) for module in model.modules()]
    trace(model, ids_of(tokenizer, TEXT), table)
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    with pytest.raises(IndexError):
        trace(model, torch.tensor([[10**6]]), table)
    assert [len(module._forward_hooks) for module in model.modules()] == hooks


def test_an_empty_table_fires_nowhere(written):
    model, tokenizer, table = written
    table.erase(all=True)
    assert all(t.firing is None for t in trace(model, ids_of(tokenizer, TEXT), table))


def test_a_table_without_texts_fires_without_naming_the_fact(written):
    model, tokenizer, table = written
    tokens = trace(model, ids_of(tokenizer, TEXT), table.reading(table.rows))
    assert [t.firing.fact for t in tokens if t.firing is not None] == [None] * sum(
        t.firing is not None for t in trace(model, ids_of(tokenizer, TEXT), table)
    )


def test_another_threads_forwards_are_not_traced(written):
    model, tokenizer, table = written
    ids = ids_of(tokenizer, "My sister lives in Trondheim.")
    done = []

    def elsewhere(*_):
        if not done:
            done.append(True)
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()

    def run():
        with use_tables(model, table), torch.no_grad():
            model(ids)

    handle = model.register_forward_pre_hook(elsewhere)
    tokens = trace(model, ids_of(tokenizer, "The harbour opens at seven in the morning."), table)
    handle.remove()
    assert done
    assert all(token.firing is None for token in tokens)


def test_a_foreign_table_is_refused(written):
    model, tokenizer, _ = written
    import tiny

    other = tiny.tiny_model("llama", seed=1)
    add_engram(other, tokenizer)
    with pytest.raises(TableMismatchError):
        trace(model, ids_of(tokenizer, TEXT), UserTable(other, "bob"))
