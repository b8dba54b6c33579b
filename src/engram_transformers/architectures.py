"""Which models are supported, and where their decoder blocks are."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from engram_transformers.errors import UnsupportedModelError

SUPPORTED_MODEL_TYPES = frozenset(
    {
        "gemma2",
        "gemma3_text",
        "gpt2",
        "gpt_neox",
        "llama",
        "mistral",
        "olmo2",
        "phi3",
        "qwen2",
        "qwen3",
    }
)
"""`config.model_type` of the causal language models that the contract tests cover."""

_DEPTH_FIELDS = ("num_hidden_layers", "n_layer", "num_layers")


def unwrap(model: nn.Module) -> nn.Module:
    """Return the transformers model inside a PEFT wrapper, or the model itself."""
    get_base_model = getattr(model, "get_base_model", None)
    return get_base_model() if callable(get_base_model) else model  # pyright: ignore[reportReturnType]


def find_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Find the list of decoder blocks.

    Args:
        model: A transformers causal language model, not wrapped.

    Returns:
        The list's dotted name within the model, and the list.

    Raises:
        UnsupportedModelError: If the model type is not supported, or no single list of modules has
            as many entries as the configuration names layers.
    """
    config: Any = getattr(model, "config", None)
    model_type = str(getattr(config, "model_type", type(model).__name__))
    if model_type not in SUPPORTED_MODEL_TYPES:
        supported = ", ".join(sorted(SUPPORTED_MODEL_TYPES))
        raise UnsupportedModelError(model_type, f"the supported ones are {supported}.")
    if not callable(getattr(model, "generate", None)):
        raise UnsupportedModelError(
            model_type,
            f"{type(model).__name__} can't generate: load it with AutoModelForCausalLM.",
        )
    depth = next(
        value for name in _DEPTH_FIELDS if isinstance(value := getattr(config, name, None), int)
    )
    lists = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    }
    outer = {
        name: module
        for name, module in lists.items()
        if not any(name.startswith(f"{other}.") for other in lists)
    }
    if len(outer) != 1:
        raise UnsupportedModelError(
            model_type, f"{len(outer)} lists of {depth} modules were found where one was expected."
        )
    return next(iter(outer.items()))


def block_owner(model: nn.Module, blocks_name: str) -> nn.Module:
    """Return the module that holds the list of blocks."""
    return model.get_submodule(blocks_name.rpartition(".")[0])


def hidden_states_of(
    args: tuple[Any, ...], kwargs: dict[str, Any], model_name: str
) -> tuple[Tensor, bool]:
    """Return the hidden states a block is called with, and whether they came by keyword.

    Raises:
        UnsupportedModelError: If they are not one (batch, seq, dim) tensor.
    """
    by_keyword = not args
    hidden_states = kwargs.get("hidden_states") if by_keyword else args[0]
    if not isinstance(hidden_states, Tensor) or hidden_states.ndim != 3:
        raise UnsupportedModelError(
            model_name, "a decoder block was not called with one (batch, seq, dim) tensor."
        )
    return hidden_states, by_keyword
