"""Families of facts and questions: kinds of people, what they tell, what they ask.

The skill must work for people it has not been trained on; so there are many kinds, and some are
kept out of training to measure that.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import cycle, islice

from benchmarks.skill.families.asking import asked_of
from benchmarks.skill.families.car_owner import CAR_OWNER
from benchmarks.skill.families.collector import COLLECTOR
from benchmarks.skill.families.employee import EMPLOYEE
from benchmarks.skill.families.family import Family
from benchmarks.skill.families.freelancer import FREELANCER
from benchmarks.skill.families.gardener import GARDENER
from benchmarks.skill.families.household import HOUSEHOLD
from benchmarks.skill.families.musician import MUSICIAN
from benchmarks.skill.families.parent import PARENT
from benchmarks.skill.families.patient import PATIENT
from benchmarks.skill.families.pet_owner import PET_OWNER
from benchmarks.skill.families.researcher import RESEARCHER
from benchmarks.skill.families.shop import SHOP
from benchmarks.skill.families.software import SOFTWARE
from benchmarks.skill.families.sports import SPORTS
from benchmarks.skill.families.student import STUDENT
from benchmarks.skill.families.traveller import TRAVELLER
from benchmarks.skill.families.wedding import WEDDING
from engram_transformers import Episode

_TRAINING = (
    *(CAR_OWNER, COLLECTOR, EMPLOYEE, FREELANCER, GARDENER, HOUSEHOLD, MUSICIAN, PARENT),
    *(PET_OWNER, SHOP, SOFTWARE, SPORTS, STUDENT, TRAVELLER, WEDDING),
)
HELD_OUT = (PATIENT, RESEARCHER)
"""The families that are never trained on."""


def families() -> tuple[Family, ...]:
    """Return all families."""
    return (*_TRAINING, *HELD_OUT)


def training() -> tuple[Family, ...]:
    """Return the families to train on."""
    return _TRAINING


def held_out() -> tuple[Family, ...]:
    """Return the families to measure with."""
    return HELD_OUT


def episodes(chosen: Sequence[Family], count: int, seed: int) -> list[Episode]:
    """Return questions of people of some families, in turn."""
    made = [asked_of(family, random.Random(f"{seed}, {family.name}")) for family in chosen]
    return [next(one) for one in islice(cycle(made), count)]
