"""A memory that you can write, for any Hugging Face causal language model."""

import importlib
from typing import TYPE_CHECKING, Any

from engram_transformers.active import engram_disabled, use_tables
from engram_transformers.banks.loading import load_engram
from engram_transformers.banks.offloading import offload_banks
from engram_transformers.banks.saving import push_engram_to_hub, save_engram
from engram_transformers.config import EngramConfig
from engram_transformers.errors import EngramError
from engram_transformers.explaining import explain
from engram_transformers.explanation import Explanation
from engram_transformers.facts import Fact
from engram_transformers.lora import attach_shared_lora, detach_shared_lora
from engram_transformers.patching import add_engram, remove_engram
from engram_transformers.report import EraseReceipt, WriteReport
from engram_transformers.skill.aliases import with_aliases
from engram_transformers.skill.answering import Answer, answer
from engram_transformers.skill.checking import check_episode
from engram_transformers.skill.episodes import Episode
from engram_transformers.skill.episodes_file import read_episodes, save_episodes
from engram_transformers.skill.keys import named_fact, recall_key
from engram_transformers.skill.shipped import shipped_skill
from engram_transformers.skill.teachers import EndpointTeacher, ModelTeacher
from engram_transformers.skill.training import train_shared_lora
from engram_transformers.skill.writing_episodes import WrittenEpisodes, write_episodes
from engram_transformers.table import UserTable
from engram_transformers.writing_many import ManyWritten, write_many

if TYPE_CHECKING:
    from engram_transformers.training.mixin import EngramTrainerMixin
    from engram_transformers.training.trainer import EngramTrainer

__version__ = "0.1.0"

# Imported when first asked for, as they import accelerate.
_LAZY = {
    "EngramTrainer": "engram_transformers.training.trainer",
    "EngramTrainerMixin": "engram_transformers.training.mixin",
}

__all__ = [
    "Answer",
    "EndpointTeacher",
    "EngramConfig",
    "EngramError",
    "EngramTrainer",
    "EngramTrainerMixin",
    "Episode",
    "EraseReceipt",
    "Explanation",
    "Fact",
    "ManyWritten",
    "ModelTeacher",
    "UserTable",
    "WriteReport",
    "WrittenEpisodes",
    "add_engram",
    "answer",
    "attach_shared_lora",
    "check_episode",
    "detach_shared_lora",
    "engram_disabled",
    "explain",
    "load_engram",
    "named_fact",
    "offload_banks",
    "push_engram_to_hub",
    "read_episodes",
    "recall_key",
    "remove_engram",
    "save_engram",
    "save_episodes",
    "shipped_skill",
    "train_shared_lora",
    "use_tables",
    "with_aliases",
    "write_episodes",
    "write_many",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
