"""Made-up values of each kind."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST = (
    "Amara Anton Aylin Beatriz Callum Chidi Daria Dimitri Ebba Efua Farid Fiona Giulia Hiroshi"
    " Hassan Imogen Ingrid Jamal Jiho Kateryna Kwame Leila Lucía Mateo Mei Milan Minh Nadia Niamh"
    " Olu Oscar Padma Paolo Priya Rafael Rania Rhys Rosalind Sana Santiago Sibusiso Sofia Soren"
    " Sunita Tariq Teresa Thandi Tomoko Viktor Wei Yusuf Zeynep Abigail Bogdan Carmen Desmond"
    " Emilia Francis Gwendolyn Henrik"
).split()
LAST = (
    "Abbott Achebe Aguilar Andersen Banerjee Barzani Bellini Brandt Castellano Chen Dlamini Dogan"
    " Eriksson Farouk Fitzgerald Fujita Gallagher Haddad Hoang Horvath Ibrahim Ivanova Jansen"
    " Kaplan Kariuki Khan Kowalczyk Lindqvist Lopes MacLeod Mahlangu Mendoza Mensah Moreau Nakata"
    " Nguyen O'Connor Okafor Olsen Papadakis Park Pereira Popescu Quinn Rahman Rossi Sandoval"
    " Schreiber Shevchenko Silva Singh Tanaka Thornton Traoré Vasquez Vermeer Weiss Yilmaz Zhang"
    " Zimmermann"
).split()
_TOWNS = (
    "Aberdeen Accra Adelaide Almaty Antwerp Asheville Avignon Baku Bamberg Bologna Boise Bristol"
    " Calgary Cardiff Cartagena Chengdu Colombo Córdoba Cusco Dakar Darwin Debrecen Dresden Durban"
    " Edinburgh Évora Fresno Galway Gothenburg Granada Halifax Hanoi Hobart Innsbruck Izmir Jaipur"
    " Kigali Kyoto Lausanne Leeds Lima Linz Ljubljana Lucca Lusaka Madison Mandalay Marrakesh"
    " Medellín Mombasa Nagoya Norwich Odense Oaxaca Osaka Palermo Perth Plovdiv Portland Pune"
    " Quebec Quito Reims Rotterdam Salzburg Samarkand Savannah Seville Sibiu Sofia Stavanger"
    " Tampere Tbilisi Thessaloniki Toledo Toulouse Tucson Valencia Varna Vilnius Wellington"
    " Wroclaw York Zagreb Zaragoza"
).split()
_TREES = (
    "Acacia Alder Ashwood Bayview Beech Birchfield Bramble Castle Cedar Chestnut Church Clover"
    " Cypress Elm Fairfield Fern Granite Harbour Hawthorn Heather Heron Hilltop Hollybush Ivy"
    " Kingfisher Lakeside Larch Lavender Linden Meadow Mill Mulberry Oakridge Orchard Poplar"
    " Quarry Rosewood Rowan Sandstone Spruce Swallow Thornbury Walnut Westgate Wren"
).split()
_WAYS = "Street Lane Road Avenue Bay Hill Square Gardens Park Bridge Point Green".split()
_GROUPS = (
    "Academy Alliance Associates Bakery Bank Brothers Centre Circle Club College Cooperative"
    " Foundation Group House Institute League Mutual Partners Society Trust Union United Works"
).split()
_COLOURS = (
    "amber aquamarine beige black blue bronze brown burgundy charcoal copper coral cream gold"
    " green grey indigo lavender magenta mauve mint ochre orange peach pink plum purple red rust"
    " salmon sand silver tan terracotta turquoise violet white yellow"
).split()
_SHADES = "pale dark bright dusty deep light soft smoky".split()
_ANIMALS = (
    "alpaca axolotl badger bat beaver bison buffalo camel chameleon cheetah cobra crab crane"
    " donkey eagle eel elk ferret flamingo frog gecko giraffe goat goose gorilla hare hedgehog"
    " heron hippo hyena ibex iguana jackal jellyfish koala lemur leopard lizard llama lobster lynx"
    " moose moth newt octopus ostrich otter owl panda parrot peacock pelican penguin porcupine"
    " puffin rabbit raven salamander seal shark sloth snail spider squid stork swan tapir tiger"
    " toad turtle vulture walrus weasel wolf wombat yak zebra"
).split()
_COATS = "black giant little mountain red sea spotted striped white".split()
_COOKED = (
    "baked braised buttered candied cold creamy crispy fried glazed grilled hot pickled poached"
    " roasted salted smoked spicy steamed stewed sweet"
).split()
_FOODS = (
    "almonds aubergine barley beetroot cabbage carrots cauliflower cherries chestnuts chickpeas"
    " cod courgettes dumplings figs garlic ginger halloumi herring kale leeks lentils mackerel"
    " mushrooms noodles okra olives onions parsnips peaches peas pears plantain polenta potatoes"
    " prawns pumpkin radishes rhubarb rice salmon sardines spinach tofu tomatoes trout turnips"
).split()
_LOOKS = (
    "antique battered blue brass carved ceramic chipped embroidered enamel engraved folding glass"
    " green hand-made leather little oak painted purple round rusty silver striped tin velvet"
    " wooden woollen yellow"
).split()
_THINGS = (
    "anchor basket bell bowl box bracelet broom candle clock comb compass crown drum fan feather"
    " globe hammer helmet horseshoe jug kettle key kite ladder lamp lantern locket mask medal"
    " mirror needle pipe pitcher plate puppet quilt ring rope saddle scarf shell spoon stool"
    " teapot thimble train trumpet trunk umbrella vase whistle"
).split()
_SYLLABLES = (
    "al bel cor dan el fen gal hal ir jo ka lum mar nor or pel quo ran sol tor ul ven wil xan yor"
    " zel"
).split()
_ENDINGS = "a ex ia ic in is ix o on ora tec um us via".split()
_LANGUAGES = (
    "Afrikaans Albanian Amharic Arabic Armenian Azerbaijani Bengali Bosnian Breton Bulgarian"
    " Burmese Cantonese Corsican Croatian Danish Dutch English Estonian Faroese Filipino French"
    " Frisian Galician Georgian German Greek Guarani Gujarati Hausa Hebrew Hindi Hungarian"
    " Icelandic Igbo Indonesian Irish Italian Japanese Javanese Kannada Kazakh Khmer Korean"
    " Kurdish Ladin Lao Latin Latvian Lithuanian Luxembourgish Macedonian Malagasy Malay Malayalam"
    " Mandarin Maori Marathi Mongolian Nepali Norwegian Pashto Polish Portuguese Punjabi Quechua"
    " Romanian Romansh Russian Samoan Scots Serbian Sicilian Sinhala Slovak Slovene Somali Sorbian"
    " Spanish Swedish Tajik Tatar Telugu Thai Tibetan Tigrinya Tongan Ukrainian Urdu Uzbek"
    " Vietnamese Wolof Xhosa Yiddish Yoruba Zulu"
).split()
_DOINGS = (
    "baking bread, building a canoe, carving spoons, collecting shells, counting birds, drawing"
    " maps, feeding ducks, flying kites, growing pumpkins, hunting for mushrooms, juggling,"
    " keeping a diary, knitting socks, learning card tricks, mending clocks, picking berries,"
    " playing dominoes, polishing brass, reading old letters, restoring chairs, rowing, singing"
    " ballads, solving riddles, watching the rain, weaving baskets, whistling, writing poems"
).split(", ")
_WHERE = (
    "after dark, at dawn, before breakfast, by candlelight, by the river, in the attic, in the"
    " garden, on the balcony, on the train, under the stars, with my cousins, with old friends"
).split(", ")
_VERBS = (
    "ask, begin, breathe, climb, dig, forgive, give, laugh, listen, rest, sing, sow, stay,"
    " travel, trust, wait, walk, wander, work, write"
).split(", ")
_HOW = "boldly early freely gently gladly kindly lightly often quietly slowly".split()
_MONTHS = (
    "January February March April May June July August September October November December"
).split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_COUNTS = "two three four five six seven eight nine ten eleven twelve eighteen".split()
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


def _person(rng: random.Random) -> str:
    first = rng.choice(FIRST)
    return first if rng.random() < 0.2 else f"{first} {rng.choice(LAST)}"


def _place(rng: random.Random) -> str:
    street = f"{rng.choice(_TREES)} {rng.choice(_WAYS)}"
    return rng.choice((rng.choice(_TOWNS), street, f"{street} in {rng.choice(_TOWNS)}"))


def _number(rng: random.Random) -> str:
    top = rng.choice((20, 100, 1000, 20000))
    return f"{rng.randint(2, top):,}"


def _date(rng: random.Random) -> str:
    month, day = rng.choice(_MONTHS), rng.randint(1, 28)
    return rng.choice((f"{day} {month}", f"{month} {day}"))


def _year(rng: random.Random) -> str:
    return str(rng.randint(1900, 2060))


def _time(rng: random.Random) -> str:
    return f"{rng.randint(0, 23):02}:{rng.randrange(0, 60, 5):02}"


def _duration(rng: random.Random) -> str:
    unit = rng.choice(("minutes", "hours", "days", "weeks", "months"))
    plain = rng.choice((str(rng.randint(2, 60)), rng.choice(_COUNTS)))
    return f"{plain} {unit}"


def _weekdays(rng: random.Random) -> str:
    days = [DAYS[n] for n in sorted(rng.sample(range(7), rng.choice((2, 2, 3))))]
    return " and ".join([", ".join(days[:-1]), days[-1]])


def _money(rng: random.Random) -> str:
    top = rng.choice((50, 900, 5000, 80000))
    return f"{rng.choice('$€£')}{rng.randint(5, top):,}"


def _phone(rng: random.Random) -> str:
    first, last = rng.randint(200, 989), rng.randint(1000, 9999)
    return rng.choice((f"555-{last}", f"({first}) 555-{last}", f"0{first} 555 {last}"))


def _code(rng: random.Random) -> str:
    letters = "".join(rng.choices(_LETTERS, k=2))
    digits = rng.randint(1000, 9999)
    return rng.choice(
        (f"{digits}-{letters}", f"{letters}{digits}", f"{letters} {digits}", f"{digits}")
    )


def _email(rng: random.Random) -> str:
    host = f"{_coined(rng)}.{rng.choice(('com', 'org', 'net'))}".lower()
    name = rng.choice(_TREES).lower()
    return rng.choice(
        (f"{name}{rng.randint(2, 99)}@{host}", f"{name}.{rng.choice(_THINGS)}@{host}")
    )


def _food(rng: random.Random) -> str:
    food = f"{rng.choice(_COOKED)} {rng.choice(_FOODS)}"
    return food if rng.random() < 0.6 else f"{food} with {rng.choice(_FOODS)}"


def _animal(rng: random.Random) -> str:
    animal = rng.choice(_ANIMALS)
    return animal if rng.random() < 0.4 else f"{rng.choice(_COATS)} {animal}"


def _object(rng: random.Random) -> str:
    look = rng.choice(_LOOKS)
    article = "an" if look[0] in "aeiou" else "a"
    return f"{rng.choice((f'{article} ', 'the ', ''))}{look} {rng.choice(_THINGS)}"


def _coined(rng: random.Random) -> str:
    parts = rng.sample(_SYLLABLES, rng.choice((1, 2)))
    return ("".join(parts) + rng.choice(_ENDINGS)).capitalize()


def _brand(rng: random.Random) -> str:
    name = _coined(rng)
    return name if rng.random() < 0.5 else f"{name} {rng.randrange(10, 990, 10)}"


def _colour(rng: random.Random) -> str:
    colour = rng.choice(_COLOURS)
    return colour if rng.random() < 0.4 else f"{rng.choice(_SHADES)} {colour}"


def _organisation(rng: random.Random) -> str:
    return f"{rng.choice((_coined(rng), *rng.sample(_TREES, 2)))} {rng.choice(_GROUPS)}"


def _activity(rng: random.Random) -> str:
    return f"{rng.choice(_DOINGS)} {rng.choice(_WHERE)}"


def _title(rng: random.Random) -> str:
    thing, look = rng.choice(_THINGS).title(), rng.choice(_LOOKS).title()
    return rng.choice(
        (f"The {look} {thing}", f"{thing} of {rng.choice(_TOWNS)}", f"{look} {thing}")
    )


def _free(rng: random.Random) -> str:
    first, second = rng.sample(_VERBS, 2)
    return f"{first} {rng.choice(_HOW)} and {second} {rng.choice(_HOW)}"


_MAKERS: dict[str, Callable[[random.Random], str]] = {
    "person": _person,
    "place": _place,
    "number": _number,
    "year": _year,
    "date": _date,
    "time": _time,
    "duration": _duration,
    "weekday": lambda rng: rng.choice(DAYS),
    "weekdays": _weekdays,
    "money": _money,
    "phone": _phone,
    "code": _code,
    "email": _email,
    "food": _food,
    "animal": _animal,
    "object": _object,
    "brand": _brand,
    "colour": _colour,
    "organisation": _organisation,
    "activity": _activity,
    "title": _title,
    "language": lambda rng: rng.choice(_LANGUAGES),
    "free": _free,
}
KINDS = tuple(_MAKERS)


def value(kind: str, rng: random.Random) -> str:
    """Make a plausible value.

    Args:
        kind: One of `KINDS`.
        rng: Where chance comes from; the same state makes the same value.

    Raises:
        ValueError: If there is no such kind.
    """
    if kind not in _MAKERS:
        raise ValueError(f"There is no kind {kind!r}: {', '.join(KINDS)}.")
    return _MAKERS[kind](rng)
