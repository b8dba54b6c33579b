"""The memory of one layer: from a row to what it adds to the hidden states."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from engram_transformers.config import EngramConfig
from engram_transformers.projections import seeded_orthonormal

_EPSILON = 1e-6


class EngramMemory(nn.Module):
    """Turn rows into additions to the hidden states at one decoder block's input.

    For a row e found at a position with hidden state h of width d,

        value  v = RMS-scale(h) · √(d / row_dim) · W_V e
        gate   g = σ(sign(s)·√|s|),  s = ⟨RMS(h), RMS(W_K e)⟩ / √d      (arXiv 2601.07372, eq. 4)
        output h + g · v

    Values are relative to the hidden state's own scale, because that differs by a factor of 1,000
    between models (Gemma-3 against SmolLM2) and by what precedes within one. Where no row is found,
    h is selected, not added to, so it passes bit for bit.

    With the gates `fixed` (g = 1) and `content` there are no parameters and no buffers: the base's
    state dict stays the base's. The projections are made from the seed, once per device. Those of
    the gate `learned` are frozen until somebody asks for them: `memory.requires_grad_()`.
    """

    layer: int

    def __init__(self, config: EngramConfig, hidden_size: int, layer: int) -> None:
        super().__init__()
        self.config = config
        self.hidden_size = hidden_size
        self.layer = layer
        self._maps: dict[torch.device, tuple[Tensor, Tensor]] = {}
        if config.gate_type == "learned":
            key = seeded_orthonormal("key", config.seed, hidden_size, config.row_dim)
            self.key_projection = nn.Parameter(key)  # (dim, row_dim)
            self.key_norm = nn.Parameter(torch.ones(hidden_size))
            self.query_norm = nn.Parameter(torch.ones(hidden_size))
            # Checkpoints of the base don't hold them, so training all of it must not move them.
            self.requires_grad_(False)

    def maps(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the value map (scaled, for |h|) and the key map on a device.

        Each (dim, row_dim) float32.
        """
        found = self._maps.get(device)
        if found is None:
            row_dim, seed = self.config.row_dim, self.config.seed
            with torch.inference_mode(False):  # writing needs them for gradients
                # RMS-scale(h) is |h| / √d.
                scale = 1 / math.sqrt(row_dim)
                value = seeded_orthonormal("value", seed, self.hidden_size, row_dim) * scale
                key = seeded_orthonormal("key", seed, self.hidden_size, row_dim)
                found = self._maps[device] = (value.to(device), key.to(device))
        return found

    def gate(self, hidden_states: Tensor, rows: Tensor) -> Tensor:
        """Compute how far each row opens.

        Args:
            hidden_states: (..., dim) float32.
            rows: (..., row_dim) float32.

        Returns:
            (..., 1) float32 in 0 to 1.
        """
        if self.config.gate_type == "fixed":
            return torch.ones_like(hidden_states[..., :1])
        _, key_map = self.maps(hidden_states.device)
        query = _rms_normalise(hidden_states)
        if self.config.gate_type == "content":
            key = _rms_normalise(rows @ key_map.T)
        else:
            key = _rms_normalise(rows @ self.key_projection.float().T) * self.key_norm.float()
            query = query * self.query_norm.float()
        score = (query * key).sum(-1, keepdim=True) / math.sqrt(self.hidden_size)
        return torch.sigmoid(score.sign() * (score.abs() + _EPSILON).sqrt())

    def contribution(self, hidden_states: Tensor, rows: Tensor) -> Tensor:
        """Compute what rows add.

        Args:
            hidden_states: (..., dim), any floating dtype.
            rows: (..., row_dim) float32.

        Returns:
            (..., dim) float32.
        """
        scale, value = self._parts(hidden_states.float(), rows)
        return scale * value

    def forward(self, hidden_states: Tensor, rows: Tensor, found: Tensor) -> Tensor:
        """Add rows where they were found.

        Args:
            hidden_states: (..., dim), any floating dtype.
            rows: (..., row_dim) float32; ignored where nothing was found. Its leading dimensions,
                and those of `found`, broadcast against those of `hidden_states`.
            found: (...) bool.

        Returns:
            (..., dim), bit-identical to `hidden_states` where `found` is False.
        """
        hidden = hidden_states.float()
        added = torch.addcmul(hidden, *self._parts(hidden, rows))
        return torch.where(found.unsqueeze(-1), added.to(hidden_states.dtype), hidden_states)

    def _parts(self, hidden_states: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return how much is added, (..., 1), and of what, (..., dim); both float32."""
        value_map, _ = self.maps(hidden_states.device)
        norm = torch.linalg.vector_norm(hidden_states, dim=-1, keepdim=True)
        if self.config.gate_type != "fixed":
            norm = norm * self.gate(hidden_states, rows)
        return norm, torch.nn.functional.linear(rows, value_map)

    def extra_repr(self) -> str:
        """Show the configuration in `print(model)`."""
        return f"layer={self.layer}, row_dim={self.config.row_dim}, gate={self.config.gate_type}"

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the maps: copies and pickles make them again."""
        return {**self.__dict__, "_maps": {}}


def _rms_normalise(values: Tensor) -> Tensor:
    return values * torch.rsqrt(values.pow(2).mean(-1, keepdim=True) + _EPSILON)
