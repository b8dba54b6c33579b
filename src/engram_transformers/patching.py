"""Putting memories on a model and taking them off, exactly."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import nn

from engram_transformers.architectures import (
    entry_points,
    find_blocks,
    hidden_size_of,
    model_type_of,
    unwrap,
    vocab_size_of,
)
from engram_transformers.attachment import ATTRIBUTE, SUBMODULE, Attachment, find_attachment
from engram_transformers.bank_reading import BANK
from engram_transformers.banks.attached import make_banks
from engram_transformers.canonical import canonical_ids, tokenizer_fingerprint
from engram_transformers.checkpoints import keep_out_of_checkpoints, let_into_checkpoints
from engram_transformers.config import EngramConfig
from engram_transformers.errors import (
    AlreadyPatchedError,
    LayerIndexError,
    NotPatchedError,
    TokenizerMismatchError,
    UnsupportedModelError,
)
from engram_transformers.layouts import Layout
from engram_transformers.memory import EngramMemory
from engram_transformers.placement import device_of, weights_nowhere

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ModelT = TypeVar("ModelT", bound=nn.Module)


def add_engram(
    model: ModelT,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    layers: Literal["auto"] | int | list[int] | tuple[int, ...] | None = None,
    blocks: str | nn.ModuleList | None = None,
    config: EngramConfig | None = None,
    **config_fields: Any,
) -> ModelT:
    """Put memories on a causal language model, in place, without changing a bit of its output.

    Weights, their names and the model's class stay as they are: a submodule `engram` joins each
    chosen block, and hooks read it. What torch.compile has compiled so far in this process is
    compiled again when it next runs.

    With `memory_size`, each layer also gets a bank, a submodule `engram_bank`: hashed n-gram rows
    that are trained, as in DeepSeek's Engram (arXiv 2601.07372). It begins by adding exactly
    nothing, and its weights are frozen until they are asked for (`requires_grad_()`). Tables lie
    over it: they read behind it, and belong to its weights.

    Args:
        model: A transformers causal language model, also inside a PEFT wrapper.
        tokenizer: The model's. None loads the one of `model.name_or_path`.
        layers: Blocks whose input gets a memory, 0-based, negative from the end; "auto" (the
            default) is the last block. `inject_layers` is accepted as another name.
        blocks: The model's list of decoder blocks, or its dotted name ("model.layers"). None finds
            it: the list that is as long as the configuration says.
        config: Settings; None means the defaults.
        **config_fields: Fields of `EngramConfig`, which replace those of `config`.

    Returns:
        The same model object.

    Raises:
        AlreadyPatchedError: If the model has memories.
        UnsupportedModelError: If no list of decoder blocks is found, the model takes no token ids,
            or its weights are not loaded; the message says what to do.
        LayerIndexError: If a layer does not exist.
        TokenizerMismatchError: If there is no tokenizer or it does not fit the model.
        ConfigError: If a value is out of range, or a bank's sizes don't fit together.
        ConfigFieldError: If a field does not exist.

    Example:
        >>> from engram_transformers import add_engram
        >>> def patch(model, tokenizer):
        ...     return add_engram(model, tokenizer, layers=[-1], row_dim=64)
    """
    if layers is not None:
        config_fields["layers"] = layers
    _require_bare(model)
    settings = EngramConfig.from_fields(config, config_fields)
    return attach(model, prepare(model, tokenizer, settings, blocks))


def prepare(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase | None,
    settings: EngramConfig,
    blocks: str | nn.ModuleList | None = None,
    *,
    with_tables: bool = True,
) -> Attachment:
    """Make what `attach` puts on a model, without changing the model.

    Args:
        model: As in `add_engram`.
        tokenizer: As in `add_engram`.
        settings: The configuration; its layers may be "auto" or negative.
        blocks: As in `add_engram`.
        with_tables: Whether the tables of banks get memory; if not they are on the meta device, for
            somebody who has other numbers for them.

    Returns:
        The patch; memories and banks are on the CPU.

    Raises:
        As `add_engram`.
    """
    _require_bare(model)
    base = unwrap(model)
    blocks_name, block_list = find_blocks(base, blocks)
    _require_weights(base)
    settings = EngramConfig.from_fields(
        settings, {"layers": resolve_layers(settings.layers, len(block_list), type(base).__name__)}
    )
    tokenizer = _find_tokenizer(base, tokenizer)
    vocab_size = vocab_size_of(base)
    _require_fit(tokenizer, vocab_size, type(base).__name__)
    layout = Layout(model_type_of(base), hidden_size_of(base))
    memories = {
        layer: EngramMemory(settings, layout.hidden_size, layer)
        for layer in settings.layers
        if isinstance(layer, int)
    }
    canonical = canonical_ids(tokenizer, vocab_size)
    return Attachment(
        base,
        settings,
        tokenizer,
        tokenizer_fingerprint(tokenizer),
        canonical,
        memories,
        make_banks(settings, base, layout.hidden_size, canonical, with_tables=with_tables),
        blocks_name,
        layout,
    )


def attach(model: ModelT, attachment: Attachment) -> ModelT:
    """Put on a model what `prepare` made for it.

    Args:
        model: The same model.
        attachment: The patch; memories and banks move to where their blocks are.

    Returns:
        The model.
    """
    blocks = attachment.block_list
    for layer, memory in [*attachment.memories.items(), *attachment.banks.items()]:
        memory.to(device_of(blocks[layer]))
    # Nothing above changes the model; nothing below fails.
    attachment.register(entry_points(model, attachment.blocks_name))
    attachment.model.__dict__[ATTRIBUTE] = attachment
    forget_compiled_code()
    keep_out_of_checkpoints(attachment)
    return model


def remove_engram(model: ModelT) -> ModelT:
    """Take the memories off a model, exactly: no hook, module or attribute stays.

    Args:
        model: A patched model.

    Returns:
        The same model object.

    Raises:
        NotPatchedError: If the model has no memories.
    """
    attachment = find_attachment(model)
    if attachment is None:
        raise NotPatchedError(type(model).__name__)
    for handle in attachment.handles:
        handle.remove()
    let_into_checkpoints(attachment)
    ours = {*attachment.memories.values(), *attachment.banks.values()}
    for module in list(attachment.model.modules()):
        for name in (SUBMODULE, BANK):
            if module._modules.get(name) in ours:
                delattr(module, name)
    del attachment.model.__dict__[ATTRIBUTE]
    forget_compiled_code()
    return model


def resolve_layers(
    layers: tuple[int, ...] | Literal["auto"], blocks: int, model_name: str
) -> tuple[int, ...]:
    """Return block indices counted from the start, sorted and distinct.

    Args:
        layers: As in `EngramConfig`.
        blocks: How many blocks there are.
        model_name: For the error.

    Returns:
        Indices from 0 to `blocks` - 1.

    Raises:
        LayerIndexError: If a block does not exist.
    """
    if layers == "auto":
        return (blocks - 1,)
    for layer in layers:
        if not -blocks <= layer < blocks:
            raise LayerIndexError(layer, blocks, model_name)
    return tuple(sorted({layer % blocks for layer in layers}))


def _require_bare(model: nn.Module) -> None:
    """Raise unless a model can get memories: it is one, and has none."""
    if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UnsupportedModelError(type(model).__name__, "it is not a torch module.")
    attached = find_attachment(model)
    if attached is not None:
        raise AlreadyPatchedError(type(model).__name__, sorted(attached.memories))


def forget_compiled_code() -> None:
    """Let torch.compile compile again: it does not look whether hooks came or went."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


def _find_tokenizer(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase | None
) -> PreTrainedTokenizerBase:
    if tokenizer is not None:
        if not callable(getattr(tokenizer, "get_vocab", None)):
            raise TokenizerMismatchError(
                f"`tokenizer` is a {type(tokenizer).__name__}, not a Hugging Face tokenizer."
            )
        return tokenizer
    from transformers import AutoTokenizer

    name = getattr(model, "name_or_path", "")
    try:
        if not name:
            raise OSError("the model has no name_or_path")
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise TokenizerMismatchError(
            f"No tokenizer was given, and none could be loaded from {name!r}"
            f" ({str(error).splitlines()[0]}). Pass the model's: add_engram(model, tokenizer)."
        ) from error


def _require_weights(model: nn.Module) -> None:
    missing = list(weights_nowhere(model))
    if missing:
        raise UnsupportedModelError(
            model_type_of(model),
            f"{len(missing)} weights are on the meta device ({missing[0]}, …): load them first.",
        )


def _require_fit(tokenizer: PreTrainedTokenizerBase, vocab_size: int, model_name: str) -> None:
    """Raise unless a tokenizer's ids are the model's.

    Models pad their vocabulary (by up to a few percent), and tokenizers may have a few added tokens
    that a text-only model lacks (Gemma 3: one); more than that is another model's tokenizer.
    """
    tokens = len(tokenizer)  # pyright: ignore[reportArgumentType]
    added = len(getattr(tokenizer, "added_tokens_decoder", {}))
    if tokens - added <= vocab_size and tokens - vocab_size <= 8 and tokens * 2 >= vocab_size:
        return
    raise TokenizerMismatchError(
        f"The tokenizer has {tokens} tokens, but {model_name} has embeddings for {vocab_size}: pass"
        " the tokenizer that belongs to this checkpoint."
    )
