"""The module of one bank: from rows to what it adds to the residual streams."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu

from engram_transformers.banks.addresses import BankHash, table_addresses
from engram_transformers.banks.errors import (
    BankAddressError,
    BankConfigError,
    BankDtypeError,
    BankShapeError,
)
from engram_transformers.banks.sizes import BankConfig
from engram_transformers.banks.starts import clear_before_last_start, last_starts, require_starts

Start = Literal["identity", "paper"]

# As torch.nn.RMSNorm has it by default for float32, whatever dtype the model is in.
_GATE_EPSILON = torch.finfo(torch.float32).eps
_CONVOLUTION_EPSILON = 1e-5
_GATE_FLOOR = 1e-6


class BankMemory(nn.Module):
    """Read a bank's rows and turn them into additions to the hidden states.

    With e the rows of all heads side by side and h the hidden state of one stream, of width d,

        value  v = W_V e + b_V
        gate   g = σ(sign(s)·√max(|s|, 1e-6)),  s = ⟨RMS(W_K e + b_K), RMS(h)⟩ / √d
        output g·v + SiLU(convolution(RMS(g·v)))

    as in DeepSeek's Engram (arXiv 2601.07372, section 2.3) and its published demo. Keys, norms and
    the convolution's filters are each stream's own, rows and values are shared. The convolution is
    depthwise and causal, `kernel_size` taps `max_order` apart, and does not look across the start
    of a sequence. Norms, gate and convolution are computed in float32 at least.

    Args:
        config: The banks.
        layer: Which of them.
        hidden_size: Width of a residual stream.
        vocabulary: How many canonical ids there are.
        start: `"identity"` begins with rows of zeros, so that the module adds exactly nothing
            and the first step of training reaches every row that was read. `"paper"` begins with
            normally distributed rows. The convolution's filters begin as zeros in both.
        with_table: Whether the table gets memory; if not, it is on the meta device.

    Attributes:
        bank_hash: For `bank_addresses`.
        table: Rows of all heads, (rows, row_dim / heads).
        convolution: (kernel_size, streams, hidden_size), oldest tap first: the weight of the
            equivalent `Conv1d` over stream-major channels is its movedim(0, 2), flattened to
            (streams · hidden_size, 1, kernel_size).

    Raises:
        BankConfigError: If `hidden_size`, `start` or the vocabulary is not allowed.
        BankLayerError: If the layer has no bank.
    """

    def __init__(
        self,
        config: BankConfig,
        layer: int,
        hidden_size: int,
        vocabulary: int,
        *,
        start: Start = "identity",
        with_table: bool = True,
    ) -> None:
        super().__init__()
        if type(hidden_size) is not int or hidden_size < 1:
            raise BankConfigError("hidden_size", hidden_size, "an integer of at least 1")
        if start not in get_args(Start):
            raise BankConfigError("start", start, 'one of "identity", "paper"')
        self.config = config
        self.hidden_size = hidden_size
        self.bank_hash = BankHash(config, layer, vocabulary)
        drawn = with_table and start == "paper"  # what is cleared need not be drawn
        device = None if drawn else "meta"
        self.table = nn.Embedding(self.bank_hash.rows, config.head_dim, device=device)
        if with_table and not drawn:
            self.table.to_empty(device="cpu")
        self.value_projection = nn.Linear(config.width, hidden_size)
        self.key_projection = nn.Linear(config.width, config.streams * hidden_size)
        per_stream = (config.streams, hidden_size)
        self.key_norm = nn.Parameter(torch.ones(per_stream))
        self.hidden_norm = nn.Parameter(torch.ones(per_stream))
        self.convolution_norm = nn.Parameter(torch.ones(per_stream))
        self.convolution = nn.Parameter(torch.zeros(config.kernel_size, *per_stream))
        if start == "identity":
            nn.init.zeros_(self.table.weight)
            nn.init.zeros_(self.value_projection.bias)

    @property
    def state_length(self) -> int:
        """How many earlier positions the convolution looks at."""
        return (self.config.kernel_size - 1) * self.config.max_order

    def forward(
        self,
        hidden_states: Tensor,
        addresses: Tensor | None,
        conv_state: Tensor | None = None,
        starts: Tensor | None = None,
        *,
        rows: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute what the rows at addresses add to the hidden states.

        Args:
            hidden_states: (batch, seq, streams, hidden_size), any floating dtype; with one stream
                (batch, seq, hidden_size) as well.
            addresses: (batch, seq, (max_order - 1) · heads) int64 of `bank_addresses`, without
                offsets. None if the rows are given.
            conv_state: (batch, state_length, streams, hidden_size), what `state_after` returned
                for the call before; None at the beginning of a text.
            starts: (batch, seq) bool, True at the first token of each sequence that begins in this
                call; None for none but that of a call without state.
            rows: (batch, seq, width), of all heads side by side, if they were looked up before.

        Returns:
            What is to be added, of the shape and dtype of `hidden_states`; and the convolution's
            inputs at these positions, (batch, seq, streams, hidden_size) float32 (float64 if the
            module or `hidden_states` is), of which `state_after` makes the next call's state.

        Raises:
            BankShapeError: If a shape does not fit.
            BankAddressError: If an address is beyond its head's rows (checked on the CPU only).
            BankDtypeError: If the addresses are not int64, starts not bool, or the hidden states or
                the state not floating.
        """
        self._require(hidden_states, addresses, conv_state, starts)
        if rows is None:
            rows = self.rows_at(addresses)
        gate = self._gate(self._streamed(hidden_states, rows), rows)
        value = self.value_projection(rows).to(gate).unsqueeze(2)  # (batch, seq, 1, hidden_size)
        gated = gate * value  # (batch, seq, streams, hidden_size)
        inputs = _normalised(gated, self.convolution_norm, _CONVOLUTION_EPSILON)
        added = gated + silu(self._convolve(inputs, conv_state, starts))
        return added.reshape(hidden_states.shape).to(hidden_states.dtype), inputs

    def gates(
        self, hidden_states: Tensor, addresses: Tensor | None, *, rows: Tensor | None = None
    ) -> Tensor:
        """Return how far the gates open.

        Args:
            hidden_states: As `forward` takes them.
            addresses: As `forward` takes them.
            rows: As `forward` takes them.

        Returns:
            (batch, seq, streams), 0 to 1, float32 (float64 if the module or `hidden_states` is).

        Raises:
            BankShapeError, BankAddressError, BankDtypeError: As `forward` does.
        """
        self._require(hidden_states, addresses, None, None)
        if rows is None:
            rows = self.rows_at(addresses)
        return self._gate(self._streamed(hidden_states, rows), rows)[..., 0]

    def state_after(
        self, conv_state: Tensor | None, inputs: Tensor, starts: Tensor | None = None
    ) -> Tensor:
        """Return what the next call needs to know of the convolution's inputs up to here.

        Args:
            conv_state: As the call was given it.
            inputs: What it returned.
            starts: As it was given them.

        Returns:
            (batch, state_length, streams, hidden_size): the last inputs, zeros before the last
            sequence's start.
        """
        window = self._with_earlier(inputs, conv_state)
        return clear_before_last_start(window, starts, 0)[:, inputs.shape[1] :]

    def rows_at(self, addresses: Tensor | None) -> Tensor:
        """Look rows up.

        Args:
            addresses: (batch, seq, orders · heads) int64 of `bank_addresses`, without offsets.

        Returns:
            (batch, seq, width), of all heads side by side.

        Raises:
            BankShapeError: If there are none.
        """
        if addresses is None:
            raise BankShapeError("addresses", (), "given, as the rows are not")
        return self.table(table_addresses(addresses, self.bank_hash)).flatten(2)

    def _streamed(self, hidden_states: Tensor, rows: Tensor) -> Tensor:
        """Return (batch, seq, streams, hidden_size), in what the gate is computed in."""
        dtype = torch.promote_types(hidden_states.dtype, rows.dtype)
        shape = (*rows.shape[:2], self.config.streams, self.hidden_size)
        return hidden_states.reshape(shape).to(torch.promote_types(dtype, torch.float32))

    def _gate(self, hidden_states: Tensor, rows: Tensor) -> Tensor:
        """Return (batch, seq, streams, 1) of (batch, seq, streams, hidden_size) and the rows."""
        key = self.key_projection(rows).unflatten(2, (self.config.streams, self.hidden_size))
        key = _normalised(key.to(hidden_states), self.key_norm, _GATE_EPSILON)
        query = _normalised(hidden_states, self.hidden_norm, _GATE_EPSILON)
        score = (key * query).sum(-1, keepdim=True) / math.sqrt(self.hidden_size)
        return torch.sigmoid(score.sign() * score.abs().clamp_min(_GATE_FLOOR).sqrt())

    def _convolve(self, inputs: Tensor, conv_state: Tensor | None, starts: Tensor | None) -> Tensor:
        """Return the convolution of (batch, seq, streams, hidden_size), of the same shape."""
        seq, reach = inputs.shape[1], self.state_length
        window = self._with_earlier(inputs, conv_state)
        began = None if starts is None or not seq else last_starts(starts)  # (batch, seq)
        positions = torch.arange(seq, device=inputs.device)
        filters = self.convolution.to(inputs)  # (kernel_size, streams, hidden_size)
        convolved = inputs * filters[-1]
        # Not torch's conv1d: in a pack, each tap ends at its position's own start.
        for tap in range(self.config.kernel_size - 1):
            first = tap * self.config.max_order
            seen = window[:, first : first + seq] * filters[tap]
            if began is not None:
                outside = positions - (reach - first) < began  # (batch, seq)
                # The product, not the window: a backward pass would keep a copy for each tap.
                seen = seen.masked_fill(outside[:, :, None, None], 0)
            convolved = convolved + seen
        return convolved

    def _with_earlier(self, inputs: Tensor, conv_state: Tensor | None) -> Tensor:
        """Return (batch, state_length + seq, ...): what came before, zeros if nothing did."""
        if conv_state is None:
            conv_state = inputs.new_zeros(len(inputs), self.state_length, *inputs.shape[2:])
        return torch.cat([conv_state.to(inputs), inputs], dim=1)

    def _require(
        self,
        hidden_states: Tensor,
        addresses: Tensor | None,
        conv_state: Tensor | None,
        starts: Tensor | None,
    ) -> None:
        streams, size = self.config.streams, self.hidden_size
        shape = tuple(hidden_states.shape)
        fits = shape[2:] == (streams, size) or (streams == 1 and shape[2:] == (size,))
        if not fits:
            expected = (
                f"the dimensions batch, seq, streams, hidden_size, the last two {streams}, {size}"
            )
            if streams == 1:
                expected += "; or without streams"
            raise BankShapeError("hidden_states", shape, expected)
        _require_floating("hidden_states", hidden_states)
        (batch, seq), heads = shape[:2], self.config.order_count * self.config.heads
        if addresses is not None:
            if addresses.shape != (batch, seq, heads):
                expected = f"{(batch, seq, heads)}: batch, seq, orders times heads"
                raise BankShapeError("addresses", addresses.shape, expected)
            if addresses.dtype != torch.int64:
                raise BankDtypeError("addresses", str(addresses.dtype), "torch.int64")
            _require_rows(addresses, self.bank_hash)
        expected_state = (batch, self.state_length, streams, size)
        if conv_state is not None:
            if conv_state.shape != expected_state:
                raise BankShapeError("conv_state", conv_state.shape, str(expected_state))
            _require_floating("conv_state", conv_state)
        require_starts(starts, batch, seq)

    def extra_repr(self) -> str:
        """Show the sizes in `print(model)`."""
        return f"hidden_size={self.hidden_size}, streams={self.config.streams}"


def _normalised(values: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Scale the last dimension to a root mean square of 1, then by the weight."""
    return rms_norm(values, values.shape[-1:], eps=epsilon) * weight.to(values)


def _require_rows(addresses: Tensor, bank_hash: BankHash) -> None:
    """Refuse addresses beyond a head's rows; on the CPU only: elsewhere it would wait."""
    if addresses.device.type != "cpu" or torch.compiler.is_compiling():
        return
    rows = bank_hash.primes.flatten()
    outside = ((addresses < 0) | (addresses >= rows)).flatten(0, 1).nonzero()
    if len(outside):
        head = int(outside[0, 1])
        seen = int(addresses.flatten(0, 1)[outside[0, 0], head])
        raise BankAddressError(head, seen, int(rows[head]))


def _require_floating(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point():
        raise BankDtypeError(name, str(tensor.dtype), "floating, as hidden states are")
