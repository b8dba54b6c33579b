"""Promises of the seeded maps."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from engram_transformers.projections import seeded_orthonormal


@pytest.mark.parametrize(("rows", "columns"), [(64, 16), (16, 64), (32, 32), (7, 1), (576, 64)])
def test_maps_are_orthonormal(rows, columns):
    made = seeded_orthonormal("value", 0, rows, columns)
    assert made.shape == (rows, columns)
    assert made.dtype == torch.float32
    gram = made.T @ made if rows >= columns else made @ made.T
    assert_close(gram, torch.eye(min(rows, columns)), rtol=0, atol=1e-6)


def test_maps_are_the_same_every_time_and_leave_the_generator_alone():
    state = torch.get_rng_state()
    one = seeded_orthonormal("value", 3, 20, 5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(seeded_orthonormal("value", 3, 20, 5), one)


def test_maps_of_other_names_and_seeds_are_unrelated():
    made = [
        seeded_orthonormal(name, seed, 256, 32)
        for name, seed in (("value", 0), ("key", 0), ("value", 1), ("value", (1 << 64) - 1))
    ]
    for number, one in enumerate(made):
        for other in made[number + 1 :]:
            # Of random subspaces: a mean square of 1 / 256.
            assert (one.T @ other).pow(2).mean() < 3 / 256


def test_maps_stay_what_they_are():
    """Tables on disk were written with these: as measured when format 1 was made."""
    golden = [
        [0.63413829, 0.47573853],
        [-0.61635721, 0.75621128],
        [-0.27913636, 0.01304258],
        [0.37423965, 0.44905153],
    ]
    made = seeded_orthonormal("value", 0, 4, 2)
    assert_close(made, torch.tensor(golden), rtol=0, atol=1e-6)
