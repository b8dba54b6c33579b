"""Canonical ids: one id for all the tokens that spell the same word.

`Apple`, ` apple` and `APPLE` are three tokens and one word; a fact written under one should be
found under the others. This is the tokenizer compression of DeepSeek's Engram (arXiv 2601.07372),
made for any Hugging Face tokenizer: only `get_vocab`, `decode`, `all_special_ids` and
`added_tokens_decoder` are used.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import unicodedata
from collections.abc import Hashable
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from engram_transformers.cache_dir import cache_dir
from engram_transformers.errors import VocabSizeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

ALGORITHM_VERSION = 2
"""Raised whenever the same tokenizer would get other canonical ids."""

# What SentencePiece writes for a space. Decoding drops those at the start of a text, and some
# decoders drop all those of the first token, which would make "▁of▁the" equal to "ofthe".
_SENTENCEPIECE_SPACE = "▁"

# Attributes of tokenizers written in Python that decide how text is cut.
_PYTHON_OPTIONS = (
    "add_prefix_space",
    "do_basic_tokenize",
    "do_lower_case",
    "keep_accents",
    "legacy",
    "remove_space",
    "strip_accents",
    "tokenize_chinese_chars",
)


def normalise(text: str) -> str:
    r"""Return the text by which tokens are compared.

    NFKC, then NFD with the accents (category Mn) left out, lower case, runs of white space folded
    into one space, and surrounding space stripped. Text of nothing but white space gives one space;
    an empty result means that nothing comparable is left (a lone accent, an empty string).

    Example:
        >>> normalise("  Café\n")
        'cafe'
        >>> normalise("\t \n")
        ' '
    """
    if text.isspace():
        return " "
    if not text.isascii():
        decomposed = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text))
        text = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
    return " ".join(text.lower().split())


def canonical_ids(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> Tensor:
    """Map every token id to its canonical id.

    Two tokens share a canonical id when `normalise` makes their texts equal. The text is what the
    token decodes to by itself, so WordPiece's `##ing`, which decodes to `##ing`, is not `ing`,
    while a byte token `<0x41>` that decodes to `A` is `a`. An id stays alone if it is special or
    added, if its bytes are not whole UTF-8 (its text contains U+FFFD), if its text normalises to
    nothing, or if the tokenizer does not know it (vocabularies padded by the model).

    The numbers depend on Python's Unicode tables where a vocabulary holds characters younger than
    they are. Cost: about 0.3 s for 50,000 tokens besides the fingerprint, or a read from the disk
    cache (`cache_dir`), which is used when possible and never an error.

    Args:
        tokenizer: Any Hugging Face tokenizer.
        vocab_size: How many ids the model's input embedding has. Ids of the tokenizer beyond it get
            no entry.

    Returns:
        (vocab_size,) int64 on the CPU: the lowest token id that spells the same. So a word on which
        two versions of Unicode's tables differ moves its own ids only.

    Raises:
        VocabSizeError: If `vocab_size` is less than 1.
    """
    if vocab_size < 1:
        raise VocabSizeError(vocab_size)
    path = _cache_path(tokenizer_fingerprint(tokenizer), vocab_size)
    if path is not None:
        cached = _read_cache(path, vocab_size)
        if cached is not None:
            return cached
    canonical = _compute(tokenizer, vocab_size)
    if path is not None:
        _write_cache(path, canonical)
    return canonical


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a digest of everything that decides which ids a text becomes.

    Covers the vocabulary with added tokens, which ids are special or added, and the algorithm: for
    tokenizers with a Rust backend its JSON, for others the class, the SentencePiece model and the
    options that cut text. Left out is what callers switch at run time: padding, truncation, chat
    template, the template that adds BOS and EOS, which added token is named pad, and added tokens'
    flags. Fields that are null, false or empty are left out too, so that a release of `tokenizers`
    with a new option, switched off, changes no fingerprint.

    Cost: 0.1 to 0.4 s for 50,000 tokens, mostly reading and writing JSON.

    Args:
        tokenizer: Any Hugging Face tokenizer.

    Returns:
        32 hexadecimal digits (xxh3, 128 bits), the same after `save_pretrained` and
        `from_pretrained`.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = _python_state(tokenizer) if backend is None else _backend_state(backend.to_str())
    state["alone"] = sorted(_ids_that_stay_alone(tokenizer))
    serialised = json.dumps(state, sort_keys=True, default=repr)
    return xxhash.xxh3_128_hexdigest(serialised.encode())


def _compute(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> Tensor:
    stay_alone = _ids_that_stay_alone(tokenizer)
    tokens = {
        token_id: token
        for token, token_id in _vocabulary(tokenizer).items()
        if token_id not in stay_alone
    }
    numbers: dict[Hashable, int] = {}
    canonical: list[int] = []
    for token_id in range(vocab_size):
        known = token_id in tokens
        text = _comparable_text(tokenizer, token_id, tokens[token_id]) if known else ""
        key = text or token_id  # a string never equals an integer
        canonical.append(numbers.setdefault(key, token_id))
    return torch.tensor(canonical, dtype=torch.int64)


def _comparable_text(tokenizer: PreTrainedTokenizerBase, token_id: int, token: str | bytes) -> str:
    """Return the normalised text of one token, or "" if it can only be equal to itself."""
    text: str = cast(Any, tokenizer).decode(
        [token_id], skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    if "\N{REPLACEMENT CHARACTER}" in text:
        return ""
    # Byte-level tokenizers never spell a token with this character, and others keep it in the text.
    if (
        isinstance(token, str)
        and _SENTENCEPIECE_SPACE in token
        and _SENTENCEPIECE_SPACE not in text
    ):
        text = token.replace(_SENTENCEPIECE_SPACE, " ")
    return normalise(text)


def _vocabulary(tokenizer: PreTrainedTokenizerBase) -> dict[str | bytes, int]:
    """Return token -> id with added tokens; tokens are bytes in some tiktoken-like tokenizers."""
    return cast("dict[str | bytes, int]", tokenizer.get_vocab())


def _ids_that_stay_alone(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    special = cast("list[int | None]", tokenizer.all_special_ids)
    added = cast("dict[int, object]", getattr(tokenizer, "added_tokens_decoder", {}))
    return {token_id for token_id in special if token_id is not None} | set(added)


def _backend_state(serialised: str) -> dict[str, Any]:
    """Pick from a Rust backend's JSON what decides the ids of a text."""
    state: dict[str, Any] = json.loads(serialised)
    # Not the flags of added tokens: naming one as pad rewrites them, some only after a reload.
    added = [(token["id"], token["content"]) for token in state["added_tokens"]]
    vocab: Any = state["model"].pop("vocab")
    if isinstance(vocab, dict):  # token -> id; Unigram has a list of tokens with scores
        vocab = sorted(cast("dict[str, int]", vocab).items(), key=itemgetter(1))
    merges: Any = state["model"].pop("merges", None)
    parts = {name: state[name] for name in ("normalizer", "pre_tokenizer", "decoder", "model")}
    return {
        "added": added,
        "parts": _without_defaults(parts),
        "vocab": vocab,
        "merges": merges,
    }


def _python_state(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Collect from a tokenizer written in Python what decides the ids of a text."""
    sentencepiece = getattr(tokenizer, "sp_model", None)
    proto: bytes = b"" if sentencepiece is None else sentencepiece.serialized_model_proto()
    merges: dict[tuple[str, str], int] = getattr(tokenizer, "bpe_ranks", {})
    options = {name: getattr(tokenizer, name, None) for name in _PYTHON_OPTIONS}
    return {
        "class": type(tokenizer).__name__,
        "vocab": sorted(
            ((token_id, token) for token, token_id in _vocabulary(tokenizer).items()), key=repr
        ),
        "merges": sorted(((rank, pair) for pair, rank in merges.items()), key=repr),
        "sentencepiece": xxhash.xxh3_128_hexdigest(proto),
        "options": _without_defaults(options),
    }


def _without_defaults(value: Any) -> Any:
    """Leave out null, false and empty fields, at every depth."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value).items()
        return {k: _without_defaults(v) for k, v in fields if v not in (None, False, "")}
    if isinstance(value, list):
        return [_without_defaults(item) for item in cast("list[Any]", value)]
    return value


def _cache_path(fingerprint: str, vocab_size: int) -> Path | None:
    try:
        folder = cache_dir()
    except RuntimeError as error:
        logger.debug("Canonical ids are not cached: %s", error)
        return None
    unicode_version = unicodedata.unidata_version
    name = f"{fingerprint}-{vocab_size}-v{ALGORITHM_VERSION}-unicode{unicode_version}.safetensors"
    return folder / "canonical" / name


def _digest(canonical: Tensor) -> Tensor:
    """Return a checksum: (16,) uint8, xxh3 of the little-endian bytes."""
    return torch.tensor(list(xxhash.xxh3_128_digest(save({"ids": canonical}))), dtype=torch.uint8)


def _read_cache(path: Path, vocab_size: int) -> Tensor | None:
    """Return the cached ids, or None where there are none that can be trusted."""
    try:
        tensors = load(path.read_bytes())
        canonical, digest = tensors["ids"], tensors["digest"]
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        logger.warning("Ignoring the unreadable cache file %s: %s", path.name, error)
        return None
    expected = canonical.shape == (vocab_size,) and canonical.dtype == torch.int64
    if not expected or not torch.equal(digest, _digest(canonical)):
        logger.warning("Ignoring the damaged cache file %s.", path.name)
        return None
    return canonical


def _write_cache(path: Path, canonical: Tensor) -> None:
    """Write through a temporary file, so that no other process reads half a file."""
    content = save({"ids": canonical, "digest": _digest(canonical)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            file.write(content)
        try:
            os.replace(file.name, path)
        except OSError:
            os.unlink(file.name)
            raise
    except OSError as error:
        logger.debug("Canonical ids were not cached: %s", error)
