"""What is trained on a frozen model: a LoRA, banks, both, and banks that can know nothing."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
import xxhash
from torch import nn

from benchmarks.setting import Setting
from benchmarks.trained import controls
from engram_transformers import add_engram, engram_disabled, remove_engram
from engram_transformers.lora import ENGRAM_MODULES

LORA = "LoRA"
BANK = "bank"
HALVES = "LoRA and bank, each half"
BOTH = "LoRA and bank, both whole"
ONE_ROW = "bank of one row a head"
SHUFFLED = "bank, addresses shuffled"


class Condition(NamedTuple):
    """What is trained.

    Attributes:
        name: In results.
        rank: Of the LoRA; 0 for none.
        width: Of the banks, in all orders and heads together; 0 for none.
        control: "", or one of `controls`.
        rate_of: The condition whose learning rate it takes.
        same_flops: Whether it is to cost what the LoRA costs.
    """

    name: str
    rank: int
    width: int
    control: str
    rate_of: str
    same_flops: bool = True


def conditions(rank: int, width: int) -> list[Condition]:
    """Return all conditions but the untouched model.

    Args:
        rank: Of the whole LoRA, even.
        width: Of the whole bank, whose half fits its orders and heads as well.
    """
    return [
        Condition(LORA, rank, 0, "", LORA),
        Condition(BANK, 0, width, "", BANK),
        Condition(HALVES, rank // 2, width // 2, "", HALVES),
        Condition(BOTH, rank, width, "", HALVES, same_flops=False),
        Condition(ONE_ROW, 0, width, controls.ONE_ROW, BANK),
        Condition(SHUFFLED, 0, width, controls.SHUFFLED, BANK),
    ]


@contextmanager
def attached(
    setting: Setting, condition: Condition, layers: Sequence[int], rows: int, seed: int
) -> Generator[Any]:
    """Put a condition's new weights on the model; take them off again.

    Args:
        setting: Whose model.
        condition: What.
        layers: Blocks that get a bank.
        rows: Of each of them.
        seed: Of all new weights.

    Yields:
        The model, in PEFT's wrapper if there is a LoRA.
    """
    model = setting.model
    torch.manual_seed(seed)
    with ExitStack() as stack:
        if condition.width:
            fields = {
                **setting.config_fields,
                "memory_size": rows,
                "inject_layers": list(layers),
                "bank_dim": condition.width,
                "seed": seed,
            }
            add_engram(model, setting.tokenizer, **fields)
            stack.callback(remove_engram, model)
        if condition.control == controls.ONE_ROW:
            stack.enter_context(controls.one_row(model))
        elif condition.control == controls.SHUFFLED:
            stack.enter_context(controls.shuffled(model, seed))
        whole = model
        if condition.rank:
            whole = stack.enter_context(_with_lora(model, condition))
        yield whole.eval()


@contextmanager
def switched_off(whole: Any, condition: Condition) -> Generator[None]:
    """Let the model answer without what was trained on it."""
    with ExitStack() as stack:
        if condition.width:
            stack.enter_context(engram_disabled(whole))
        if condition.rank:
            stack.enter_context(whole.disable_adapter())
        yield


def weights_digest(model: nn.Module) -> str:
    """Return a digest of every bit of a model's parameters."""
    digest = xxhash.xxh3_128()
    for name, weight in model.named_parameters():
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


@contextmanager
def frozen(model: nn.Module) -> Generator[None]:
    """Let nothing of a model learn within the block."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@contextmanager
def _with_lora(model: Any, condition: Condition) -> Generator[Any]:
    """Yield a PEFT wrapper with a new LoRA on all linear layers but the output."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=condition.rank,
        lora_alpha=2 * condition.rank,
        target_modules="all-linear",
        # PEFT warns of modules that are to be left out and are not there.
        exclude_modules=ENGRAM_MODULES if condition.width else None,
    )
    whole = get_peft_model(model, config)
    try:
        yield whole
    finally:
        whole.unload()
        model.__dict__.pop("peft_config", None)  # PEFT marks the model that it was put on
