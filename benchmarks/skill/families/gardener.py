"""The family of a gardener."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    date,
    days,
    kind,
    near,
    number,
    some_of,
    time,
    words,
)

_PLANTS = words(
    "tomatoes, beans, carrots, peas, lettuce, onions, garlic, leeks, radishes, pumpkins, roses, "
    "tulips, dahlias, asters, lilies, sage, thyme, basil, mint, rhubarb, strawberries, beetroot"
)
GARDENER = Family(
    "gardener",
    (
        told(
            "garden size",
            number(20, 950, form="{} square metres"),
            """
            What's my garden size?
            How big is my garden?
            How many square metres do I dig?
            """,
        ),
        told(
            "greenhouse plants",
            some_of(_PLANTS, 2, 3, 4),
            """
            What are my greenhouse plants?
            What grows under glass in my garden?
            What have I got in the greenhouse?
            """,
        ),
        told(
            "raised bed plants",
            some_of(_PLANTS, 2, 3, 4, 5),
            """
            What are my raised bed plants?
            What grows in my raised bed?
            What did I plant in the wooden box outside?
            """,
        ),
        told(
            "watering days",
            days(2, 3, 4),
            """
            What are my watering days?
            When do I water?
            On which days do the plants get a drink?
            """,
        ),
        told(
            "watering time",
            time(5, 20),
            """
            What's my watering time?
            At what time do I turn on the hose?
            When of the day do my plants get water?
            """,
        ),
        told(
            "watering length",
            number(5, 75, 5, "{} minutes"),
            """
            What's my watering length?
            How long does the hose run?
            How many minutes do I water?
            """,
        ),
        told(
            "water per bed",
            number(4, 48, form="{} litres"),
            """
            How much is my water per bed?
            How many litres do I give each bed?
            What amount of water does a bed of mine get?
            """,
        ),
        told(
            "number of beds",
            number(2, 24),
            """
            What's my number of beds?
            How many beds do I have in the garden?
            How many beds are to be dug?
            """,
        ),
        told(
            "rain barrel level",
            number(50, 950, form="{} litres"),
            """
            What's my rain barrel level?
            How much water is in the barrel?
            How many litres of rain have I collected?
            """,
        ),
        told(
            "sowing date",
            date,
            """
            What's my sowing date?
            When do I put the seeds in?
            On which date do I sow?
            """,
        ),
        told(
            "harvest date",
            date,
            """
            What's my harvest date?
            When do I pick the crop?
            On which date do I bring it all in?
            """,
        ),
        told(
            "apple tree's planting year",
            number(1930, 2023),
            """
            What's my apple tree's planting year?
            When did the apple tree go into the ground?
            In what year did we plant the apple tree?
            """,
        ),
        told(
            "pear tree's planting year",
            near("apple tree's planting year", 14, highest=2025),
            """
            What's my pear tree's planting year?
            When did the pear tree go into the ground?
            In what year did we plant the pear tree?
            """,
        ),
        told(
            "apple harvest",
            number(8, 290, form="{} kg"),
            """
            How big was my apple harvest?
            How many kilos of apples did I pick?
            What did the apple tree give?
            """,
        ),
        told(
            "pear harvest",
            number(8, 290, form="{} kg"),
            """
            How big was my pear harvest?
            How many kilos of pears did I pick?
            What did the pear tree give?
            """,
        ),
        told(
            "seed merchant",
            kind("organisation"),
            """
            Who is my seed merchant?
            Where do I buy seeds?
            From whom do my seeds come?
            """,
        ),
    ),
    (
        around(
            solvers.product("water per bed", "number of beds"),
            litres="""
            How much water do all my beds need together?
            Water for the whole garden, all beds, one round?
            """,
            n="""
            How many litres do I use when I water every bed once? Number only.
            Total litres for all beds (no unit)?
            """,
        ),
        around(
            solvers.left_of("rain barrel level", 5, 45),
            litres="""
            I take {x} litres out of the rain barrel. How much is left in it?
            What remains in the barrel after {x} litres are gone?
            """,
            n="""
            Barrel minus {x} litres: how many litres (number)?
            After using {x} litres of rain water, how many litres do I still have? Digits only.
            """,
        ),
        around(
            solvers.at_least("rain barrel level", 20, 4),
            yes="""
            Have I got at least {x} litres of rain water in the barrel?
            I need {x} litres. Is there enough in the rain barrel?
            Does my rain water suffice for {x} litres? Yes or No
            {x} litres from the barrel, is that possible?
            """,
        ),
        around(
            solvers.sum_of("apple harvest", "pear harvest"),
            kilos="""
            How much fruit did I pick in all, apples and pears?
            Apples plus pears: what was my harvest?
            """,
            n="""
            Kilos of apples and pears added together, as a number?
            Total of my apple and pear harvests in kg (only digits)?
            """,
        ),
        around(
            solvers.most({"apples": "apple harvest", "pears": "pear harvest"}, "largest"),
            it="""
            Did I harvest more apples or more pears?
            Which gave more fruit by weight: apples or pears?
            Apples or pears, of which did I have more kilos?
            My bigger harvest: was it apples or pears?
            """,
        ),
        around(
            solvers.apart("apple harvest", "pear harvest"),
            kilos="""
            By how many kilos did the apple and pear harvests differ?
            How far apart were my apple and pear harvests?
            """,
            n="""
            Difference between apples and pears in kg, number only?
            Kilos between the harvest of apples and that of pears (just the figure)?
            """,
        ),
        around(
            solvers.age("apple tree's planting year"),
            years="""
            How old is my apple tree (planted then, now it's {now})?
            It's {now}: how long has the apple tree been standing there?
            """,
            n="""
            Apple tree's age in {now}?
            How many years ago was the apple tree planted, as of {now}?
            """,
        ),
        around(
            solvers.most(
                {
                    "apple tree": "apple tree's planting year",
                    "pear tree": "pear tree's planting year",
                },
                "earliest",
                lowest=True,
                tie="same age",
            ),
            it="""
            Which tree is older, the apple tree or the pear tree?
            Was the pear tree or the apple tree planted first?
            Apple tree or pear tree: the older one is...?
            Which of my two trees has been there longer?
            """,
        ),
        around(
            solvers.years_apart(
                "pear tree's planting year", "apple tree's planting year", "pear tree", "apple tree"
            ),
            sentence="""
            Is my pear tree older or younger than my apple tree, and by how much?
            Pear tree against apple tree: older or younger by how many years?
            How much older or younger is the pear tree than the apple tree?
            By how many years is the pear tree older or younger than the apple tree?
            """,
        ),
        around(
            solvers.holder(
                {"greenhouse": "greenhouse plants", "raised bed": "raised bed plants"},
                _PLANTS,
                "neither",
            ),
            it="""
            Where do I grow {x}: greenhouse, raised bed or neither?
            Are my {x} in the greenhouse or in the raised bed, or neither?
            Where would I look for {x} in my garden? (greenhouse, raised bed, neither)
            {x}: under glass (greenhouse), in the raised bed, or neither?
            """,
        ),
        around(
            solvers.includes_both("raised bed plants", _PLANTS),
            yes="""
            Do {x} and {y} both grow in my raised bed?
            Have I put both {x} and {y} into the raised bed?
            Raised bed: {x} as well as {y}? Yes or No
            Are both {x} and {y} among what I grow in the raised bed?
            """,
        ),
        around(
            solvers.nth("raised bed plants", 2),
            it="""
            What is the second plant of my raised bed list?
            Number two in my list for the raised bed?
            Which plant comes second in what I said about the raised bed?
            Second item of the raised bed plants?
            """,
        ),
        around(
            calendar.shifted("watering time", "watering length"),
            time="""
            When am I done with watering?
            At what time do I turn off the hose? HH:MM
            Watering ends at what time?
            If I water as usual, when can I put the hose away?
            """,
        ),
        around(
            solvers.includes("watering days"),
            yes="""
            Do I have to water on {x}?
            Is {x} a watering day?
            Do the plants get water on {x}? Yes/No
            Today is {x}. Do I need the hose?
            """,
        ),
        around(
            calendar.month_of("harvest date"),
            it="""
            In which month do I harvest?
            Month of my harvest?
            For which month should I book helpers for the harvest?
            My harvest date falls in which month?
            """,
        ),
        around(
            solvers.look_up("seed merchant"),
            it="""
            None of my seeds came up. Whom do I complain to?
            I need new seeds. Where do I order?
            Where can I get more bean seeds?
            Who could tell me which seeds are in stock?
            """,
        ),
    ),
)
