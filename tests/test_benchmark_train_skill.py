"""Promises of the script that trains the skill: its data, and an adapter with a card at the end."""

from __future__ import annotations

import pytest
import tiny
from safetensors import safe_open

from benchmarks import train_skill

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


def test_several_processes_make_the_same_episodes(monkeypatch):
    monkeypatch.setattr(train_skill, "_AT_ONCE", 7)
    made = train_skill.episodes(60, 3, ("told",))
    assert made == train_skill.episodes(60, 3, ("told",), workers=2)
    shares = train_skill.SHARES
    assert len(made) == sum(round(60 * shares[kind]) for kind in shares if kind != "told")
    assert len({str(one) for one in made}) == len(made)


def test_another_seed_makes_other_episodes():
    made = [train_skill.episodes(30, seed, ("told",)) for seed in (0, 1)]
    assert made[0] != made[1]


def test_an_adapter_is_trained_from_the_command_line(tmp_path, capsys):
    base, output = tmp_path / "tiny", tmp_path / "skill"
    tiny.tiny_model("llama").save_pretrained(base)
    tiny.tiny_tokenizer().save_pretrained(base)
    options = ["--steps", "2", "--batch-size", "4", "--workers", "1", "--without", "told", "chains"]
    train_skill.main(["--model", str(base), "--output", str(output), "--device", "cpu", *options])
    with safe_open(output / "adapter_model.safetensors", "pt") as adapter:
        assert adapter.keys()
    card = (output / "README.md").read_text()
    assert "--steps 2 --batch-size 4 --without told chains" in card
    assert "--workers" not in card
    assert str(tmp_path) not in card
    assert "trained in" in capsys.readouterr().out
