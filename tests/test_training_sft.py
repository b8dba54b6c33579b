"""EngramTrainerMixin before TRL's SFTTrainer, with and without packing."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import tiny
from bank_training import SETTINGS, bank_weights, base_weights, is_same, with_new_banks
from peft import LoraConfig

from engram_transformers import EngramTrainerMixin
from engram_transformers.attachment import require_attachment
from engram_transformers.banks.description import CONFIG_NAME
from engram_transformers.banks.file_errors import NoBanksError
from engram_transformers.calls import current_call
from engram_transformers.lora import ENGRAM_MODULES

MISSING = [name for name in ("trl", "datasets") if importlib.util.find_spec(name) is None]
# What transformers (5.23), PEFT (0.21) and TRL (1.16) say of each other.
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory:UserWarning"),
]
TEXTS = [
    "Mira's favourite spice is cardamom.",
    "The library opens at nine.",
    "Pepper is a dog.",
] * 4


def sft_trainer(folder, model: Any, **settings: Any) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    class EngramSFTTrainer(EngramTrainerMixin, SFTTrainer):
        pass

    options = {
        name: settings.pop(name) for name in ("freeze_base", "peft_config") if name in settings
    }
    args = SFTConfig(str(folder), max_length=24, bf16=False, **{**SETTINGS, **settings})
    data = Dataset.from_list([{"text": text} for text in TEXTS])
    tokenizer = tiny.tiny_tokenizer()
    return EngramSFTTrainer(
        model, args=args, train_dataset=data, processing_class=tokenizer, **options
    )


@pytest.mark.parametrize("freeze_base", [True, False])
@pytest.mark.parametrize("lora", [False, True])
def test_sft_trains_banks(tmp_path, lora, freeze_base):
    config = LoraConfig(
        task_type="CAUSAL_LM", target_modules="all-linear", exclude_modules=ENGRAM_MODULES
    )
    given = {"peft_config": config} if lora else {}
    model = with_new_banks()
    trainer = sft_trainer(
        tmp_path, model, freeze_base=freeze_base, save_strategy="steps", save_steps=2, **given
    )
    banks, base = bank_weights(trainer.model), base_weights(trainer.model)
    trainer.train()
    assert not is_same(bank_weights(trainer.model), banks)
    assert is_same(base_weights(trainer.model), base) == freeze_base
    assert (tmp_path / "checkpoint-2" / CONFIG_NAME).exists()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert all("engram/reuse_rate" in entry for entry in logs)
    again = sft_trainer(tmp_path / "again", with_new_banks(), freeze_base=freeze_base, **given)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert is_same(bank_weights(again.model), bank_weights(trainer.model))


@pytest.mark.filterwarnings("ignore:.*[Pp]adding-free:UserWarning")
def test_packed_sequences_read_what_they_read_alone(tmp_path):
    seen, sequences = {}, {}
    for packing in (False, True):
        model = with_new_banks(memory_size=4000)
        attachment = require_attachment(model)
        read = seen[packing] = set()
        starts = sequences[packing] = []

        def note(bank, args, attachment=attachment, read=read, starts=starts):
            call = current_call(attachment)
            read |= set(map(tuple, args[1][~call.banks.padding].tolist()))
            starts.append(int(call.banks.starts.sum()) / len(call.banks.starts))

        attachment.banks[1].register_forward_pre_hook(note)
        sft_trainer(
            tmp_path, model, packing=packing, padding_free=packing, max_steps=3, learning_rate=1e-9
        ).train()
    assert max(sequences[False]) <= 1 < max(sequences[True])
    assert len(seen[True]) > 10
    assert seen[True] <= seen[False]


def test_a_name_of_a_model_is_refused(tmp_path):
    with pytest.raises(NoBanksError, match="not its name"):
        sft_trainer(tmp_path, "some/model")
