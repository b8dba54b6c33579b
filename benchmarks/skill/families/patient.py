"""The family of a patient."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    day,
    days,
    doctor,
    full_name,
    kind,
    near,
    number,
    one_of,
    some_of,
    time,
    words,
)

_MEDICINES = words(
    "Velorin, Tamexa, Corvadil, Nuprex, Solvane, Bendoral, Kelotin, Marivex, Zandorol, Pelistat"
)
_BLOOD_TYPES = words(
    "A positive, A negative, B positive, B negative, 0 positive, 0 negative, AB positive, "
    "AB negative"
)
PATIENT = Family(
    "patient",
    (
        told(
            "birth year",
            number(1930, 2012),
            """
            What is my birth year?
            What year was I born?
            In which year was I born?
            """,
        ),
        told(
            "blood type",
            one_of(_BLOOD_TYPES),
            """
            What is my blood type?
            Which group does my blood belong to?
            What should a donor's blood match?
            """,
        ),
        told(
            "doctor",
            doctor,
            """
            Who is my doctor?
            Who treats me?
            Whose surgery do I go to?
            """,
        ),
        told(
            "emergency contact",
            full_name,
            """
            Who is my emergency contact?
            Who is to be told if something happens to me?
            Whose number do I leave in case of an emergency?
            """,
        ),
        told(
            "pharmacy",
            kind("organisation"),
            """
            Which is my pharmacy?
            Where do I get my medicine?
            Where do I take a prescription?
            """,
        ),
        told(
            "morning medication",
            some_of(
                _MEDICINES,
                1,
                2,
                3,
            ),
            """
            What is my morning medication?
            What do I swallow after getting up?
            Which pills do I take first thing?
            """,
        ),
        told(
            "evening medication",
            some_of(
                _MEDICINES,
                1,
                2,
                3,
            ),
            """
            What is my evening medication?
            What do I swallow before going to bed?
            Which pills do I take last thing?
            """,
        ),
        told(
            "tablets per day",
            number(1, 9),
            """
            How many tablets per day do I take?
            What's my daily number of pills?
            What is my dose, in tablets?
            """,
        ),
        told(
            "tablets left",
            number(12, 180),
            """
            How many tablets are left?
            How many pills are still in the box?
            What remains of my supply of pills?
            """,
        ),
        told(
            "appointment time",
            time(8, 17),
            """
            What is my appointment time?
            When am I expected at the surgery?
            For what time am I booked in?
            """,
        ),
        told(
            "travel time to the clinic",
            number(5, 95, 5, "{} minutes"),
            """
            What is my travel time to the clinic?
            How long does it take me to get to the clinic?
            How many minutes am I on the way for treatment?
            """,
        ),
        told(
            "appointment day",
            day,
            """
            What is my appointment day?
            On which weekday am I booked in?
            When in the week do I see somebody about my health?
            """,
        ),
        told(
            "physiotherapy days",
            days(1, 2, 3),
            """
            What are my physiotherapy days?
            On which days do I exercise with the physio?
            When do I have physio?
            """,
        ),
        told(
            "weight",
            number(42, 140, form="{} kg"),
            """
            What is my weight?
            How heavy am I?
            What do the scales say when I step on them?
            """,
        ),
        told(
            "target weight",
            near("weight", 18, "{} kg"),
            """
            What is my target weight?
            How heavy does the doctor want me to be?
            What weight am I aiming at?
            """,
        ),
        told(
            "resting pulse",
            number(44, 108),
            """
            What is my resting pulse?
            How fast does my heart beat when I sit still?
            Beats per minute at rest?
            """,
        ),
    ),
    (
        around(
            solvers.age("birth year"),
            n="""
            Please state my age; the year is {now}.
            It is {now}. How old am I?
            What's my age? (current year: {now})
            The nurse asks my age, and we're in {now}. What do I say? Just the number.
            """,
            years="""
            How many years old am I in {now}? Answer like "40 years".
            """,
        ),
        around(
            solvers.age_in("birth year"),
            n="""
            The next screening is {more} years after {now}. How old am I then?
            What will my age be {more} years from now (it is {now})?
            Now it's {now}. My age {more} years later?
            How old shall I be in {more} years, counting from {now}?
            """,
        ),
        around(
            solvers.left("tablets left", "tablets per day"),
            n="""
            How many tablets will be in the box after today's dose?
            Once I've taken today's tablets, how many are left?
            Tablets left tomorrow?
            I take my daily tablets; what number stays in the pack?
            """,
        ),
        around(
            solvers.times("tablets per day", 3, 14),
            n="""
            How many tablets do I need for {x} days?
            I'm going away for {x} days. How many pills should I pack?
            Tablets for {x} days, please.
            What is my need of tablets over {x} days?
            """,
        ),
        around(
            calendar.shifted("appointment time", "travel time to the clinic", back=True),
            time="""
            At what time should I leave for my appointment to be on time?
            When do I have to set out for the clinic? Answer in HH:MM.
            Latest time to leave the house for my appointment?
            If the way takes as long as usual, when must I go to be at my appointment?
            """,
        ),
        around(
            calendar.shifted_by("appointment time"),
            time="""
            The check-up takes {x} minutes. When is it over?
            If I'm with the doctor for {x} minutes, when can my husband pick me up? HH:MM
            My appointment lasts {x} minutes and starts on time: end?
            {x} minutes after the time of my appointment is...
            """,
        ),
        around(
            calendar.day_after("appointment day", 1, 4),
            it="""
            My results arrive {x} after the appointment. Which weekday?
            On which weekday do I get a call if it comes {x} after my appointment?
            What day of the week is {x} after my appointment day?
            {x} after I've been to the appointment, what day is it?
            """,
        ),
        around(
            calendar.days_to("appointment day"),
            days="""
            Today is {x}. How many days do I have to wait for my appointment?
            From {x}, how long is it to my appointment?
            """,
            n="""
            It is {x}: number of days until my appointment?
            If it's {x} today, in how many days is my appointment? Just the number.
            """,
        ),
        around(
            solvers.includes("physiotherapy days"),
            yes="""
            Do I have physiotherapy on {x}?
            Is there physio for me on {x}? Answer Yes or No.
            Should I keep {x} free for physiotherapy?
            Physiotherapy on {x}?
            """,
        ),
        around(
            solvers.count("physiotherapy days"),
            n="""
            How many times a week do I have physiotherapy?
            How many physio sessions are there in my week?
            Physiotherapy: how often per week?
            On how many days do I have to do physiotherapy?
            """,
        ),
        around(
            solvers.most({"weight": "weight", "target weight": "target weight"}, "largest"),
            it="""
            Which is higher, my weight or my target weight?
            Compare weight and target weight: which one is greater?
            Is my weight or my target weight the larger number?
            Weight or target weight, what's more?
            """,
        ),
        around(
            solvers.apart("weight", "target weight"),
            kilos="""
            How many kilos am I away from my target weight?
            What's the difference between what I weigh and my target?
            """,
            n="""
            Weight versus target, difference in kg (number)?
            By how many kg do my weight and my target weight differ?
            """,
        ),
        around(
            solvers.over("resting pulse", 10, 2),
            yes="""
            Is my resting pulse above {x}?
            The doctor worries if the resting pulse is more than {x}. Should she?
            Does my pulse at rest exceed {x}? Yes or No.
            Resting pulse higher than {x}?
            """,
        ),
        around(
            solvers.holder(
                {"morning": "morning medication", "evening": "evening medication"},
                _MEDICINES,
                "neither",
            ),
            it="""
            When do I take {x}, morning or evening? If I don't, say neither.
            Is {x} for the morning, for the evening, or neither?
            {x}: morning, evening, neither?
            At which time of the day is {x} due (morning/evening/neither)?
            """,
        ),
        around(
            solvers.look_up("emergency contact"),
            it="""
            If I faint, who should be called?
            I've had an accident; whom should the hospital inform?
            I can't be reached. Who speaks for me?
            Whom should the ambulance crew ring for me?
            """,
        ),
        around(
            solvers.look_up("doctor"),
            it="""
            I have a high temperature. Whom do I call?
            Whom should I ask about side effects?
            Who can write me a sick note?
            My back has been hurting for weeks. Who should have a look?
            """,
        ),
    ),
)
