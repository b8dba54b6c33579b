"""All methods on one set of facts: written, asked, timed, and seen at unrelated text."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.asking import Question
from benchmarks.common import require, spread, timed
from benchmarks.methods import KnownFact
from benchmarks.methods.asked import Asked
from benchmarks.methods.bare import Bare
from benchmarks.methods.controls import AnotherUser, OneRow, Shuffled
from benchmarks.methods.firing import rows_found
from benchmarks.methods.forms import chat_sentence
from benchmarks.methods.in_context import InContext
from benchmarks.methods.lora import Lora, Recipe, fair, published
from benchmarks.methods.memory import Memory
from benchmarks.methods.nats import moved
from benchmarks.methods.paper_addressing import OwnAddressing, PaperAddressing
from benchmarks.methods.retrieval import Retrieval
from benchmarks.methods.step_time import against_bare
from benchmarks.setting import Setting
from benchmarks.texts import sentences
from engram_transformers import UserTable

TOPS = (1, 3, 5)
_RATES = (1e-3, 2e-3, 4e-3)
_TRAINING_SENTENCES = 32


class Comparison:
    """All methods on one set of facts.

    Attributes:
        whole: Whether to read unrelated text and to time steps as well, and train the published
            LoRA.
        done: Results, by method.
    """

    def __init__(
        self, setting: Setting, facts: Sequence[tuple[str, str]], count: int, *, whole: bool
    ) -> None:
        self.setting = setting
        self.options = setting.options
        self.whole = whole
        self.facts = [KnownFact(*pair) for pair in facts[:count]]
        self.others = [KnownFact(*pair) for pair in facts[count : 2 * count]]
        self.questions = [Question(*fact) for fact in self.facts]
        training = 4 if setting.quick else _TRAINING_SENTENCES
        read = sentences(self.options.sentences + training)
        self.held, self.unrelated = read[training:], read[:training]
        self.done: list[dict[str, Any]] = []
        # Another object with the same weights, which no method touches.
        weights = [*setting.model.parameters(), *setting.model.buffers()]
        self.bare = copy.deepcopy(setting.model, {id(weight): weight for weight in weights})

    def run(self, encoder: Any) -> dict[str, Any]:
        """Measure every method."""
        setting, steps = self.setting, self.options.fitting_steps
        self.measure(lambda: Bare(setting), timed_steps=True)
        self.measure(lambda: Memory(setting), timed_steps=True)
        self.measure(lambda: InContext(setting), timed_steps=True)
        if getattr(setting.tokenizer, "chat_template", None):
            form = chat_sentence(setting.tokenizer)
            self.measure(lambda: InContext(setting, "in context, chat", form))
        for top in TOPS if encoder is not None else ():
            self.measure(lambda top=top: Retrieval(setting, encoder, top), timed_steps=top == 5)
        self.measure(lambda: PaperAddressing(setting, steps))
        self.measure(lambda: OwnAddressing(setting, steps), moves=False)
        self.measure(lambda: OneRow(setting, steps), moves=False)
        self.measure(lambda: Shuffled(setting), moves=False)
        self.measure(lambda: AnotherUser(setting, self.others), moves=False)
        result: dict[str, Any] = {"facts": len(self.facts), "methods": self.done}
        if not self.options.no_lora:
            result |= self.train_loras()
        return result

    def train_loras(self) -> dict[str, Any]:
        """Find the quickest fair recipe, measure it, and set it against ours."""
        setting = self.setting
        tried, (rate, batch, steps) = self.search()
        for weight in (0.0, 1.0):
            recipe = fair(rate, batch, kl_weight=weight, steps=steps)
            self.measure(lambda recipe=recipe: self.lora(recipe), timed_steps=weight > 0)
        if self.whole:
            recipe = published(self.options.published_steps)
            self.measure(lambda: Lora(setting, recipe))
        ours = self.named("memory")
        over = {
            name: {
                "recall": found["recall"]["whole"] / found["recall"]["asked"],
                "our_recall": ours["recall"]["whole"] / ours["recall"]["asked"],
                "seconds": found["seconds"]["median"] / ours["seconds"]["median"],
                "seconds_asking_included": found["seconds"]["median"]
                / ours["seconds_with_asking"]["median"],
                "bytes": found["bytes"] / ours["bytes"],
                "bytes_in_16_bits": found["bytes_in_16_bits"] / ours["bytes"],
            }
            for found in self.done
            if (name := found["name"]).startswith("LoRA")
        }
        for name, ratios in over.items():
            print(f"{name} over ours: {ratios['seconds']:.0f}x s, {ratios['bytes']:,.0f}x bytes")
        return {"lora_search": tried, "lora_over_ours": over}

    def search(self) -> tuple[list[dict[str, Any]], tuple[float, int, int]]:
        """Return what was tried, and the rate, batch and steps that win all facts soonest."""
        count = len(self.facts)
        rates = _RATES[:1] if self.setting.quick else _RATES
        batches = sorted({min(count, 25), min(count, 100)}, reverse=True)
        if self.setting.quick:
            batches = batches[:1]
        best, tried = float("inf"), []
        found = (rates[0], batches[0], self.options.lora_epochs * -(-count // batches[0]))
        for batch in batches:
            for rate in rates:
                steps = self.options.lora_epochs * -(-count // batch)
                recipe = fair(rate, batch, kl_weight=0.0, steps=steps)
                lora = self.lora(recipe, give_up=best)
                lora.write(self.facts)
                lora.close()
                tried.append(
                    {
                        "learning_rate": rate,
                        "batch": batch,
                        "steps": lora.steps,
                        "won": lora.won,
                        "seconds": lora.seconds,
                    }
                )
                print(f"LoRA search: {tried[-1]}")
                if lora.won and lora.seconds < best:
                    best, found = lora.seconds, (rate, batch, steps)
        return tried, found

    def lora(self, recipe: Recipe, give_up: float = float("inf")) -> Lora:
        """Make a LoRA that is held by unrelated sentences, others than those that are read."""
        return Lora(self.setting, recipe, self.unrelated, give_up=give_up)

    def measure(
        self, make: Callable[[], Any], *, moves: bool = True, timed_steps: bool = False
    ) -> None:
        """Write, ask, and say what it took."""
        method = make()
        try:
            entry: dict[str, Any] = {"name": method.name, **self.write(method)}
            entry["recall"] = method.recall(self.questions).counts()
            entry["bytes"] = method.nbytes
            entry["context_tokens"] = method.context_tokens(self.questions)
            entry |= self.details(method)
            if self.whole and moves:
                entry["nats"] = self.nats(method)
            if self.whole and timed_steps:
                entry["steps"] = self.step_times(method)
        finally:
            method.close()
        self.done.append(entry)
        right, seconds = entry["recall"]["whole"], entry["seconds"]["median"]
        change = f", {entry['nats']['mean']:+.4f} nats" if "nats" in entry else ""
        print(
            f"{len(self.facts)} facts, {entry['name']}: {right} whole answers,"
            f" {entry['recall']['forced']} forced, {seconds:.2f} s, {entry['bytes']:,} bytes,"
            f" {entry['context_tokens']:.0f} tokens{change}"
        )

    def write(self, method: Any) -> dict[str, Any]:
        """Write the facts, as often as is to be timed."""
        device, options = self.setting.device, self.options
        if type(method) is Memory:
            UserTable(method.model, "warm-up").write([tuple(f) for f in self.others[:8]])
            seconds, whole = [], []
            for _ in range(options.repeats):
                method.table = UserTable(method.model, "benchmark")
                method.write(self.facts)
                seconds.append(method.report.seconds)
                whole.append(method.report.seconds + method.report.evaluation_seconds)
            return {"seconds": spread(seconds), "seconds_with_asking": spread(whole)}
        if isinstance(method, Lora):
            seconds = []
            for _ in range(options.lora_repeats if method.recipe.until_won else 1):
                method.write(self.facts)
                seconds.append(method.seconds)
            return {"seconds": spread(seconds)}
        taken, _ = timed(device, lambda: method.write(self.facts))
        return {"seconds": spread([taken])}

    def details(self, method: Asked) -> dict[str, Any]:
        """Return what only some methods have."""
        if isinstance(method, Lora):
            return {
                "steps_taken": method.steps,
                "won": method.won,
                "rank": method.recipe.rank,
                "learning_rate": method.recipe.learning_rate,
                "batch": method.recipe.batch,
                "bytes_in_16_bits": method.nbytes_half,
            }
        if isinstance(method, PaperAddressing):
            return {"addresses_shared": method.shared, "steps_taken": method.steps}
        if isinstance(method, OwnAddressing):
            return {"steps_taken": method.steps}
        if isinstance(method, InContext):
            return {"facts_told": len(method.lines)}
        return {}

    def nats(self, method: Asked) -> dict[str, Any]:
        """Read unrelated sentences; with rows, all where none is found must be bit-identical."""
        found = moved(method, self.bare, self.held)
        result = found.summary()
        if isinstance(method, (Bare, Memory)):
            fired = [False] * len(self.held)
            if isinstance(method, Memory):
                ids = self.setting.tokenizer(self.held)["input_ids"]
                fired = [any(places) for places in rows_found(method.table, ids)]
            same = all(e for e, f in zip(found.equal, fired, strict=True) if not f)
            require(same, f"{method.name}: unrelated text is read bit for bit as before")
            result["fired"] = sum(fired)
        return result

    def step_times(self, method: Asked) -> list[dict[str, Any]]:
        """Time steps in batches of 1 and 8."""
        steps = 2 if self.setting.quick else 8
        prompts = [question.prompt for question in self.questions]
        return [
            against_bare(
                method,
                self.bare,
                prompts[:batch],
                rounds=self.options.rounds,
                steps=steps,
                seed=self.setting.seed,
            )
            for batch in (1, 8)
        ]

    def named(self, name: str) -> dict[str, Any]:
        """Return a method's results."""
        return next(entry for entry in self.done if entry["name"] == name)
