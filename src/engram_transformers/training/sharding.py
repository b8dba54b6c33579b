"""Banks under FSDP2: the base is sharded by FSDP, the tables' rows are shared out by us.

FSDP would gather a table whole before each forward and make its gradient dense. So banks are taken
off while accelerate shards the model, and put back as they are: small weights whole in every
process, their gradients averaged as DDP does, and each table as a `ShardedTable`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed, nn
from torch.optim import Optimizer

from engram_transformers.attachment import SUBMODULE, Attachment
from engram_transformers.bank_reading import BANK
from engram_transformers.banks.row_exchange import RowRange
from engram_transformers.banks.row_gradients import summed_rows
from engram_transformers.sharding import reshard
from engram_transformers.training.joint_optimiser import JointOptimiser, joint_of
from engram_transformers.training.preparation import tables_of


def prepare_sharded(
    prepare: Callable[..., Any],
    accelerator: Any,
    attachment: Attachment,
    given: tuple[Any, ...],
    named: dict[str, Any],
) -> Any:
    """Let accelerate shard a model without its banks, then share their tables out.

    Args:
        prepare: The accelerator's own.
        accelerator: With a plugin of FSDP2.
        attachment: The model's patch.
        given: What is prepared. Without a model among it, nothing is done to banks.
        named: Options of `prepare`.

    Returns:
        What `prepare` returns.
    """
    if not any(isinstance(one, nn.Module) for one in given):
        return prepare(*given, **named)
    _leave_as_it_is(accelerator, given)
    joint = next((found for found in map(joint_of, given) if found is not None), None)
    with banks_apart(attachment), _without_parameters_of(attachment, joint):
        prepared = prepare(*given, **named)
    before = tables_of(attachment)
    _share_out(attachment, accelerator.device)
    after = tables_of(attachment)
    for group in () if joint is None else joint.rows.param_groups:
        news = {id(table): after[name] for name, table in before.items()}
        group["params"] = [news[id(table)] for table in group["params"]]
    return prepared


def _leave_as_it_is(accelerator: Any, given: tuple[Any, ...]) -> None:
    """Let accelerate take a model that is sharded already as it is."""
    from torch.distributed.fsdp import FSDPModule

    models = [one for one in given if isinstance(one, nn.Module)]
    for model in models:
        reshard(model)
    if any(isinstance(model, FSDPModule) for model in models):
        # fully_shard renames classes, so accelerate would not find the blocks' (1.15).
        accelerator.state.fsdp_plugin.auto_wrap_policy = None


@contextmanager
def banks_apart(attachment: Attachment) -> Generator[None]:
    """Take memories and banks off their blocks; put them back behind the `with`.

    Within it, the model's parameters and state dict are those of the base. It can't be run.
    """
    taken: list[tuple[nn.Module, str, nn.Module]] = []
    for layer in attachment.memories:
        for module in attachment.block_list[layer].modules():
            for name in (SUBMODULE, BANK):
                found = module._modules.get(name)
                if found is not None and found in _own_modules(attachment):
                    taken.append((module, name, found))
    for module, name, _ in taken:
        del module._modules[name]
    try:
        yield
    finally:
        for module, name, found in taken:
            module._modules[name] = found


def group_apart(optimiser: Optimizer, attachment: Attachment) -> None:
    """Give banks' weights groups of their own: fused steps take no sharded and whole ones together.

    Args:
        optimiser: Of dense parameters; it has no state yet.
        attachment: The model's patch.
    """
    ours: set[int] = {id(w) for bank in attachment.banks.values() for w in bank.parameters()}
    for group in list(optimiser.param_groups):
        own = [one for one in group["params"] if id(one) in ours]
        others = [one for one in group["params"] if id(one) not in ours]
        if own and others:
            group["params"] = others
            optimiser.add_param_group({**group, "params": own})


def shares_of(attachment: Attachment) -> list[RowRange]:
    """Return which rows of each shared table are here, in the order of layers."""
    tables: list[Any] = [bank.table for _, bank in sorted(attachment.banks.items())]
    return [table.share for table in tables]


def average_shared_gradients_(attachment: Attachment, *, is_scaled: bool) -> None:
    """Average gradients over processes: those of rows where they are, all others everywhere.

    Args:
        attachment: The patch of a model whose tables are shared out.
        is_scaled: Whether a `GradScaler` looks for gradients that are not finite. It looks in this
            process alone, so those of rows are made known to all: small weights get NaN.
    """
    tables = tables_of(attachment)
    processes = distributed.get_world_size()
    for name, table in tables.items():
        rows = summed_rows(table, name)
        if rows is not None and table.grad is not None:
            table.grad._values().div_(processes)  # coalesced after each micro-batch
    weights = _small_weights(attachment)
    if not weights:
        return
    gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    joined = torch.cat([gradient.reshape(-1) for gradient in gradients])
    if is_scaled:
        sound = [t.grad._values().isfinite().all() for t in tables.values() if t.grad is not None]
        for one in sound:
            joined = joined.masked_fill(~one, float("nan"))
    distributed.all_reduce(joined)
    parts = joined.div_(processes).split([gradient.numel() for gradient in gradients])
    for weight, part in zip(weights, parts, strict=True):
        weight.grad = part.view_as(weight).to(weight.dtype)


def _small_weights(attachment: Attachment) -> list[nn.Parameter]:
    """Return the weights of banks that every process has whole, in an order of their own."""
    tables = {id(table) for table in tables_of(attachment).values()}
    return [
        weight
        for _, bank in sorted(attachment.banks.items())
        for weight in bank.parameters()
        if weight.requires_grad and id(weight) not in tables
    ]


def _share_out(attachment: Attachment, device: torch.device) -> None:
    """Give all processes the first one's banks, and each of them its range of the rows."""
    from engram_transformers.banks.sharded import shard_table, sharing_mesh

    mesh = sharing_mesh(device)
    for layer, bank in sorted(attachment.banks.items()):
        if bank.shared_rows is None:
            bank.replace_table(shard_table(bank.table.weight, mesh, device))
        bank.to(device)
        attachment.memories[layer].to(device)
        rows = bank.own_rows
        for tensor in (*bank.parameters(), *attachment.memories[layer].parameters()):
            if tensor is not rows:
                distributed.broadcast(tensor.data, src=0)


@contextmanager
def _without_parameters_of(attachment: Attachment, joint: JointOptimiser | None) -> Generator[None]:
    """Hide banks' parameters from what replaces those of the base in an optimiser's groups.

    Accelerate looks for each parameter by its name in the model, where banks are not now.
    """
    ours: set[int] = {id(w) for bank in attachment.banks.values() for w in bank.parameters()}
    groups = [] if joint is None else joint.param_groups
    before = [(group["params"], group.pop("param_names", None)) for group in groups]
    for group in groups:
        group["params"] = [one for one in group["params"] if id(one) not in ours]
    try:
        yield
    finally:
        # Accelerate loads the optimiser's own state, which gives it new groups.
        groups = [] if joint is None else joint.param_groups
        for group, (parameters, names) in zip(groups, before, strict=True):
            replaced = iter(list(group["params"]))
            group["params"] = [p if id(p) in ours else next(replaced) for p in parameters]
            if names is not None:
                group["param_names"] = names


def _own_modules(attachment: Attachment) -> set[nn.Module]:
    return {*attachment.memories.values(), *attachment.banks.values()}
