"""What tests of benchmarks share: a setting around a tiny model, an encoder, a little data."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from benchmarks.setting import Setting


def setting_of(model, tokenizer, data=Path("missing"), options=None):
    tokenizer.padding_side = "left"
    return Setting(
        "tiny",
        "tiny",
        torch.device("cpu"),
        torch.float32,
        data,
        True,
        0,
        options or argparse.Namespace(),
        {},
        (model, tokenizer),
    )


class Letters:
    """An encoder stub: how often each letter stands in a text."""

    def embed(self, texts):
        counts = [[text.lower().count(chr(97 + i)) + 1e-6 for i in range(26)] for text in texts]
        return torch.nn.functional.normalize(torch.tensor(counts), dim=-1)


def evaluation_data(folder):
    """Write a little of everything in the formats of the evaluation data."""
    users = folder / "user_as_engram" / "users"
    users.mkdir(parents=True)
    entry = {
        "prompt": "My favorite spice is",
        "gold": " saffron",
        "paraphrases": ["The spice I like is", "My favorite spice is"],
    }
    (folder / "user_as_engram" / "paraphrase_16x4.json").write_text(json.dumps([entry]))
    user = {
        "uid": "u000",
        "facts": [
            {"answer": 1993, "paraphrases": ["I was born in 1993.", "My birth year is 1993."]},
            {"answer": ["Monday", "Friday"], "paraphrases": ["I work Monday, Friday."]},
        ],
        "direct_qa": [{"question": "What year was I born?", "answer": "1993"}],
    }
    (users / "u000.json").write_text(json.dumps(user))
    (folder / "relations" / "factual").mkdir(parents=True)
    relation = {
        "prompt_templates": ["The capital city of {} is", "{}'s capital is called"],
        "samples": [
            {"subject": "Norway", "object": "Oslo"},
            {"subject": "Denmark", "object": "Copenhagen"},
        ],
    }
    (folder / "relations" / "factual" / "capitals.json").write_text(json.dumps(relation))
    talk = {
        "session_1": [{"speaker": "Ann", "dia_id": "D1:1", "text": "I paint lakes."}],
        "session_1_date_time": "8 May",
    }
    observed = [["Ann likes to paint lakes.", "D1:1"], ["Ann likes to swim.", ["D1:1"]]]
    question = {
        "question": "What does Ann paint?",
        "answer": "lakes",
        "evidence": ["D1:1"],
        "category": 4,
    }
    sample = {
        "sample_id": "c1",
        "conversation": talk,
        "observation": {"session_1_observation": {"Ann": observed}},
        "qa": [question, {**question, "category": 1}],
    }
    (folder / "locomo").mkdir()
    (folder / "locomo" / "locomo10.json").write_text(json.dumps([sample]))
    return folder
