"""Putting memories on a model and taking them off, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from torch import nn

from engram_transformers.architectures import block_owner, find_blocks, unwrap
from engram_transformers.attachment import ATTRIBUTE, SUBMODULE, Attachment, find_attachment
from engram_transformers.canonical import canonical_ids, tokenizer_fingerprint
from engram_transformers.config import EngramConfig
from engram_transformers.errors import (
    AlreadyPatchedError,
    LayerIndexError,
    NotPatchedError,
    TokenizerMismatchError,
    UnsupportedModelError,
)
from engram_transformers.memory import EngramMemory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ModelT = TypeVar("ModelT", bound=nn.Module)


def add_engram(
    model: ModelT,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    layers: Literal["auto"] | int | list[int] | tuple[int, ...] | None = None,
    config: EngramConfig | None = None,
    **config_fields: Any,
) -> ModelT:
    """Put memories on a causal language model, in place, without changing a bit of its output.

    Weights, their names and the model's class stay as they are: a submodule `engram` joins each
    chosen block, and hooks read it.

    Args:
        model: A transformers causal language model, also inside a PEFT wrapper.
        tokenizer: The model's. None loads the one of `model.name_or_path`.
        layers: Blocks whose input gets a memory, 0-based, negative from the end; "auto" (the
            default) is the last block. `inject_layers` is accepted as another name.
        config: Settings; None means the defaults.
        **config_fields: Fields of `EngramConfig`, which replace those of `config`.

    Returns:
        The same model object.

    Raises:
        AlreadyPatchedError: If the model has memories.
        UnsupportedModelError: If its architecture is not supported.
        LayerIndexError: If a layer does not exist.
        TokenizerMismatchError: If there is no tokenizer or it does not fit the model.
        ConfigError: If a value is out of range.
        ConfigFieldError: If a field does not exist.

    Example:
        >>> from engram_transformers import add_engram
        >>> def patch(model, tokenizer):
        ...     return add_engram(model, tokenizer, layers=[-1], row_dim=64)
    """
    if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UnsupportedModelError(type(model).__name__, "it is not a torch module.")
    attached = find_attachment(model)
    if attached is not None:
        raise AlreadyPatchedError(type(model).__name__, sorted(attached.memories))
    if layers is not None:
        config_fields["layers"] = layers
    settings = EngramConfig.from_fields(config, config_fields)
    base = unwrap(model)
    blocks_name, blocks = find_blocks(base)
    settings = EngramConfig.from_fields(
        settings, {"layers": resolve_layers(settings.layers, len(blocks), type(base).__name__)}
    )
    tokenizer = _find_tokenizer(base, tokenizer)
    vocab_size = _input_vocabulary(base)
    _require_fit(tokenizer, vocab_size, type(base).__name__)
    canonical = canonical_ids(tokenizer, vocab_size)
    hidden_size = int(base.get_input_embeddings().weight.shape[1])  # pyright: ignore
    memories = {
        layer: EngramMemory(settings, hidden_size, layer)
        for layer in settings.layers
        if isinstance(layer, int)
    }
    for layer, memory in memories.items():
        memory.to(next(blocks[layer].parameters()).device)
    attachment = Attachment(
        base,
        settings,
        tokenizer,
        tokenizer_fingerprint(tokenizer),
        canonical,
        memories,
        len(blocks),
    )
    inner = getattr(base, "base_model", base)
    # Nothing above changes the model; nothing below fails.
    attachment.register([model, base, inner, block_owner(base, blocks_name)], blocks)
    base.__dict__[ATTRIBUTE] = attachment
    _keep_out_of_checkpoints(base, _parameter_names(attachment, blocks_name))
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
    blocks_name, blocks = find_blocks(attachment.model)
    names = _parameter_names(attachment, blocks_name)
    if names:
        base: Any = attachment.model
        base._keys_to_ignore_on_save = set(base._keys_to_ignore_on_save or ()) - names
    for layer in attachment.memories:
        delattr(blocks[layer], SUBMODULE)
    del attachment.model.__dict__[ATTRIBUTE]
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


def _parameter_names(attachment: Attachment, blocks_name: str) -> set[str]:
    """Return the state-dict keys of learned gates."""
    return {
        f"{blocks_name}.{layer}.{SUBMODULE}.{name}"
        for layer, memory in attachment.memories.items()
        for name, _ in memory.named_parameters()
    }


def _keep_out_of_checkpoints(base: Any, names: set[str]) -> None:
    """Let `save_pretrained` of the base write a clean base checkpoint."""
    if names:
        base._keys_to_ignore_on_save = set(base._keys_to_ignore_on_save or ()) | names


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


def _input_vocabulary(model: nn.Module) -> int:
    return int(model.get_input_embeddings().weight.shape[0])  # pyright: ignore


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
