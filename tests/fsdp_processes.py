"""Banks trained under FSDP2 by two processes on the CPU, through gloo; each writes its outcomes."""

from __future__ import annotations

import os
import shutil
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from bank_training import base_weights, corpus, make_trainer, with_new_banks
from banked import fill_banks
from peft import LoraConfig, get_peft_model
from torch import distributed
from torch.distributed.fsdp import FSDPModule, fully_shard
from training_processes import BATCH, OPTIONS, PROCESSES, Poisoned, Watched
from transformers.trainer_utils import IntervalStrategy

from engram_transformers.attachment import require_attachment
from engram_transformers.lora import ENGRAM_MODULES
from engram_transformers.training.errors import NonFiniteError, UnsupportedTrainingError
from engram_transformers.training.joint_optimiser import joint_of
from engram_transformers.training.sharding import average_shared_gradients_

STEPS: dict[str, Any] = {"max_steps": 3, "logging_steps": 3}
CLIPPED: dict[str, Any] = {"max_grad_norm": 0.02}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"gradient_accumulation_steps": 2, "row_optimiser": "adagrad", **CLIPPED},
    "checkpointed": {"gradient_checkpointing": True, "max_grad_norm": 0.0},
    "lora": {"freeze_base": False, "gradient_accumulation_steps": 2, **CLIPPED},
}
"""Each of them also trained by one process, to compare with."""

ON_GPUS = ("plain", "accumulated", "lora", "bf16", "SHARDED_STATE_DICT")
"""What is done again over NCCL."""

WRAPPED = "_checkpoint_wrapped_module."
"""What accelerate's activation checkpointing puts into the names of parameters."""

FSDP: dict[str, dict[str, Any]] = {
    "checkpointed": {"cpu_ram_efficient_loading": True},
    "accumulated": {"activation_checkpointing": True},
}
"""Case -> what its `fsdp_config` has beside the version."""


class OnCpu:
    """Of a trainer: lets accelerate shard on the CPU, which it does on accelerators alone."""

    def create_accelerator_and_postprocess(self) -> None:
        if not self.args.use_cpu:
            return super().create_accelerator_and_postprocess()
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
        return super().create_accelerator_and_postprocess()


class Sharded(OnCpu, Watched):
    """Checks on the way that gradients of rows are sparse, and of rows that are here."""

    def finish_gradients(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        for bank in self._attachment.banks.values():
            gradient = bank.own_rows.grad
            assert gradient is not None
            assert gradient.layout == torch.sparse_coo
            assert gradient.shape == bank.own_rows.shape
        return super().finish_gradients(*args, **kwargs)


class ShardedPoisoned(OnCpu, Poisoned):
    pass


def whole(weight: torch.Tensor) -> torch.Tensor:
    gather: Any = getattr(weight, "full_tensor", None)
    return (weight if gather is None else gather()).detach().cpu().clone()


def whole_banks(model: Any) -> dict[str, torch.Tensor]:
    """Return all weights of a model's banks, gathered from all processes."""
    return {
        f"{layer}.{name}": whole(weight)
        for layer, bank in require_attachment(model).banks.items()
        for name, (weight,) in bank.weights().items()
    }


def with_lora(model: Any) -> Any:
    torch.manual_seed(3)
    config = LoraConfig(
        task_type="CAUSAL_LM", target_modules="all-linear", exclude_modules=ENGRAM_MODULES
    )
    return get_peft_model(model, config)


def sharded_trainer(
    name: str, folder: Path, *, model: Any = None, trainer: Any = Sharded, **more: Any
) -> Any:
    case = {**CASES.get(name, {}), **more}
    options = {key: case.pop(key) for key in OPTIONS if key in case}
    config = {"version": 2, **FSDP.get(name, {}), **case.pop("fsdp_config", {})}
    # As in training_processes: double precision, so that Adam makes no steps of last bits.
    model = (with_new_banks() if model is None else model).double()
    model = with_lora(model) if name == "lora" else model
    settings = {**STEPS, "per_device_train_batch_size": BATCH // PROCESSES, **case}
    settings |= {"use_cpu": not torch.cuda.is_initialized()}
    settings = {"fsdp": True, "fsdp_config": config, **settings}
    return make_trainer(folder, model, corpus(16), options=options, trainer=trainer, **settings)


def outcome(trainer: Any) -> dict[str, Any]:
    """Return what came out of training, whole."""
    model: Any = trainer.model
    joint = joint_of(trainer.optimizer)
    assert joint is not None
    banks = require_attachment(model).banks
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {
        "banks": whole_banks(model),
        "base": {n.replace(WRAPPED, ""): whole(w) for n, w in base_weights(model).items()},
        "digest": require_attachment(model).bank_fingerprint(),
        "sharded": sum(hasattr(w, "device_mesh") for w in base_weights(model).values()),
        "own": {layer: tuple(bank.own_rows.shape) for layer, bank in banks.items()},
        "known": [joint.rows.touched_rows(bank.own_rows).cpu() for bank in banks.values()],
        "first": [bank.table.share.first for bank in banks.values()],
        "norms": torch.stack([whole(norm) for norm in trainer.norms]),
        "rates": {
            n: v for n, v in logs[-1].items() if n.startswith("engram/") and "layer" not in n
        },
        "activity": {n: v for n, v in logs[-1].items() if n.startswith("engram/layer")},
        "losses": [entry["loss"] for entry in logs],
        "flags": [weight.requires_grad for weight in model.parameters()],
    }


def trained(name: str, folder: Path, **more: Any) -> dict[str, Any]:
    """Train as a case says and return what came out."""
    resume = more.pop("resume", None)
    trainer = sharded_trainer(name, folder, **more)
    trainer.train(resume_from_checkpoint=resume)
    return outcome(trainer)


def with_other_tables(rank: int) -> Any:
    model = with_new_banks()
    if rank:
        fill_banks(model, seed=rank)
    return model


def sharded_by_the_caller(folder: Path) -> dict[str, Any]:
    model = with_new_banks().double()
    ours = {w for b in require_attachment(model).banks.values() for w in b.parameters()}
    for block in model.model.layers:
        fully_shard(block, ignored_params=ours)
    fully_shard(model, ignored_params=ours)
    with torch.no_grad():  # some weights stay whole after it
        model(corpus(1)[0]["input_ids"].unsqueeze(0))
    trainer = sharded_trainer("plain", folder, model=model)
    trainer.eval_dataset = corpus(4, seed=1)  # and so do they after the last evaluation
    trainer.args.eval_strategy, trainer.args.eval_steps = IntervalStrategy.STEPS, 3
    trainer.train()
    assert any("eval_loss" in entry for entry in trainer.state.log_history)
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.reshard()
    return outcome(trainer)


def stopped(folder: Path) -> dict[str, Any]:
    """Return how a process ends when another one's loss is NaN."""
    trainer = sharded_trainer("plain", folder, trainer=ShardedPoisoned)
    found = None
    try:
        trainer.train()
    except NonFiniteError as error:
        found = {"what": error.what, "step": error.step}
    return {"error": found}


def scaled(rank: int, folder: Path) -> dict[str, Any]:
    """Return small weights' gradients where one process has a row's that is not finite."""
    trainer = sharded_trainer("plain", folder, max_steps=1)
    trainer.train()
    attachment = require_attachment(trainer.model)
    found: dict[str, Any] = {}
    for kind, value in (("sound", 1.0), ("not finite", float("inf"))):
        for bank in attachment.banks.values():
            bank.requires_grad_(True)
            bank.value_projection.bias.grad = torch.ones_like(bank.value_projection.bias)
            rows = torch.tensor([[0]], device=bank.own_rows.device)
            values = bank.own_rows.new_full((1, bank.own_rows.shape[1]), value if rank else 1.0)
            bank.own_rows.grad = torch.sparse_coo_tensor(
                rows, values, bank.own_rows.shape, is_coalesced=True
            )
        average_shared_gradients_(attachment, is_scaled=True)
        biases = [bank.value_projection.bias for bank in attachment.banks.values()]
        found[kind] = [bool(bias.grad.isfinite().all()) for bias in biases]
    return found


def saved(folder: Path, state_dict_type: str) -> dict[str, Any]:
    """Train with checkpoints, resume from the second step's, and save what came out."""
    is_full = state_dict_type == "FULL_STATE_DICT"
    given = {"fsdp_config": {"state_dict_type": state_dict_type}, "freeze_base": not is_full}
    trainer = sharded_trainer(
        "plain", folder / "whole", save_strategy="steps", save_steps=2, **given
    )
    trainer.train()
    trainer.save_model(str(folder / "last"))
    distributed.barrier()
    resumed = trained(
        "plain", folder / "again", resume=str(folder / "whole" / "checkpoint-2"), **given
    )
    found = {"whole": outcome(trainer), "resumed": resumed}
    return {**found, "refused": refused(folder, given) if is_full else ""}


def refused(folder: Path, given: dict[str, Any]) -> str:
    """Return what is said of a checkpoint that FSDP has not made."""
    plain = folder / f"plain-{distributed.get_rank()}"
    shutil.copytree(folder / "whole" / "checkpoint-2", plain)
    (plain / "pytorch_model_fsdp.bin").unlink()
    try:
        trained("plain", folder / "again", resume=str(plain), **given)
    except UnsupportedTrainingError as error:
        return str(error)
    return ""


def makers(rank: int, folder: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    found = {name: lambda name=name: trained(name, folder) for name in CASES}
    found["bf16"] = lambda: trained("plain", folder, bf16=True)
    found["plain"] = lambda: trained("plain", folder, model=with_other_tables(rank))
    found["by the caller"] = lambda: sharded_by_the_caller(folder)
    found["stopped"] = lambda: stopped(folder)
    found["scaled"] = lambda: scaled(rank, folder)
    for kind in ("FULL_STATE_DICT", "SHARDED_STATE_DICT"):
        found[kind] = lambda kind=kind: saved(folder / kind, kind)
    return found


def work(rank: int, folder: str) -> None:
    """Do all cases as one of the processes."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.environ.update(GLOO_SOCKET_IFNAME="lo", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(PROCESSES))
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES
    )
    write_outcomes(rank, Path(folder), makers(rank, Path(folder)))
    distributed.destroy_process_group()


def work_on_gpus(rank: int, folder: str) -> None:
    """Do some cases as one of the processes, each of which has a GPU."""
    warnings.simplefilter("ignore")
    torch.cuda.set_device(rank)
    torch.cuda.init()
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(PROCESSES))
    distributed.init_process_group(
        "nccl", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES
    )
    every = makers(rank, Path(folder))
    chosen = {name: every[name] for name in ON_GPUS if name in every}
    chosen["fp16"] = lambda: trained("plain", Path(folder), fp16=True)
    write_outcomes(rank, Path(folder), chosen)
    distributed.destroy_process_group()


def write_outcomes(rank: int, folder: Path, cases: dict[str, Callable[[], dict[str, Any]]]) -> None:
    """Write outcome or traceback of each case."""
    outcomes: dict[str, Any] = {}
    for name, make in cases.items():
        try:
            outcomes[name] = make()
        except Exception:
            outcomes[name] = traceback.format_exc()
        distributed.barrier()
    torch.save(outcomes, folder / f"outcomes-{rank}.pt")
