"""The family of a household."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    day,
    first_name,
    full_name,
    number,
    some_of,
    time,
    words,
)

_CHORES = words(
    "dishes, laundry, vacuuming, ironing, dusting, recycling, cooking, shopping, mopping, "
    "window cleaning, bins, gardening, watering the plants, cleaning the bathroom"
)
HOUSEHOLD = Family(
    "household",
    (
        told(
            "monthly rent",
            number(480, 2600, 10),
            """
            What's my monthly rent?
            How much does my landlord get from me each month?
            rent per month?
            """,
        ),
        told(
            "electricity bill",
            number(20, 190),
            """
            How high is my electricity bill?
            What do I pay for power?
            Electricity bill, how much?
            """,
        ),
        told(
            "internet bill",
            number(15, 80),
            """
            How much is my internet bill?
            What does my broadband cost me?
            Tell me what I pay to be online.
            """,
        ),
        told(
            "flat size",
            number(24, 180, form="{} square metres"),
            """
            How big is my flat?
            How many square metres do I live on?
            Flat size?
            """,
        ),
        told(
            "number of rooms",
            number(1, 9),
            """
            How many rooms do I have?
            My place has how many rooms?
            What number of rooms have I got at home?
            """,
        ),
        told(
            "year of moving in",
            number(1985, 2025),
            """
            In what year did I move in?
            Since when have I lived in this flat?
            Which year did I come to live here?
            """,
        ),
        told(
            "landlord",
            full_name,
            """
            Who is my landlord?
            Who owns my flat?
            To whom do I pay the rent?
            """,
        ),
        told(
            "plumber",
            full_name,
            """
            Who's my plumber?
            Who fixes my pipes?
            Name of my plumber, please.
            """,
        ),
        told(
            "rubbish collection day",
            day,
            """
            When is my rubbish collection day?
            On which day are my bins emptied?
            What day does the bin lorry come to me?
            """,
        ),
        told(
            "cleaning day",
            lambda lot, v: lot.choice((v["rubbish collection day"], day(lot, v))),
            """
            Which day is my cleaning day?
            On which day of the week do I clean the flat?
            When do I clean?
            """,
        ),
        told(
            "chores",
            some_of(_CHORES, 2, 3, 4),
            """
            What are my chores?
            Which jobs in the household are mine?
            What do I have to do around the house?
            """,
        ),
        told(
            "flatmate",
            first_name,
            """
            Who is my flatmate?
            Who lives with me?
            With whom do I share the flat?
            """,
        ),
        told(
            "flatmate's chores",
            some_of(_CHORES, 2, 3, 4),
            """
            What are my flatmate's chores?
            Which jobs does the person I live with do?
            Chores of my flatmate?
            """,
        ),
        told(
            "quiet hours start",
            time(19, 22, 15),
            """
            When do my quiet hours start?
            From when on must I be quiet at home?
            At what time do I have to turn the music down?
            """,
        ),
        told(
            "washing machine time",
            number(35, 185, 5, "{} minutes"),
            """
            How long does my washing machine take?
            How many minutes is one load of laundry for me?
            Washing machine time?
            """,
        ),
    ),
    (
        around(
            solvers.sum_of("electricity bill", "internet bill"),
            n="""
            How much are my electricity and internet bills together?
            Power plus internet: what does that come to for me?
            Sum of my electricity bill and my internet bill, just the number.
            """,
            euros="""
            What do I pay for electricity and broadband in total, in euros?
            """,
        ),
        around(
            solvers.sum_of("monthly rent", "electricity bill", "internet bill"),
            n="""
            What do rent, electricity and internet cost me altogether?
            Add up my rent and my two bills (electricity, internet).
            How much leaves my account for rent, power and internet? Number only.
            """,
            euros="""
            Rent + electricity + internet: how many euros is that for me?
            """,
        ),
        around(
            solvers.half("monthly rent"),
            n="""
            If I split the rent fifty-fifty with my flatmate, what is my share?
            What's half of my monthly rent?
            My flatmate pays half the rent. How much is that?
            Rent halved?
            """,
        ),
        around(
            solvers.times("electricity bill", 2, 9),
            n="""
            How much do I spend on power in {x} months?
            {x} months of electricity: what do I pay?
            What do {x} of my electricity bills add up to?
            My electricity for {x} months, as a number?
            """,
        ),
        around(
            solvers.age("year of moving in"),
            n="""
            For how many years have I lived here (it is {now})?
            It's {now}. How many years ago did I move in?
            How long have I been in this flat, in years, as of {now}?
            """,
            years="""
            How long will I have been living in my flat in {now}?
            """,
        ),
        around(
            solvers.holder(
                {"me": "chores", "my flatmate": "flatmate's chores"}, _CHORES, "neither"
            ),
            it="""
            Whose chore is this at our place: {x}? Me, my flatmate or neither?
            Who does the {x}, me or my flatmate? Say neither if nobody does.
            {x}: my job, my flatmate's, or neither?
            Is it me or my flatmate who is down for {x} (or neither)?
            """,
        ),
        around(
            solvers.count("chores"),
            n="""
            How many chores do I have?
            Number of household jobs that are mine?
            I have to do how many chores?
            Count the chores that I am responsible for.
            """,
        ),
        around(
            calendar.days_to("rubbish collection day"),
            days="""
            Today is {x}. In how many days are my bins collected?
            It's {x}; how long until the rubbish is picked up?
            """,
            n="""
            If today is {x}, how many days is it to my next rubbish collection?
            Days from {x} to my bin day, just a number?
            """,
        ),
        around(
            calendar.day_after("rubbish collection day", back=True),
            it="""
            I put the bins out the evening before collection. Which day is that?
            What is the day before my rubbish collection?
            On which day must I put out the rubbish if it's picked up the next day?
            Day before bin day?
            """,
        ),
        around(
            calendar.same("cleaning day", "rubbish collection day"),
            yes="""
            Do I clean on the day the rubbish is collected?
            Are my cleaning day and my rubbish collection day the same? Yes or No.
            Is my cleaning day also bin day?
            Cleaning and rubbish collection on the same day?
            """,
        ),
        around(
            calendar.before("quiet hours start"),
            yes="""
            Do my quiet hours begin before {x}?
            Must I already be quiet at {x} because quiet hours have started?
            It's {x} in the evening. Have my quiet hours started? Yes/No
            Is {x} later than the start of quiet hours at my place?
            """,
        ),
        around(
            calendar.shifted("quiet hours start", "washing machine time", back=True),
            time="""
            When must I start the washing machine so that it is done by quiet hours?
            Latest time to switch on my washing machine before quiet hours? Answer in HH:MM.
            My laundry has to finish exactly when quiet hours start. When do I start it?
            washing machine has to be through by quiet hours, so it has to run from when?
            """,
        ),
        around(
            solvers.hours_of("washing machine time"),
            spelled="""
            How long is a load of washing in hours and minutes?
            My washing machine's time, please in hours and minutes.
            How many hours and minutes does my laundry take?
            Convert my washing machine time to hours and minutes.
            """,
        ),
        around(
            solvers.look_up("plumber"),
            it="""
            There's water all over my kitchen floor. Who should I call?
            The tap is dripping - whom do I ring?
            A pipe burst! Who can help?
            Who do I contact if the toilet is blocked?
            """,
        ),
        around(
            solvers.over("flat size", 10, 3),
            yes="""
            Is my flat larger than {x} square metres?
            Do I live on more than {x} square metres? Answer Yes or No.
            Is my home bigger than {x} square metres?
            more than {x} square metres, my flat, yes or no?
            """,
        ),
    ),
)
