"""The family of a traveller."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    below,
    date,
    day,
    full_name,
    kind,
    near,
    number,
    some_of,
    time,
    time_after,
    words,
)
from benchmarks.skill.moves import clock

_SIGHTS = words(
    "cathedral, castle, harbour, museum, opera, aquarium, lighthouse, old town, market hall, zoo, "
    "botanical garden, palace, city wall, amphitheatre, monastery, bell tower"
)
TRAVELLER = Family(
    "traveller",
    (
        told(
            "destination",
            kind("place"),
            """
            What's my destination?
            Where am I travelling to?
            Where does my trip take me?
            """,
        ),
        told(
            "booking code",
            kind("code"),
            """
            What's my booking code?
            What do I type in to find my reservation?
            reference for my booking?
            """,
        ),
        told(
            "hotel",
            kind("organisation"),
            """
            What is my hotel?
            Where do I sleep on the trip?
            Where have I booked a room?
            """,
        ),
        told(
            "departure date",
            date,
            """
            What's my departure date?
            On which date do I leave?
            When does my trip begin?
            """,
        ),
        told(
            "departure day",
            day,
            """
            What is my departure day?
            On which day of the week do I set off?
            Which weekday do I fly?
            """,
        ),
        told(
            "flight time",
            time(5, 16),
            """
            When is my flight time?
            At what time does my plane take off?
            When do I fly, on the clock?
            """,
        ),
        told(
            "arrival time",
            time_after("flight time", 45, 420),
            """
            What is my arrival time?
            When does my plane land?
            At what time do I touch down?
            """,
        ),
        told(
            "boarding time",
            lambda lot, v: clock(v["flight time"], -lot.randrange(20, 60, 5)),
            """
            What's my boarding time?
            When must I be at the gate?
            From when on can I get on the plane?
            """,
        ),
        told(
            "way to the airport",
            number(15, 140, 5, "{} minutes"),
            """
            How long is my way to the airport?
            How many minutes do I need to the airport?
            How far is it to my plane, in time?
            """,
        ),
        told(
            "travel budget",
            number(300, 4900, 10, "{} euros"),
            """
            What's my travel budget?
            How much may I spend on the trip?
            How many euros did I put aside for my journey?
            """,
        ),
        told(
            "hotel price per night",
            number(35, 290, form="{} euros"),
            """
            What's my hotel price per night?
            What does one night cost me?
            How much is the room a night?
            """,
        ),
        told(
            "number of nights",
            number(2, 14),
            """
            What's the number of nights on my trip?
            How often do I sleep at the hotel?
            How many nights am I staying?
            """,
        ),
        told(
            "flight price",
            below("travel budget", 40, form="{} euros"),
            """
            What's my flight price?
            How much did I pay for the plane?
            What did my ticket cost?
            """,
        ),
        told(
            "sights to see",
            some_of(_SIGHTS, 3, 4, 5),
            """
            What are my sights to see?
            What do I want to look at there?
            Which places are on my list for the trip?
            """,
        ),
        told(
            "luggage weight",
            number(5, 34, form="{} kg"),
            """
            What's my luggage weight?
            How heavy is my suitcase?
            How many kilos am I taking?
            """,
        ),
        told(
            "luggage allowance",
            near("luggage weight", 6, "{} kg"),
            """
            What's my luggage allowance?
            How many kilos may I take on the plane?
            How heavy may my suitcase be?
            """,
        ),
        told(
            "travel companion",
            full_name,
            """
            Who is my travel companion?
            Who comes with me on the trip?
            With whom am I travelling?
            """,
        ),
        told(
            "companion's sights",
            some_of(_SIGHTS, 2, 3, 4),
            """
            What are my companion's sights?
            What does the person who travels with me want to see?
            Which places are on my companion's list?
            """,
        ),
    ),
    (
        around(
            solvers.product("hotel price per night", "number of nights"),
            euros="""
            What does the hotel cost me in total?
            How much do I pay for all nights together?
            """,
            n="""
            Total hotel bill for my stay in euros, only the number?
            What is the price of all my hotel nights, as a bare number?
            """,
        ),
        around(
            solvers.left("travel budget", "flight price"),
            euros="""
            How much of my travel budget is left after paying for the flight?
            Once the flight is paid, what remains for the trip?
            """,
            n="""
            Travel budget minus flight, as a number?
            How many euros can I still spend when the plane ticket is off the budget (digits only)?
            """,
        ),
        around(
            solvers.sum_of("flight price", "hotel price per night"),
            n="""
            If I stay one night only, what do flight and hotel cost together, in euros?
            Flight plus one night: how much (number)?
            One hotel night and the flight, added up?
            """,
            euros="""
            What do I pay for the plane and a single night?
            """,
        ),
        around(
            calendar.shifted("boarding time", "way to the airport", back=True),
            time="""
            When do I leave home to be at the airport right at boarding time?
            At what time must I set off to make it for boarding? HH:MM
            To get to the airport exactly when boarding starts, I go at...?
            Latest departure from home so that I don't miss boarding?
            """,
        ),
        around(
            calendar.length("flight time", "arrival time"),
            n="""
            How many minutes am I in the air?
            How long is my flight (in minutes; no time difference)?
            Take-off to landing in minutes?
            """,
            minutes="""
            What is the duration of my flight?
            """,
        ),
        around(
            calendar.length_spelled("flight time", "arrival time"),
            spelled="""
            How long do I fly, in hours and minutes?
            My time on the plane, from take-off to landing, in hours and minutes?
            How many hours and minutes does my flight take?
            Duration of the flight, written with hours and minutes?
            """,
        ),
        around(
            calendar.shifted_by("arrival time"),
            time="""
            The bus leaves {x} minutes after I land. When is that?
            I need {x} minutes from the plane to the hotel. When do I get there? HH:MM
            {x} minutes after landing, what time is it?
            If passport control takes {x} minutes after touchdown, when am I through?
            """,
        ),
        around(
            solvers.covers("luggage allowance", "luggage weight"),
            yes="""
            Is my suitcase within the allowance?
            May I take my luggage as it is, without paying extra for weight? Yes/No
            Does the airline accept the weight of my luggage?
            Is my luggage light enough for the allowance?
            """,
        ),
        around(
            solvers.apart("luggage allowance", "luggage weight"),
            kilos="""
            By how many kilos does my luggage differ from the allowance?
            What's the difference between my suitcase's weight and what is allowed?
            """,
            n="""
            Kilos between my luggage weight and my allowance, as a number?
            How many kg is my suitcase away from the limit?
            """,
        ),
        around(
            calendar.day_after("departure day", 2, 6),
            it="""
            On which weekday am I back if I return {x} after leaving?
            I stay away for {x} from departure day. On what day do I return?
            What weekday is {x} after I set off?
            {x} after my departure day it is...?
            """,
        ),
        around(
            calendar.days_to("departure day"),
            days="""
            It's {x}. How many days until I leave?
            Today's {x}. How long do I have to wait for my trip?
            """,
            n="""
            Days from {x} to my departure day (number)?
            If it is {x} now, in how many days do I set off?
            """,
        ),
        around(
            solvers.holder(
                {"me": "sights to see", "my companion": "companion's sights"}, _SIGHTS, "neither"
            ),
            it="""
            Who wants to see the {x}: me, my companion or neither of us?
            Which of us two has the {x} on the list? (me, my companion, neither)
            Is it me or my companion who wants to visit the {x}? Say neither if nobody does.
            The {x} was whose idea, mine or my companion's? Answer me, my companion or neither.
            """,
        ),
        around(
            solvers.count("sights to see"),
            n="""
            How many sights do I want to see?
            Number of places on my list for the trip?
            How many stops does my sightseeing list have?
            Count the sights I've planned.
            """,
        ),
        around(
            solvers.nth("sights to see", 1),
            it="""
            Which sight do I visit first if I go by my list?
            What's at the top of my list of sights?
            First on my sightseeing list?
            With which place does my list of sights begin?
            """,
        ),
        around(
            solvers.look_up("hotel"),
            it="""
            The taxi driver asks where to take me for the night. What do I say?
            I'm lost in the city and want to go to bed. Where to?
            Which place should I call if I arrive late at night for my room?
            I left my jacket in my room on the trip. Whom do I ring?
            """,
        ),
    ),
)
