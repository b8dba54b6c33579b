"""Tiny random models of each supported family, and a tokenizer for them, made offline.

A model is built once per process and copied for every caller, so that no test sees another's
changes.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

VOCAB_SIZE = 300
HIDDEN_SIZE = 64
BLOCKS = 4
MAX_POSITIONS = 2048
# Short, so that tests reach beyond the window of the families that have one.
SLIDING_WINDOW = 32

SPECIAL_TOKENS = ("<|bos|>", "<|eos|>", "<|pad|>", "<|im_start|>", "<|im_end|>")
SPECIAL_IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_CORPUS = (
    "Mira's favourite spice is cardamom, and her sister's favourite spice is cumin.",
    "The harbour opens at seven in the morning; the library opens at nine.",
    "What is the name of the dog? The name of the dog is Pepper.",
    "user: Where do I live? assistant: You live in the old town, near the river.",
    "My birth year is 1993, and my lucky number is 27.",
)

# What configs that follow Llama's names have in common.
_LLAMA_LIKE = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": HIDDEN_SIZE,
    "intermediate_size": 2 * HIDDEN_SIZE,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": MAX_POSITIONS,
    "tie_word_embeddings": False,
    **SPECIAL_IDS,
}
_GEMMA_LIKE = {
    **_LLAMA_LIKE,
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "sliding_window": SLIDING_WINDOW,
    "tie_word_embeddings": True,
}

_CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_LLAMA_LIKE),
    "qwen2": lambda: Qwen2Config(**_LLAMA_LIKE),
    "qwen3": lambda: Qwen3Config(**_LLAMA_LIKE, head_dim=16),
    "mistral": lambda: MistralConfig(**_LLAMA_LIKE, sliding_window=SLIDING_WINDOW),
    "gemma2": lambda: Gemma2Config(**_GEMMA_LIKE),
    "gemma3": lambda: Gemma3TextConfig(
        **_GEMMA_LIKE,
        layer_types=["sliding_attention", "full_attention"] * (BLOCKS // 2),
    ),
    "phi3": lambda: Phi3Config(**_LLAMA_LIKE, original_max_position_embeddings=MAX_POSITIONS),
    "olmo2": lambda: Olmo2Config(**_LLAMA_LIKE),
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCAB_SIZE,
        n_embd=HIDDEN_SIZE,
        n_layer=BLOCKS,
        n_head=4,
        n_positions=MAX_POSITIONS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        **SPECIAL_IDS,
    ),
    "gpt_neox": lambda: GPTNeoXConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=HIDDEN_SIZE,
        intermediate_size=2 * HIDDEN_SIZE,
        num_hidden_layers=BLOCKS,
        num_attention_heads=4,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=False,
        **SPECIAL_IDS,
    ),
}

FAMILIES = tuple(_CONFIGS)


def tiny_model(family: str, *, seed: int = 0) -> PreTrainedModel:
    """Return a fresh random model: 4 blocks, hidden size 64, float32, in evaluation mode.

    Args:
        family: One of `FAMILIES`.
        seed: Another seed gives other weights.
    """
    return copy.deepcopy(_built_model(family, seed))


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Return a fresh byte-level BPE tokenizer of 300 tokens that adds no special tokens itself."""
    return copy.deepcopy(_built_tokenizer())


@functools.cache
def _built_model(family: str, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(_CONFIGS[family](), dtype=torch.float32)
        _spread_weights(model)
    return model.eval()


@torch.no_grad()
def _spread_weights(model: PreTrainedModel) -> None:
    """Draw the weights anew, larger than for training.

    As made by transformers, the blocks of a random model hardly move the residual stream, so that
    it repeats one token whatever was said before, and tests of memory would pass by accident. With
    tied embeddings a token still mostly predicts itself: there the final norm flips half of the
    signs. Special tokens are made unlikely, not impossible, so that texts do not end early.
    """
    inputs, outputs = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    tied = inputs is outputs
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            parameter.normal_(std=HIDDEN_SIZE**-0.5)
    if tied:
        final_norm = getattr(model.base_model, "norm", None) or model.base_model.ln_f
        final_norm.weight -= 2 * torch.randint(0, 2, (HIDDEN_SIZE,))  # 1 to -1, Gemma's 0 to -2
    else:
        inputs.normal_(std=1.0)
    outputs[: len(SPECIAL_TOKENS)] *= 0.5


@functools.cache
def _built_tokenizer() -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|bos|>",
        eos_token="<|eos|>",
        pad_token="<|pad|>",
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
    )
