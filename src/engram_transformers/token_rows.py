"""Rows in closed form: for each token one row that makes the model say it, whatever stands before.

A memory is linear in its row, and a row much longer than the hidden state it is added to decides
alone what is said. So the model is looked at once: how does each logit answer to each number of a
row? Then a token's row is the direction in which that token leads all others. No fact, no gradient
through the model and no context is needed, and facts that say the same token can share its row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engram_transformers.attachment import Attachment
from engram_transformers.batch import Batch
from engram_transformers.contexts import CALIBRATION_CONTEXTS
from engram_transformers.evaluation import left_padded
from engram_transformers.fingerprint import adapter_fingerprint
from engram_transformers.storage import RowDtype, as_stored
from engram_transformers.tail import Tail
from engram_transformers.whole import WholeModel

STRENGTH = 8.0
"""Root mean square of a row's numbers: what is added is so many times as long as the hidden state,
and hardly anything is left of what the model would have said. `benchmarks/limits.py` compares."""

_PROBE = 2.0
_RIVALS = 128
_ROUNDS = 3
_STEPS = 15
_LEARNING_RATE = 0.1
_SHRINKAGE = 0.1
_TYPICAL_LEAD = 15.0
"""Leads are scaled to this before the softmax, since models differ in the size of their logits."""
_LEAST_LEAD = 2.0
"""In logits, in the model itself. What leads less takes steps through the model."""
_MORE_ROUNDS = 2
_MORE_STEPS = 12
_RIVALS_IN_MODEL = 32
_TOKENS_AT_ONCE = 64
_PROBES_AT_ONCE = 64
_CHECKED = 64
_ENOUGH = 0.9


class TokenRows:
    """The rows of tokens at one memory of one model.

    Attributes:
        response: (logits, row_dim) float32: by how much each logit rises per number of a row, on
            average over the contexts. Some models have fewer logits than embeddings.
        contexts: Texts; a row is read at the last position of each.
    """

    def __init__(self, response: Tensor, runner: Tail | WholeModel, contexts: Batch) -> None:
        self.response = response
        self._runner = runner
        self.contexts = contexts
        self._reliable: bool | None = None
        centred = response - response.mean(0)
        covariance = centred.T @ centred / len(centred)
        ridge = _SHRINKAGE * covariance.diagonal().mean().clamp_min(1e-12)
        identity = torch.eye(len(covariance), device=response.device)
        self._mean = response.mean(0)
        self._factor = torch.linalg.cholesky(covariance + ridge * identity)
        self._found: dict[RowDtype, Tensor] = {}  # (known tokens, row_dim)
        self._place: dict[tuple[RowDtype, int], int] = {}
        sample = torch.arange(0, len(response), max(len(response) // _TOKENS_AT_ONCE, 1))
        sample = sample.to(response.device)
        rows = self._discriminants(sample)
        leads = (rows * response[sample]).sum(1) - self._scores(rows, sample).amax(1)
        self._scale = _TYPICAL_LEAD / leads.abs().median().clamp_min(1e-12)

    @classmethod
    def of(cls, attachment: Attachment, runner: Tail | WholeModel) -> TokenRows:
        """Look at a model.

        Args:
            attachment: Its patch.
            runner: How to run it with other rows at the memory.

        Returns:
            Its token rows. Cost: two passes over a position per number of a row and context, once
            per model and memory.
        """
        batch = last_positions(attachment, runner, CALIBRATION_CONTEXTS)
        row_dim, device = attachment.config.row_dim, attachment.device
        length = _PROBE * math.sqrt(row_dim)

        def rise(numbers: Tensor, context: int) -> Tensor:
            part = batch.select(torch.full((len(numbers),), context, device=device))
            values = torch.zeros(*part.rows.shape, row_dim, device=device)
            values[range(len(numbers)), -1, numbers] = length
            return runner.logits(part, values, None) - runner.logits(part, -values, None)

        contexts = range(len(CALIBRATION_CONTEXTS))
        nothing = torch.zeros((), device=device)
        with torch.no_grad():
            parts = torch.arange(row_dim).split(_PROBES_AT_ONCE)
            rises = [sum((rise(part, c) for c in contexts), nothing) for part in parts]
        response = torch.cat(rises).T.contiguous() / (2 * length * len(contexts))
        return cls(response, runner, batch)

    @property
    def reliable(self) -> bool:
        """Whether they work at all here: for most of some tokens, after most of the contexts."""
        if self._reliable is None:
            vocab_size = len(self.response)
            tokens = list(range(0, vocab_size, max(vocab_size // _CHECKED, 1)))[:_CHECKED]
            rows = self.rows(tokens, "float32")
            with torch.no_grad():
                leads = self.leads(rows, torch.tensor(tokens, device=rows.device))
            self._reliable = float((leads > 0).float().mean()) >= _ENOUGH
        return self._reliable

    def rows(self, tokens: Sequence[int], dtype: RowDtype) -> Tensor:
        """Return the rows of some tokens.

        Args:
            tokens: Token ids.
            dtype: How rows are stored.

        Returns:
            (tokens, row_dim) float32, as they are after a round trip through their storage dtype.
            The same token always gets the same row.
        """
        known = self._found.get(dtype, self.response[:0])
        missing = sorted({token for token in tokens if (dtype, token) not in self._place})
        for first in range(0, len(missing), _TOKENS_AT_ONCE):
            part = missing[first : first + _TOKENS_AT_ONCE]
            found = as_stored(self._improve(part, self._solve(part), dtype), dtype)
            self._place.update({(dtype, t): len(known) + n for n, t in enumerate(part)})
            known = self._found[dtype] = torch.cat([known, found])
        places = [self._place[dtype, token] for token in tokens]
        return known[torch.tensor(places, dtype=torch.int64, device=known.device)]

    def _solve(self, tokens: Sequence[int]) -> Tensor:
        """Find the direction in which each token leads its rivals most, (tokens, row_dim).

        First a linear discriminant; then gradient steps on a softmax over strong rivals, which are
        looked for again in each round.
        """
        # Always as many at once, so that a row does not depend on which others are asked for.
        padded = [*tokens, *[tokens[0]] * (_TOKENS_AT_ONCE - len(tokens))]
        chosen = torch.tensor(padded, device=self.response.device)
        own = self.response[chosen].unsqueeze(1)  # (tokens, 1, row_dim)
        rows = self._discriminants(chosen)
        targets = torch.zeros(len(padded), dtype=torch.int64, device=chosen.device)
        for _ in range(_ROUNDS):
            scores = self._scores(rows, chosen)
            rivals = scores.topk(min(_RIVALS, scores.shape[1] - 1)).indices
            lines = torch.cat([own, self.response[rivals]], dim=1)  # (tokens, 1 + rivals, row_dim)
            lines = lines * self._scale
            parameter = rows.clone().requires_grad_()
            adam = torch.optim.Adam([parameter], lr=_LEARNING_RATE)
            for _ in range(_STEPS):
                logits = (lines @ _normalised(parameter).unsqueeze(2)).squeeze(2)
                loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
                parameter.grad = torch.autograd.grad(loss, parameter)[0]
                adam.step()
            rows = _normalised(parameter.detach())
        return rows[: len(tokens)] * STRENGTH

    def _improve(self, tokens: Sequence[int], rows: Tensor, dtype: RowDtype) -> Tensor:
        """Try rows in the model; those that lead too little take steps through it."""
        asked = torch.tensor(tokens, device=rows.device)
        with torch.no_grad():
            least = self.leads(as_stored(rows, dtype), asked).amin(1)  # (tokens,)
        for _ in range(_MORE_ROUNDS):
            weak = (least < _LEAST_LEAD).nonzero().flatten()
            if not weak.numel():
                break
            stepped = self._stepped(rows[weak], asked[weak], dtype)
            with torch.no_grad():
                leads = self.leads(stepped, asked[weak]).amin(1)
            better = leads > least[weak]
            rows[weak[better]], least[weak[better]] = stepped[better], leads[better]
        return rows

    def _stepped(self, rows: Tensor, tokens: Tensor, dtype: RowDtype) -> Tensor:
        """Take steps through the model, against what leads now, not the whole vocabulary."""
        with torch.no_grad():
            logits = self._logits(as_stored(rows, dtype), None)
            rivals = logits.topk(min(_RIVALS_IN_MODEL, logits.shape[1])).indices
        candidates = torch.cat([tokens, rivals.flatten()]).unique()
        place = torch.searchsorted(candidates, tokens)
        parameter = _normalised(rows).requires_grad_()
        adam = torch.optim.Adam([parameter], lr=_LEARNING_RATE)
        for _ in range(_MORE_STEPS):
            scaled = as_stored(_normalised(parameter) * STRENGTH, dtype)
            leads = _leads(self._logits(scaled, candidates), place)
            loss = torch.nn.functional.softplus(_LEAST_LEAD + 1 - leads).sum()
            parameter.grad = torch.autograd.grad(loss, parameter)[0]
            adam.step()
        return as_stored(_normalised(parameter.detach()) * STRENGTH, dtype)

    def leads(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Return by how many logits each row's token leads in each context, (tokens, contexts)."""
        return _leads(self._logits(rows, None), tokens).view(len(tokens), -1)

    def _logits(self, rows: Tensor, candidates: Tensor | None) -> Tensor:
        """Return the logits behind each context with each row, (rows * contexts, tokens)."""
        contexts = len(self.contexts.facts)
        part = self.contexts.select(torch.arange(contexts, device=rows.device).repeat(len(rows)))
        read = rows.repeat_interleave(contexts, 0).unsqueeze(1)
        nothing = rows.new_zeros(len(read), part.rows.shape[1] - 1, rows.shape[1])
        return self._runner.logits(part, torch.cat([nothing, read], dim=1), candidates)

    def _discriminants(self, tokens: Tensor) -> Tensor:
        """Return Fisher's linear discriminant of each token against all, (tokens, row_dim)."""
        apart = (self.response[tokens] - self._mean).T
        return _normalised(torch.cholesky_solve(apart, self._factor).T)

    def _scores(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Return by how much rows raise all logits but their own token's, (tokens, vocab)."""
        return (rows @ self.response.T).scatter(1, tokens.unsqueeze(1), float("-inf"))


def _leads(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return by how much tokens lead all others; each has as many lines of logits, one by one."""
    asked = tokens.repeat_interleave(len(logits) // len(tokens)).unsqueeze(1)
    return logits.gather(1, asked).squeeze(1) - logits.scatter(1, asked, float("-inf")).amax(1)


def _normalised(rows: Tensor) -> Tensor:
    """Scale rows to a root mean square of 1."""
    return rows / rows.pow(2).mean(1, keepdim=True).sqrt().clamp_min(1e-12)


def last_positions(
    attachment: Attachment, runner: Tail | WholeModel, contexts: Sequence[str]
) -> Batch:
    """Run texts; a row is read at the last position of each, where the next token is asked for."""
    tokenizer: Any = attachment.tokenizer
    texts = [tokenizer(text)["input_ids"] for text in contexts]
    ids, mask = left_padded(texts, attachment.device)
    rows, targets = torch.full_like(ids, -1), torch.full_like(ids, -1)
    rows[:, -1] = targets[:, -1] = 0
    numbers = torch.arange(len(texts), device=ids.device)
    return runner.prepare(runner.run_context([]), ids, mask, rows, targets, numbers)  # pyright: ignore


def token_rows_of(attachment: Attachment, layer: int, runner: Tail | WholeModel) -> TokenRows:
    """Return a memory's token rows, found again only when the model has changed.

    Args:
        attachment: The model's patch, in evaluation mode.
        layer: The memory.
        runner: How to run the model with other rows at it.
    """
    state = (
        attachment.model_fingerprint(),
        adapter_fingerprint(attachment.model),
        attachment.gate_fingerprint(),
        attachment.bank_fingerprint(),
    )
    known = attachment.token_rows.get(layer)
    if known is None or known[0] != state:
        known = attachment.token_rows[layer] = (state, TokenRows.of(attachment, runner))
    return known[1]
