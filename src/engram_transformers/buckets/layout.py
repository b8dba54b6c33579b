"""What a table of buckets was written for: how many rows of which width the memory's heads have."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

from engram_transformers.buckets.errors import BucketNumberError

Kind = Literal["bank", "native"]

_DIGITS = frozenset("0123456789abcdef")


class Bucket(NamedTuple):
    """A row of a memory's table, by its place.

    Attributes:
        order: Length of the n-grams that are hashed to it.
        head: Which of the order's heads, from 0.
        bucket: Its number within the head.
    """

    order: int
    head: int
    bucket: int


@dataclass(frozen=True)
class BucketLayout:
    """The hashed rows of one layer. Rows of all heads are counted through, one head after another.

    Attributes:
        memory: "bank" for one that `add_engram` or `load_engram` put there, "native" for one that
            the model's class brings.
        width: Numbers in a row.
        orders: Length of the n-grams that each head hashes.
        sizes: Rows of each head.
        digest: Of the numbers that buckets are computed with, 32 hexadecimal digits.
    """

    memory: Kind
    width: int
    orders: tuple[int, ...]
    sizes: tuple[int, ...]
    digest: str

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(self.sizes)

    @property
    def max_order(self) -> int:
        """The longest n-gram that is hashed."""
        return max(self.orders)

    def bucket(self, row: int) -> Bucket:
        """Return the place of a row.

        Args:
            row: From 0 to `rows` - 1.

        Raises:
            BucketNumberError: If there is no such row.

        Example:
            >>> BucketLayout("bank", 4, (2, 2, 3), (5, 7, 11), "0" * 32).bucket(13)
            Bucket(order=3, head=0, bucket=1)
        """
        left = row
        for place, (order, size) in enumerate(zip(self.orders, self.sizes, strict=True)):
            if 0 <= left < size:
                return Bucket(order, place - self.orders.index(order), left)
            left -= size
        raise BucketNumberError(row, self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> BucketLayout:
        """Return what `to_dict` described; raises KeyError, TypeError or ValueError otherwise."""
        orders = tuple(int(order) for order in fields["orders"])
        sizes = tuple(int(size) for size in fields["sizes"])
        layout = cls(fields["memory"], int(fields["width"]), orders, sizes, str(fields["digest"]))
        if layout.memory not in get_args(Kind):
            raise ValueError(f"its memory is {layout.memory!r}")
        if not orders or len(orders) != len(sizes) or list(orders) != sorted(orders):
            raise ValueError("its heads have no orders, or no sizes")
        if min(layout.width, *orders, *sizes) < 1 or layout.rows >= 1 << 48:
            raise ValueError("its sizes are out of range")
        if len(layout.digest) != 32 or not _DIGITS.issuperset(layout.digest):
            raise ValueError("its digest is none")
        return layout
