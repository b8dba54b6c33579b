"""Banks trained by two processes on the CPU, through gloo; each writes what it ended with."""

from __future__ import annotations

import os
import traceback
import warnings
from pathlib import Path
from typing import Any

import torch
from bank_training import InOrder, bank_weights, base_weights, corpus, make_trainer, with_new_banks
from banked import fill_banks
from peft import LoraConfig, get_peft_model
from torch import distributed

from engram_transformers import EngramTrainer
from engram_transformers.lora import ENGRAM_MODULES
from engram_transformers.training.errors import NonFiniteError

PROCESSES = 2
BATCH = 4
"""Examples of a step, over all processes and before accumulation."""

STEPS: dict[str, Any] = {"max_steps": 4}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipped": {"max_grad_norm": 0.02},
    "accumulated": {"gradient_accumulation_steps": 2},
    "accumulated and clipped": {"gradient_accumulation_steps": 2, "max_grad_norm": 0.02},
    "not clipped": {"max_grad_norm": 0.0},
    "whole base": {"freeze_base": False, "max_grad_norm": 0.02},
    "lora": {"freeze_base": False, "max_grad_norm": 0.02},
    "checkpointed": {"gradient_checkpointing": True},
    "adagrad": {"row_optimiser": "adagrad"},
    "without telemetry": {"telemetry": False},
}
OPTIONS = ("freeze_base", "row_optimiser", "telemetry")


class Watched(InOrder, EngramTrainer):
    """Notes the norms of gradients."""

    def finish_gradients(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        norm = super().finish_gradients(*args, **kwargs)
        self.norms = [*getattr(self, "norms", []), norm.detach().clone()]
        return norm


class Poisoned(InOrder, EngramTrainer):
    """The second process's loss of the second step is NaN."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)
        bad = self.state.global_step == 1 and self.args.process_index == 1
        return loss * float("nan") if bad else loss


def trained(
    name: str, folder: Path, processes: int, *, model: Any = None, resume: str | None = None, **more
) -> dict[str, Any]:
    """Train as a case says and return what came out."""
    case = {**CASES[name], **more}
    options = {key: case.pop(key) for key in OPTIONS if key in case}
    # Adam turns the last bits of gradients near zero into steps: double precision has more.
    model = (with_new_banks() if model is None else model).double()
    if name == "lora":
        torch.manual_seed(3)
        config = LoraConfig(
            task_type="CAUSAL_LM", target_modules="all-linear", exclude_modules=ENGRAM_MODULES
        )
        model = get_peft_model(model, config)
    settings = {**STEPS, "per_device_train_batch_size": BATCH // processes, **case}
    trainer = make_trainer(folder, model, corpus(16), options=options, trainer=Watched, **settings)
    trainer.train(resume_from_checkpoint=resume)
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {
        "banks": bank_weights(model),
        "base": base_weights(model),
        "rows": trainer.optimizer.optimizer.rows.state_dict()["state"],
        "norms": torch.stack(trainer.norms),
        "rates": {
            n: v for n, v in logs[-1].items() if n.startswith("engram/") and "layer" not in n
        },
        "losses": [entry["loss"] for entry in logs],
    }


def with_other_tables(rank: int) -> Any:
    """Return a model whose banks are another on each process."""
    model = with_new_banks()
    if rank:
        fill_banks(model, seed=rank)
    return model


def stopped(folder: Path) -> dict[str, Any]:
    """Return how a process ends when another one's loss is NaN."""
    trainer = make_trainer(folder, trainer=Poisoned, **STEPS)
    before = None
    try:
        trainer.train()
    except NonFiniteError as error:
        before = {"what": error.what, "step": error.step, "path": error.path}
    ignored = getattr(trainer.model_wrapped, "parameters_to_ignore", set())
    return {"error": before, "ignored": sorted(ignored), "banks": bank_weights(trainer.model)}


def all_cases(rank: int, folder: Path) -> dict[str, Any]:
    """Return outcome or traceback of each case."""
    makers = {name: lambda name=name: trained(name, folder, PROCESSES) for name in CASES}
    makers["other tables"] = lambda: trained(
        "plain", folder, PROCESSES, model=with_other_tables(rank)
    )
    saving = {"save_strategy": "steps", "save_steps": 2}
    makers["whole"] = lambda: trained("plain", folder / "whole", PROCESSES, **saving)
    half = str(folder / "whole" / "checkpoint-2")
    makers["resumed"] = lambda: trained("plain", folder / "again", PROCESSES, resume=half)
    makers["stopped"] = lambda: stopped(folder)
    outcomes: dict[str, Any] = {}
    for name, make in makers.items():
        try:
            outcomes[name] = make()
        except Exception:
            outcomes[name] = traceback.format_exc()
        distributed.barrier()
    return outcomes


def work(rank: int, folder: str) -> None:
    """Do all cases as one of the processes."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.environ.update(GLOO_SOCKET_IFNAME="lo", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(PROCESSES))
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES
    )
    torch.save(all_cases(rank, Path(folder)), Path(folder) / f"outcomes-{rank}.pt")
    distributed.destroy_process_group()
