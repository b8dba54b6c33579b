"""Banks that are part of a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
import xxhash
from torch import Tensor, nn

from engram_transformers.architectures import text_config
from engram_transformers.banks.addresses import numbered
from engram_transformers.banks.file_errors import OffloadError
from engram_transformers.banks.module import BankMemory
from engram_transformers.banks.offloaded import OffloadedTable
from engram_transformers.banks.sizes import BankConfig
from engram_transformers.config import EngramConfig
from engram_transformers.fingerprint import whole_weight
from engram_transformers.sharding import is_sharded

if TYPE_CHECKING:
    from engram_transformers.banks.sharded import ShardedTable  # DTensor takes its time to import

TABLE = "table.weight"
OWN_ROWS = "table.local"
"""What `named_parameters` calls the rows of a table that is shared out over processes."""
TRAINING = (
    "A bank whose rows are in host memory or in files can't be trained. Bring it back first:"
    ' offload_banks(model, to="device").'
)

_PART = 1 << 24  # numbers
# What configurations of models with parallel residual streams call their number.
_STREAM_FIELDS = ("hc_mult", "hc_count", "altup_num_inputs")


class AttachedBank(BankMemory):
    """A bank on a block of a model, which knows the numbers of its token ids.

    It begins by adding exactly nothing. Its weights are float32, drawn from the configuration's
    seed, and frozen until somebody asks for them (`bank.requires_grad_()`): checkpoints of the base
    don't hold them, so training all of the base must not move them.

    Args:
        config: All banks of the model.
        layer: The block.
        hidden_size: Width of a residual stream.
        canonical: (vocab_size,) int64, token id -> canonical id.
        with_table: Whether the table gets memory; if not, it is on the meta device.

    Attributes:
        layer: The block.
        numbers: (2 vocab_size + 1,) int64: coded ids, also negative ones, -> canonical ids counted
            without gaps; padding -> the number behind all others, which no text has.
    """

    numbers: Tensor

    def __init__(
        self,
        config: BankConfig,
        layer: int,
        hidden_size: int,
        canonical: Tensor,
        *,
        with_table: bool = True,
    ) -> None:
        digest = xxhash.xxh3_64_intdigest(f"engram-transformers bank {layer}".encode(), config.seed)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(digest)  # torch.manual_seed would seed GPUs, too
            vocabulary = config.pad_id + 1
            super().__init__(config, layer, hidden_size, vocabulary, with_table=with_table)
        self.layer = layer
        numbers, _ = numbered(canonical)
        padding = numbers.new_full((1,), config.pad_id)
        # In no checkpoint: it follows from the tokenizer.
        self.register_buffer("numbers", torch.cat([numbers, numbers.flip(0), padding]), False)
        self.requires_grad_(False)

    @property
    def offloaded(self) -> OffloadedTable | None:
        """The table, if it is not where the model computes."""
        table = self._modules.get("table")
        return table if isinstance(table, OffloadedTable) else None

    @property
    def own_rows(self) -> Tensor:
        """The table's rows as autograd and optimisers know them: of a shared one, those here."""
        found = self.shared_rows
        return self.table.weight if found is None else found

    @property
    def shared_rows(self) -> Tensor | None:
        """The rows that are here, if the table is shared out over processes (`ShardedTable`)."""
        found = self.shared_table
        return None if found is None else found.local

    @property
    def shared_table(self) -> ShardedTable | None:
        """The table, if its rows are shared out over processes."""
        found: Any = self._modules.get("table")
        return found if hasattr(found, "local") else None

    def replace_table(self, table: nn.Embedding | OffloadedTable | ShardedTable) -> None:
        """Read rows from somewhere else from now on."""
        self._modules["table"] = table

    @property
    def rows_dtype(self) -> torch.dtype:
        """What rows are when they are read."""
        return self.table.weight.dtype if self.offloaded is None else self.offloaded.dtype

    def require_frozen(self) -> None:
        """Raise if the bank is to be trained though its table is not where the model computes.

        Raises:
            OffloadError: If it is.
        """
        if any(weight.requires_grad for weight in self.parameters()):
            raise OffloadError(TRAINING)

    @property
    def is_silent(self) -> bool:
        """Whether it adds exactly nothing, whatever is read."""
        if self.value_projection.bias.any():
            return False
        if self.offloaded is None:
            return not bool(self.table.weight.any())
        with self.offloaded.read_in_order():
            return not any(bool(head.any()) for head in self.offloaded.heads)

    def weights(self) -> dict[str, tuple[Tensor, ...]]:
        """Return all weights by name; one whose rows lie apart as several tensors."""
        found: dict[str, tuple[Tensor, ...]] = {n: (w,) for n, w in self.named_parameters()}
        if self.offloaded is not None:
            found[TABLE] = self.offloaded.heads
        elif found.pop(OWN_ROWS, None) is not None:
            found[TABLE] = (self.table.weight,)
        return dict(sorted(found.items()))

    def requires_grad_(self, requires_grad: bool = True) -> AttachedBank:
        """Let the bank be trained, or not.

        Raises:
            OffloadError: If its table is not where the model computes.
        """
        if requires_grad and self.offloaded is not None:
            raise OffloadError(TRAINING)
        return super().requires_grad_(requires_grad)

    def update(self, digest: Any) -> None:
        """Put all that decides what it adds into a digest, rounded to bfloat16.

        Args:
            digest: Of xxhash.
        """
        digest.update(repr((self.layer, self.config)).encode())
        for name, buffer in self.bank_hash.named_buffers():
            digest.update(name.encode())
            digest.update(buffer.cpu().numpy())
        offloaded = self.offloaded
        with nullcontext() if offloaded is None else offloaded.read_in_order():
            for name, weights in self.weights().items():
                digest.update(name.encode())
                dtype = self.rows_dtype if name == TABLE else weights[0].dtype
                for part in (part for w in weights for part in _parts(self, name, w)):
                    rounded = part.to(dtype).float().cpu().to(torch.bfloat16)
                    digest.update(rounded.view(torch.int16).numpy())


def _parts(bank: AttachedBank, name: str, weight: Tensor) -> Iterator[Tensor]:
    """Yield a weight's numbers in small parts, as a table may fill most of the memory."""
    weight, shared = weight.detach(), bank.shared_table
    if name == TABLE and shared is not None:
        yield from shared.parts()
        return
    if is_sharded(weight) or weight.device.type == "meta":
        weight = whole_weight(bank, name, weight)
    yield from weight.reshape(-1).split(_PART)


def make_banks(
    config: EngramConfig,
    model: nn.Module,
    hidden_size: int,
    canonical: Tensor,
    *,
    with_tables: bool = True,
) -> dict[int, AttachedBank]:
    """Make the banks that a configuration asks for.

    Args:
        config: With `layers` resolved.
        model: The model they are for, unwrapped. It is not changed.
        hidden_size: Width of one of its residual streams.
        canonical: (vocab_size,) int64, token id -> canonical id.
        with_tables: Whether their tables get memory; if not, they are on the meta device.

    Returns:
        Layer -> bank, on the CPU; empty for `memory_size=0`.
    """
    if not config.memory_size:
        return {}
    _, count = numbered(canonical)
    described = text_config(model)
    streams = next((n for n in (getattr(described, f, None) for f in _STREAM_FIELDS) if n), 1)
    layers = tuple(layer for layer in config.layers if isinstance(layer, int))
    settings = BankConfig.of_width(
        config.bank_dim,
        max_order=config.bank_order,
        heads=config.bank_heads,
        layers=layers,
        memory_size=config.memory_size // ((config.bank_order - 1) * config.bank_heads),
        kernel_size=config.bank_kernel_size,
        streams=streams,
        seed=config.seed,
        pad_id=count,
    )
    return {
        layer: AttachedBank(settings, layer, hidden_size, canonical, with_table=with_tables)
        for layer in settings.layers
    }
