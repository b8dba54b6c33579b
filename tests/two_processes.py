"""What two processes do with one model: run by `test_contract_distributed`, checked there.

Every check is a function that returns nothing and raises if what it checks does not hold. All
processes run all checks in the same order, so that their collectives meet.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny
import torch
import torch.distributed as dist
from patched import TRIGGER, WIDE_ROWS, assert_writes, at_trigger, logits_of, patched
from peft import LoraConfig, get_peft_model
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from engram_transformers import remove_engram, use_tables
from engram_transformers.fingerprint import model_fingerprint

PROCESSES = 2
SETTINGS = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}


def sharded(model: Any) -> Any:
    for block in model.model.layers:
        fully_shard(block)
    return fully_shard(model)


WRAPPERS: dict[str, Callable[[Any], Any]] = {"ddp": DistributedDataParallel, "fsdp": sharded}


class Setting:
    """One wrapped model, and the same model in one piece to compare with."""

    def __init__(self, wrapper: str, before: bool, **fields: Any) -> None:
        self.tokenizer = tiny.tiny_tokenizer()
        self.reference = patched(tiny.tiny_model("llama"), self.tokenizer, **fields)
        model = tiny.tiny_model("llama")
        if before:
            self.wrapped = WRAPPERS[wrapper](patched(model, self.tokenizer, **fields))
        else:
            self.wrapped = WRAPPERS[wrapper](model)
            patched(model, self.tokenizer, **fields)
        self.model = model
        texts = [TRIGGER, "Where do I live? You live"]
        self.batches = [self.tokenizer(text, return_tensors="pt")["input_ids"] for text in texts]
        # Each process has a text and a table of its own.
        self.tables = [
            at_trigger(self.reference, ids[:, :-2], seed=seed).table
            for seed, ids in enumerate(self.batches)
        ]
        self.ids, self.table = self.batches[dist.get_rank()], self.tables[dist.get_rank()]


def reads_as_one_process(setting: Setting) -> None:
    expected = logits_of(setting.reference, setting.ids, setting.table)
    base = logits_of(setting.reference, setting.ids)
    assert torch.equal(logits_of(setting.wrapped, setting.ids), base)
    for _ in range(2):  # FSDP's first forward is not like the others
        assert torch.equal(logits_of(setting.wrapped, setting.ids, setting.table), expected)
    assert not torch.equal(expected, base)


def generates_as_one_process(setting: Setting) -> None:
    with use_tables(setting.reference, setting.table):
        expected = setting.reference.generate(setting.ids, **SETTINGS)
    with use_tables(setting.model, setting.table):
        assert torch.equal(setting.model.generate(setting.ids, **SETTINGS), expected)


def has_the_same_fingerprint(setting: Setting) -> None:
    expected = model_fingerprint(setting.reference)
    assert model_fingerprint(setting.model) == expected
    logits_of(setting.wrapped, setting.ids)  # FSDP leaves some weights whole after a forward
    assert model_fingerprint(setting.model) == expected


def loss_of(model: Any, ids: torch.Tensor, table: Any) -> torch.Tensor:
    with use_tables(model, table):
        return model(ids, labels=ids, use_cache=False).loss


def has_the_gradients_of_one_process(setting: Setting) -> None:
    losses = [
        loss_of(setting.reference, ids, table)
        for ids, table in zip(setting.batches, setting.tables, strict=True)
    ]
    torch.stack(losses).mean().backward()
    loss_of(setting.wrapped, setting.ids, setting.table).backward()
    for seen, expected in zip(
        setting.model.parameters(), setting.reference.parameters(), strict=True
    ):
        gradient = seen.grad
        whole = getattr(gradient, "full_tensor", lambda gradient=gradient: gradient)()
        assert_close(whole, expected.grad, rtol=1e-4, atol=1e-6)


def learns_with_tables_active(setting: Setting) -> None:
    optimiser = torch.optim.SGD(setting.wrapped.parameters(), lr=0.01)
    losses = []
    with use_tables(setting.wrapped, setting.table):
        for _ in range(3):
            optimiser.zero_grad()
            loss = setting.wrapped(setting.ids, labels=setting.ids, use_cache=False).loss
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert losses[2] < losses[0]


def can_be_written_to(setting: Setting) -> None:
    """A whole model by one process alone, a sharded one by all of them."""
    if setting.wrapped is setting.model or dist.get_rank() == 0:
        assert_writes(setting.model, setting.tokenizer)


def loses_nothing_when_removed(setting: Setting) -> None:
    base = logits_of(setting.reference, setting.ids)
    remove_engram(setting.model)
    with torch.no_grad():
        assert torch.equal(setting.wrapped(setting.ids).logits, base)


def is_patched_through_its_wrapper(wrapper: str) -> None:
    tokenizer = tiny.tiny_tokenizer()
    ids = tokenizer(TRIGGER, return_tensors="pt")["input_ids"]
    reference = patched(tiny.tiny_model("llama"), tokenizer)
    table = at_trigger(reference, ids).table
    wrapped = WRAPPERS[wrapper](tiny.tiny_model("llama"))
    assert patched(wrapped, tokenizer) is wrapped
    expected = logits_of(reference, ids, table)
    assert torch.equal(logits_of(wrapped, ids, table), expected)
    assert remove_engram(wrapped) is wrapped
    assert not any("engram" in name for name, _ in wrapped.named_modules())


def a_lora_learns(wrapper: str) -> None:
    tokenizer = tiny.tiny_tokenizer()
    ids = tokenizer(TRIGGER, return_tensors="pt")["input_ids"]
    base = patched(tiny.tiny_model("llama"), tokenizer)
    table = at_trigger(base, ids[:, :-2]).table
    torch.manual_seed(0)
    model: Any = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    if wrapper == "fsdp":
        for block in base.model.layers:
            fully_shard(block)
        wrapped = fully_shard(model)
    else:
        wrapped = DistributedDataParallel(model)
    optimiser = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1)
    losses = []
    with use_tables(model, table):
        for _ in range(3):
            optimiser.zero_grad()
            loss = wrapped(input_ids=ids, labels=ids, use_cache=False).loss
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert losses[2] < losses[0]
    assert not any("engram" in name for name, _ in model.named_parameters())


CHECKS = (
    has_the_same_fingerprint,
    reads_as_one_process,
    generates_as_one_process,
    has_the_gradients_of_one_process,
    learns_with_tables_active,
    loses_nothing_when_removed,
)
# What each setting is checked for.
SETTINGS_OF_CHECKS: dict[str, tuple[Callable[[], Any], tuple[Callable[[Any], None], ...]]] = {
    **{
        f"{wrapper} {'after' if before else 'before'} add_engram": (
            lambda wrapper=wrapper, before=before: Setting(wrapper, before),
            CHECKS,
        )
        for wrapper in WRAPPERS
        for before in (True, False)
    },
    **{
        f"{wrapper} after add_engram, learned gate": (
            lambda wrapper=wrapper: Setting(wrapper, True, gate_type="learned"),
            (reads_as_one_process, has_the_gradients_of_one_process),
        )
        for wrapper in WRAPPERS
    },
    **{
        f"{wrapper} {'after' if before else 'before'} add_engram, wide rows": (
            lambda wrapper=wrapper, before=before: Setting(wrapper, before, row_dim=WIDE_ROWS),
            (can_be_written_to,),
        )
        for wrapper in WRAPPERS
        for before in (True, False)
    },
    **{
        wrapper: (lambda wrapper=wrapper: wrapper, (is_patched_through_its_wrapper, a_lora_learns))
        for wrapper in WRAPPERS
    },
}
ALL_CHECKS = [
    f"{setting}: {check.__name__}"
    for setting, (_, checks) in SETTINGS_OF_CHECKS.items()
    for check in checks
]


def work(rank: int, folder: str) -> None:
    """Run all checks in one process; its outcomes go to a file."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES
    )
    outcomes: dict[str, str] = {}
    for name, (make, checks) in SETTINGS_OF_CHECKS.items():
        for check in checks:
            torch.manual_seed(0)
            try:
                check(make())
                outcome = ""
            except Exception:
                outcome = traceback.format_exc()
            outcomes[f"{name}: {check.__name__}"] = outcome
            Path(folder, f"outcomes-{rank}.json").write_text(json.dumps(outcomes), "utf-8")
            dist.barrier()
    dist.destroy_process_group()
