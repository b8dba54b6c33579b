"""What models hand from call to call: which argument it is, how long it is, how it behaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache

CACHE_ARGUMENTS = ("past_key_values", "cache_params", "past_buckets_states", "state", "mems")
"""What models call the argument that holds the past."""

# Longer than any n-gram: state-space caches don't say how many tokens they have seen.
MANY = 1 << 20


class States(list[Tensor]):
    """The states that RWKV hands from call to call in a plain list, with room for a ledger."""


def cache_of(arguments: Mapping[str, Any]) -> object:
    """Return what holds the past in a call, None if nothing does."""
    for name in CACHE_ARGUMENTS:
        if arguments.get(name) is not None:
            return arguments[name]
    return None


def carries_attributes(value: object) -> bool:
    """Say whether a value is a cache that tells its length and that attributes can be put on."""
    if isinstance(value, (Cache, States)):
        return True
    tells = hasattr(value, "get_seq_length") or hasattr(value, "seqlen_offset")
    return tells and hasattr(value, "__dict__") and not isinstance(value, Tensor)


def rolls(cache: Any) -> bool:
    """Say whether a cache is never rolled back, so that a window of its last tokens is enough."""
    if isinstance(cache, Cache):
        return bool(cache.is_compileable)  # static ones, and those of state-space models
    return not hasattr(cache, "get_seq_length")


def past_of(cache: Any) -> Any:
    """Return how many tokens a cache holds: an int, or a tensor where static caches count so."""
    layers = getattr(cache, "layers", None) or ()
    if layers and not any(hasattr(layer, "get_seq_length") for layer in layers):
        return MANY if cache.has_previous_state() else 0
    if layers and not getattr(layers[0], "is_initialized", True):
        # A model that keeps some blocks' past elsewhere fills the later layers only.
        lengths = [layer.get_seq_length() for layer in layers if hasattr(layer, "get_seq_length")]
        return max(lengths, default=0)
    if isinstance(cache, States):
        return MANY
    if hasattr(cache, "get_seq_length"):
        return cache.get_seq_length()
    return cache.seqlen_offset
