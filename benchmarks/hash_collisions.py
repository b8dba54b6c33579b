"""Address collisions among ten million distinct n-grams of orders 1 to 64.

The n-grams are those of the Python standard library's sources (code, comments, documentation) and
three adversarial families: words built like Thue-Morse's, the weak spot of polynomial hashes modulo
2^64; constant and periodic runs; near duplicates. Whether two n-grams are distinct is decided by an
independent 128-bit hash of their canonical ids (xxh3). Any collision makes the script fail.

    python -m benchmarks run hash_collisions [--tokenizer ID_OR_PATH] [--ngrams 10000000]
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import sysconfig
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import xxhash
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from benchmarks.common import require
from benchmarks.setting import Setting
from engram_transformers.canonical import canonical_ids, tokenizer_fingerprint
from engram_transformers.hashing import SuffixHasher

NEEDS_MODEL = False
HIGHEST_ORDER = 64
DOCUMENT_TOKENS = 4_096

# One row per n-gram: the address, and the two halves of the 128-bit hash.
NGRAM = np.dtype([("high", "<u8"), ("low", "<u8"), ("address", "<i8")])
Ngrams = npt.NDArray[np.void]
Ids = npt.NDArray[np.int64]


class Hashes:
    """Addresses and independent hashes of n-grams, for one tokenizer and seed."""

    def __init__(self, canonical: Tensor, seed: int) -> None:
        self.hasher = SuffixHasher(seed, max_order=HIGHEST_ORDER)
        self.vocab = int(canonical.max()) + 1
        self.table = self.hasher.premix(torch.arange(self.vocab))

    def suffixes(self, ids: Ids) -> Ngrams:
        """Return all suffix n-grams of one text, (length,) canonical ids."""
        orders = range(1, HIGHEST_ORDER + 1)
        addresses = self.hasher.addresses(self.table[torch.as_tensor(ids)][None], orders)[0]
        content = ids.tobytes()
        digest = xxhash.xxh3_128_digest
        spans = [
            (end, order)
            for end in range(1, len(ids) + 1)
            for order in range(1, min(end, HIGHEST_ORDER) + 1)
        ]
        digests = b"".join([digest(content[8 * (end - n) : 8 * end]) for end, n in spans])
        ends, lengths = np.array(spans).T
        return _ngrams(addresses.numpy()[ends - 1, lengths - 1], digests)

    def words(self, words: Ids) -> Ngrams:
        """Return whole n-grams of one order, (count, order) canonical ids."""
        order = words.shape[1]
        parts: list[Ngrams] = []
        for chunk in np.array_split(words, max(1, words.size // 4_000_000)):
            rows = self.table[torch.as_tensor(chunk)]  # (chunk, order)
            addresses = self.hasher.addresses(rows, [order], last=1).flatten().numpy()
            content, step = chunk.tobytes(), 8 * order
            digests = [
                xxhash.xxh3_128_digest(content[at : at + step])
                for at in range(0, len(content), step)
            ]
            parts.append(_ngrams(addresses, b"".join(digests)))
        return np.concatenate(parts)


def _ngrams(addresses: npt.NDArray[np.int64], digests: bytes) -> Ngrams:
    ngrams = np.empty(len(addresses), dtype=NGRAM)
    halves = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
    ngrams["high"], ngrams["low"], ngrams["address"] = halves[:, 0], halves[:, 1], addresses
    return ngrams


def distinct(ngrams: Ngrams) -> Ngrams:
    """Return one row per distinct n-gram; refuse an n-gram that has two addresses."""
    ngrams = ngrams[np.lexsort((ngrams["low"], ngrams["high"]))]
    same = (ngrams["high"][1:] == ngrams["high"][:-1]) & (ngrams["low"][1:] == ngrams["low"][:-1])
    if np.any(ngrams["address"][1:][same] != ngrams["address"][:-1][same]):
        sys.exit("One n-gram got two addresses: the offset does not cancel.")
    return ngrams[np.concatenate(([True], ~same))]


def documents(tokenizer: PreTrainedTokenizerBase, canonical: Tensor, seed: int) -> Iterator[Ids]:
    """Yield the canonical ids of the standard library's files, in a seeded order, cut short."""
    folder = Path(sysconfig.get_path("stdlib"))
    files = [f for f in sorted(folder.rglob("*.py")) if "site-packages" not in f.parts]
    random.Random(seed).shuffle(files)
    for file in files:
        text = file.read_text(encoding="utf-8", errors="ignore")[: 8 * DOCUMENT_TOKENS]
        token_ids: list[int] = cast(Any, tokenizer).encode(text, add_special_tokens=False)
        if token_ids:
            yield canonical[torch.tensor(token_ids[:DOCUMENT_TOKENS])].numpy()


def real_text(texts: Iterator[Ids], hashes: Hashes, wanted: int) -> Ngrams:
    """Return at least `wanted` distinct n-grams of real text."""
    found: Ngrams = np.empty(0, dtype=NGRAM)
    fresh: list[Ngrams] = []
    collected = 0
    for ids in texts:
        fresh.append(distinct(hashes.suffixes(ids)))
        collected += len(fresh[-1])
        if len(found) + collected >= wanted:
            found = distinct(np.concatenate([found, *fresh]))
            fresh, collected = [], 0
            if len(found) >= wanted:
                return found
    sys.exit(f"The standard library holds only {len(found)} distinct n-grams, of {wanted} wanted.")


def thue_morse(hashes: Hashes, rng: np.random.Generator) -> Iterator[Ids]:
    """Yield Thue-Morse words over many pairs of tokens, and all windows of long ones."""
    parity = np.array([place.bit_count() % 2 for place in range(4_096)])
    some = rng.choice(hashes.vocab, 300, replace=False)
    pairs = np.array([(a, b) for a in some for b in some if a != b])  # both (a, b) and (b, a)
    for order in (2, 4, 8, 16, 32, 64):
        yield pairs[:, parity[:order]]
    for pair in pairs[:20]:
        for order in range(1, HIGHEST_ORDER + 1):
            yield np.lib.stride_tricks.sliding_window_view(pair[parity], order)


def periodic_runs(hashes: Hashes, rng: np.random.Generator) -> Iterator[Ids]:
    """Yield a run of every order of many tokens, and of pairs and triples of tokens."""
    for period in (1, 2, 3):
        tiles = rng.integers(hashes.vocab, size=(6_000, period))
        for order in range(1, HIGHEST_ORDER + 1):
            yield np.tile(tiles, (1, HIGHEST_ORDER))[:, :order]


def near_duplicates(hashes: Hashes, rng: np.random.Generator) -> Iterator[Ids]:
    """Yield words of every order that differ in one token, or by one swap of two tokens."""
    for order in range(2, HIGHEST_ORDER + 1):
        base = rng.choice(hashes.vocab, order, replace=False)
        words = np.tile(base, (8_000, 1))
        words[np.arange(8_000), rng.integers(order, size=8_000)] = rng.integers(
            hashes.vocab, size=8_000
        )
        yield words
        first, second = np.triu_indices(order, 1)
        swapped = np.tile(base, (len(first), 1))
        row = np.arange(len(first))
        swapped[row, first], swapped[row, second] = base[second], base[first]
        yield swapped


def collisions(ngrams: Ngrams) -> int:
    """Count distinct n-grams whose address another one has too."""
    return len(ngrams) - len(np.unique(ngrams["address"]))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokenizer", help="folder or Hugging Face Hub id; default: the model's")
    parser.add_argument("--ngrams", type=int, default=10_000_000, help="of real text, at least")


def run(setting: Setting) -> dict[str, Any]:
    torch.set_num_threads(1)  # hashing in Python dominates; more threads only wait for each other
    setting.device = torch.device("cpu")
    options, seed = setting.options, setting.seed
    wanted, words = (100_000, 50) if setting.quick else (options.ngrams, None)
    started = time.perf_counter()
    if options.tokenizer:
        tokenizer = cast(Any, AutoTokenizer).from_pretrained(options.tokenizer)
    else:
        tokenizer = setting.tokenizer
    canonical = canonical_ids(tokenizer, len(tokenizer))
    hashes = Hashes(canonical, seed)
    rng = np.random.default_rng(seed)
    groups = {"real_text": real_text(documents(tokenizer, canonical, seed), hashes, wanted)}
    for family in (thue_morse, periodic_runs, near_duplicates):
        groups[family.__name__] = distinct(
            np.concatenate(
                [hashes.words(np.array(w[:words], order="C")) for w in family(hashes, rng)]
            )
        )
    everything = distinct(np.concatenate(list(groups.values())))
    results = {
        "tokenizer": Path(options.tokenizer or setting.label).name,
        "tokenizer_fingerprint": tokenizer_fingerprint(tokenizer),
        "canonical_ids": hashes.vocab,
        "orders": [1, HIGHEST_ORDER],
        "distinct_ngrams": {
            **{name: len(ngrams) for name, ngrams in groups.items()},
            "together": len(everything),
        },
        "collisions": collisions(everything),
        "collisions_expected_of_a_random_function": len(everything) ** 2 / 2**65,
        "seconds": round(time.perf_counter() - started, 1),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "packages": {name: version(name) for name in ("tokenizers", "xxhash", "numpy")},
    }
    print(f"{len(everything):,} distinct n-grams, {results['collisions']} collisions")
    require(results["collisions"] == 0, "no two n-grams share an address")
    return results


def section(runs: list[dict[str, Any]]) -> list[str]:
    lines = ["## Addresses", ""]
    for found in runs:
        lines.append(
            f"{found['distinct_ngrams']['together']:,} distinct n-grams of orders"
            f" {found['orders'][0]} to {found['orders'][1]}: {found['collisions']} collisions."
        )
    return lines
