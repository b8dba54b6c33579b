"""Make the golden values of banks from the published formulas, without the library.

Plain Python integers for addresses, numpy float64 for outputs, one position at a time. The formulas
are those of DeepSeek's Engram (arXiv 2601.07372) as its demo computes them. Run with the folder to
write to: `python tests/data/make_bank_golden.py FOLDER`.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np

HASHES = {
    "as large as published": {
        "layers": [1, 15],
        "memory_size": [646_400, 646_400],
        "max_order": 3,
        "heads": 8,
        "row_dim": 512,
        "seed": 0,
        "pad_id": 2,
        "vocabulary": 99_584,
    },
    "small, each order of its own size": {
        "layers": [3, 0, 2],
        "memory_size": [50, 9, 101],
        "max_order": 4,
        "heads": 2,
        "row_dim": 4,
        "seed": 7,
        "pad_id": 10,
        "vocabulary": 11,
    },
    "largest multipliers": {
        "layers": [29],
        "memory_size": [1000],
        "max_order": 2,
        "heads": 3,
        "row_dim": 6,
        "seed": 2**64 - 1,
        "pad_id": 0,
        "vocabulary": 2,
    },
}
OUTPUTS = {
    "one stream": {"streams": 1, "hidden_size": 5, "kernel_size": 4, "max_order": 3, "seq": 17},
    "three streams": {"streams": 3, "hidden_size": 4, "kernel_size": 4, "max_order": 2, "seq": 9},
    "short filters": {"streams": 2, "hidden_size": 3, "kernel_size": 2, "max_order": 4, "seq": 8},
}


def primes_of(layers, sizes, heads):
    """Layer -> order -> head -> prime, by trial division."""
    seen: set[int] = set()
    found: dict[int, list[list[int]]] = {}
    for layer in layers:
        found[layer] = []
        for size in sizes:
            row, start = [], size - 1
            for _ in range(heads):
                start += 1
                while (
                    start < 2
                    or start in seen
                    or any(start % divisor == 0 for divisor in range(2, math.isqrt(start) + 1))
                ):
                    start += 1
                seen.add(start)
                row.append(start)
            found[layer].append(row)
    return found


def multipliers_of(layer, seed, vocabulary, max_order):
    """One odd number for each place."""
    high = max(1, (2**63 - 1) // vocabulary // 2)
    drawn = np.random.default_rng(seed + 10007 * layer).integers(0, high, max_order, np.int64)
    return [2 * int(number) + 1 for number in drawn]


def addresses_of(ids, multipliers, primes, pad_id):
    """Position -> all heads of order 2, then of order 3, …"""
    rows = []
    for position in range(len(ids)):
        row = []
        for order, moduli in enumerate(primes, start=2):
            mix = 0
            for back in range(order):
                token = ids[position - back] if position >= back else pad_id
                product = token * multipliers[back]
                if product >= 2**63:
                    raise OverflowError(product)
                mix ^= product
            row += [mix % prime for prime in moduli]
        rows.append(row)
    return rows


def pseudo_ids(count, vocabulary):
    """Ids that need no generator: the first, the last, and squares between them."""
    return [
        0,
        vocabulary - 1,
        *(number * number * 7919 % vocabulary for number in range(count - 2)),
    ]


def hash_case(fields):
    """Golden addresses of one configuration."""
    primes = primes_of(fields["layers"], fields["memory_size"], fields["heads"])
    ids = [pseudo_ids(12, fields["vocabulary"]), pseudo_ids(24, fields["vocabulary"])[12:]]
    layers = {}
    for layer in fields["layers"]:
        multipliers = multipliers_of(
            layer, fields["seed"], fields["vocabulary"], fields["max_order"]
        )
        layers[layer] = {
            "primes": primes[layer],
            "multipliers": multipliers,
            "addresses": [
                addresses_of(row, multipliers, primes[layer], fields["pad_id"]) for row in ids
            ],
        }
    return {"fields": fields, "canonical_ids": ids, "layers": layers}


def waves(name, *shape):
    """Numbers between -1 and 1 that need no generator, with few enough digits to be exact."""
    phase = sum(map(ord, name))
    count = math.prod(shape)
    return np.round(np.sin(phase + 1.7 * np.arange(1, count + 1) ** 1.3), 3).reshape(shape)


def normed(vector, weight, epsilon):
    """Root mean square 1, then the weight."""
    return vector / np.sqrt(np.mean(vector**2) + epsilon) * weight


def output_case(sizes):
    """Golden outputs of one module, of weights that are all different from zero."""
    streams, size, kernel = sizes["streams"], sizes["hidden_size"], sizes["kernel_size"]
    max_order, seq, heads, head_dim = sizes["max_order"], sizes["seq"], 2, 2
    orders = max_order - 1
    fields = {
        "layers": [1],
        "memory_size": [5] * orders,
        "max_order": max_order,
        "heads": heads,
        "row_dim": heads * head_dim,
        "kernel_size": kernel,
        "streams": streams,
        "seed": 3,
        "pad_id": 1,
    }
    vocabulary = 13
    primes = primes_of([1], fields["memory_size"], heads)[1]
    flat = list(itertools.chain.from_iterable(primes))
    width = orders * heads * head_dim
    weights = {
        "table": waves("table", sum(flat), head_dim),
        "value_weight": waves("value weight", size, width),
        "value_bias": waves("value bias", size),
        "key_weight": waves("key weight", streams, size, width),
        "key_bias": waves("key bias", streams, size),
        "key_norm": 1 + waves("key norm", streams, size) / 2,
        "hidden_norm": 1 + waves("hidden norm", streams, size) / 2,
        "convolution_norm": 1 + waves("convolution norm", streams, size) / 2,
        "convolution": waves("convolution", streams, size, kernel),
    }
    ids = pseudo_ids(seq, vocabulary)
    addresses = addresses_of(ids, multipliers_of(1, 3, vocabulary, max_order), primes, 1)
    hidden = 3 * waves("hidden", seq, streams, size)
    gated = np.zeros((seq, streams, size))
    for t, g in itertools.product(range(seq), range(streams)):
        rows = [sum(flat[:head]) + address for head, address in enumerate(addresses[t])]
        e = np.concatenate([weights["table"][row] for row in rows])
        v = weights["value_weight"] @ e + weights["value_bias"]
        k = weights["key_weight"][g] @ e + weights["key_bias"][g]
        k = normed(k, weights["key_norm"][g], float(np.finfo(np.float32).eps))
        q = normed(hidden[t, g], weights["hidden_norm"][g], float(np.finfo(np.float32).eps))
        s = float(k @ q) / math.sqrt(size)
        root = math.copysign(math.sqrt(max(abs(s), 1e-6)), s) if s else 0.0
        gated[t, g] = v / (1 + math.exp(-root))
    output = gated.copy()
    for t, g, c in itertools.product(range(seq), range(streams), range(size)):
        total = 0.0
        for tap in range(kernel):
            earlier = t - (kernel - 1 - tap) * max_order
            if earlier >= 0:
                line = normed(gated[earlier, g], weights["convolution_norm"][g], 1e-5)
                total += weights["convolution"][g, c, tap] * line[c]
        output[t, g, c] += total / (1 + math.exp(-total))
    return {
        "fields": fields,
        "vocabulary": vocabulary,
        "canonical_ids": ids,
        "weights": {name: values.tolist() for name, values in weights.items()},
        "hidden_states": hidden.tolist(),
        "output": output.tolist(),
    }


def golden():
    """All golden values, as JSON types."""
    made = {
        "addresses": {name: hash_case(fields) for name, fields in HASHES.items()},
        "outputs": {name: output_case(sizes) for name, sizes in OUTPUTS.items()},
    }
    return json.loads(json.dumps(made))


if __name__ == "__main__":
    text = json.dumps(golden(), separators=(",", ":")).replace('"fields"', '\n"fields"')
    (Path(sys.argv[1]) / "bank_golden.json").write_text(text + "\n", encoding="utf-8")
