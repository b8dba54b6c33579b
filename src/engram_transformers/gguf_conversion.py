"""Turn a GGUF file into a folder in the Hugging Face format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits
from tokenizers.pre_tokenizers import Sequence as PreTokenizerSequence
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

# GGUF's `token_type` of control tokens such as `<|im_end|>`.
_CONTROL = 3


def convert_gguf(gguf_file: Path, folder: Path) -> None:
    """Write the model and tokenizer of a GGUF file as a folder that `from_pretrained` loads.

    Args:
        gguf_file: A language model of an architecture whose GGUF files transformers reads.
        folder: Written to, and made if missing. The weights are stored in float32.
    """
    _read_model(gguf_file).save_pretrained(folder)
    _read_tokenizer(gguf_file).save_pretrained(folder)


def _read_model(gguf_file: Path) -> PreTrainedModel:
    """Read the weights into a model that can be saved.

    transformers (5.23) refuses to save a model that it has read from GGUF, which it regards as
    quantized although its weights have been expanded: hence the copy into a new one.
    """
    read = AutoModelForCausalLM.from_pretrained(
        gguf_file.parent, gguf_file=gguf_file.name, dtype=torch.float32
    )
    config = read.config.to_dict()
    # The second entry is GGUF's free-text title, which is no name to load anything by.
    for entry in ("quantization_config", "_model_name_or_path"):
        config.pop(entry, None)
    model = type(read)(type(read.config)(**config))
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    return model


def _read_tokenizer(gguf_file: Path) -> PreTrainedTokenizerBase:
    """Read the tokenizer: SmolLM's by hand, others through transformers.

    By hand, because GGUF only *names* the text splitting of a byte-level BPE, and transformers
    (5.23) takes GPT-2's for every name, where SmolLM's also isolates digits; 5.0 even takes
    SmolLM's tokenizer for Code Llama's.
    """
    reader = GGUFReader(gguf_file)
    kind = _field(reader, "tokenizer.ggml.model"), _field(reader, "tokenizer.ggml.pre")
    if kind == ("gpt2", "smollm"):
        return _smollm_tokenizer(reader)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        gguf_file.parent, gguf_file=gguf_file.name
    )
    return tokenizer


def _smollm_tokenizer(reader: GGUFReader) -> PreTrainedTokenizerBase:
    tokens: list[str] = _field(reader, "tokenizer.ggml.tokens")
    merges: list[str] = _field(reader, "tokenizer.ggml.merges")
    token_types: list[int] = _field(reader, "tokenizer.ggml.token_type")

    bpe = Tokenizer(
        BPE(
            vocab={token: token_id for token_id, token in enumerate(tokens)},
            merges=[(left, right) for left, right in (merge.split(" ") for merge in merges)],
        )
    )
    bpe.pre_tokenizer = PreTokenizerSequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = ByteLevelDecoder()
    bpe.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, token_type in zip(tokens, token_types, strict=True)
            if token_type == _CONTROL
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=tokens[_field(reader, "tokenizer.ggml.bos_token_id")],
        eos_token=tokens[_field(reader, "tokenizer.ggml.eos_token_id")],
        unk_token=tokens[_field(reader, "tokenizer.ggml.unknown_token_id")],
        pad_token=tokens[_field(reader, "tokenizer.ggml.padding_token_id")],
        chat_template=_field(reader, "tokenizer.chat_template"),
        model_max_length=_field(reader, "llama.context_length"),
        clean_up_tokenization_spaces=False,
    )


def _field(reader: GGUFReader, key: str) -> Any:
    """Return a metadata value as plain Python, `None` if the file has no such key."""
    field = reader.get_field(key)
    return None if field is None else field.contents()
