"""The configuration of a patched model: only what changes the function that it computes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from engram_transformers.banks.errors import BankSizeError, BankWidthError
from engram_transformers.banks.sizes import HIGHEST_SIZE
from engram_transformers.errors import ConfigError, ConfigFieldError
from engram_transformers.hashing import HIGHEST_ORDER

GateType = Literal["fixed", "content", "learned"]


@dataclass(frozen=True)
class EngramConfig:
    """Describe the memories of a model. Immutable; `add_engram` resolves `layers`.

    Attributes:
        layers: Decoder blocks whose input gets a memory, 0-based; negative indices count from the
            end. `"auto"` is the last block, where a step of writing costs least.
        row_dim: Numbers in one row.
        gate_type: `"fixed"` passes a row's value as it is. `"content"` scales it by
            σ(sign(s)·√|s|) with s = ⟨RMS(h), RMS(W_K e)⟩/√d, the gate of DeepSeek's Engram
            (arXiv 2601.07372), with a seeded key projection. `"learned"` is the same formula with a
            trainable key projection and trainable norm weights.
        max_order: Longest suffix n-gram that can be an address.
        seed: Of the hash and of the seeded projections.
        memory_size: Rows of the trained bank that each layer gets, of all its orders and heads
            together, about: each head takes the next prime. 0 is no bank.
        bank_order: Longest n-gram of a bank; its orders are 2 to `bank_order`.
        bank_heads: Hashes per order.
        bank_dim: Numbers that all orders and heads contribute together. By default a row, which is
            one head's, has 8: a million rows are 32 MB, an eighth of what the 64 numbers of the
            published demo would take.
        bank_kernel_size: Taps of a bank's short convolution, `bank_order` tokens apart.

    Raises:
        ConfigError: If a value is out of range.
        BankSizeError: If a head of the bank would have fewer rows than an order has heads.
        BankWidthError: If the orders or their heads do not divide `bank_dim`.

    Example:
        >>> EngramConfig(row_dim=32).gate_type
        'fixed'
    """

    layers: tuple[int, ...] | Literal["auto"] = "auto"
    row_dim: int = 64
    gate_type: GateType = "fixed"
    max_order: int = 64
    seed: int = 0
    memory_size: int = 0
    bank_order: int = 3
    bank_heads: int = 8
    bank_dim: int = 128
    bank_kernel_size: int = 4

    def __post_init__(self) -> None:
        if self.layers != "auto":
            object.__setattr__(self, "layers", _as_layers(self.layers))
        _require_int("row_dim", self.row_dim, 1, 1 << 16)
        _require_int("max_order", self.max_order, 1, HIGHEST_ORDER)
        _require_int("seed", self.seed, 0, (1 << 64) - 1)
        if self.gate_type not in get_args(GateType):
            allowed = ", ".join(map(repr, get_args(GateType)))
            raise ConfigError("gate_type", self.gate_type, f"one of {allowed}")
        _require_int("memory_size", self.memory_size, 0, HIGHEST_SIZE)
        _require_int("bank_order", self.bank_order, 2, HIGHEST_ORDER)
        for name in ("bank_heads", "bank_dim", "bank_kernel_size"):
            _require_int(name, getattr(self, name), 1, 1 << 20)
        if self.memory_size:
            self._require_bank_fits()

    @classmethod
    def from_fields(cls, base: EngramConfig | None, fields: dict[str, Any]) -> EngramConfig:
        """Return `base` (or the defaults) with fields replaced.

        Args:
            base: The configuration to start from; None means the defaults.
            fields: Field name -> value. `inject_layers` is accepted for `layers`.

        Returns:
            A new configuration.

        Raises:
            ConfigFieldError: If a field does not exist (all unknown names are listed).
            ConfigError: If a value is out of range.
        """
        fields = dict(fields)
        if "inject_layers" in fields:
            if "layers" in fields:
                raise ConfigFieldError(["inject_layers"], ["layers (given as well)"])
            fields["layers"] = fields.pop("inject_layers")
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(fields) - set(known))
        if unknown:
            raise ConfigFieldError(unknown, known)
        return dataclasses.replace(base or cls(), **fields)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types; those that shape a bank only where they were chosen."""
        fields = dataclasses.asdict(self)
        for field in dataclasses.fields(self):  # what had no bank stays what it was
            if field.name.startswith("bank_") and fields[field.name] == field.default:
                del fields[field.name]
        if self.layers != "auto":
            fields["layers"] = list(self.layers)
        return fields

    def row_fields(self) -> dict[str, Any]:
        """Return the fields that decide what a row does, whatever layers have memories."""
        names = ("row_dim", "gate_type", "max_order", "seed")
        return {name: getattr(self, name) for name in names}

    def _require_bank_fits(self) -> None:
        orders, heads = self.bank_order - 1, self.bank_heads
        if self.bank_dim % orders:
            raise BankWidthError("bank_dim", self.bank_dim, orders, "orders")
        if self.bank_dim % (orders * heads):
            raise BankWidthError("bank_dim", self.bank_dim, orders * heads, "heads of all orders")
        # As `BankConfig` asks for each head: at least as many rows as an order has heads.
        if self.memory_size // (orders * heads) < heads:
            raise BankSizeError(self.memory_size, heads, lowest=orders * heads * heads)


def _as_layers(layers: Any) -> tuple[int, ...]:
    values = (layers,) if isinstance(layers, int) else layers
    if not isinstance(values, (list, tuple, range)) or not values:
        raise ConfigError("layers", layers, 'block indices such as [24, 28], or "auto"')
    if any(type(value) is not int for value in values):
        raise ConfigError("layers", layers, "integers")
    return tuple(values)


def _require_int(name: str, value: object, lowest: int, highest: int) -> None:
    if type(value) is not int or not lowest <= value <= highest:
        raise ConfigError(name, value, f"an integer from {lowest} to {highest}")
