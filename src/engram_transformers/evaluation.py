"""Asking facts: what greedy decoding says, whole answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import GenerationConfig

from engram_transformers.active import use_tables
from engram_transformers.attachment import require_attachment
from engram_transformers.errors import HistoryError
from engram_transformers.partial_model import takes_positions
from engram_transformers.sequences import Wording
from engram_transformers.table import UserTable

_BATCH = {"cpu": 32}
"""There larger ones take longer, since all of a batch is as long as its longest."""
_LARGE_BATCH = 1024
"""Elsewhere, where a step costs the same for many as for one."""
_LOGITS_AT_ONCE = 1 << 27
"""Of one pass: half a gigabyte in float32."""
_CLEAR = 1.0
"""By how many logits a token must lead in one pass, so that generation would say it, too: many
times what cached and batched arithmetic differ by."""
_COMPARED = 8
"""So many answers of a model are both read in one pass and generated before the pass is trusted."""
_STEERING = (
    "suppress_tokens",
    "begin_suppress_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "bad_words_ids",
    "sequence_bias",
    "min_length",
    "min_new_tokens",
    "exponential_decay_length_penalty",
    "encoder_repetition_penalty",
    "encoder_no_repeat_ngram_size",
    "guidance_scale",
    "watermarking_config",
)
"""Settings of a model by which `generate` says something else than what wins; they stay on."""


class Said(NamedTuple):
    """What a model says.

    Attributes:
        tokens: As many as the wording has targets.
        margin: By how many logits each token led the next best, at its weakest.
        then: The token that it says behind them.
    """

    tokens: tuple[int, ...]
    margin: float
    then: int


def ask(
    model: nn.Module,
    tables: UserTable | Sequence[UserTable] | None,
    wordings: Sequence[Wording],
    on_batch: Callable[[int], None] | None = None,
    *,
    one_pass: bool = True,
) -> list[Said]:
    """Say what cached greedy generation makes of prompts: a token more than each answer has.

    Where one pass over a prompt with its answer shows that each token of the answer would win, and
    clearly, generation would say the same, and is spared. The first answers that a patched model
    wins so are generated too; if one of them comes out otherwise, all are, from then on.

    Args:
        model: A patched model.
        tables: The table to read, or one for each wording; None asks the model without one.
        wordings: What to ask.
        on_batch: Called with the number of wordings answered at each step.
        one_pass: Whether that is enough where it is clear; False: everything is generated.

    Returns:
        For each wording, what the model says.
    """
    asked = _Asked(model, tables, wordings, on_batch)
    attachment = asked.attachment
    # Without a table, no answer is expected to win.
    one_pass = one_pass and tables is not None and attachment.one_pass_agrees is not False
    if one_pass and not _is_steered(model):
        clear = asked.read_through()
        if attachment.one_pass_agrees is None and clear:
            sample = list(clear)[:: max(len(clear) // _COMPARED, 1)][:_COMPARED]
            asked.generate(sample)
            attachment.one_pass_agrees = all(
                asked.said[number].tokens == clear[number].tokens for number in sample
            )
        if attachment.one_pass_agrees:
            asked.take(clear)
    asked.generate(range(len(wordings)))
    return [asked.said[number] for number in range(len(wordings))]


def is_recalled(wording: Wording, said: Said) -> bool:
    """Say whether the whole answer, with its stop, was said."""
    return said.tokens == wording.targets


def _is_steered(model: Any) -> bool:
    """Say whether a model's own settings change what `generate` says."""
    return any(getattr(model.generation_config, name, None) for name in _STEERING)


class _Asked:
    """Wordings that are being asked.

    Attributes:
        said: The number of a wording -> what the model says.
        attachment: The model's patch.
    """

    def __init__(
        self,
        model: Any,
        tables: UserTable | Sequence[UserTable] | None,
        wordings: Sequence[Wording],
        on_batch: Callable[[int], None] | None,
    ) -> None:
        self.said: dict[int, Said] = {}
        self._model = model
        self._tables = tables
        self._wordings = wordings
        self._on_batch = on_batch
        self.attachment = require_attachment(model)
        self._size = _BATCH.get(self.attachment.device.type, _LARGE_BATCH)
        given = inspect.signature(type(model).forward).parameters
        self._keeps_logits = "logits_to_keep" in given
        self._takes_positions = takes_positions(self.attachment)

    def take(self, found: Mapping[int, Said]) -> None:
        """Take answers that are not there yet."""
        new = {number: one for number, one in found.items() if number not in self.said}
        self.said |= new
        if self._on_batch is not None and new:
            self._on_batch(len(new))

    def generate(self, numbers: Iterable[int]) -> None:
        """Generate the answers that are not there yet."""
        numbers = self._alike(number for number in numbers if number not in self.said)
        for first in range(0, len(numbers), self._size):
            part = numbers[first : first + self._size]
            with self._reading(part):
                found = _generate(self._model, [self._wordings[n] for n in part])
            self.take(dict(zip(part, found, strict=True)))

    def read_through(self) -> dict[int, Said]:
        """Run prompts with their answers, and return the answers that are clearly won."""
        numbers = self._alike(range(len(self._wordings)))
        clear: dict[int, Said] = {}
        while numbers:
            count = self._count(numbers)
            part, numbers = numbers[:count], numbers[count:]
            with self._reading(part):
                found = self._run([self._wordings[n] for n in part])
            clear.update(
                (n, one)
                for n, one in zip(part, found, strict=True)
                if one.margin >= _CLEAR and is_recalled(self._wordings[n], one)
            )
        return clear

    def _count(self, numbers: Sequence[int]) -> int:
        """Return how many of the next wordings may be run at once."""
        wordings = [self._wordings[n] for n in numbers[: self._size]]
        positions = len(wordings[-1].targets) + 1
        if not self._keeps_logits:
            positions += max(len(wording.prompt_ids) for wording in wordings)
        most = _LOGITS_AT_ONCE // (positions * self.attachment.canonical.numel())
        return max(min(most, len(wordings)), 1)

    def _run(self, wordings: Sequence[Wording]) -> list[Said]:
        """Say what wins behind each prompt and each of its targets."""
        sequences = [wording.prompt_ids + wording.targets for wording in wordings]
        ids, mask = left_padded(sequences, self.attachment.device)
        kept = max(len(wording.targets) for wording in wordings) + 1
        given: dict[str, Any] = {"attention_mask": mask, "use_cache": False, "return_dict": True}
        if self._takes_positions:
            given["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)
        if self._keeps_logits:
            given["logits_to_keep"] = kept
        with torch.compiler.set_stance("force_eager"):
            logits = self._model(input_ids=ids, **given).logits[:, -kept:]
        best = logits.float().topk(2)  # (wordings, kept, 2)
        winners: list[list[int]] = best.indices[..., 0].tolist()
        leads = best.values[..., 0] - best.values[..., 1]
        said: list[Said] = []
        for line, lead, wording in zip(winners, leads.tolist(), wordings, strict=True):
            first = kept - 1 - len(wording.targets)
            said.append(Said(tuple(line[first:-1]), min(lead[first:-1]), line[-1]))
        return said

    @contextmanager
    def _reading(self, numbers: Sequence[int]) -> Generator[None]:
        tables = self._tables
        active = [tables[n] for n in numbers] if isinstance(tables, Sequence) else tables
        with use_tables(self._model, active), torch.inference_mode():
            yield

    def _alike(self, numbers: Iterable[int]) -> list[int]:
        """Put alike lengths together, so that little is computed in vain."""

        def lengths(number: int) -> tuple[int, int]:
            wording = self._wordings[number]
            return len(wording.targets), len(wording.prompt_ids)

        return sorted(numbers, key=lengths)


def _generate(model: Any, wordings: Sequence[Wording]) -> list[Said]:
    attachment = require_attachment(model)
    ids, mask = left_padded([wording.prompt_ids for wording in wordings], attachment.device)
    # Neither sampling nor penalties nor an early end, whatever the model's own settings are: what
    # is None here would be taken from those. Ids end at the vocabulary's size, so this end of text
    # never comes, and the real one, which chat answers close with, is a token like any other.
    longest = max(len(wording.targets) for wording in wordings) + 1
    # Some models force a closing token into the last place.
    forced = model.generation_config.forced_eos_token_id is not None
    settings = GenerationConfig(
        max_new_tokens=longest + forced,
        do_sample=False,
        num_beams=1,
        num_return_sequences=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        pad_token_id=0,
        eos_token_id=attachment.canonical.numel(),
        use_cache=True,
        return_dict_in_generate=False,
    )
    leads = _Leads()
    given = {"input_ids": ids, "attention_mask": mask, "generation_config": settings}
    try:
        output = model.generate(**given, logits_processor=[leads])
    except HistoryError:  # a cache of the model's own kind, with which tokens can't be followed
        settings.use_cache = False
        leads.clear()
        output = model.generate(**given, logits_processor=[leads])
    generated: list[list[int]] = output[:, ids.shape[1] :].tolist()
    margins: list[list[float]] = torch.stack(leads, dim=1).tolist()
    said: list[Said] = []
    for tokens, margin, wording in zip(generated, margins, wordings, strict=True):
        count = len(wording.targets)
        said.append(Said(tuple(tokens[:count]), min(margin[:count]), tokens[count]))
    return said


class _Leads(list[torch.Tensor]):
    """A logits processor that changes nothing and notes by how much the best token leads."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        best, place = scores.max(dim=1, keepdim=True)
        others = scores.scatter(1, place, float("-inf"))
        self.append(best[:, 0].float() - others.amax(1).float())
        return scores


def left_padded(
    sequences: Sequence[Sequence[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack sequences of ids, padding on the left.

    Args:
        sequences: At least one.
        device: Where to.

    Returns:
        (batch, longest) int64 ids, 0 at padding, and the attention mask, int64.
    """
    longest = max(len(sequence) for sequence in sequences)
    ids = [[0] * (longest - len(sequence)) + list(sequence) for sequence in sequences]
    mask = [[0] * (longest - len(sequence)) + [1] * len(sequence) for sequence in sequences]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
