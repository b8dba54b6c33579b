"""What older releases of transformers and torch can't do by themselves, and the release that can.

Each was seen with unpatched models. A test that needs it is skipped before that release; whatever
the library itself does there must hold with every release that it allows.
"""

from __future__ import annotations

import functools
import re

import pytest
import tiny
import torch
import transformers
from torch import Tensor
from torch.testing import assert_close
from transformers import Cache, DynamicCache, PreTrainedConfig


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with: (5, 24) of "5.24.0.dev0"."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def before(release: str) -> bool:
    """Say whether transformers is older than a release such as "5.3"."""
    return _release(transformers.__version__) < _release(release)


def _since(release: str, gap: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(before(release), reason=f"transformers before {release} {gap}")


CHUNKED_PREFILL = _since(
    "5.3", "says something else, or fails, with prefill_chunk_size and padding, or static caches"
)
NEXT_TURN_ALONE = _since("5.3", "fails on a used cache and the new tokens alone")
EARLY_EXIT = _since("5.3", "fails with assistant_early_exit")
SLIDING_EARLY_EXIT = pytest.mark.skipif(
    before("5.20") and not before("5.11"),
    reason="transformers 5.11 to 5.19 fails with assistant_early_exit where some layers slide",
)
CONTINUOUS_BATCHING = _since("5.18", "keeps the pages of continuous batching in another way")
RECURRENT_CACHE = _since("5.4", "keeps the past of RecurrentGemma in the model itself")
STATE_SPACE_CACHE = _since("5.5", "keeps the past of state-space models in classes of their own")
GEMMA3N_CACHE = _since("5.6", "says something else with the cache of Gemma 3n than without")
ANOTHER_TOKENIZER = _since("5.14", "fails where the assistant's tokenizer is another one")
SLIDING_ROLLBACK = _since("5.14", "can't roll sliding windows back")
FP8_CACHE = _since("5.21", "has no fp8 cache")


def fill(cache: Cache, batch: int, heads: int, seq: int, width: int) -> None:
    """Do to a cache of one layer what a forward does.

    Before transformers 5.4 a static one counts the keys that are not zero, and has to be told where
    the new ones go.
    """
    states = torch.ones(batch, heads, seq, width)
    past = int(cache.get_seq_length())
    cache.update(states, states, 0, {"cache_position": torch.arange(past, past + seq)})


def require_resets(config: PreTrainedConfig) -> None:
    """Skip where a dynamic cache that was reset keeps zeros as keys, as in transformers 5.0."""
    cache = DynamicCache(config=config)
    for layer in range(len(cache.layers)):
        states = torch.ones(1, 2, 5, 4)
        cache.update(states, states, layer, {"cache_position": torch.arange(5)})
    cache.reset()
    if any(getattr(layer, "is_initialized", False) for layer in cache.layers):
        pytest.skip("this release's dynamic caches keep zeros in place of what they held")


@functools.cache
def _whole_graph_gap() -> str:
    """Return why torch can't compile a bare model without a break; empty if it can."""
    torch._dynamo.reset()
    model = torch.compile(tiny.tiny_model("llama"), fullgraph=True, backend="eager")
    try:
        model(input_ids=torch.tensor([[1, 2]]), use_cache=False)
    except torch._dynamo.exc.Unsupported as error:
        return str(error).splitlines()[0]
    finally:
        torch._dynamo.reset()
    return ""


def require_whole_graphs() -> None:
    """Skip where a bare model can't be compiled as a whole: transformers 5.0 by torch 2.6."""
    gap = _whole_graph_gap()
    if gap:
        pytest.skip(f"torch can't compile the bare model as a whole: {gap}")


def assert_compiled_equal(seen: Tensor, expected: Tensor) -> None:
    """Compare what compiled and eager code give, bit for bit.

    Seen to hold with torch 2.13; 2.6 rounds otherwise, also in a bare model.
    """
    if _release(torch.__version__) < (2, 13):
        assert_close(seen, expected, rtol=1e-5, atol=1e-5)
    else:
        assert torch.equal(seen, expected)
