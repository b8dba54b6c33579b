"""What a group of chains is: how things are told of, what is said of them, and made-up names."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.skill.values import KINDS, value


class First(NamedTuple):
    """A fact that names something.

    Attributes:
        trigger: Its trigger, as in "My doctor is Dr.".
        said: What follows, as in "Lee".
        entity: How the second fact calls it, as in "Dr. Lee".
        called: How a question calls it, as in "my doctor".
        names: All that it may be called, as in "my town" and "my home".
        lead: How a question begins that keeps the first fact's verb, as in "I live in", or none.
    """

    trigger: str
    said: str
    entity: str
    called: str
    names: tuple[str, ...]
    lead: str


class Predicate(NamedTuple):
    """What is said of something.

    Attributes:
        form: The second trigger, with {e} for what the first fact names.
        kind: The kind of value that follows.
        asked: Questions, and sentences that the value finishes, with {my} for how it is called or
            {lead} for the first fact's own words. Predicates with the same ones say the same.
    """

    form: str
    kind: str
    asked: tuple[str, ...]

    def trigger(self, entity: str) -> str:
        """Return the trigger for something."""
        trigger = self.form.format(e=entity)
        return f"{trigger[0].upper()}{trigger[1:]}"

    def value(self, lot: random.Random) -> str:
        """Make a value that can follow the trigger and all sentences left unfinished."""
        takes_a = any(form.endswith(" a") for form in (self.form, *self.asked))
        while True:
            made = MAKERS[self.kind](lot)
            if not (takes_a and made[0].lower() in "aeiou"):
                return made


class Told(NamedTuple):
    """How a thing is named.

    Attributes:
        trigger: The first fact's trigger; {r} is a role.
        names: How questions may call it.
        lead: How a question may begin that keeps the first fact's verb, or none.
    """

    trigger: str
    names: tuple[str, ...]
    lead: str = ""


class Group(NamedTuple):
    """Things of one kind.

    Attributes:
        told: How first facts are told.
        roles: What there is one of, as in "doctor"; none at all for fixed triggers.
        make: Makes the name of one.
        predicates: What is said of them.
        title: What stands before a name, in the trigger if that ends in it, as in "Dr.".
    """

    told: tuple[Told, ...]
    roles: tuple[str, ...]
    make: Callable[[random.Random], str]
    predicates: tuple[Predicate, ...]
    title: str = ""

    def first(self, lot: random.Random, *, leads: bool = False) -> First:
        """Make a fact that names one of them; `leads` asks for one whose verb can be kept."""
        told = lot.choice([one for one in self.told if one.lead or not leads])
        role = lot.choice(self.roles) if self.roles else ""
        name = self.make(lot)
        trigger = told.trigger.format(r=role)
        entity = f"{self.title} {name}".strip()
        said = name if not self.title or trigger.endswith(self.title) else entity
        names = tuple(one.format(r=role) for one in told.names)
        return First(trigger, said, entity, lot.choice(names), names, told.lead.format(r=role))


def read_predicates(text: str) -> tuple[Predicate, ...]:
    """Read predicates: a line with triggers and kind, then lines with a question each.

    Several triggers, between slashes, say the same and are asked for by the same questions.
    """
    found: list[tuple[list[str], str, list[str]]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if " | " in line:
            forms, kind = line.split(" | ")
            found.append((forms.split(" / "), kind, []))
        else:
            found[-1][2].append(line)
    return tuple(
        Predicate(form, kind, tuple(asked)) for forms, kind, asked in found for form in forms
    )


def read_told(text: str) -> tuple[Told, ...]:
    """Read how things are named: lines with trigger, names between slashes, and perhaps a lead."""
    lines = [line.strip().split(" | ") for line in text.strip().splitlines()]
    return tuple(Told(trigger, tuple(names.split(" / ")), *lead) for trigger, names, *lead in lines)


def listed(text: str) -> tuple[str, ...]:
    """Return what stands between commas."""
    return tuple(name.strip() for name in text.split(","))


def one_of(text: str) -> Callable[[random.Random], str]:
    """Return what chooses from what stands between commas."""
    names = listed(text)
    return lambda lot: lot.choice(names)


_STARTS = (
    "Bram Cal Dun Dorn Fen Gar Hol Hask Kel Kov Lor Lum Mar Mer Nor Nim Pen Pell Quar Ros Ruv Sel"
    " Sten Tam Tolv Var Ver Wex Wil Yar Zan Zem"
).split()
_MIDDLES = ("", "", "", "a", "e", "o", "er", "en", "al", "is", "un")


def coined(endings: str, *, lower: bool = False) -> Callable[[random.Random], str]:
    """Return what makes up words with some endings; none begins with a vowel."""
    ends = endings.split()

    def make(lot: random.Random) -> str:
        end = lot.choice(ends)
        middle = lot.choice(_MIDDLES)
        if end[0] in "aeiou":
            middle = lot.choice(("", "and", "or", "en", "iv"))
        made = f"{lot.choice(_STARTS)}{middle}{end}"
        return made.lower() if lower else made

    return make


def behind(words: str, *, lower: bool = False) -> Callable[[random.Random], str]:
    """Return what makes names of a made-up word and one of some between commas."""
    ends, start = listed(words), coined("or a an ek um is o", lower=lower)
    return lambda lot: f"{start(lot)} {lot.choice(ends)}"


def consonant(kind: str) -> Callable[[random.Random], str]:
    """Return what makes values of a kind that can follow "a"."""

    def make(lot: random.Random) -> str:
        while True:
            made = value(kind, lot)
            if made[0].lower() not in "aeiou":
                return made

    return make


def _value(kind: str) -> Callable[[random.Random], str]:
    return lambda lot: value(kind, lot)


def _measure(low: int, high: int, units: str) -> Callable[[random.Random], str]:
    return lambda lot: f"{lot.randint(low, high)} {lot.choice(listed(units))}"


MAKERS: dict[str, Callable[[random.Random], str]] = {
    **{kind: _value(kind) for kind in KINDS},
    "town": coined("ford ton wick bury ham stead mouth worth"),
    "region": coined("shire land mark moor vale dale reach"),
    "country": coined("ia avia onia istan any"),
    "river": coined("e a ow er is"),
    "tongue": coined("ish ic ese an"),
    "street": behind("Street, Lane, Road, Avenue, Square, Row"),
    "team": behind("Rovers, Wanderers, Rangers, Falcons, Lions, Harriers, Otters, Comets"),
    "day": coined("day"),
    "family": coined("ids ines ards oids", lower=True),
    "material": coined("wood stone wool glass reed steel clay leather", lower=True),
    "berry": coined("berries nuts roots leaves seeds barley", lower=True),
    "tree": coined("elms oaks limes palms willows pines", lower=True),
    "word": coined("a u im esh ok ani", lower=True),
    "coin": coined("mark crown ar in o", lower=True),
    "script": behind("letters, runes, signs, characters"),
    "weight": _measure(2, 90, "grams, kilos, pounds, tons"),
    "length": _measure(2, 90, "metres, feet, inches, yards"),
    "distance": _measure(2, 900, "kilometres, miles"),
    "season": one_of(
        "early spring, late spring, early summer, high summer, late summer, early autumn, "
        "late autumn, early winter, deep winter, the rainy season, the dry season"
    ),
    "ailment": one_of(
        "sore knees, weak nerves, back pain, bad sleep, headaches, stiff necks, coughs, allergies, "
        "burns, broken bones, tired eyes, toothache, cold feet, fevers, dizziness, hiccups"
    ),
    "virtue": one_of(
        "patience, courage, luck, friendship, wisdom, hope, loyalty, peace, wealth, honesty, "
        "health, freedom, mercy, youth, memory, silence"
    ),
    "dish": one_of(
        "stew, pie, thick soup, porridge, pudding, flat bread, salad, dumpling, pancake, "
        "casserole, curry, pastry, broth, meatball, fritter, jelly"
    ),
    "drink": one_of(
        "cider, lemonade, green tea, black tea, beer, fruit wine, mineral water, milkshake, syrup, "
        "hot chocolate, ginger ale, herbal tea, punch, liqueur"
    ),
    "vessel": one_of(
        "tin mugs, tall glasses, clay cups, wooden bowls, silver goblets, small bottles, horn "
        "cups, glass jars, copper jugs, coconut shells"
    ),
    "pastime": one_of(
        "card game, board game, dice game, ball game, guessing game, word game, quiz, relay race, "
        "memory game, throwing game, drinking game, puzzle"
    ),
    "music": one_of(
        "folk music, slow jazz, brass music, dance music, church music, blues, punk, hard rock, "
        "chamber music, swing, sea shanties, lullabies, marches"
    ),
    "creature": one_of(
        "rodent, bird, reptile, marsupial, lizard, frog, weasel, fish, deer, cat, wild dog, goat, "
        "beetle, snail, monkey, wild pig"
    ),
    "growth": one_of(
        "lily, rose, fern, moss, cactus, thistle, nettle, daisy, clover, mint, palm, vine, "
        "bramble, sedge, poppy"
    ),
    "sound": one_of(
        "lute, fiddle, trumpet, harp, flute, drum, bagpipe, zither, rattle, bell, horn, whistle"
    ),
    "vessel type": one_of(
        "tugboat, schooner, ferry, barge, trawler, sloop, lifeboat, freighter, yacht, tanker"
    ),
    "mineral": one_of(
        "quartz, soft metal, marble, crystal, granite, salt, glass, jade, slate, garnet, fossil"
    ),
    "genre": one_of(
        "love story, ghost story, crime story, comedy, tragedy, family saga, fairy tale, satire, "
        "spy story, legend, western, romance"
    ),
    "remedy": one_of(
        "painkillers, sleeping pills, cough drops, vitamins, antibiotics, eye drops, ointments, "
        "stomach pills, tonics, allergy drops"
    ),
    "collectibles": behind(
        "thimbles, coins, masks, stamps, spoons, dolls, lamps, knives, buttons, bells", lower=True
    ),
    "goods": one_of(
        "salt, timber, grain, coal, wool, tea, spices, cotton, sugar, bricks, oranges, coffee"
    ),
    "cleaner": one_of(
        "salt water, lemon juice, soft soap, vinegar, olive oil, warm milk, chalk, cold tea, bread "
        "crumbs, rain water, beeswax, sand"
    ),
    "subject": one_of(
        "medicine, law, music, history, farming, astronomy, painting, chemistry, engineering, "
        "theology, philosophy, architecture"
    ),
    "moment": one_of(
        "first day of spring, last day of the harvest, second day of the fair, shortest day of the "
        "year, longest day of the year, middle of the week, first day of school, last day of "
        "winter, fifth day of the week, day before the full moon, day after payday"
    ),
}
"""What makes values: those of `benchmarks.skill.values`, and some more."""
