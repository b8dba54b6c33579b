"""Errors, each of them ours and Python's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class EngramError(Exception):
    """Base of every error that this library raises on purpose.

    They can be pickled, so that they come out of worker processes by their own names.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are pickled as calls with their message, which is not what ours take.
        fields = self.__dict__.copy()
        if isinstance(self, OSError):
            fields["errno"] = self.errno  # kept outside of the dictionary
        return _restored, (type(self), self.args, fields)


def _restored(
    kind: type[EngramError], args: tuple[Any, ...], fields: dict[str, Any]
) -> EngramError:
    error = kind.__new__(kind, *args)
    error.args = args
    for name, value in fields.items():
        setattr(error, name, value)
    return error


def listed(sentences: Sequence[str], most: int | None = None) -> str:
    """Return sentences as a list in a message, each on a line of its own.

    Args:
        sentences: What happened or differs.
        most: How many are shown; the rest is counted. None shows all.
    """
    shown = sentences[:most]
    rest = len(sentences) - len(shown)
    more = [f"and {rest} more"] if rest else []
    return "".join(f"\n- {sentence}" for sentence in [*shown, *more])


class OrderError(EngramError, ValueError):
    """A suffix order (n-gram length) is outside what the hasher computes.

    Attributes:
        name: The argument at fault, `order` or `max_order`.
        order: The value seen.
        highest: The largest value allowed.
    """

    def __init__(self, name: str, order: int, highest: int) -> None:
        super().__init__(f"`{name}` is {order}, but must be in 1 to {highest}.")
        self.name = name
        self.order = order
        self.highest = highest


class HashSeedError(EngramError, ValueError):
    """A hash seed does not fit into 64 unsigned bits.

    Attributes:
        seed: The value seen.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(f"The hash seed is {seed}, but must be in 0 to 2**64 - 1.")
        self.seed = seed


class HashDtypeError(EngramError, TypeError):
    """A tensor given to the hasher is not int64.

    Attributes:
        name: The argument at fault.
        dtype: Its dtype, as text.
    """

    def __init__(self, name: str, dtype: str) -> None:
        super().__init__(f"`{name}` is {dtype}, but must be torch.int64: convert it with .long().")
        self.name = name
        self.dtype = dtype


class HashShapeError(EngramError, ValueError):
    """A tensor given to the hasher, or the number of positions asked for, has a wrong size.

    Attributes:
        seen: The shape or number seen.
    """

    def __init__(self, message: str, *, seen: int | tuple[int, ...]) -> None:
        super().__init__(message)
        self.seen = seen


class VocabSizeError(EngramError, ValueError):
    """A vocabulary size is not a positive number.

    Attributes:
        vocab_size: The value seen.
    """

    def __init__(self, vocab_size: int) -> None:
        super().__init__(
            f"vocab_size is {vocab_size}, but must be at least 1: give the number of rows of the"
            " model's input embedding."
        )
        self.vocab_size = vocab_size


class PretrainedModelError(EngramError, OSError):
    """A pretrained model or its tokenizer could not be found, fetched or loaded.

    Attributes:
        name: The folder or Hub id that was asked for.
        attempts: What was tried, in order, each with the reason why it failed.
        advice: What to do about it.
    """

    def __init__(self, name: str, attempts: Sequence[str], advice: str) -> None:
        tried = listed(attempts)
        super().__init__(f"Model {name!r} could not be loaded. Tried:{tried}\n{advice}")
        self.name = name
        self.attempts = tuple(attempts)
        self.advice = advice


class ConfigError(EngramError, ValueError):
    """A value of the configuration or of an option is not allowed.

    Attributes:
        field: The name at fault.
        value: The value seen.
    """

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"`{field}` is {value!r}, but must be {expected}.")
        self.field = field
        self.value = value


class ConfigFieldError(EngramError, TypeError):
    """A configuration field does not exist.

    Attributes:
        unknown: The names that were given.
        known: The names that exist.
    """

    def __init__(self, unknown: Sequence[str], known: Sequence[str]) -> None:
        super().__init__(
            f"Unknown configuration field(s): {', '.join(unknown)}. Known: {', '.join(known)}."
        )
        self.unknown = tuple(unknown)
        self.known = tuple(known)


class PatchError(EngramError, RuntimeError):
    """A model can't be patched or unpatched as asked; it is as it was."""


class LayerIndexError(PatchError, IndexError):
    """A decoder block does not exist.

    Attributes:
        layer: The index asked for.
        blocks: How many decoder blocks there are.
    """

    def __init__(self, layer: int, blocks: int, model_name: str) -> None:
        super().__init__(
            f"Layer {layer} does not exist: {model_name} has {blocks} decoder blocks (0 to"
            f" {blocks - 1}). Negative indices count from the end."
        )
        self.layer = layer
        self.blocks = blocks


class AlreadyPatchedError(PatchError):
    """The model has memories already."""

    def __init__(self, model_name: str, layers: Sequence[int]) -> None:
        super().__init__(
            f"{model_name} is patched already, at layers {list(layers)}. To change them, call"
            " remove_engram(model) first; several layers go into one add_engram call."
        )
        self.layers = tuple(layers)


class NotPatchedError(PatchError):
    """The model has no memories."""

    def __init__(self, model_name: str) -> None:
        super().__init__(f"{model_name} has no engram memories: call add_engram(model) first.")


class DamagedPatchError(PatchError):
    """Blocks or hooks of a patched model were replaced or removed, so rows would not be read."""

    def __init__(self, model_name: str, what: str) -> None:
        super().__init__(
            f"The patch of {model_name} is damaged: {what}. Rows would not be read. Call"
            " remove_engram(model), then add_engram(model, tokenizer) again."
        )


class SkippedBlockError(PatchError):
    """The model ran without a block whose memory has rows, or that has a bank: nothing was read.

    Attributes:
        layer: The block.
    """

    def __init__(self, layer: int, model_name: str) -> None:
        super().__init__(
            f"{model_name} did not run decoder block {layer}, whose memory has rows to read (a"
            " block that text alone does not go through?). Patch it at another layer:"
            " remove_engram(model), then add_engram(model, tokenizer, layers=…)."
        )
        self.layer = layer


class UnsupportedModelError(PatchError, TypeError):
    """The model's architecture is not one that the library is known to be right on.

    Attributes:
        model_type: `config.model_type`, or the class name where there is none.
    """

    def __init__(self, model_type: str, reason: str) -> None:
        super().__init__(f"Model type {model_type!r} is not supported: {reason}")
        self.model_type = model_type


class TokenizerMismatchError(PatchError, ValueError):
    """There is no tokenizer, or it does not fit the model."""


class HistoryError(EngramError, RuntimeError):
    """The tokens before a position are unknown, so a memory that has rows can't be read there."""


class MissingInputIdsError(HistoryError, ValueError):
    """The model was called without `input_ids`."""

    def __init__(self) -> None:
        super().__init__(
            "A table is active or the model has a bank, but it was called without input_ids (with"
            " inputs_embeds or prompt tuning?): embeddings do not say which tokens lead up to a"
            " position. Pass input_ids, leave the use_tables block, or switch the bank off"
            " (engram_disabled)."
        )


class CacheHistoryError(HistoryError):
    """A cache holds tokens that the memories never saw.

    Attributes:
        cached: Tokens in the cache, None if it does not say how many.
        seen: How many of them the memories saw.
    """

    def __init__(self, cached: int | None, seen: int) -> None:
        count = "" if cached is None else f"{cached} "
        super().__init__(
            f"The cache holds {count}tokens, of which the memories saw {seen}: it was filled before"
            " add_engram, without input_ids, by prefix tuning, or while banks were switched off."
            " Start from an empty cache."
        )
        self.cached = cached
        self.seen = seen


class UnsupportedCacheError(HistoryError, TypeError):
    """A cache can't carry the token history."""

    def __init__(self, cache_type: str, reason: str) -> None:
        super().__init__(f"Token history can't follow a cache of type {cache_type}: {reason}")
        self.cache_type = cache_type


class ExportError(EngramError, RuntimeError):
    """A model can't be exported, traced or captured as a CUDA graph while tables are active."""

    def __init__(self) -> None:
        super().__init__(
            "Tables are active, and an exported or traced program or a captured CUDA graph can't"
            " read them: it would replay what was read once. Leave the use_tables block (what is"
            " exported is then the bare model), or switch CUDA graphs off."
        )


class TableError(EngramError):
    """Something is wrong with a table or its use; nothing has changed."""


class TableCountError(TableError, ValueError):
    """The number of tables does not fit the batch.

    Attributes:
        tables: Samples that tables were given for.
        batch: Samples in the batch.
    """

    def __init__(self, tables: int, batch: int, reason: str = "") -> None:
        super().__init__(
            f"Tables were given for {tables} sample(s), but the batch has {batch}."
            f"{' ' + reason if reason else ''} Give one entry (a table, None or a list of tables)"
            " per sample, or a single table for all."
        )
        self.tables = tables
        self.batch = batch


class TableMismatchError(TableError, ValueError):
    """A table belongs to another model, tokenizer, configuration or shared LoRA.

    Attributes:
        owner: The table's owner.
        differences: What differs, one sentence each.
    """

    def __init__(self, owner: str, differences: Sequence[str], advice: str) -> None:
        seen = listed(differences)
        super().__init__(f"The table of {owner!r} does not fit this model:{seen}\n{advice}")
        self.owner = owner
        self.differences = tuple(differences)


class TableFileError(TableError, OSError):
    """A table on disk is missing, damaged or not a table; nothing was loaded.

    Attributes:
        path: The file or folder.
        problems: Everything that is wrong, one sentence each.
    """

    def __init__(self, path: object, problems: Sequence[str]) -> None:
        super().__init__(f"{path} is not a table that can be loaded:{listed(problems, 20)}")
        self.path = str(path)
        self.problems = tuple(problems)


class TableSaveError(TableError, OSError):
    """A table could not be saved; what was on the disk before still is.

    Attributes:
        path: The folder.
        errno: The system's error number, None if the system did not refuse.
    """

    def __init__(self, owner: str, path: object, reason: str, errno: int | None = None) -> None:
        super().__init__(
            f"The table of {owner!r} can't be saved to {path}: {reason}. Nothing there has changed."
        )
        self.path = str(path)
        self.errno = errno


class HubError(TableError, OSError):
    """The Hub refused, or could not be reached.

    Attributes:
        repo_id: The repository.
    """

    def __init__(self, repo_id: str, action: str, reason: str, advice: str) -> None:
        super().__init__(f"{repo_id!r} can't be {action} the Hub: {reason} {advice}")
        self.repo_id = repo_id


class FactError(TableError, ValueError):
    """A fact can't be written as it is given.

    Attributes:
        fact: The fact, as it was given.
    """

    def __init__(self, fact: object, reason: str) -> None:
        super().__init__(f"{fact!r} can't be written: {reason}")
        self.fact = fact


class EmptyFactError(FactError):
    """A prompt or an answer is empty, or comes to no tokens."""


class TriggerTooLongError(FactError):
    """A prompt with its answer is longer than the model's context window."""


class ContradictionError(FactError):
    """Two facts of one call have the same trigger and different answers."""


class FactNotFoundError(TableError, KeyError):
    """A fact to be erased is not in the table.

    Attributes:
        missing: What was asked for.
    """

    def __init__(self, owner: str, missing: Sequence[str]) -> None:
        super().__init__(f"The table of {owner!r} holds no fact for: {', '.join(missing)}.")
        self.missing = tuple(missing)

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the quotes of repr


class LedgerMissingError(TableError, RuntimeError):
    """The table was saved without its texts, so facts can't be told apart any more."""

    def __init__(self, owner: str, action: str) -> None:
        super().__init__(
            f"The table of {owner!r} was saved with store_text=False: {action} needs the facts'"
            " texts. It can still be read, saved and erased as a whole (erase(all=True))."
        )


class ModelGoneError(TableError, ReferenceError):
    """A table is bound to a model by fingerprint only, and the object is gone."""

    def __init__(self, owner: str) -> None:
        super().__init__(
            f"The table of {owner!r} has no live model: its model was deleted, or the table was"
            " unpickled. Call table.bind(model)."
        )


class SharedLoraError(EngramError, RuntimeError):
    """A shared LoRA can't be attached."""


class EpisodeError(EngramError, ValueError):
    """An episode can't be trained on.

    Attributes:
        question: Its question.
        reason: Why not.
    """

    def __init__(self, question: str, reason: str) -> None:
        super().__init__(f"The episode of {question!r} can't be used: {reason}")
        self.question = question
        self.reason = reason


class NoEpisodesError(EngramError, ValueError):
    """Nothing that a teacher wrote passed the checks.

    Attributes:
        rejected: What it wrote, each with the reason why it was rejected.
        reasons: Each kind of reason with its number, the commonest first.
    """

    def __init__(
        self, rejected: Sequence[tuple[str, str]], reasons: Sequence[tuple[str, int]]
    ) -> None:
        listed = "".join(f"\n- {number} x {reason}" for reason, number in reasons[:5])
        example = "".join(f"\nThe last one: {reason}\n{text}" for text, reason in rejected[-1:])
        super().__init__(
            f"The teacher wrote no episode that can be used; rejected:{listed}{example}\n"
            "A larger chat model may do, or more attempts."
        )
        self.rejected = tuple(rejected)
        self.reasons = tuple(reasons)


class TeacherError(EngramError, RuntimeError):
    """A teacher could not be asked, or gave no text.

    Attributes:
        teacher: Its name or address.
        reason: What happened.
        status: The HTTP status; None if there was none.
    """

    def __init__(self, teacher: str, reason: str, status: int | None = None) -> None:
        super().__init__(f"The teacher {teacher} gave no text: {reason}")
        self.teacher = teacher
        self.reason = reason
        self.status = status


class TeacherTimeoutError(TeacherError, TimeoutError):
    """A teacher did not reply in time."""


class EpisodesFileError(EngramError, OSError):
    """Episodes can't be read from a file, or saved to it.

    Attributes:
        source: The file.
        problem: What is wrong.
    """

    def __init__(self, source: object, action: str, problem: str) -> None:
        super().__init__(f"The episodes in {source} can't be {action}: {problem}")
        self.source = str(source)
        self.problem = problem


class AnswerError(EngramError, RuntimeError):
    """A model came to no answer within its budget of tokens.

    Attributes:
        question: The first question that has none.
        said: What the model said to it.
        answers: Of all questions that were asked together, the answers; None where there is none.
    """

    def __init__(self, question: str, said: str, budget: int, answers: Sequence[object]) -> None:
        others = sum(one is None for one in answers) - 1
        more = f", nor have {others} more" if others else ""
        super().__init__(
            f"{question!r} has no answer after {budget} tokens{more}. The model said {said!r}."
        )
        self.question = question
        self.said = said
        self.answers = tuple(answers)


class FactsFileError(EngramError, ValueError):
    """A file of facts can't be read.

    Attributes:
        source: The file's name.
        problem: What is wrong with it.
    """

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"The facts in {source} can't be read: {problem}")
        self.source = source
        self.problem = problem


class MissingExtraError(EngramError, ImportError):
    """A package that only a part of the library needs is not installed.

    Attributes:
        package: Its name.
        extra: The extra that brings it.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f'{purpose} needs {package}: pip install "engram-transformers[{extra}]"', name=package
        )
        self.package = package
        self.extra = extra
