"""Tiny configurations of every causal language model: one shrinking rule, and a list of exceptions.

A configuration's own defaults are made small field by field, by the field's name. What the names
do not say is in `EXCEPTIONS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import cycle, islice
from typing import Any

from tiny import BLOCKS, HIDDEN_SIZE, SPECIAL_IDS, VOCAB_SIZE
from transformers import PreTrainedConfig

HEADS = 4
HEAD_DIM = HIDDEN_SIZE // HEADS
POSITIONS = 512
WINDOW = 8

# Field names and the largest value left in them; the first that matches whole counts.
_LIMITS: tuple[tuple[str, int], ...] = (
    # How many of something
    (r"num_(hidden_|encoder_|decoder_)?layers|n_layers?|(en|de)coder_layers|num_blocks", BLOCKS),
    (r"depth|num_global_layers|num_res_blocks", 2),
    (r"num_(nextn_predict|mtp)_layers", 0),
    (r"num_kv_shared_layers", BLOCKS // 2),
    (r"first_k_dense_replace|num_dense_layers|moe_layer_(start_index|interval)", 1),
    (r"n_mamba_heads|mamba_(num|n)_heads", 2 * HEADS),
    (r"\w*(key_value|kv|key)_heads", 2),
    (r"index(er)?_n_heads", 2),
    (r"\w*heads", HEADS),
    (r"n_head", HEADS),
    (r"(top_k|moe_k|moe_top_?k|top_k_experts|num_experts_per_tok(en)?)", 2),
    (r"\w*shared_experts|zero_expert_num", 1),
    (r"\w*experts", 4),
    (r"(n|topk)_groups?|num_expert_groups?|mamba_n_?groups", 1),
    (r"o_groups|hc_(mult|count)|altup_num_inputs", 2),
    (r"layer_group_size|global_attn_every_n_layers|no_rope_layer_interval|rescale_every", 2),
    (r"\w*sliding_window_pattern", 2),
    (r"ngram_size|heads_per_ngram|split_ngram_parts", 2),
    # How wide
    (r"qk_head_dim", 2 * HEAD_DIM),
    (r"\w*head_?dim|dim_head|d_head|kv_channels|attention_head_size|mamba_d_head", HEAD_DIM),
    (r"\w*rank|\w*state_size|mamba_d_state|d_rel|rotary_dim|d_kv", HEAD_DIM),
    (r"hidden_size_per_layer_input|\w*channels?(_size)?|num_mel_bins|feature_size", HEAD_DIM),
    (r"\w*conv_kernel\w*|conv_l_cache|mamba_d_conv|conv1d_width", 3),
    (r"mamba_d_ssm", 2 * HIDDEN_SIZE),
    (r"(moe|expert|shared_experts?)_intermediate_size|expert_ffn_hidden_size", HIDDEN_SIZE // 2),
    (r"\w*(intermediate_size|ffn_dim|feed_forward_size|ffn_hidden_size)\w*", 2 * HIDDEN_SIZE),
    (r"d_ff|dff|dim_ff|d_inner|n_inner|mlp_dim", 2 * HIDDEN_SIZE),
    (r"\w*vocab_size\w*|\w*group_vocab|num_centroids", VOCAB_SIZE),
    (r"codebook_size", 256),
    (
        r"\w*hidden_size\w*|d_model|n_embd|\w*emb(ed|edding)?_dim|dim|lru_width|dim_model_base",
        HIDDEN_SIZE,
    ),
    (r"\w*(embedding|output|input)_size|word_embed_proj_dim|\w*(in|out|output)_dim", HIDDEN_SIZE),
    # How long
    (r"\w*sliding_window(_size)?|(attention_)?window_size|local_attention\w*", WINDOW),
    (r"(attention_|mamba_)?chunk_size|\w*chunk_length|block_size|index_block_size", WINDOW),
    (r"index_topk", 2 * POSITIONS),
    (r"max_position_embeddings|n_positions|n_ctx|max_seq_len|max_\w+_positions", POSITIONS),
    (
        r"keep_window_size|original_max_position_embeddings|context_length|model_max_length",
        POSITIONS,
    ),
    (r"rel_extent|position_bias_max_distance", POSITIONS),
    (r"image_size|crop_size", 32),
    (r"patch_size", 8),
    (r"num_position_embeddings", 16),
)
_TOKEN = re.compile(r"\w+_token_(id|index)|\w+_index")
# Never in a text: no image, sound or other foreign thing stands in it.
_FOREIGN_TOKEN = 3

_ALTERNATING = ["linear_attention", "full_attention"] * (BLOCKS // 2)
_DECODER = {"is_decoder": True}  # a causal mask and a cache
_GEMMA3N = {
    "intermediate_size": [2 * HIDDEN_SIZE] * BLOCKS,
    "activation_sparsity_pattern": [0.95, 0.95, 0.0, 0.0],
}
_INDEXER = {"n_heads": 2, "kv_heads": 1, "head_dim": HEAD_DIM, "budget": 64, "compress_ratio": 2}

EXCEPTIONS: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1, 3]},
    "blenderbot": {"encoder_layers": BLOCKS},  # `num_hidden_layers` is another name of it
    "blt": {
        # DynamicCache(config) reads both, and the class has neither.
        "num_hidden_layers": BLOCKS,
        "hidden_size": HIDDEN_SIZE,
        **{
            f"{part}vocab_size": VOCAB_SIZE
            for part in ("", "patcher_config.", "encoder_config.", "decoder_config.")
        },
    },
    "cohere": {"logit_scale": 1.0},  # 1/16 suits 8,192 dimensions
    "cohere2": {"logit_scale": 1.0},
    "cohere2_moe": {"logit_scale": 1.0},
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"] * (BLOCKS // 2),
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 10_000.0}
            for kind in ("sliding_attention", "full_attention")
        },
    },
    "dbrx": {
        "attn_config.kv_n_heads": 2,
        "attn_config.rope_theta": 10_000.0,
        "attn_config.clip_qkv": 8.0,
    },
    "deepseek_v2": {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    # The blocks with a sliding window have sizes of their own, kept per layer.
    "dots3_note_text": {
        "swa_num_attention_heads": HEADS,
        "swa_num_key_value_heads": HEADS,
        "swa_q_lora_rank": HEAD_DIM,
        "swa_kv_lora_rank": HEAD_DIM,
        "swa_qk_nope_head_dim": HEAD_DIM,
        "swa_qk_rope_head_dim": HEAD_DIM,
        "swa_v_head_dim": HEAD_DIM,
        "swa_head_dim": 2 * HEAD_DIM,
    },
    "falcon_h1": {"mamba_d_head": HEAD_DIM},
    "gemma3n": {
        "vision_config.architecture": "test_resnet",  # timm's smallest
        **{f"text_config.{name}": value for name, value in _GEMMA3N.items()},
    },
    "gemma3n_text": _GEMMA3N,
    # A draft head shares all keys and values. transformers 5.23 asks for this in one place and
    # refuses it in another, so this class can't be built with it.
    "gemma4_assistant": {"text_config.num_kv_shared_layers": BLOCKS},
    "gpt_neo": {"attention_types": [[["global", "local"], BLOCKS // 2]]},
    "granitemoehybrid": {"layer_types": _ALTERNATING},
    "hrm_text": {"num_layers_per_stack": BLOCKS, "num_hidden_layers": 8 * BLOCKS},
    "inkling_text": {"logits_mup_width_multiplier": 1.0},
    # Older releases of Jamba and Zamba ask for kernels that need a GPU.
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False},
    "lfm2": {"layer_types": ["conv", "full_attention"] * (BLOCKS // 2)},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * (BLOCKS // 2)},
    "mamba2": {"num_heads": 2 * HEADS},
    "mllama_text_model": {"cross_attention_layers": [2]},  # skipped where there is no image
    "qwen4_exp_text": {
        **{f"indexer_{name}": value for name, value in _INDEXER.items()},
        "ple_layer_ids": [1],
    },
    "reformer": {
        "is_decoder": True,
        "attn_layers": ["local", "lsh"] * (BLOCKS // 2),
        "axial_pos_shape": [16, POSITIONS // 16],
        "axial_pos_embds_dim": [HEAD_DIM, HIDDEN_SIZE - HEAD_DIM],
        "num_buckets": 2,
        "hash_seed": 0,
    },
    # Its cache rounds the width of queries and keys, half of this, up to a multiple of 64.
    "xlstm": {"hidden_size": 128, "embedding_dim": 128, "chunk_size": 64},
    "xmod": {"is_decoder": True, "default_language": "en_XX"},
    "zamba": {
        "attention_hidden_size": 2 * HIDDEN_SIZE,
        "attention_head_dim": 2 * HEAD_DIM,
        "use_mamba_kernels": False,
    },
    "zamba2": {"attention_hidden_size": 2 * HIDDEN_SIZE, "attention_head_dim": 2 * HEAD_DIM},
    **dict.fromkeys(
        (
            "bert",
            "bert-generation",
            "big_bird",
            "camembert",
            "data2vec-text",
            "electra",
            "ernie",
            "megatron-bert",
            "rembert",
            "roberta",
            "roberta-prelayernorm",
            "roc_bert",
            "roformer",
            "xlm-roberta",
            "xlm-roberta-xl",
        ),
        _DECODER,
    ),
}
"""`config.model_type` -> fields; a dotted name is a sub-configuration's."""


def tiny_config(config_class: type[PreTrainedConfig]) -> PreTrainedConfig:
    """Return a tiny configuration of a class."""
    return _shrunk(_default(config_class), EXCEPTIONS.get(config_class.model_type, {}))


def _default(config_class: type[PreTrainedConfig]) -> PreTrainedConfig:
    """Return a class's own configuration, where that is a valid one."""
    if config_class.model_type == "gemma4_assistant":
        from transformers import Gemma4TextConfig

        text = Gemma4TextConfig(hidden_size_per_layer_input=0, vocab_size_per_layer_input=0)
        return config_class(text_config=text)
    return config_class()


def _shrunk(config: PreTrainedConfig, exceptions: Mapping[str, Any]) -> PreTrainedConfig:
    """Return a configuration of the same class with every field made small."""
    fields: dict[str, Any] = {}
    for name, value in vars(config).items():
        inner = {
            key.removeprefix(f"{name}."): wanted
            for key, wanted in exceptions.items()
            if key.startswith(f"{name}.")
        }
        if isinstance(value, PreTrainedConfig):
            fields[name] = _shrunk(value, inner)
        elif not name.startswith("_"):
            small = _small(name, value, config)
            if small is not None:
                fields[name] = small
    own = {key: wanted for key, wanted in exceptions.items() if "." not in key}
    return type(config)(**{**fields, **own})


def _small(name: str, value: Any, config: PreTrainedConfig) -> Any:
    """Return a field's small value, None to leave it to the class."""
    if name in SPECIAL_IDS:
        return SPECIAL_IDS[name]
    if name == "tie_word_embeddings":
        return False
    if value is None:
        return {"head_dim": HEAD_DIM, "num_key_value_heads": HEADS}.get(name)
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        if name == "forced_eos_token_id":
            return SPECIAL_IDS["eos_token_id"]
        if _TOKEN.fullmatch(name):
            return _FOREIGN_TOKEN if value >= VOCAB_SIZE else value
        return _limited(name, value, config)
    if isinstance(value, (list, tuple)) and len(value) == _depth(config):
        return _per_block(value)
    return None


def _limited(name: str, value: int, config: PreTrainedConfig) -> int | None:
    for pattern, limit in _LIMITS:
        if re.fullmatch(pattern, name, re.IGNORECASE):
            if name == "num_key_value_heads" and value == vars(config).get("num_attention_heads"):
                limit = HEADS  # as many as there are queries, as latent attention wants it
            return min(value, limit)
    return None


def _per_block(values: Iterable[Any]) -> list[Any] | None:
    """Return a list with one entry per block in which every kind of block occurs."""
    kinds = list(dict.fromkeys(values))
    if not all(isinstance(kind, str) for kind in kinds):
        return None
    return list(islice(cycle(kinds), BLOCKS))


def _depth(config: PreTrainedConfig) -> int:
    return int(vars(config).get("num_hidden_layers") or 0)
