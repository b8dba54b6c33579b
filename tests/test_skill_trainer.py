"""Promises of the skill's trainer: what the losses are, and what the model is without adapter."""

from __future__ import annotations

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer

from engram_transformers import Episode, named_fact, recall_key
from engram_transformers.skill.examples import Collator, episode_examples, ordinary_examples
from engram_transformers.skill.trainer import _switched_off, make_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

TEXTS = ["The library opens at nine.", "The harbour of the old town opens at seven."]


@pytest.fixture
def adapted():
    torch.manual_seed(0)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False
    )
    return get_peft_model(tiny.tiny_model("llama"), config)


def trainer_of(model, tmp_path, weight, texts=(), episodes=()):
    tokenizer = tiny.tiny_tokenizer()
    examples = ordinary_examples(tokenizer, texts)
    if episodes:
        examples += episode_examples(tokenizer, episodes, ["plain"], 512, 0)
    arguments = {
        "output_dir": str(tmp_path),
        "use_cpu": True,
        "remove_unused_columns": False,
        "report_to": "none",
    }
    trainer = make_trainer(model, examples, Collator(2), weight, arguments)
    return trainer, Collator(2)(examples)


def layers(model):
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def test_adapters_are_as_found_behind_the_block(adapted):
    ids = torch.tensor([[5, 6, 7, 8]])
    with_adapter = adapted(input_ids=ids).logits
    learning = {name for name, one in adapted.named_parameters() if one.requires_grad}
    base = tiny.tiny_model("llama")(input_ids=ids).logits
    try:
        with _switched_off(layers(adapted)):
            assert torch.equal(adapted(input_ids=ids).logits, base)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert not torch.equal(with_adapter, base)
    assert torch.equal(adapted(input_ids=ids).logits, with_adapter)
    assert {name for name, one in adapted.named_parameters() if one.requires_grad} == learning


def test_the_loss_on_ordinary_texts_is_how_far_the_model_went(adapted, tmp_path):
    trainer, batch = trainer_of(adapted, tmp_path, 3.0, TEXTS)
    loss = trainer.compute_loss(adapted, batch)
    base = tiny.tiny_model("llama")
    expected, count = 0.0, 0
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        text = ids[mask.bool()][None]
        ours = adapted(input_ids=text).logits[0, :-1].log_softmax(-1)
        theirs = base(input_ids=text).logits[0, :-1].log_softmax(-1)
        expected += (theirs.exp() * (theirs - ours)).sum()
        count += len(theirs)
    assert loss.item() == pytest.approx(3 * expected.item() / count, rel=1e-4)
    assert loss > 0.01


def test_texts_and_episodes_in_one_batch_count_as_they_do_alone(adapted, tmp_path):
    episode = Episode([named_fact("dog", "17")], "Which dog?", "17", (recall_key("dog"),))
    alone = [
        trainer.compute_loss(adapted, batch)
        for trainer, batch in (
            trainer_of(adapted, tmp_path, 1.0, TEXTS),
            trainer_of(adapted, tmp_path, 1.0, (), [episode]),
        )
    ]
    trainer, batch = trainer_of(adapted, tmp_path, 1.0, TEXTS, [episode])
    together = trainer.compute_loss(adapted, batch)
    assert together.item() == pytest.approx(sum(alone).item(), rel=1e-4)
    trainer, batch = trainer_of(adapted, tmp_path, 0.0, TEXTS, [episode])
    assert trainer.compute_loss(adapted, batch).item() == pytest.approx(alone[1].item(), rel=1e-4)
