"""What the demo promises."""

from __future__ import annotations

from collections.abc import Sequence

from engram_transformers.demo_report import (
    BatchFigures,
    Erasure,
    Locality,
    Promise,
    UserFigures,
)


def demo_promises(
    users: Sequence[UserFigures],
    batch: BatchFigures | None,
    unrelated: Locality,
    near: Locality,
    erasure: Erasure | None,
) -> tuple[Promise, ...]:
    """Say what had to hold, and whether it did.

    Args:
        users: Each user's figures.
        batch: Both users in one batch; None if they have no prompt in common.
        unrelated: Sentences that have nothing to do with the users.
        near: Sentences with words of the facts: rows may fire, and only there may logits change.
        erasure: After erasing; None if nothing was written.

    Returns:
        The promises that were put to the test.
    """
    written, given = sum(user.written for user in users), sum(user.facts for user in users)
    promises = [
        Promise("every fact is written", written == given, f"{written} of {given}"),
    ]
    for recall in zip(*(user.recall for user in users), strict=True):
        asked, right = sum(r.asked for r in recall), sum(r.right for r in recall)
        if asked:
            name = f"each written fact is answered whole {recall[0].where}"
            promises.append(Promise(name, right == asked, f"{right} of {asked}"))
    if batch is not None:
        promises.append(
            Promise(
                "in one batch, each sample reads its own user's facts",
                batch.right == batch.asked and batch.unchanged == batch.without_table,
                f"{batch.right} of {batch.asked}, and {batch.unchanged} of {batch.without_table}"
                " without a table unchanged",
            )
        )
    promises.append(
        Promise(
            "text in which no row fires is bit-identical to the base",
            not unrelated.unexplained and not near.unexplained,
            f"{unrelated.identical + near.identical} of {unrelated.texts + near.texts}"
            f" identical, rows fired in {unrelated.fired + near.fired}",
        )
    )
    if erasure is not None:
        promises.append(
            Promise(
                "an erased fact is gone, and the others stay",
                erasure.forgotten and erasure.others_right == erasure.others_asked,
                f"{erasure.others_right} of {erasure.others_asked} others",
            )
        )
        promises.append(
            Promise(
                "with everything erased, the model is bit-identical to the base",
                erasure.identical == erasure.texts,
                f"{erasure.identical} of {erasure.texts} texts",
            )
        )
    return tuple(promises)
