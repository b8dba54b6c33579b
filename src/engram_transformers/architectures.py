"""Where the decoder blocks of a causal language model are: one rule, and a way to override it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from engram_transformers.caches import CACHE_ARGUMENTS
from engram_transformers.errors import UnsupportedModelError

_DEPTH_FIELDS = (
    "num_hidden_layers",
    "decoder_layers",
    "num_decoder_layers",
    "n_layer",
    "n_layers",
    "num_layers",
)
_OVERRIDE = (
    "If it has blocks that each take and return the hidden states of every token, name their"
    " torch.nn.ModuleList: add_engram(model, blocks='model.layers')."
)
# Where the rule finds blocks that don't work on the tokens one by one, or none.
_BLOCKS = {
    "blt": "model.local_decoder.layers",  # its other blocks work on patches of bytes
    "hrm_text": "model.H_module.layers",  # run several times per token, and read each time
}
_DRAFT_HEAD = "it is a draft head: it takes another model's hidden states, no token ids."
_AUDIO_CODES = "its input_ids are the codes of several audio codebooks, not the tokens of one text."
# What no look at the modules shows. The reason is what the user reads.
_REFUSED = {
    "cpmant": "it puts its own prompt positions before the tokens, so positions don't line up.",
    "gemma4_assistant": _DRAFT_HEAD,
    "gemma4_unified_assistant": _DRAFT_HEAD,
    "musicgen": _AUDIO_CODES,
    "musicgen_decoder": _AUDIO_CODES,
    "musicgen_melody": _AUDIO_CODES,
    "musicgen_melody_decoder": _AUDIO_CODES,
    "prophetnet": "it runs several streams of positions behind one another, so positions don't line"
    " up.",
    "reformer": "its reversible blocks run without gradients, so that no row could be found.",
    "xlnet": "it reads a text in both directions, and generates from a token put behind it, so what"
    " was found on the text alone would not be said.",
}


def unwrap(model: nn.Module) -> nn.Module:
    """Return the transformers model inside wrappers, or the model itself.

    Args:
        model: Any; wrapped by PEFT, DistributedDataParallel or torch.compile, in any order.
    """
    return _layers_of_wrapping(model)[-1]


def entry_points(model: nn.Module, blocks_name: str) -> list[nn.Module]:
    """Return the modules that may be the first to be called with a call's token ids.

    PEFT calls the `forward` of what it wraps and so passes its hooks by, and some models call their
    inner parts likewise.

    Args:
        model: As the user has it, wrapped or not.
        blocks_name: The dotted name of the list of blocks in the unwrapped model.
    """
    *wrappers, base = _layers_of_wrapping(model)
    peft = [wrapper for wrapper in wrappers if hasattr(wrapper, "get_base_model")]
    inner = getattr(base, "base_model", base)
    return list(dict.fromkeys([*peft, base, inner, block_owner(base, blocks_name)]))


def _layers_of_wrapping(model: nn.Module) -> list[nn.Module]:
    """Return a model, what it wraps, what that wraps, and so on."""
    layers = [model]
    while True:
        get_base_model: Any = getattr(model, "get_base_model", None)
        inner: Any = getattr(model, "_orig_mod", None)
        if callable(get_base_model):
            inner = get_base_model()
        elif isinstance(model, nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return layers
        model = inner
        layers.append(model)


def find_blocks(
    model: nn.Module, blocks: str | nn.ModuleList | None = None
) -> tuple[str, nn.ModuleList]:
    """Find the list of decoder blocks.

    The rule: a `torch.nn.ModuleList` that is not inside another one, within `get_decoder()` if
    there is one, as long as the configuration's number of layers. Of several, the one nearest to
    the model, then the one with most parameters.

    Args:
        model: A transformers causal language model, not wrapped.
        blocks: The list, or its dotted name within the model, where the rule finds a wrong one or
            none.

    Returns:
        The list's dotted name within the model, and the list.

    Raises:
        UnsupportedModelError: If the model can't generate, takes no token ids, or no list of blocks
            is found; the message says what to do.
    """
    model_type = model_type_of(model)
    if blocks is None and model_type in _REFUSED:
        raise UnsupportedModelError(model_type, _REFUSED[model_type])
    _require_text_model(model, model_type)
    if blocks is not None:
        found = _named_list(model, model_type, blocks)
    else:
        known = _BLOCKS.get(model_type)
        if known is not None:
            found = _named_list(model, model_type, known)
        else:
            found = _find_by_rule(model, model_type)
    _require_distinct(model_type, *found)
    return found


def model_type_of(model: nn.Module) -> str:
    """Return `config.model_type`, or the class name where there is none."""
    return str(getattr(getattr(model, "config", None), "model_type", type(model).__name__))


def text_config(model: nn.Module) -> Any:
    """Return the part of a model's configuration that describes its decoder of text."""
    config: Any = getattr(model, "config", None)
    get_text_config = getattr(config, "get_text_config", None)
    return get_text_config(decoder=True) if callable(get_text_config) else config


def hidden_size_of(model: nn.Module) -> int:
    """Return the width of the hidden states between a model's blocks.

    Raises:
        UnsupportedModelError: If the configuration does not say.
    """
    config = text_config(model)
    for name in ("hidden_size", "d_model", "n_embd", "dim"):
        size = getattr(config, name, None)
        if isinstance(size, int):
            return size
    raise UnsupportedModelError(model_type_of(model), "its configuration names no hidden_size.")


def vocab_size_of(model: nn.Module) -> int:
    """Return how many token ids a model has embeddings for.

    Raises:
        UnsupportedModelError: If neither the embeddings nor the configuration say.
    """
    embeddings: Any = input_embeddings_of(model)
    weight = getattr(embeddings, "weight", None)
    size = getattr(text_config(model), "vocab_size", None) if weight is None else weight.shape[0]
    if not isinstance(size, int):
        raise UnsupportedModelError(
            model_type_of(model), "neither its embeddings nor its configuration name a vocab_size."
        )
    return size


def logit_count_of(model: nn.Module) -> int:
    """Return how many token ids a model can say: with some, fewer than it has embeddings for."""
    try:
        head: Any = model.get_output_embeddings()  # pyright: ignore
    except (AttributeError, NotImplementedError):
        head = None
    weight = getattr(head, "weight", None)
    return vocab_size_of(model) if weight is None else min(weight.shape[0], vocab_size_of(model))


def input_embeddings_of(model: nn.Module) -> nn.Module | None:
    """Return the module that embeds token ids, None where a model does not tell."""
    try:
        return model.get_input_embeddings()  # pyright: ignore
    except (AttributeError, NotImplementedError):
        return None


def block_owner(model: nn.Module, blocks_name: str) -> nn.Module:
    """Return the module that holds the list of blocks."""
    return model.get_submodule(blocks_name.rpartition(".")[0])


def _require_text_model(model: nn.Module, model_type: str) -> None:
    if not callable(getattr(model, "generate", None)) or not hasattr(model, "config"):
        raise UnsupportedModelError(
            model_type,
            f"{type(model).__name__} can't generate: load it with AutoModelForCausalLM.",
        )
    parameters = inspect.signature(type(model).forward).parameters
    if "input_ids" not in parameters:
        raise UnsupportedModelError(
            model_type,
            f"{type(model).__name__}.forward takes no input_ids, so nothing says which tokens lead"
            " up to a position.",
        )
    if "use_cache" in parameters and not any(name in parameters for name in CACHE_ARGUMENTS):
        raise UnsupportedModelError(
            model_type,
            f"{type(model).__name__} is handed no cache and keeps the past within itself, so"
            " nothing says which tokens a step follows.",
        )


def _named_list(
    model: nn.Module, model_type: str, blocks: str | nn.ModuleList
) -> tuple[str, nn.ModuleList]:
    lists = {n: m for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)}
    for name, module in lists.items():
        if blocks in (name, module):
            return name, module
    seen = repr(blocks) if isinstance(blocks, str) else f"the {type(blocks).__name__} given"
    raise UnsupportedModelError(
        model_type,
        f"{seen} is no ModuleList of this model; it has {', '.join(lists) or 'none'}.",
    )


def _find_by_rule(model: nn.Module, model_type: str) -> tuple[str, nn.ModuleList]:
    depths = _depths(model)
    if not depths:
        names = ", ".join(_DEPTH_FIELDS)
        raise UnsupportedModelError(
            model_type, f"its configuration has none of {names}. {_OVERRIDE}"
        )
    lists = {name: m for name, m in _outer_lists(model) if len(m) in depths and _has_blocks(m)}
    decoder = {id(module) for module in _decoder(model).modules()}
    candidates = {name: m for name, m in lists.items() if id(m) in decoder} or lists
    if not candidates:
        counts = " or ".join(map(str, depths))
        raise UnsupportedModelError(
            model_type, f"it has no list of {counts} blocks, as its configuration says. {_OVERRIDE}"
        )
    name, found = min(
        candidates.items(),
        key=lambda item: (depths.index(len(item[1])), item[0].count("."), -_size(item[1])),
    )
    owner = name.rpartition(".")[0]
    beside = [n for n, m in candidates.items() if n.rpartition(".")[0] == owner and m is not found]
    if beside:
        raise UnsupportedModelError(
            model_type, f"its layers are split over the lists {', '.join([name, *beside])}."
        )
    return name, found


def _depths(model: nn.Module) -> list[int]:
    """Return the numbers of layers that the configuration names, the likeliest first."""
    config = text_config(model)
    values = (getattr(config, name, None) for name in _DEPTH_FIELDS)
    return list(dict.fromkeys(value for value in values if isinstance(value, int) and value > 0))


def _outer_lists(model: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    outer: list[str] = []
    for name, module in model.named_modules():  # owners come before what they hold
        if not isinstance(module, nn.ModuleList):
            continue
        if not any(name.startswith(f"{other}.") for other in outer):
            outer.append(name)
            yield name, module


def _has_blocks(modules: Sequence[nn.Module] | nn.ModuleList) -> bool:
    """Say whether a list holds blocks made of parts, not bare layers such as norms."""
    return all(next(iter(module.children()), None) is not None for module in modules)


def _decoder(model: nn.Module) -> nn.Module:
    get_decoder = getattr(model, "get_decoder", None)
    try:
        decoder = get_decoder() if callable(get_decoder) else None
    except (AttributeError, NotImplementedError):
        decoder = None
    return decoder if isinstance(decoder, nn.Module) else model


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _require_distinct(model_type: str, name: str, blocks: nn.ModuleList) -> None:
    """Raise where one block stands in several places: a memory there would be read in all."""
    seen: dict[int, int] = {}
    for place, block in enumerate(blocks):
        first = seen.setdefault(id(block), place)
        if first != place:
            raise UnsupportedModelError(
                model_type,
                f"{name}[{place}] is the same module as {name}[{first}]: a memory there would be"
                " read at both.",
            )
