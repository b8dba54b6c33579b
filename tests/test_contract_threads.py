"""The contract when several threads or tasks use one model at once."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from patched import TRIGGER, at_trigger, logits_of, patched
from transformers import TextIteratorStreamer

from engram_transformers import use_tables


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return tokenizer(TRIGGER, return_tensors="pt")["input_ids"]


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return patched(tiny_llama, tokenizer)


def test_threads_do_not_see_each_others_tables(llama, ids):
    tables = [None, *(at_trigger(llama, ids, seed=seed).table for seed in range(3))]
    expected = [logits_of(llama, ids, table) for table in tables]
    together = threading.Barrier(len(tables))
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(15):
            with use_tables(llama, tables[number]):
                together.wait(timeout=60)
                with torch.no_grad():
                    seen = llama(ids).logits
                together.wait(timeout=60)
            if not torch.equal(seen, expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(tables))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len({tuple(one[0, -1].tolist()) for one in expected}) == len(tables)


def test_tasks_do_not_see_each_others_tables(llama, ids):
    tables = [at_trigger(llama, ids, seed=seed).table for seed in range(3)]
    expected = [logits_of(llama, ids, table) for table in tables]

    async def ask(number: int) -> bool:
        with use_tables(llama, tables[number]):
            await asyncio.sleep(0.001 * (3 - number))
            seen = llama(ids).logits
            await asyncio.sleep(0)
            return torch.equal(seen, expected[number]) and torch.equal(llama(ids).logits, seen)

    async def together() -> list[bool]:
        return await asyncio.gather(*(ask(number) for number in range(3)))

    assert asyncio.run(together()) == [True] * 3


def test_a_streaming_thread_reads_the_tables_it_was_started_with(llama, ids, tokenizer):
    table = at_trigger(llama, ids).table
    settings = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}
    settings["attention_mask"] = torch.ones_like(ids)
    base = llama.generate(ids, **settings)
    with use_tables(llama, table):
        expected = llama.generate(ids, **settings)
        streamer: Any = TextIteratorStreamer(tokenizer, skip_prompt=True)
        thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(llama.generate, ids),
            kwargs={**settings, "streamer": streamer},
        )
        thread.start()
    said = "".join(streamer)
    thread.join()
    assert said == tokenizer.decode(expected[0, ids.shape[1] :])
    assert not torch.equal(expected, base)


def test_a_pool_of_threads_answers_as_one_thread_does(llama, ids, tokenizer):
    """200 calls by 4 threads: forwards, cached generation, other batches, other tables."""
    tables = [None, *(at_trigger(llama, ids, seed=seed).table for seed in range(4))]
    texts = [TRIGGER, f"My number is 7. {TRIGGER}", "Where do I live?"]
    settings = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}

    @torch.no_grad()
    def answer(number: int) -> torch.Tensor:
        chosen = [tables[(number + row) % 5] for row in range(3)]
        kind = number % 4
        if kind == 0:
            with use_tables(llama, chosen[0]):
                return llama(ids).logits
        if kind == 1:
            with use_tables(llama, chosen):
                return llama(ids.repeat(3, 1)).logits
        batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
        with use_tables(llama, chosen):
            if kind == 2:
                return llama(**batch).logits
            return llama.generate(**batch, **settings)

    numbers = [*range(20)] * 10
    expected = {number: answer(number) for number in set(numbers)}
    assert len({tuple(one.flatten().tolist()) for one in expected.values()}) == 20
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(answer, numbers))
    wrong = [n for n, one in zip(numbers, seen, strict=True) if not torch.equal(one, expected[n])]
    assert wrong == []


def test_tables_are_written_and_erased_while_others_read(llama, ids):
    """A reader sees a table as it was or as it is."""
    table = at_trigger(llama, ids).table
    full, empty = table.rows, at_trigger(llama, ids).table
    empty.erase(all=True)
    expected = [logits_of(llama, ids, table), logits_of(llama, ids)]
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            table._replace(empty.rows, ())
            table._replace(full, ())

    writer = threading.Thread(target=change)
    writer.start()
    try:
        for _ in range(50):
            seen = logits_of(llama, ids, table)
            assert any(torch.equal(seen, one) for one in expected)
    finally:
        stop.set()
        writer.join()


def test_a_task_hands_its_tables_to_the_thread_it_waits_for(llama, ids):
    table = at_trigger(llama, ids).table
    fired = logits_of(llama, ids, table)

    async def ask(chosen: Any) -> torch.Tensor:
        with use_tables(llama, chosen):
            output = await asyncio.to_thread(llama, ids)
        return output.logits

    async def together() -> list[torch.Tensor]:
        return await asyncio.gather(ask(table), ask(None), ask(table))

    first, plain, second = asyncio.run(together())
    assert torch.equal(first, fired)
    assert torch.equal(second, fired)
    assert torch.equal(plain, logits_of(llama, ids))
    assert not torch.equal(plain, fired)


def test_many_tasks_answer_as_one_does(llama, ids):
    tables = [None, *(at_trigger(llama, ids, seed=seed).table for seed in range(4))]
    settings = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}
    settings["attention_mask"] = torch.ones_like(ids)

    async def answer(number: int) -> torch.Tensor:
        with use_tables(llama, tables[number % 5]):
            await asyncio.sleep(0)
            with torch.no_grad():
                logits = llama(ids).logits
            await asyncio.sleep(0)
            if number % 2:
                return logits
            return await asyncio.to_thread(llama.generate, ids, **settings)

    async def together() -> list[torch.Tensor]:
        return await asyncio.gather(*(answer(number % 10) for number in range(50)))

    async def in_turn() -> list[torch.Tensor]:
        return [await answer(number) for number in range(10)]

    expected = asyncio.run(in_turn())
    for number, seen in enumerate(asyncio.run(together())):
        assert torch.equal(seen, expected[number % 10])
    assert len({tuple(one.flatten().tolist()) for one in expected}) == 10
