"""Accumulation, clipping, checkpointing, precision, streaming, packs: the same steps every way."""

from __future__ import annotations

import pytest
import tiny
import torch
from bank_training import (
    BANK,
    LAYERS,
    InOrder,
    bank_weights,
    corpus,
    is_same,
    make_trainer,
    with_new_banks,
)
from torch.testing import assert_close
from torch.utils.data import IterableDataset
from versions import require_whole_graphs

from engram_transformers import EngramTrainer, add_engram
from engram_transformers.attachment import require_attachment
from engram_transformers.banks.optimiser import RowAdam

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory:UserWarning"),
]


class Watched(InOrder, EngramTrainer):
    """Notes norms, and how many entries the tables' gradients have."""

    def __init__(self, *args, **kwargs):
        self.norms = []
        self.entries = []
        super().__init__(*args, **kwargs)

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        table = require_attachment(self.model).banks[LAYERS[0]].table.weight
        self.entries.append(table.grad._nnz())
        assert table.grad.is_coalesced()
        return loss

    def finish_gradients(self, *args, **kwargs):
        norm = super().finish_gradients(*args, **kwargs)
        self.norms.append(float(norm))
        return norm


def trained(folder, model=None, data=None, **settings):
    trainer = make_trainer(folder, model, data, trainer=Watched, **settings)
    trainer.train()
    return trainer


def reference(steps, data, *, max_norm, batch, rate=1e-3, model=None):
    """The same training by hand: dense gradients, torch's own clipping and AdamW, each row Adam's.

    Rows that no batch read have no gradient in ours; Adam with dense gradients would move them. So
    tables are stepped by RowAdam, of the dense gradient's rows that were read.
    """
    model = with_new_banks() if model is None else model
    model.train()
    model.requires_grad_(False)
    banks = require_attachment(model).banks
    tables = [bank.table.weight for bank in banks.values()]
    weights = [w for bank in banks.values() for w in bank.requires_grad_(True).parameters()]
    dense = {n: w for n, w in model.named_parameters() if w.requires_grad and "table" not in n}
    groups = [
        {"params": [w for n, w in dense.items() if ("norm" in n or "bias" in n) == plain],
         "weight_decay": 0.0 if plain else 0.01}
        for plain in (False, True)
    ]  # fmt: skip
    optimisers = [torch.optim.AdamW(groups, lr=rate), RowAdam(tables, lr=5 * rate)]
    read = {layer: set() for layer in banks}
    for layer, bank in banks.items():
        bank.register_forward_pre_hook(
            lambda bank, args, layer=layer: read[layer].update(
                (args[1] + bank.bank_hash.offsets).flatten().tolist()
            )
        )
    norms = []
    for step in range(steps):
        first = step * batch % len(data)
        ids = torch.stack([one["input_ids"] for one in data[first : first + batch]])
        labels = torch.stack([one["labels"] for one in data[first : first + batch]])
        model(input_ids=ids, labels=labels).loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(weights, max_norm)))
        for layer, bank in banks.items():
            rows = torch.tensor(sorted(read[layer]))
            table = bank.table.weight
            gradient = table.grad[rows]
            table.grad = torch.sparse_coo_tensor(
                rows[None], gradient, table.shape, check_invariants=False
            )
            read[layer].clear()
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * (5 if optimiser is optimisers[1] else 1) * (1 - step / steps)
            optimiser.step()
            optimiser.zero_grad()
    return bank_weights(model), norms


@pytest.mark.parametrize("max_norm", [0.02, 100.0])
def test_steps_are_those_of_torch_with_dense_gradients(tmp_path, max_norm):
    data = corpus()
    trainer = trained(
        tmp_path, None, data, max_grad_norm=max_norm, per_device_train_batch_size=4, max_steps=3
    )
    weights, norms = reference(3, data, max_norm=max_norm, batch=4)
    assert trainer.norms == pytest.approx(norms, rel=1e-4)
    assert_close(bank_weights(trainer.model), weights, rtol=1e-4, atol=1e-6)
    assert (max(norms) > 2 * max_norm) == (max_norm < 1)


def test_norms_are_measured_without_clipping(tmp_path):
    data = corpus()
    trainer = trained(
        tmp_path, None, data, max_grad_norm=0.0, per_device_train_batch_size=4, max_steps=3
    )
    weights, norms = reference(3, data, max_norm=1e9, batch=4)
    assert trainer.norms == pytest.approx(norms, rel=1e-4)
    assert_close(bank_weights(trainer.model), weights, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("max_norm", [0.02, 100.0])
def test_micro_batches_come_to_one_large_batch(tmp_path, max_norm):
    whole = trained(tmp_path, max_grad_norm=max_norm, per_device_train_batch_size=8)
    parts = trained(
        tmp_path,
        max_grad_norm=max_norm,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
    )
    assert parts.norms == pytest.approx(whole.norms, rel=1e-4)
    assert_close(bank_weights(parts.model), bank_weights(whole.model), rtol=1e-4, atol=1e-6)


def test_gradients_of_rows_do_not_grow_with_micro_batches(tmp_path):
    data = corpus(1) * 16
    trainer = trained(
        tmp_path, None, data, per_device_train_batch_size=1, gradient_accumulation_steps=16
    )
    assert len(set(trainer.entries)) == 1


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("layers", [[0], [1, 3]])
def test_gradient_checkpointing_changes_nothing(tmp_path, reentrant, layers):
    plain = make_trainer(tmp_path, with_new_banks(layers=layers))
    plain.train()
    model = with_new_banks(layers=layers)
    name = "gradient_checkpointing"
    settings = {name: True, f"{name}_kwargs": {"use_reentrant": reentrant}}
    checkpointed = make_trainer(tmp_path, model, **settings)
    checkpointed.train()
    assert model.is_gradient_checkpointing
    assert not is_same(bank_weights(model), bank_weights(with_new_banks(layers=layers)))
    assert_close(bank_weights(model), bank_weights(plain.model), rtol=1e-5, atol=1e-7)
    told = [
        {n: v for n, v in trainer.state.log_history[1].items() if n.startswith("engram/")}
        for trainer in (checkpointed, plain)
    ]
    assert told[0] == pytest.approx(told[1], rel=1e-4)  # a second run is not counted


def test_autocast_trains_tables_of_float32(tmp_path):
    dtypes = set()
    model = with_new_banks()
    bank = require_attachment(model).banks[1]
    bank.value_projection.register_forward_hook(
        lambda _, args, out: dtypes.add(out.dtype) if out.requires_grad else None
    )
    trainer = trained(tmp_path, model, bf16=True)
    exact = trained(tmp_path)
    assert dtypes == {torch.bfloat16}
    assert bank.table.weight.dtype == torch.float32
    assert trainer.norms == pytest.approx(exact.norms, rel=0.1)
    state = trainer.optimizer.optimizer.rows.state_dict()["state"]
    assert {kept["exp_avg"].dtype for kept in state.values()} == {torch.float32}


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_low_precision_on_a_gpu_is_near_full_precision(tmp_path, precision):
    seen = trained(tmp_path, with_new_banks(), use_cpu=False, **{precision: True})
    exact = trained(tmp_path, with_new_banks(), use_cpu=False)
    assert seen.norms == pytest.approx(exact.norms, rel=0.1)
    assert seen.optimizer.optimizer.rows.nbytes == exact.optimizer.optimizer.rows.nbytes
    assert require_attachment(seen.model).banks[1].table.weight.dtype == torch.float32


@pytest.mark.filterwarnings("ignore")  # of torch, about its own code
def test_compiled_models_are_trained_alike(tmp_path):
    require_whole_graphs()
    plain = trained(tmp_path)
    settings = {"torch_compile": True, "torch_compile_backend": "aot_eager"}
    compiled = trained(tmp_path, with_new_banks(), **settings)
    assert_close(bank_weights(compiled.model), bank_weights(plain.model), rtol=1e-4, atol=1e-6)
    torch._dynamo.reset()


def test_a_base_of_bfloat16_stays_while_its_banks_learn(tmp_path):
    model = tiny.tiny_model("llama").to(torch.bfloat16)
    add_engram(model, tiny.tiny_tokenizer(), layers=LAYERS, **BANK)
    before = bank_weights(model)
    trainer = trained(tmp_path, model)
    assert not is_same(bank_weights(trainer.model), before)
    assert all(weight.dtype == torch.float32 for weight in bank_weights(model).values())


def test_a_stream_of_examples_is_trained_on(tmp_path):
    class Stream(IterableDataset):
        def __iter__(self):
            yield from corpus(8)

    streamed = trained(tmp_path, None, Stream())
    listed = trained(tmp_path)
    assert is_same(bank_weights(streamed.model), bank_weights(listed.model))


def test_sequences_of_a_pack_are_trained_as_if_apart(tmp_path):
    """Rows that a pack reads are those that its sequences read alone."""
    first, second = corpus(2)
    ids = torch.cat([first["input_ids"], second["input_ids"]])
    positions = torch.cat([torch.arange(12), torch.arange(12)])
    labels = ids.clone()
    labels[[0, 12]] = -100
    pack = [{"input_ids": ids, "labels": labels, "position_ids": positions}]
    settings = {"max_steps": 1, "per_device_train_batch_size": 1}
    packed = trained(tmp_path, None, pack, **settings)
    apart = trained(tmp_path, None, [first, second], **{**settings, "max_steps": 2})
    mixed = trained(tmp_path, None, [{"input_ids": ids, "labels": labels}], **settings)

    def touched(trainer):
        rows = trainer.optimizer.optimizer.rows
        banks = require_attachment(trainer.model).banks.values()
        return [rows.touched_rows(bank.table.weight).tolist() for bank in banks]

    assert touched(packed) == touched(apart)
    assert touched(mixed) != touched(apart)
