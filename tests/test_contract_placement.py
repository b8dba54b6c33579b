"""The contract wherever the weights lie: offloaded to the CPU or the disk, dispatched, on meta."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tiny
import torch
from accelerate import (
    cpu_offload,
    disk_offload,
    dispatch_model,
    init_empty_weights,
    load_checkpoint_and_dispatch,
)
from patched import TRIGGER, WIDE_ROWS, assert_writes, at_trigger, logits_of, patched
from transformers import AutoModelForCausalLM

from engram_transformers import remove_engram, use_tables
from engram_transformers.attachment import find_attachment, require_attachment
from engram_transformers.errors import TableMismatchError, UnsupportedModelError

# Older releases of transformers take a model that is offloaded for one on the meta device.
pytestmark = pytest.mark.filterwarnings("ignore:You are calling .generate.. with the .input_ids.")

CPU = torch.device("cpu")
GATES = ("fixed", "content", "learned")


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return tokenizer(TRIGGER, return_tensors="pt")["input_ids"]


def some_blocks(model: Any, folder: str, place: str) -> Any:
    """Dispatch a Llama with its two middle blocks elsewhere."""
    parts = [name for name, _ in model.model.named_children() if name != "layers"]
    device_map: dict[str, Any] = {"lm_head": "cpu", **{f"model.{name}": "cpu" for name in parts}}
    for block in range(tiny.BLOCKS):
        device_map[f"model.layers.{block}"] = place if block in (1, 2) else "cpu"
    return dispatch_model(
        model, device_map, main_device="cpu", offload_dir=folder, force_hooks=True
    )


OFFLOADS: dict[str, Callable[[Any, str], Any]] = {
    "all on the CPU": lambda model, folder: cpu_offload(model, execution_device=CPU),
    "all on the disk": lambda model, folder: disk_offload(model, folder, execution_device=CPU),
    "some blocks on the disk": lambda model, folder: some_blocks(model, folder, "disk"),
    "dispatched": lambda model, folder: some_blocks(model, folder, "cpu"),
}
# Hooks of its own on each module, but no weight elsewhere.
NOT_OFFLOADED = "dispatched"


def patched_and_offloaded(
    tokenizer: Any, offload: str, folder: Any, *, before: bool, seed: int = 0, **fields: Any
) -> Any:
    model = tiny.tiny_model("llama", seed=seed)
    if before:
        model = patched(model, tokenizer, **fields)
    model = OFFLOADS[offload](model, str(folder))
    if not before:
        model = patched(model, tokenizer, **fields)
    elsewhere = any(parameter.device.type == "meta" for parameter in model.parameters())
    assert elsewhere == (offload != NOT_OFFLOADED)
    return model


@pytest.mark.parametrize(
    ("offload", "gate_type", "before"),
    [
        *((offload, "fixed", before) for offload in OFFLOADS for before in (True, False)),
        *(("some blocks on the disk", "content", before) for before in (True, False)),
        *(("some blocks on the disk", "learned", before) for before in (True, False)),
        ("all on the CPU", "learned", True),
    ],
)
def test_offloaded_weights_read_as_those_in_place(
    tokenizer, ids, tmp_path, offload, gate_type, before
):
    """Bit for bit, and the same table: where weights lie makes no other model."""
    in_place = patched(tiny.tiny_model("llama"), tokenizer, gate_type=gate_type)
    tables = [at_trigger(in_place, ids, layer=layer).table for layer in (1, 3)]
    base = logits_of(in_place, ids)
    settings = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}
    with use_tables(in_place, [tables]):
        fired = in_place(ids).logits
        said = in_place.generate(ids, **settings)
    model = patched_and_offloaded(tokenizer, offload, tmp_path, before=before, gate_type=gate_type)
    assert torch.equal(logits_of(model, ids), base)
    with use_tables(model, [tables]):
        assert torch.equal(model(ids).logits, fired)
        assert torch.equal(model.generate(ids, **settings), said)
    assert not torch.equal(fired, base)
    own = at_trigger(model, ids).table
    assert torch.equal(logits_of(in_place, ids, own), logits_of(model, ids, own))
    remove_engram(model)
    assert not any("engram" in name for name, _ in model.named_modules())
    assert torch.equal(model(ids).logits, base)


@pytest.mark.parametrize("offload", OFFLOADS)
def test_an_offloaded_model_refuses_the_tables_of_another(tokenizer, ids, tmp_path, offload):
    model = patched_and_offloaded(tokenizer, offload, tmp_path / "one", before=False)
    other = patched_and_offloaded(tokenizer, offload, tmp_path / "other", before=False, seed=1)
    table = at_trigger(model, ids).table
    with pytest.raises(TableMismatchError, match="weights"), use_tables(other, table):
        pass


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("offload", OFFLOADS)
def test_facts_are_written_to_an_offloaded_model(tokenizer, tmp_path, offload, before):
    model = patched_and_offloaded(tokenizer, offload, tmp_path, before=before, row_dim=WIDE_ROWS)
    assert_writes(model, tokenizer)


# From a checkpoint, as it is usually done


@pytest.fixture
def checkpoint(tmp_path) -> str:
    folder = tmp_path / "checkpoint"
    tiny.tiny_model("llama").save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("room_bytes", [1_000_000_000, 400_000])
def test_an_automatic_device_map_reads_as_weights_in_place(
    tokenizer, ids, checkpoint, tmp_path, room_bytes
):
    """With much room for weights, and with so little that some stay on the disk."""
    in_place = patched(tiny.tiny_model("llama"), tokenizer)
    table = at_trigger(in_place, ids).table
    expected = logits_of(in_place, ids, table)
    with init_empty_weights():
        empty = type(in_place)(in_place.config)
    loaded = load_checkpoint_and_dispatch(
        empty,
        f"{checkpoint}/model.safetensors",
        device_map="auto",
        max_memory={"cpu": room_bytes},
        offload_folder=str(tmp_path / "first"),
    ).eval()
    assert ("disk" in loaded.hf_device_map.values()) == (room_bytes < 1_000_000)
    automatic = AutoModelForCausalLM.from_pretrained(
        checkpoint,
        device_map="auto",
        max_memory={"cpu": room_bytes},
        offload_folder=str(tmp_path / "second"),
    )
    for model in (loaded, automatic):
        patched(model, tokenizer)
        assert torch.equal(logits_of(model, ids, table), expected)


@pytest.mark.parametrize("gate_type", GATES)
def test_a_model_without_weights_is_refused_and_can_be_patched_once_it_has_them(
    tokenizer, ids, checkpoint, gate_type
):
    in_place = patched(tiny.tiny_model("llama"), tokenizer, gate_type=gate_type)
    made = at_trigger(in_place, ids)
    with init_empty_weights():
        model = type(in_place)(in_place.config)
    modules = [name for name, _ in model.named_modules()]
    with pytest.raises(UnsupportedModelError, match=r"39 weights are on the meta device.*load"):
        patched(model, tokenizer, gate_type=gate_type)
    assert find_attachment(model) is None
    assert [name for name, _ in model.named_modules()] == modules
    load_checkpoint_and_dispatch(model, f"{checkpoint}/model.safetensors", device_map={"": "cpu"})
    patched(model.eval(), tokenizer, gate_type=gate_type)
    assert torch.equal(logits_of(model, ids, made.table), logits_of(in_place, ids, made.table))


def test_moving_the_model_moves_the_memories(tokenizer, ids):
    """To float64 and back: there is one device here."""
    model = patched(tiny.tiny_model("llama"), tokenizer, gate_type="learned")
    table = at_trigger(model, ids).table
    fired = logits_of(model, ids, table)
    assert logits_of(model.to(CPU, torch.float64), ids, table).dtype == torch.float64
    memory = require_attachment(model).memories[1]
    assert memory.key_norm.dtype == torch.float64
    assert torch.equal(logits_of(model.to(torch.float32), ids, table), fired)
