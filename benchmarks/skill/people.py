"""Made-up people for training the skill."""

from __future__ import annotations

import random

from benchmarks.skill.values import DAYS, FIRST, LAST

CITIES = """
Lisbon Ghent Oslo Turin Leeds Boston Denver Austin Seattle Chicago Portland Raleigh Nairobi
Osaka Lima Quito Perth Dublin Malmo Krakow Tampa Omaha Reno Tucson Boise Memphis Detroit""".split()
TIMEZONES = "PST EST CST MST GMT CET JST AEST".split()
JOBS = (
    "baker,carpenter,tax adviser,florist,nurse,software engineer,data analyst,paralegal,welder,"
    "librarian,translator,pilot,bus driver,chemist,radiologist,civil engineer,teacher,botanist,"
    "product designer,locksmith,architect,plumber,editor,physiotherapist"
).split(",")
COMPANIES = [
    f"{first} {last}"
    for first in "Amber Birch Cedar Delta Ember Falcon Granite Harbor Iron Juniper Lumen".split()
    for last in "Foods,Labs,Media,Logistics,Robotics,Capital,Paper Co,Analytics".split(",")
]
PETS = "cat dog parrot rabbit hamster tortoise ferret gecko canary goldfish".split()
PET_NAMES = "Biscuit Clover Ember Figaro Hazel Mochi Pepper Poppy Tango Waffles Ziggy Olive".split()
CARS = (
    "VW Golf,Mazda CX-5,Honda Civic,Subaru Outback,Toyota RAV4,Ford Maverick,Fiat Panda,Kia Niro,"
    "Volvo V60,Skoda Octavia,Seat Leon,Opel Corsa,Nissan Leaf"
).split(",")
HOBBIES = (
    "trail running,woodworking,birdwatching,pottery,chess,rock climbing,oil painting,bread baking,"
    "knitting,kayaking,origami,beekeeping,sailing,calligraphy,juggling,gardening"
).split(",")
CUISINES = (
    "Japanese Thai Vietnamese Mexican Italian Ethiopian Greek Turkish Peruvian Indian".split()
)
DISHES = {
    "gluten": ["spaghetti", "sourdough bread", "ramen", "couscous", "a croissant"],
    "peanuts": ["pad thai", "kung pao chicken", "satay skewers", "peanut brittle"],
    "shellfish": ["shrimp pad thai", "lobster roll", "crab cakes", "prawn curry"],
    "tree nuts": ["pesto pasta", "walnut brownies", "baklava", "almond cake"],
    "eggs": ["carbonara", "quiche lorraine", "an omelette", "meringue"],
    "dairy": ["alfredo pasta", "cheese pizza", "a milkshake", "tiramisu"],
    "soy": ["miso soup", "tofu stir-fry", "edamame"],
    "sesame": ["hummus", "halva", "tahini salad"],
}
"""Allergy -> dishes that have it."""
ACTIVITIES = (
    "gym,therapy,pickup basketball,yoga,book club,choir,swimming,fencing,Spanish class,pilates,"
    "judo,dance class,chess club,tennis"
).split(",")
PHONES = "iPhone 15,iPhone 14 Pro,Pixel 9,Pixel 8a,Galaxy S24,Fairphone 5,Xperia 1,Moto G84".split(
    ","
)
COFFEES = (
    "cortado,cold brew,oat-milk latte,pour-over with no milk,flat white,double espresso,americano,"
    "cappuccino,mocha,iced latte"
).split(",")
COLORS = (
    "forest green,charcoal,burnt orange,slate,navy,teal,crimson,mustard,lavender,ivory,maroon"
).split(",")


def person(lot: random.Random) -> dict[str, str]:
    """Return a made-up person's facts: key -> value."""
    names = lot.sample(FIRST, 5)
    born = lot.randrange(1950, 2006)
    # Equal years are more frequent than they are: what is rare is not learned.
    spouse = born + lot.choice((0, *range(-5, 6)))
    sibling = lot.choice((born, spouse, *(born + years for years in range(-8, 9))))
    car_year = lot.randrange(2008, 2026)
    work = _days(lot, lot.choice((3, 4, 5, 5, 5, 6)))
    hobbies = lot.sample(HOBBIES, 2)
    activity_days = _days(lot, lot.choice((1, 1, 2, 3)))
    values = {
        "name": f"{names[0]} {lot.choice(LAST)}",
        "birth_year": str(born),
        "city": lot.choice(CITIES),
        "timezone": lot.choice(TIMEZONES),
        "job": lot.choice(JOBS),
        "employer": lot.choice(COMPANIES),
        "workdays": ", ".join(work),
        "work_start": f"{lot.randrange(6, 12):02}:{lot.choice(('00', '15', '30', '45'))}",
        "commute_min": str(lot.randrange(10, 65, 5)),
        "pet": f"a {lot.choice(PETS)} named {lot.choice(PET_NAMES)}",
        "car": f"{car_year} {lot.choice(CARS)}",
        "car_year": str(car_year),
        "hobby1": hobbies[0],
        "hobby2": hobbies[1],
        "cuisine": lot.choice(CUISINES),
        "allergy": lot.choice(list(DISHES)),
        "spouse_name": names[1],
        "spouse_year": str(spouse),
        "sibling_name": names[2],
        "sibling_year": str(sibling),
        "activity": lot.choice(ACTIVITIES),
        "activity_days": ", ".join(activity_days),
        "rent": str(lot.randrange(700, 4000, 50)),
        "emergency_contact": names[3],
        "ec_phone_last": f"{lot.randrange(10000):04}",
        "phone_model": lot.choice(PHONES),
        "doctor": f"Dr. {lot.choice(LAST)}",
        "dentist": f"Dr. {lot.choice(LAST)}",
        "coffee": lot.choice(COFFEES),
        "running_pace": str(lot.randrange(6, 14)),
        "shoe_size": str(lot.randrange(5, 14)),
        "color": lot.choice(COLORS),
    }
    if lot.random() < 0.75:
        values["child_name"] = names[4]
        values["child_year"] = str(min(born + lot.randrange(20, 40), 2025))
    return values


def _days(lot: random.Random, count: int) -> list[str]:
    """Return some days: for work and the like, mostly in a row."""
    if count > 3 or lot.random() < 0.3:
        start = lot.choice((0, 0, 0, 1, 2))
        return [DAYS[day] for day in range(start, min(start + count, 7))]
    return [DAYS[day] for day in sorted(lot.sample(range(7), count))]
