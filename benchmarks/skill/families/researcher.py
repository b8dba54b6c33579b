"""The family of a lab researcher."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    below,
    date,
    days,
    full_name,
    kind,
    near,
    number,
    some_of,
    time,
    words,
)

_REAGENTS = words(
    "ethanol, acetone, agar, glycerol, sucrose, iodine, benzene, toluene, methanol, ammonia, "
    "chloroform, phenol, glucose, urea"
)
RESEARCHER = Family(
    "lab researcher",
    (
        told(
            "institute",
            kind("organisation"),
            """
            What is my institute?
            Where is my lab?
            Which place pays for my research?
            """,
        ),
        told(
            "supervisor",
            full_name,
            """
            Who is my supervisor?
            Who signs off my experiments?
            Under whom do I do research?
            """,
        ),
        told(
            "safety officer",
            full_name,
            """
            Who is my safety officer?
            Who is in charge of accidents in the lab?
            Who checks our goggles and gloves?
            """,
        ),
        told(
            "grant",
            number(5000, 90000, 500),
            """
            How large is my grant?
            How much money did I get for the research?
            What sum did the foundation approve?
            """,
        ),
        told(
            "amount spent",
            below("grant", 1000, 100),
            """
            What is my amount spent?
            How much of the research money is gone?
            What have I used up so far?
            """,
        ),
        told(
            "samples collected",
            number(15, 780),
            """
            How many samples are collected?
            What's my number of samples collected?
            How many specimens have I got?
            """,
        ),
        told(
            "samples analysed",
            below("samples collected", 2),
            """
            How many samples are analysed?
            What's my number of samples analysed?
            How many specimens have been through the machine?
            """,
        ),
        told(
            "samples per batch",
            number(4, 96),
            """
            How many samples per batch are there?
            How many specimens go in at a time?
            What is the size of one run of mine?
            """,
        ),
        told(
            "incubation start",
            time(6, 14),
            """
            When is my incubation start?
            At what time do the dishes go into the incubator?
            When do I put the cultures in?
            """,
        ),
        told(
            "incubation length",
            number(20, 290, 5, "{} minutes"),
            """
            What's my incubation length?
            How long do the cultures stay warm?
            For how many minutes are the dishes inside?
            """,
        ),
        told(
            "shelf A reagents",
            some_of(_REAGENTS, 2, 3, 4),
            """
            What are my shelf A reagents?
            What stands on shelf A?
            Which bottles are on the first shelf (A)?
            """,
        ),
        told(
            "shelf B reagents",
            some_of(_REAGENTS, 2, 3, 4),
            """
            What are my shelf B reagents?
            What stands on shelf B?
            Which bottles are on the second shelf (B)?
            """,
        ),
        told(
            "microscope days",
            days(1, 2, 3),
            """
            What are my microscope days?
            When is the microscope mine?
            On which days may I look through the lens?
            """,
        ),
        told(
            "microscope's year",
            number(1975, 2024),
            """
            What's my microscope's year?
            When was the microscope bought?
            From what year is the thing I look through?
            """,
        ),
        told(
            "centrifuge's year",
            near("microscope's year", 12, highest=2025),
            """
            What's my centrifuge's year?
            When was the centrifuge bought?
            From what year is the thing that spins my tubes?
            """,
        ),
        told(
            "paper deadline",
            date,
            """
            What's my paper deadline?
            Until when can I submit the manuscript?
            By which date must the article be in?
            """,
        ),
        told(
            "conference date",
            date,
            """
            What's my conference date?
            When do I give my talk abroad?
            On which date do all the researchers meet?
            """,
        ),
    ),
    (
        around(
            solvers.left("grant", "amount spent"),
            n="""
            What is left of my grant?
            How much research money do I still have?
            Unspent part of the grant?
            """,
            euros="""
            How many euros of the grant can I still use?
            """,
        ),
        around(
            solvers.left("samples collected", "samples analysed"),
            n="""
            How many samples are still waiting to be analysed?
            Number of samples not analysed yet?
            How many of the collected samples do I have to analyse still?
            Samples to go? Give a number.
            """,
        ),
        around(
            solvers.times("samples per batch", 2, 9),
            n="""
            How many samples are processed in {x} batches?
            {x} full batches contain how many samples?
            What number of samples goes through with {x} batches?
            I run {x} batches today. How many samples is that?
            """,
        ),
        around(
            solvers.at_least("samples collected", 50, 2),
            yes="""
            The study needs at least {x} samples. Have I collected enough?
            Do I have {x} or more samples?
            Is the minimum of {x} samples reached? Yes or No.
            Did I manage to collect {x} samples at least?
            """,
        ),
        around(
            calendar.shifted("incubation start", "incubation length"),
            time="""
            When does the incubation finish?
            At what time can I take the dishes out of the incubator?
            End of the incubation, in HH:MM?
            When do I have to be back for the cultures?
            """,
        ),
        around(
            solvers.hours_of("incubation length"),
            spelled="""
            Express my incubation length in hours and minutes.
            How many hours and minutes is the incubation?
            For the protocol: incubation time in hours and minutes?
            The incubation lasts how long, in hours and minutes?
            """,
        ),
        around(
            calendar.shifted_by("incubation start", 10, 80, back=True),
            time="""
            The incubator must warm up {x} minutes before the incubation. When do I turn it on?
            I prepare the dishes {x} minutes before incubation starts. When is this?
            {x} minutes prior to the start of the incubation: HH:MM?
            If setting up takes {x} minutes, when do I begin so that incubation starts on time?
            """,
        ),
        around(
            solvers.holder(
                {"shelf A": "shelf A reagents", "shelf B": "shelf B reagents"}, _REAGENTS, "neither"
            ),
            it="""
            Where do I find {x}, on shelf A or shelf B, or neither?
            Which shelf has the {x}? (shelf A / shelf B / neither)
            I need {x}. Shelf A, shelf B or neither?
            Is the {x} on shelf A or on shelf B? Say neither if it isn't there.
            """,
        ),
        around(
            solvers.count("shelf A reagents"),
            n="""
            How many reagents are kept on shelf A?
            Shelf A holds how many reagents?
            Number of bottles on shelf A, one per reagent?
            Take stock of shelf A: how many reagents?
            """,
        ),
        around(
            solvers.includes("microscope days"),
            yes="""
            May I use the microscope on {x}?
            Is the microscope mine on {x}?
            Is {x} one of the days with the microscope for me? Yes or No.
            Microscope on {x}?
            """,
        ),
        around(
            solvers.most(
                {"microscope": "microscope's year", "centrifuge": "centrifuge's year"},
                "earliest",
                lowest=True,
                tie="same age",
            ),
            it="""
            Which device is older, the microscope or the centrifuge?
            Was the centrifuge or the microscope bought earlier?
            What should be replaced first by age: centrifuge or microscope?
            Microscope or centrifuge: the older of the two?
            """,
        ),
        around(
            solvers.apart("microscope's year", "centrifuge's year"),
            years="""
            How many years lie between the purchases of microscope and centrifuge?
            What's the age difference of my two devices, microscope and centrifuge?
            """,
            n="""
            Microscope and centrifuge: how many years apart, as a number?
            Years between buying the microscope and the centrifuge, digits only?
            """,
        ),
        around(
            solvers.age("microscope's year"),
            years="""
            How old is the microscope in {now}?
            It's {now}: for how long have we had the microscope?
            """,
            n="""
            The microscope's age in {now}, as a number?
            As of {now}, how many years ago did we buy the microscope?
            """,
        ),
        around(
            calendar.first_date({"paper": "paper deadline", "conference": "conference date"}),
            it="""
            What is first in the year, the paper or the conference?
            Do I have to finish the paper before the conference? Say which comes first.
            Conference or paper deadline: which date is earlier?
            Which of the two is sooner in the calendar, paper or conference?
            """,
        ),
        around(
            solvers.look_up("safety officer"),
            it="""
            Somebody spilled acid. Who must be told?
            A bottle broke and it smells. Whom do I alert?
            Whom do I ask before I work with something poisonous?
            There was a small fire in the lab; to whom does the report go?
            """,
        ),
    ),
)
