"""What chains are made of: kinds of things, how they are told of, and what is said of them."""

from __future__ import annotations

from benchmarks.skill.chain_texts_food import FOOD_GROUPS
from benchmarks.skill.chain_texts_life import LIFE_GROUPS
from benchmarks.skill.chain_texts_model import First, Group, Predicate
from benchmarks.skill.chain_texts_people import PEOPLE_GROUPS
from benchmarks.skill.chain_texts_places import PLACE_GROUPS
from benchmarks.skill.chain_texts_things import THING_GROUPS

__all__ = ["GROUPS", "First", "Group", "Predicate"]

GROUPS: tuple[Group, ...] = (
    *(*PEOPLE_GROUPS, *PLACE_GROUPS, *THING_GROUPS, *LIFE_GROUPS, *FOOD_GROUPS),
)
"""All kinds of things."""
