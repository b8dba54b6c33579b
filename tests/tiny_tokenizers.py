"""Small tokenizers of every kind, built offline, for the tests of canonical ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

WORDS = [
    "Apple",
    "apple",
    " apple",
    "APPLE",
    "é",
    "e",
    "\uff21",
    "a",
    "  ",
    "\n",
    " ",
    "pear",
    "\u0301",
]


def byte_level() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer: 256 bytes, WORDS, a partial UTF-8 token, two specials."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    spelled = [split.pre_tokenize_str(word)[0][0] for word in WORDS]
    partial = split.pre_tokenize_str("xé")[0][0][:2]  # x and the first of two bytes
    names = list(dict.fromkeys([*letters, *spelled, partial]))
    backend = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, []))
    backend.pre_tokenizer = split
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<EOS>")


def metaspace() -> PreTrainedTokenizerFast:
    """Return a SentencePiece-like Unigram tokenizer with byte fallback."""
    names = [
        "<unk>",
        "▁",
        "▁▁",
        "▁Apple",
        "▁of▁the",
        "ofthe",
        "apple",
        "APPLE",
        "é",
        "e",
        "<0x41>",
        "a",
        "<0xC3>",
        "<0xA9>",
    ]
    backend = Tokenizer(models.Unigram([(name, -1.0) for name in names], 0, byte_fallback=True))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>")


def word_piece() -> PreTrainedTokenizerFast:
    names = ["[UNK]", "[PAD]", "ing", "##ing", "Ing", "##ING", "é", "e"]
    backend = Tokenizer(
        models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", eos_token="[SEP]"
    )


class WordTokenizer(PreTrainedTokenizer):
    """A tokenizer written in Python: words between spaces."""

    vocab_files_names = {"vocab_file": "words.json"}  # noqa: RUF012 (as the base declares it)

    def __init__(self, vocab_file: str, **options: Any) -> None:
        self.words: dict[str, int] = json.loads(Path(vocab_file).read_text())
        super().__init__(**options)

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    def get_vocab(self) -> dict[str, int]:
        return {**self.words, **self.added_tokens_encoder}

    def _tokenize(self, text: str, **options: Any) -> list[str]:
        return text.split()

    def _convert_token_to_id(self, token: str) -> int:
        return self.words.get(token, 0)

    def _convert_id_to_token(self, index: int) -> str:
        return next(word for word, number in self.words.items() if number == index)

    def save_vocabulary(
        self, save_directory: str, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        path = Path(save_directory) / "words.json"
        path.write_text(json.dumps(self.words))
        return (str(path),)


def python(
    folder: Path, words: tuple[str, ...] = ("?", "Apple", "apple", "é", "e")
) -> WordTokenizer:
    folder.mkdir(exist_ok=True)
    file = folder / "words.json"
    file.write_text(json.dumps({word: i for i, word in enumerate(words)}))
    return WordTokenizer(str(file), unk_token="?", eos_token="</s>")


BUILDERS: dict[str, Callable[[Path], PreTrainedTokenizerBase]] = {
    "byte_level": lambda _: byte_level(),
    "metaspace": lambda _: metaspace(),
    "word_piece": lambda _: word_piece(),
    "python": lambda folder: python(folder / "words"),
}
