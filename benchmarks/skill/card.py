"""What stands beside a trained adapter: a small configuration, and a model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_KEPT = (
    "peft_type",
    "task_type",
    "base_model_name_or_path",
    "r",
    "lora_alpha",
    "lora_dropout",
    "bias",
    "fan_in_fan_out",
    "inference_mode",
    "target_modules",
)
"""What a LoRA of linear layers needs; other fields differ between versions of PEFT."""

_CARD = Path(__file__).with_name("card.md")


def write_card(folder: Path, model: str, facts: dict[str, Any]) -> None:
    """Bring an adapter's configuration down to what is needed, and write its model card.

    Args:
        folder: Of the adapter.
        model: Hub id of the model that it is for.
        facts: What else the card says: options, episodes, kinds, ordinary, seconds, device, commit.
    """
    path = folder / "adapter_config.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    config = {name: whole[name] for name in sorted(_KEPT) if name in whole}
    config["base_model_name_or_path"] = model
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    size = (folder / "adapter_model.safetensors").stat().st_size
    card = _CARD.read_text(encoding="utf-8").format(
        model=model,
        name=model.rpartition("/")[2],
        rank=config["r"],
        megabytes=size / 1e6,
        folder=f"skills/{folder.resolve().name}",
        **facts,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
