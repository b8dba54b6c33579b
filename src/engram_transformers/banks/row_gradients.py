"""Gradients of a table's rows: summed, clipped and shared among processes without a dense copy.

They arrive as sparse COO tensors of `nn.Embedding(sparse=True)`, about one entry for each time that
a row was read. Autograd, `zero_grad`, `GradScaler` and DDP over gloo know them. Others refuse them:
`torch.nn.utils.clip_grad_norm_`, and with it accelerate and transformers.Trainer, also where it
clips nothing (torch 2.13: "Could not run 'aten::linalg_vector_norm'"); FSDP2 (likewise,
'fsdp::chunk_cat'); DDP over NCCL (pytorch/pytorch#22400). `clip_gradient_norm_` and `average_rows_`
do their work. An autograd function that hands over rows beside `.grad` gives the same sums, but
hides them from all of these.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, distributed
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from engram_transformers.banks.errors import BankConfigError, DenseGradientError

Rows = tuple[Tensor, Tensor]


def summed_rows(table: Tensor, name: str = "a table") -> Rows | None:
    """Return the gradient of each row that was read, once.

    What was read several times is summed in float32 at least: `Tensor.coalesce` sums bfloat16
    numbers in bfloat16 on the CPU, where 1,000 ones are 256. What autograd and DDP add before, over
    micro-batches and processes, they round to the table's dtype each time, as dense gradients.

    Args:
        table: (rows, width), with a sparse gradient, or none.
        name: How an error names it.

    Returns:
        Rows (count,) int64, ascending, each once, and gradients (count, width), float32 (float64 if
        the table is). None without a gradient.

    Raises:
        DenseGradientError: If the gradient is not of whole rows.
    """
    gradient = table.grad
    if gradient is None:
        return None
    if gradient.layout != torch.sparse_coo or gradient.sparse_dim() != 1:
        size = gradient.numel() * gradient.element_size()
        raise DenseGradientError(name, str(gradient.layout), size)
    return _summed(gradient._indices(), gradient._values(), table, gradient.is_coalesced())


def sum_repeated_rows_(tables: Iterable[Tensor]) -> None:
    """Keep each row once in the gradients, so that micro-batches do not pile up.

    Call it after the backward pass of a micro-batch; the next one adds to what is left. Memory is
    then that of the different rows read since `zero_grad`, and one micro-batch. In tables of fewer
    than 32 bits, each call rounds the sums once.

    Args:
        tables: (rows, width) each.

    Raises:
        DenseGradientError: If a gradient is not of whole rows.
    """
    found = [(table, summed_rows(table)) for table in tables]
    for table, rows in found:
        if rows is not None:
            _set_gradient(table, *rows)


def clip_gradient_norm_(
    parameters: Iterable[Tensor],
    max_norm: float,
    shares: Iterable[Tensor] = (),
    group: distributed.ProcessGroup | None = None,
) -> Tensor:
    """Clip the norm of all gradients together, dense ones and those of rows.

    As `torch.nn.utils.clip_grad_norm_` on dense gradients: all are scaled by
    min(1, max_norm / (norm + 1e-6)), in place. Rows read several times count with their sums. A
    norm that is NaN or infinite scales nothing, so that the optimiser can name the rows.

    Args:
        parameters: All that are trained, tables among them.
        max_norm: The highest norm allowed; infinity only measures.
        shares: Those of the parameters that are this process's share of a table's rows. Then all
            processes must call this, and the norm is that of all shares.
        group: The processes that share tables; None for all.

    Returns:
        The norm before clipping, a scalar on the first gradient's device; zero without gradients.

    Raises:
        BankConfigError: If `max_norm` is not above 0.
        DenseGradientError: If a gradient is sparse, but not of whole rows.
    """
    if not max_norm > 0:
        raise BankConfigError("max_norm", max_norm, "a number above 0")
    shares = list(shares)
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    dense = [parameter for parameter in trained if _layout(parameter) == torch.strided]
    tables = [parameter for parameter in trained if _layout(parameter) != torch.strided]
    sums = [rows for table in tables if (rows := summed_rows(table)) is not None]
    is_share = [any(table is share for share in shares) for table in tables]
    own = [torch.linalg.vector_norm(gradients) for _, gradients in sums]
    norms = [norm for norm, shared in zip(own, is_share, strict=True) if not shared]
    if shares:
        parts = [norm for norm, shared in zip(own, is_share, strict=True) if shared]
        norms.append(_norm_of_all(parts, shares[0], group))
    norms += [get_total_norm(_gradients(alike)) for alike in _by_mesh(dense)]
    if not norms:
        return torch.tensor(0.0)
    device = (trained or shares)[0].device
    whole = [_whole(norm).to(device, torch.float32) for norm in norms]
    norm = torch.linalg.vector_norm(torch.stack(whole))
    # Of a norm of 0, torch makes the factor 1: what is not finite stays as it is.
    scaling = torch.where(norm.isfinite(), norm, 0.0)
    for alike in _by_mesh(dense):
        clip_grads_with_norm_(alike, max_norm, scaling)
    factor = (max_norm / (scaling + 1e-6)).clamp(max=1.0)
    for table, (rows, gradients) in zip(tables, sums, strict=True):
        _set_gradient(table, rows, gradients * factor.to(gradients))
    return norm


def average_rows_(tables: Iterable[Tensor], group: distributed.ProcessGroup | None = None) -> None:
    """Average the gradients of rows over processes, as DDP does with dense ones.

    Rows are gathered, not the table: each process sends and gets the different rows that processes
    read, padded to the most of one process. All processes end with the same bits. For tables that
    DDP or FSDP2 were told to ignore; works with gloo and NCCL. Without processes, nothing is done.

    Args:
        tables: (rows, width) each; the same on each process, in the same order. A process that read
            none of a table's rows takes part, too.
        group: Processes; None for all.

    Raises:
        DenseGradientError: If a gradient is not of whole rows.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    processes = distributed.get_world_size(group)
    for table in tables:
        rows, gradients = summed_rows(table) or _summed(*_nothing(table), table, True)
        own = torch.tensor([len(rows)], device=table.device)
        counts = [int(count) for count in _gathered(own, processes, group)]
        longest = max(counts)
        if not longest:
            continue
        missing = longest - len(rows)
        padded_rows = torch.nn.functional.pad(rows, (0, missing))
        padded = torch.nn.functional.pad(gradients, (0, 0, 0, missing))
        all_rows = _gathered(padded_rows, processes, group)
        all_gradients = _gathered(padded, processes, group)
        joined = torch.cat([part[:count] for part, count in zip(all_rows, counts, strict=True)])
        parts = zip(all_gradients, counts, strict=True)
        values = torch.cat([part[:count] for part, count in parts])
        rows, gradients = _summed(joined.unsqueeze(0), values, table, False)
        _set_gradient(table, rows, gradients / processes)


def _summed(indices: Tensor, values: Tensor, table: Tensor, once: bool) -> Rows:
    dtype = torch.promote_types(table.dtype, torch.float32)
    values = values.to(dtype)
    if once:
        return indices[0], values
    joined = torch.sparse_coo_tensor(
        indices, values, table.shape, check_invariants=False
    ).coalesce()
    return joined.indices()[0], joined.values()


def _set_gradient(table: Tensor, rows: Tensor, gradients: Tensor) -> None:
    values = gradients.to(table.dtype)
    table.grad = torch.sparse_coo_tensor(
        rows.unsqueeze(0), values, table.shape, is_coalesced=True, check_invariants=False
    )


def _nothing(table: Tensor) -> Rows:
    rows = torch.empty(1, 0, dtype=torch.int64, device=table.device)
    return rows, torch.empty(0, table.shape[1], dtype=table.dtype, device=table.device)


def _gathered(
    tensor: Tensor, processes: int, group: distributed.ProcessGroup | None
) -> list[Tensor]:
    parts = [torch.empty_like(tensor) for _ in range(processes)]
    distributed.all_gather(parts, tensor.contiguous(), group=group)
    return parts


def _layout(parameter: Tensor) -> torch.layout | None:
    return None if parameter.grad is None else parameter.grad.layout


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _by_mesh(parameters: list[Tensor]) -> list[list[Tensor]]:
    """Return parameters apart whose gradients FSDP2 shards over different meshes."""
    meshes: dict[object, list[Tensor]] = {}
    for parameter in parameters:
        mesh = getattr(parameter.grad, "device_mesh", None)
        meshes.setdefault(mesh, []).append(parameter)
    return list(meshes.values())


def _norm_of_all(
    norms: list[Tensor], share: Tensor, group: distributed.ProcessGroup | None
) -> Tensor:
    """Return the norm of what lies in several processes, each of which has some norms or none."""
    dtype = torch.promote_types(share.dtype, torch.float32)
    squares = torch.zeros((), dtype=dtype, device=share.device)
    for norm in norms:
        squares += norm.to(squares).square()
    distributed.all_reduce(squares, group=group)
    return squares.sqrt()


def _whole(norm: Tensor) -> Tensor:
    """Return the norm of all shards."""
    full_tensor = getattr(norm, "full_tensor", None)
    return norm if full_tensor is None else full_tensor()
