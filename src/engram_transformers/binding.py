"""What a table belongs to: a base model, a tokenizer, a configuration, perhaps a shared LoRA."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from engram_transformers.attachment import Attachment
from engram_transformers.buckets.hashed_rows import hashed_rows_of
from engram_transformers.buckets.layout import BucketLayout
from engram_transformers.errors import TableMismatchError
from engram_transformers.fingerprint import adapter_fingerprint
from engram_transformers.lora import SharedLora, public_name


@dataclass(frozen=True)
class Binding:
    """Fingerprints; two models with the same ones compute the same with a table.

    Attributes:
        model: Of the base model's weights.
        tokenizer: Of the tokenizer.
        config: The fields of `EngramConfig` that decide what a row does.
        gate: Of a learned gate's weights at the table's layer; None for the other gates.
        lora: The shared LoRA that facts were written with, None for none.
        model_name: For people.
        banks: Of the weights of all banks, wherever they are; None if they add nothing.
        buckets: The hashed rows that a table replaces some of; None for exact addresses.
    """

    model: str
    tokenizer: str
    config: tuple[tuple[str, Any], ...]
    gate: str | None
    lora: SharedLora | None
    model_name: str
    banks: str | None = None
    buckets: BucketLayout | None = None

    @property
    def row_width(self) -> int:
        """Numbers in one of the table's rows."""
        return dict(self.config)["row_dim"] if self.buckets is None else self.buckets.width

    @classmethod
    def of(cls, attachment: Attachment) -> Binding:
        """Return what facts written to exact addresses of a model now are bound to."""
        fingerprint = adapter_fingerprint(attachment.model)
        lora = None
        if fingerprint is not None:
            attached = attachment.shared_lora
            known = attached is not None and attached.fingerprint == fingerprint
            lora = attached if known else SharedLora("", fingerprint)
        name = public_name(getattr(attachment.model, "name_or_path", ""))
        return cls(
            attachment.model_fingerprint(),
            attachment.tokenizer_fingerprint,
            tuple(attachment.config.row_fields().items()),
            attachment.gate_fingerprint(),
            lora,
            name or type(attachment.model).__name__,
            attachment.bank_fingerprint(),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types; what files had not at first, only where there is any."""
        fields = {**asdict(self), "config": dict(self.config)}
        for name in ("banks", "buckets"):
            if fields[name] is None:
                del fields[name]
        return fields

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Binding:
        """Return what `to_dict` described; raises KeyError, TypeError or ValueError otherwise."""
        lora = fields["lora"]
        return cls(
            str(fields["model"]),
            str(fields["tokenizer"]),
            tuple(dict(fields["config"]).items()),
            None if fields["gate"] is None else str(fields["gate"]),
            None if lora is None else SharedLora(str(lora["reference"]), str(lora["fingerprint"])),
            str(fields["model_name"]),
            None if fields.get("banks") is None else str(fields["banks"]),
            None if fields.get("buckets") is None else BucketLayout.from_dict(fields["buckets"]),
        )

    def require(
        self,
        attachment: Attachment,
        owner: str,
        layer: int,
        *,
        writing: bool = False,
        now: Binding | None = None,
    ) -> None:
        """Raise unless a patched model can read a table with this binding.

        Args:
            attachment: The model's patch.
            owner: The table's, for the error.
            layer: The table's.
            writing: Whether facts are to be added: then also refuse a LoRA the table was not
                written with.
            now: What `Binding.of` says of the model, if that is known already.

        Raises:
            TableMismatchError: Naming every difference.
        """
        now = Binding.of(attachment) if now is None else now
        differences: list[str] = []
        if now.model != self.model:
            differences.append(
                f"it was written for {self.model_name} with weights {self.model[:12]}, this is"
                f" {now.model_name} with {now.model[:12]}"
            )
        if now.tokenizer != self.tokenizer:
            differences.append(
                f"its tokenizer is {self.tokenizer[:12]}, this model's is {now.tokenizer[:12]}"
            )
        mine, theirs = dict(self.config), dict(now.config)
        differences += [
            f"its {name} is {mine.get(name)!r}, this model's is {theirs.get(name)!r}"
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]
        if self.buckets is not None:
            differences += self._bucket_differences(attachment, layer, self.buckets)
        elif layer not in attachment.memories:
            differences.append(
                f"it is read at layer {layer}, this model has memories at"
                f" {sorted(attachment.memories)}"
            )
        elif now.gate != self.gate:
            differences.append("the weights of the learned gate differ")
        if now.banks != self.banks:
            over = "no bank" if self.banks is None else f"banks with weights {self.banks[:12]}"
            has = "none" if now.banks is None else f"banks with {now.banks[:12]}"
            differences.append(f"it was written over {over}, this model has {has}")
        differences += self._lora_differences(now, writing)
        if differences:
            advice = (
                "Use the model, the settings and the adapter it was written with, or write the"
                " facts to a new table for this model."
            )
            raise TableMismatchError(owner, differences, advice)

    @staticmethod
    def _bucket_differences(attachment: Attachment, layer: int, buckets: BucketLayout) -> list[str]:
        """Say how the rows that the table replaces differ; `banks` tells of their weights."""
        memories = hashed_rows_of(attachment)
        if layer not in memories:
            has = f"has hashed rows at {sorted(memories)}" if memories else "has none"
            return [f"it replaces hashed rows at layer {layer}, this model {has}"]
        theirs = memories[layer].layout.to_dict()
        return [
            f"the {name} of the rows it replaces is {value!r}, this model's is {theirs[name]!r}"
            for name, value in buckets.to_dict().items()
            if value != theirs[name]
        ]

    def _lora_differences(self, now: Binding, writing: bool) -> list[str]:
        if self.lora is None:
            unknown = writing and now.lora is not None
            return (
                [f"it has facts written without a LoRA, attached is {now.lora}"] if unknown else []
            )
        if now.lora is None:
            return [f"it was written with the shared LoRA {self.lora}, which is not attached"]
        if self.lora.fingerprint != now.lora.fingerprint:
            return [f"it was written with the shared LoRA {self.lora}, attached is {now.lora}"]
        return []
