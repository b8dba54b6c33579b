"""`explain`: which row of whose table was read at which token, and what that changed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from engram_transformers.active import Frame, TablesOfSample, frame_of, use_tables
from engram_transformers.attachment import Attachment, require_attachment
from engram_transformers.banks.activity import BankMeasures, measuring
from engram_transformers.buckets.errors import BucketExplanationError
from engram_transformers.coded_ids import PADDING, encode
from engram_transformers.errors import ConfigError, TableCountError
from engram_transformers.explain_changes import changes_at
from engram_transformers.explain_facts import Meaning, meanings_of
from engram_transformers.explain_inputs import ExplainInputs, model_arguments
from engram_transformers.explain_reads import Candidate, Read, Recorder
from engram_transformers.explanation import Explanation, Firing, FoundRow, SequenceExplanation
from engram_transformers.lora import public_name
from engram_transformers.table import UserTable


def explain(
    model: nn.Module,
    inputs: ExplainInputs,
    tables: UserTable | Sequence[TablesOfSample] | None,
    *,
    top: int = 5,
) -> Explanation:
    """Say which rows fire in a text, whose they are, and what they change.

    The model reads the text twice: with the tables and without. What is reported is what its
    memories and banks were given and what they added in the first of these forwards. Nothing stays
    on the model. Dropout is switched off meanwhile, and a model that `torch.compile` wraps runs as
    it is without.

    Args:
        model: A patched model, also within a PEFT wrapper.
        inputs: A text; chat messages (with the assistant's turn begun, unless the last message is
            the assistant's); token ids as a list or as a tensor, (seq,) or (batch, seq); what a
            tokenizer returns; or a list of texts, of chats or of lists of token ids.
        tables: As in `use_tables`: one table, or a sequence with one entry per sequence of the
            batch, each a table, None, or tables with the strongest first. None: no table.
        top: How many of the most likely next tokens are compared.

    Returns:
        One `SequenceExplanation` per sequence, also if there is only one. A text in which nothing
        fires has no firings and no changes.

    Raises:
        NotPatchedError: If the model has no memories.
        ConfigError: If `inputs` is none of the above or has ids that the model does not know, `top`
            is not positive, or a part of the model is compiled by itself.
        FactError: If a chat has no text, or the tokenizer has no chat template.
        TableMismatchError: If a table belongs to another model, tokenizer, configuration or LoRA.
        TableCountError: If the batch has another number of sequences than there are entries.
        BucketExplanationError: If a table has `addressing="bucket"`.
        PatchError: If hooks or blocks of the patch were removed.

    Example:
        >>> from engram_transformers import explain
        >>> def whose(model, text, tables):
        ...     return {firing.owner for firing in explain(model, text, tables).firings}
    """
    attachment = require_attachment(model)
    if type(top) is not int or top < 1:
        raise ConfigError("top", top, "a positive number of tokens")
    arguments = model_arguments(attachment, inputs)
    # Tables may be written to while the model runs; these copies stay as they are.
    frozen = _frozen(tables)
    call = _uncompiled(model)
    batch = len(arguments["input_ids"])
    if isinstance(frozen, list) and len(frozen) != batch:
        raise TableCountError(len(frozen), batch)
    with attachment.evaluating(), torch.inference_mode():
        with use_tables(model, frozen):
            frame = frame_of(attachment)
            with _recording(attachment, frame) as recorder, measuring(attachment) as banks:
                after = _logits(call, arguments)
            _require_recorded(attachment, recorder)
        with use_tables(model, None):
            before = _logits(call, arguments)
        real = (encode(arguments["input_ids"], arguments) != PADDING).cpu()  # (batch, seq)
        ids = arguments["input_ids"].cpu()
        reader = _Reader(attachment, frame, recorder.reads, banks, ids, top)
        sequences = tuple(
            reader.explain(number, real[number], before[number], after[number])
            for number in range(len(real))
        )
    name = public_name(getattr(attachment.model, "name_or_path", ""))
    return Explanation(name or type(attachment.model).__name__, sequences)


class _Reader:
    """Turns what was recorded into explanations, one sequence at a time."""

    def __init__(
        self,
        attachment: Attachment,
        frame: Frame | None,
        reads: Sequence[Read],
        banks: Mapping[int, BankMeasures],
        input_ids: Tensor,
        top: int,
    ) -> None:
        self.attachment = attachment
        self.frame = frame
        self.reads = reads
        self.banks = banks
        self.input_ids = input_ids
        self.top = top
        self.meanings = {
            table: meanings_of(
                attachment,
                table,
                {c.address for read in reads for c in read.candidates if c.table is table},
            )
            for table in ({} if frame is None else dict.fromkeys(frame.tables))
        }

    def explain(
        self, number: int, real: Tensor, before: Tensor, after: Tensor
    ) -> SequenceExplanation:
        """Explain one sequence.

        Args:
            number: Which one of the batch.
            real: (seq,) bool, False at padding.
            before: (seq, vocab) logits without the tables.
            after: The same with them.
        """
        places: list[int] = real.nonzero()[:, 0].tolist()
        ids: list[int] = self.input_ids[number, places].tolist()
        tokens = [self._decode(token_id) for token_id in ids]
        position_of = {place: position for position, place in enumerate(places)}
        reads = [read for read in self.reads if read.sequence == number]
        reads.sort(key=lambda read: (read.place, read.layer))
        firings = tuple(self._firing(read, position_of[read.place], tokens, ids) for read in reads)
        differ = (before != after).any(dim=-1).cpu()
        changed = [position for place, position in position_of.items() if differ[place]]
        asked = {firing.position for firing in firings} | {len(ids) - 1}
        shown = [position for position in changed if position in asked]
        rows = [places[position] for position in shown]
        changes = changes_at(
            shown,
            [tokens[position] for position in shown],
            before[rows].cpu(),
            after[rows].cpu(),
            self.top,
            self._decode,
        )
        return SequenceExplanation(
            tuple(ids),
            tuple(tokens),
            tuple(sorted(self.attachment.memories)),
            self._owners(number),
            firings,
            changes,
            tuple(changed),
            tuple(
                measures.of_sequence(layer, number, places)
                for layer, measures in sorted(self.banks.items())
            ),
        )

    def _firing(
        self, read: Read, position: int, tokens: Sequence[str], ids: Sequence[int]
    ) -> Firing:
        canonical = self.attachment.canonical_list
        text = [canonical[i] for i in ids[: position + 1]]
        won, *others = (self._row(candidate, text) for candidate in read.candidates)
        return Firing(
            **won,
            position=position,
            token=tokens[position],
            layer=read.layer,
            gate=read.gate,
            added=read.added,
            hidden=read.hidden,
            shadowed=tuple(FoundRow(**other) for other in others),
        )

    def _row(self, candidate: Candidate, text: Sequence[int]) -> dict[str, Any]:
        """Describe a row by its table, and by the wording that agrees with the text furthest."""
        meanings = self.meanings[candidate.table].get(candidate.address, [])
        best: Meaning | None = max(meanings, key=lambda m: m.agreement(text), default=None)
        shared = dict.fromkeys(m.fact for m in meanings if best is not None and m.fact != best.fact)
        return {
            "owner": candidate.table.owner,
            "place": candidate.place,
            "row": candidate.row,
            "address": candidate.address,
            "order": candidate.order,
            "fact": None if best is None else best.fact,
            "prompt": None if best is None else best.prompt,
            "part": None if best is None else best.part,
            "parts": None if best is None else len(best.wording.targets),
            "target": None if best is None else self._decode(best.wording.targets[best.part]),
            "agreeing": None if best is None else best.agreement(text),
            "length": None if best is None else len(best.read),
            "shared_with": tuple(shared),
        }

    def _owners(self, number: int) -> tuple[str, ...]:
        frame = self.frame
        if frame is None:
            return ()
        own = range(len(frame.tables)) if frame.samples is None else frame.samples[number]
        return tuple(frame.tables[table].owner for table in own)

    def _decode(self, token_id: int) -> str:
        return cast(Any, self.attachment.tokenizer).decode([token_id])


def _frozen(
    tables: UserTable | Sequence[TablesOfSample] | None,
) -> UserTable | list[TablesOfSample] | None:
    """Copy tables, each once, with the rows and facts that they have now."""
    copies: dict[int, Any] = {}

    def of(table: Any) -> Any:  # what is no table is for `use_tables` to refuse
        if isinstance(table, UserTable) and table.buckets is not None:
            raise BucketExplanationError(table.owner)
        if id(table) not in copies:
            copies[id(table)] = copy.copy(table) if isinstance(table, UserTable) else table
        return copies[id(table)]

    if tables is None or isinstance(tables, UserTable):
        return of(tables)
    return [
        of(entry) if entry is None or isinstance(entry, UserTable) else [of(t) for t in entry]
        for entry in tables
    ]


@contextmanager
def _recording(attachment: Attachment, frame: Frame | None) -> Generator[Recorder]:
    """Note what memories read until the block ends."""
    recorder = Recorder(attachment, frame)
    handles = [m.register_forward_hook(recorder) for m in attachment.memories.values()]
    try:
        yield recorder
    finally:
        for handle in handles:
            handle.remove()


def _uncompiled(model: nn.Module) -> Callable[..., Any]:
    """Return the model itself, not what `torch.compile` made of it: compiled code has no hooks.

    Raises:
        ConfigError: If a part of it is compiled by itself.
    """
    whole: Any = getattr(model, "_orig_mod", model)
    for name, module in whole.named_modules():
        own_forward = getattr(module.__dict__.get("forward"), "_torchdynamo_orig_callable", None)
        wrapped = "_orig_mod" in module._modules
        if own_forward is not None or wrapped or (name and module._compiled_call_impl is not None):
            raise _refusal(whole, f"its {name}" if name else "its forward")
    return whole if whole._compiled_call_impl is None else whole._call_impl


def _logits(call: Callable[..., Any], arguments: dict[str, Any]) -> Tensor:
    output = call(**arguments)
    return output[0] if isinstance(output, tuple) else output.logits


def _require_recorded(attachment: Attachment, recorder: Recorder) -> None:
    """Raise if a memory with rows ran without the hook."""
    frame = recorder.frame
    for layer in attachment.memories:
        if frame is not None and frame.has_rows(layer) and layer not in recorder.layers:
            raise _refusal(attachment.model, f"decoder block {layer}")


def _refusal(model: nn.Module, part: str) -> ConfigError:
    return ConfigError(
        "model",
        type(model).__name__,
        f"one of which no part is compiled by itself: {part} runs as compiled code, in which rows"
        " can't be seen",
    )
