"""The family of a pet owner."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    above,
    date,
    days,
    doctor,
    first_name,
    full_name,
    near,
    number,
    time,
)

PET_OWNER = Family(
    "pet owner",
    (
        told(
            "dog",
            first_name,
            """
            What's my dog called?
            What's my dog's name?
            Who barks here?
            """,
        ),
        told(
            "dog's birth year",
            number(2008, 2024),
            """
            What is my dog's birth year?
            When was my dog born?
            In which year was my puppy born?
            """,
        ),
        told(
            "cat",
            first_name,
            """
            What's my cat called?
            What's my cat's name?
            Who purrs here?
            """,
        ),
        told(
            "cat's birth year",
            near("dog's birth year", 4, highest=2025),
            """
            What is my cat's birth year?
            When was my cat born?
            In which year was my kitten born?
            """,
        ),
        told(
            "dog's weight",
            number(3, 62, form="{} kg"),
            """
            What is my dog's weight?
            How heavy is my dog?
            How many kilos is my dog?
            """,
        ),
        told(
            "cat's weight",
            number(2, 11, form="{} kg"),
            """
            What is my cat's weight?
            How heavy is my cat?
            How many kilos does my cat weigh?
            """,
        ),
        told(
            "vet",
            doctor,
            """
            Who is my vet?
            Which doctor treats my animals?
            My vet's name?
            """,
        ),
        told(
            "vet appointment",
            date,
            """
            When is my vet appointment?
            On what date do I take my animals to the doctor?
            Vet appointment date?
            """,
        ),
        told(
            "vaccination date",
            date,
            """
            What's the vaccination date?
            When do my animals get their jabs?
            On what day are my animals vaccinated?
            """,
        ),
        told(
            "morning walk",
            time(5, 8),
            """
            When is my morning walk with the dog?
            When do I first take the dog out?
            At what time does the dog go out early in the day?
            """,
        ),
        told(
            "walk length",
            number(15, 110, 5, "{} minutes"),
            """
            What's the walk length for my dog?
            How long do I walk the dog?
            How many minutes am I out with the dog?
            """,
        ),
        told(
            "evening walk",
            time(16, 21),
            """
            When is my evening walk?
            When do I go out with the dog late in the day?
            At what time is the dog's last walk?
            """,
        ),
        told(
            "walks per day",
            number(2, 5),
            """
            How many walks per day does my dog get?
            How often do I take the dog out daily?
            Number of walks a day?
            """,
        ),
        told(
            "dog food per day",
            number(120, 900, 10, "{} grams"),
            """
            How much dog food per day do I need?
            How many grams does my dog eat daily?
            What's the daily ration of my dog?
            """,
        ),
        told(
            "dog food supply",
            above("dog food per day", 6000, 100, "{} grams", 500),
            """
            How big is my dog food supply?
            How many grams of food for the dog are left?
            What's my stock of dog food?
            """,
        ),
        told(
            "pet sitter",
            full_name,
            """
            Who is my pet sitter?
            Who feeds my animals when I'm away?
            Name of my pet sitter?
            """,
        ),
        told(
            "grooming days",
            days(1, 2, 3),
            """
            What are my grooming days?
            On which days do I brush the animals?
            When do I brush the dog?
            """,
        ),
    ),
    (
        around(
            solvers.age("dog's birth year"),
            years="""
            How old is my dog (it's {now})?
            It's {now}: what age is my dog?
            """,
            n="""
            My dog's age in {now}, only the number?
            How many years old is my dog in {now}?
            """,
        ),
        around(
            solvers.age_in("cat's birth year"),
            n="""
            It's {now}. How old will my cat be in {more} years?
            How old is my cat going to be {more} years from now ({now})?
            {more} years after {now}, what age has my cat?
            Age of my cat in {more} years (now is {now})?
            """,
        ),
        around(
            solvers.older(
                {"dog": ("dog", "dog's birth year"), "cat": ("cat", "cat's birth year")},
                form="{name} (my {who})",
                tie="same",
            ),
            it="""
            Which of my pets is older, the dog or the cat?
            Who was born first, my cat or my dog?
            Dog or cat, which one is older?
            Who is the senior among my two animals?
            """,
        ),
        around(
            solvers.apart("dog's weight", "cat's weight"),
            kilos="""
            How many kilos lie between my dog and my cat?
            What's the difference in weight between my two pets?
            """,
            n="""
            Weight difference of cat and dog in kg, as a bare number?
            By how many kg do my dog's and my cat's weights differ?
            """,
        ),
        around(
            solvers.sum_of("dog's weight", "cat's weight"),
            kilos="""
            What do my dog and my cat weigh together?
            If both pets sit on the scales, what does it show?
            Total weight of my two animals?
            """,
            n="""
            Cat plus dog in kg (number)?
            """,
        ),
        around(
            solvers.product("walk length", "walks per day"),
            n="""
            How many minutes a day am I out with the dog altogether?
            Total walking time per day with my dog, in minutes?
            Daily minutes of dog walking?
            """,
            minutes="""
            How long do all walks of a day take me?
            """,
        ),
        around(
            calendar.shifted("morning walk", "walk length"),
            time="""
            When am I back from the morning walk?
            At what time does the dog's first walk end?
            Home again after walking the dog in the morning - when? HH:MM
            What time is it when the early walk is over?
            """,
        ),
        around(
            calendar.length_spelled("morning walk", "evening walk"),
            spelled="""
            How much time lies between the start of my morning and evening walks?
            How long from the morning walk to the evening walk?
            Morning walk to evening walk, in hours and minutes?
            What time passes between the dog's first and last walk?
            """,
        ),
        around(
            solvers.left("dog food supply", "dog food per day"),
            n="""
            How many grams of dog food are left after today?
            If my dog eats today's ration, how many grams remain?
            Dog food left tomorrow morning, in grams, just the number?
            What's left of the supply once the dog has had one day's food (in grams)?
            """,
        ),
        around(
            solvers.times("dog food per day", 2, 7),
            n="""
            How many grams does my dog need for {x} days?
            I'm away for {x} days. How much dog food do I leave, in grams?
            {x} days of dog food in grams?
            What does my dog eat in {x} days? Grams, only the number.
            """,
        ),
        around(
            calendar.first_date(
                {"vet appointment": "vet appointment", "vaccination": "vaccination date"}
            ),
            it="""
            Which comes first this year, the vet appointment or the vaccination?
            What is earlier in the year: vaccination or vet appointment?
            Vet appointment or vaccination, which one is sooner in the calendar?
            Going from January on, do I have the vaccination or the vet appointment first?
            """,
        ),
        around(
            calendar.month_of("vaccination date"),
            it="""
            In which month do my animals get vaccinated?
            Vaccination month?
            Just the month of the jabs, please.
            What month should I put the vaccination in?
            """,
        ),
        around(
            solvers.includes_both("grooming days"),
            yes="""
            Do I brush the animals on both {x} and {y}?
            Are {x} and {y} both grooming days?
            Grooming on {x} and also on {y}: Yes or No?
            Is it right that I groom on {x} as well as on {y}?
            """,
        ),
        around(
            solvers.look_up("pet sitter"),
            it="""
            I'm off on holiday. Who feeds the cat?
            Who do I call if I can't get home to the dog?
            Who takes care of my animals while I travel?
            Whom should I ask to look after the pets?
            """,
        ),
        around(
            solvers.look_up("vet"),
            it="""
            My dog ate chocolate! Who do I phone?
            The cat is limping. Who should see her?
            One of my pets is ill, who can treat it?
            Whom do I contact about worms?
            """,
        ),
        around(
            solvers.at_least("dog's weight", 5, 3),
            yes="""
            Does my dog weigh at least {x} kg?
            The lift takes dogs from {x} kg upwards only. Does mine count? Yes/No
            Is my dog {x} kg or more?
            At least {x} kg: true for my dog?
            """,
        ),
    ),
)
