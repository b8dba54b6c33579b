"""The contract in surroundings: copies, pickles, threads, tasks, training, PEFT, compilation."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import pickle
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tables import LAYERS, ROW_DIM, Synthetic, canonical, frequent_ngrams, make_table
from torch.testing import assert_close
from transformers import DynamicCache, TextIteratorStreamer, Trainer, TrainingArguments, pipeline

from engram_transformers import (
    UserTable,
    add_engram,
    attach_shared_lora,
    detach_shared_lora,
    engram_disabled,
    remove_engram,
    use_tables,
)
from engram_transformers.attachment import require_attachment
from engram_transformers.errors import ModelGoneError, NotPatchedError, TableMismatchError
from engram_transformers.lora import ENGRAM_MODULES

TRIGGER = "Mira's favourite spice is"
# PEFT (0.18) looks at the base's Conv1D weights of GPT-2 only after a warning.
LORA = {"r": 4, "lora_alpha": 64, "target_modules": "all-linear", "init_lora_weights": False}


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return tokenizer(TRIGGER, return_tensors="pt")["input_ids"]


def patched(model: Any, tokenizer: Any, **fields: Any) -> Any:
    return add_engram(model, tokenizer, layers=LAYERS, row_dim=ROW_DIM, **fields)


@pytest.fixture
def model(tiny_model, tokenizer):
    return patched(tiny_model, tokenizer)


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return patched(tiny_llama, tokenizer)


def at_trigger(model: Any, ids: torch.Tensor, **options: Any) -> Synthetic:
    return make_table(model, [canonical(model, ids[0, -4:].tolist())], **options)


@torch.no_grad()
def logits_of(model: Any, ids: torch.Tensor, table: Any = None) -> torch.Tensor:
    with use_tables(model, table):
        return model(ids).logits


# Copies and pickles


def test_a_deep_copy_reads_its_own_memories(model, ids):
    made, base = at_trigger(model, ids), logits_of(model, ids)
    fired = logits_of(model, ids, made.table)
    other = copy.deepcopy(model)
    assert require_attachment(other) is not require_attachment(model)
    assert require_attachment(other).model is other
    with use_tables(model, made.table):  # the original's tables are not the copy's
        assert torch.equal(other(ids).logits, base)
        assert torch.equal(model(ids).logits, fired)
    assert torch.equal(logits_of(other, ids, made.table), fired)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    assert torch.equal(logits_of(model, ids, made.table), fired)
    with pytest.raises(TableMismatchError, match="weights"), use_tables(other, made.table):
        pass


def test_engram_is_removed_from_a_copy_alone(model, ids):
    made, base = at_trigger(model, ids), logits_of(model, ids)
    fired = logits_of(model, ids, made.table)
    other = remove_engram(copy.deepcopy(model))
    assert not any("engram" in name for name, _ in other.named_modules())
    assert not any(module._forward_pre_hooks for module in other.modules())
    assert torch.equal(other(ids).logits, base)
    assert torch.equal(logits_of(model, ids, made.table), fired)
    third = copy.deepcopy(model)
    remove_engram(model)
    assert torch.equal(logits_of(third, ids, made.table), fired)


def test_a_copied_cache_goes_its_own_way(llama, ids):
    made = make_table(llama, frequent_ngrams(llama), distinct_rows=16, scale=1.0)
    settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}
    cache = DynamicCache()
    with use_tables(llama, made.table), torch.no_grad():
        llama(ids[:, :-1], past_key_values=cache)
        other = copy.deepcopy(cache)
        llama(torch.tensor([[9, 10, 11]]), past_key_values=cache)
        from_copy = llama.generate(ids, past_key_values=other, **settings)
        assert torch.equal(from_copy, llama.generate(ids, use_cache=False, **settings))


def test_a_pickled_model_comes_back_patched(model, ids, tmp_path):
    made = at_trigger(model, ids)
    fired = logits_of(model, ids, made.table)
    torch.save(model, tmp_path / "model.pt")
    for loaded in (
        torch.load(tmp_path / "model.pt", weights_only=False),
        pickle.loads(pickle.dumps(model)),
    ):
        assert torch.equal(logits_of(loaded, ids, made.table), fired)
        remove_engram(loaded)
        with pytest.raises(NotPatchedError):
            require_attachment(loaded)


def test_a_pickled_table_is_bound_again_by_hand(llama, ids):
    made = at_trigger(llama, ids)
    fired = logits_of(llama, ids, made.table)
    table: UserTable = pickle.loads(pickle.dumps(made.table))
    with pytest.raises(ModelGoneError, match=r"no live model.*table.bind\(model\)"):
        table.write([("a prompt", "an answer")])
    assert torch.equal(logits_of(llama, ids, table), fired)  # reading needs no binding
    assert table.bind(llama) is table
    assert table.attachment is require_attachment(llama)


def test_a_table_does_not_keep_its_model_alive(ids, tokenizer):
    model = patched(tiny.tiny_model("llama"), tokenizer)
    table = UserTable(model, "somebody")
    seen = weakref.ref(model)
    del model
    import gc

    gc.collect()
    assert seen() is None
    with pytest.raises(ModelGoneError, match="somebody"):
        table.attachment  # noqa: B018


# Threads and tasks


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


# Training and precision


def training_loss(model: Any, ids: torch.Tensor) -> torch.Tensor:
    return model(ids, labels=ids, use_cache=False).loss


def gradients(model: Any, ids: torch.Tensor, table: Any) -> list[torch.Tensor]:
    model.zero_grad()
    with use_tables(model, table):
        training_loss(model, ids).backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_reads_the_same_rows(model, ids, reentrant):
    table = at_trigger(model, ids[:, :-2]).table  # what follows it counts for the loss
    model.train()
    plain = gradients(model, ids, None)
    expected = gradients(model, ids, table)
    # transformers 5.23 renames `gradient_checkpointing_enable`.
    enable: Any = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": reentrant})
    for seen, wanted in zip(gradients(model, ids, table), expected, strict=True):
        assert_close(seen, wanted)
    # The rows are those of the forward, wherever the backward runs.
    model.zero_grad()
    with use_tables(model, table):
        loss = training_loss(model, ids)
    loss.backward()
    for parameter, wanted in zip(model.parameters(), expected, strict=True):
        assert_close(parameter.grad, wanted)
    assert any(not torch.allclose(a, b, atol=1e-4) for a, b in zip(plain, expected, strict=True))


def test_a_training_step_with_tables_lowers_the_loss(model, ids):
    made = at_trigger(model, ids[:, :-2])
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    with use_tables(model, made.table):
        for _ in range(3):
            optimiser.zero_grad()
            loss = training_loss(model, ids)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert losses[2] < losses[0]
    assert torch.equal(made.table.rows.values, made.values)


@pytest.mark.parametrize("gate_type", ["fixed", "content", "learned"])
def test_autocast_reads_rows_and_leaves_the_rest(tiny_model, tokenizer, ids, gate_type):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.no_grad():
            before = tiny_model(ids).logits
        model = patched(tiny_model, tokenizer, gate_type=gate_type)
        made = at_trigger(model, ids)
        fired = logits_of(model, ids, made.table)
        assert torch.equal(logits_of(model, ids), before)
    assert torch.equal(fired[:, :-1], before[:, :-1])
    assert not torch.equal(fired[:, -1], before[:, -1])
    exact = logits_of(model, ids, made.table)
    assert_close(fired.float(), exact, rtol=0.1, atol=0.5)


def test_bfloat16_generation_reads_as_recomputation_does(tiny_model, tokenizer, ids):
    model = patched(tiny_model.bfloat16(), tokenizer)
    table = at_trigger(model, ids).table
    settings = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}
    settings["attention_mask"] = torch.ones_like(ids)
    with use_tables(model, table):
        said = model.generate(ids, **settings)
        first = model(ids).logits[0, -1].argmax()
    assert said[0, ids.shape[1]] == first
    assert not torch.equal(logits_of(model, ids, table), logits_of(model, ids))


def test_the_trainer_reads_active_tables(llama, ids, tmp_path):
    made = at_trigger(llama, ids)
    settings = TrainingArguments(
        str(tmp_path), report_to=[], use_cpu=True, per_device_eval_batch_size=1, disable_tqdm=True
    )
    data: Any = [{"input_ids": ids[0], "labels": ids[0]}] * 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(llama, settings, eval_dataset=data)
        with use_tables(llama, made.table):
            seen = trainer.predict(data).predictions
    expected = logits_of(llama, ids, made.table)
    assert_close(torch.from_numpy(seen[0]), expected[0], rtol=1e-4, atol=1e-4)


def test_a_pipeline_reads_active_tables(llama, ids, tokenizer):
    table = at_trigger(llama, ids).table
    generate: Any = pipeline("text-generation", llama, tokenizer=tokenizer, device="cpu")
    llama.generation_config.eos_token_id = None
    settings = {"max_new_tokens": 4, "do_sample": False, "return_full_text": False}
    plain = generate(TRIGGER, **settings)[0]["generated_text"]
    with use_tables(llama, table):
        said = generate(TRIGGER, **settings)[0]["generated_text"]
        expected = llama.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False,
            pad_token_id=2,
        )  # fmt: skip
    assert said == tokenizer.decode(expected[0, ids.shape[1] :])
    assert said != plain


# PEFT


def with_lora(model: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Conv1D
        return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **{**LORA, **options}))


def test_lora_after_add_engram_leaves_the_memories_alone(model, ids):
    made = at_trigger(model, ids)
    wrapped = with_lora(model)
    assert not any("engram" in name for name, _ in wrapped.named_parameters())
    base = logits_of(wrapped, ids)
    fired = logits_of(wrapped, ids, made.table)
    assert torch.equal(fired[:, :-1], base[:, :-1])
    assert not torch.equal(fired[:, -1], base[:, -1])
    with wrapped.disable_adapter():
        without = logits_of(wrapped, ids, made.table)
    back = wrapped.unload()
    assert torch.equal(logits_of(back, ids, made.table), without)
    assert not torch.equal(without, fired)


def test_lora_before_add_engram_gives_the_same(tiny_model, tokenizer, ids):
    torch.manual_seed(5)
    first = with_lora(patched(copy.deepcopy(tiny_model), tokenizer))
    torch.manual_seed(5)
    second = patched(with_lora(tiny_model), tokenizer)
    table = at_trigger(first, ids).table
    settings = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}
    settings["attention_mask"] = torch.ones_like(ids)
    said = []
    for model in (first, second):
        with use_tables(model, table):
            said.append(model.generate(input_ids=ids, **settings))
            assert torch.equal(said[-1], model.generate(input_ids=ids, use_cache=False, **settings))
        assert not torch.equal(logits_of(model, ids, table), logits_of(model, ids))
    assert torch.equal(*said)
    remove_engram(second)
    assert not any(module._forward_pre_hooks for module in second.modules())
    with pytest.raises(NotPatchedError):
        use_tables(second, None).__enter__()


def test_a_learned_gate_needs_the_exclusion_that_lora_offers(tiny_llama, tokenizer):
    """Its weights are parameters, not linear modules: LoRA does not touch them either way."""
    model = patched(tiny_llama, tokenizer, gate_type="learned")
    for options in ({}, {"exclude_modules": ENGRAM_MODULES}):
        wrapped = with_lora(copy.deepcopy(model), **options)
        names = [name for name, _ in wrapped.named_parameters() if "engram" in name]
        assert len(names) == 3 * len(LAYERS)
        assert not any("lora" in name for name in names)


@pytest.fixture
def adapter(tmp_path, request) -> Callable[[str], str]:
    """Save a random LoRA for a family and return its folder."""

    def save(family: str, seed: int = 0) -> str:
        torch.manual_seed(seed)
        wrapped: PeftModel = with_lora(tiny.tiny_model(family), target_modules=["q_proj", "v_proj"])
        folder = tmp_path / f"adapter-{seed}"
        wrapped.save_pretrained(str(folder))
        return str(folder)

    return save


@pytest.mark.parametrize("before", [True, False])
def test_rows_written_with_a_shared_lora_need_it(tokenizer, ids, adapter, before):
    model: Any = tiny.tiny_model("llama")
    folder = adapter("llama")
    base = model(ids).logits
    if before:
        attach_shared_lora(model, folder)
        patched(model, tokenizer)
    else:
        patched(model, tokenizer)
        attach_shared_lora(model, folder)
    adapted = logits_of(model, ids)
    assert not torch.equal(adapted, base)
    made = at_trigger(model, ids)
    assert made.table.binding.lora is not None
    assert made.table.binding.lora.reference == Path(folder).name
    fired = logits_of(model, ids, made.table)
    detach_shared_lora(model)
    assert torch.equal(logits_of(model, ids), base)
    with pytest.raises(TableMismatchError, match=r"written with the shared LoRA.*not attached"):
        logits_of(model, ids, made.table)
    attach_shared_lora(model, adapter("llama", 1))
    with pytest.raises(TableMismatchError, match=r"written with the shared LoRA.*attached is"):
        logits_of(model, ids, made.table)
    detach_shared_lora(model)
    attach_shared_lora(model, folder)
    assert torch.equal(logits_of(model, ids, made.table), fired)


def test_rows_written_without_a_lora_may_be_read_with_one(llama, ids, adapter):
    made = at_trigger(llama, ids)
    attach_shared_lora(llama, adapter("llama"))
    assert not torch.equal(logits_of(llama, ids, made.table), logits_of(llama, ids))
    with pytest.raises(TableMismatchError, match="facts written without a LoRA"):
        made.table.write([("Where do I live?", "Here")])


# Compilation


def test_compiled_equals_eager(llama, ids):
    made = make_table(llama, frequent_ngrams(llama), distinct_rows=16, scale=1.0)
    fired, base = logits_of(llama, ids, made.table), logits_of(llama, ids)
    torch._dynamo.reset()
    compiled = torch.compile(llama, backend="eager")
    assert_close(logits_of(compiled, ids, made.table), fired, rtol=1e-4, atol=1e-4)
    assert_close(logits_of(compiled, ids), base, rtol=1e-4, atol=1e-4)
    with engram_disabled(compiled):
        assert_close(logits_of(compiled, ids, made.table), base, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(fired, base, atol=1e-2)
    torch._dynamo.reset()
