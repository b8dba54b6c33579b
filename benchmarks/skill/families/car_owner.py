"""The family of a car owner."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    above,
    below,
    date,
    day,
    kind,
    near,
    number,
)

CAR_OWNER = Family(
    "car owner",
    (
        told(
            "car",
            kind("brand"),
            """
            What is my car?
            What do I drive?
            Which model is in my garage?
            """,
        ),
        told(
            "car's model year",
            number(1965, 2025),
            """
            What's my car's model year?
            Which year is my car from?
            When was the thing I drive built?
            """,
        ),
        told(
            "motorbike's model year",
            near("car's model year", 9, highest=2025),
            """
            What's my motorbike's model year?
            Which year is my motorbike from?
            When was my two-wheeler built?
            """,
        ),
        told(
            "number plate",
            kind("code"),
            """
            What's my number plate?
            What is my registration?
            What is written on the back of my car?
            """,
        ),
        told(
            "garage",
            kind("organisation"),
            """
            Which is my garage?
            Who repairs my car?
            Where do I take the car when something is broken?
            """,
        ),
        told(
            "insurer",
            kind("organisation"),
            """
            Who is my insurer?
            Where is my car insured?
            Which company covers my car?
            """,
        ),
        told(
            "car insurance",
            number(180, 1900, 2, "{} euros"),
            """
            How much is my car insurance?
            What do I pay to insure the car?
            What's the yearly premium for my car?
            """,
        ),
        told(
            "road tax",
            number(150, 1700, form="{} euros"),
            """
            How much is my road tax?
            What does the state charge me for the car?
            How much tax do I pay on the car?
            """,
        ),
        told(
            "mileage",
            number(1200, 98000, 50, "{} km"),
            """
            What's my mileage?
            How far has my car been driven?
            What does the counter in my car show?
            """,
        ),
        told(
            "next service mileage",
            above("mileage", 15000, 50, "{} km"),
            """
            What's my next service mileage?
            At how many kilometres is the next service?
            When, in kilometres, does the car go in for service?
            """,
        ),
        told(
            "tank size",
            number(32, 95, form="{} litres"),
            """
            What's my tank size?
            How much petrol fits into my car?
            How many litres does my tank hold?
            """,
        ),
        told(
            "petrol left",
            below("tank size", form="{} litres"),
            """
            How much petrol is left?
            What is my amount of petrol left?
            How many litres are still in the car?
            """,
        ),
        told(
            "trip to work",
            number(4, 85, form="{} km"),
            """
            How long is my trip to work?
            How many kilometres do I drive to work?
            How far is it from home to my job?
            """,
        ),
        told(
            "service date",
            date,
            """
            What's my service date?
            When does the car go in for service?
            On which date do I bring the car in?
            """,
        ),
        told(
            "tyre change date",
            date,
            """
            What's my tyre change date?
            When do I get other tyres?
            On which date are my tyres changed?
            """,
        ),
        told(
            "car wash day",
            day,
            """
            What is my car wash day?
            When do I wash the car?
            On which weekday does the car get clean?
            """,
        ),
    ),
    (
        around(
            solvers.age("car's model year"),
            years_old="""
            How old is my car (it's {now})?
            It's {now}. What age is what I drive?
            """,
            n="""
            Age of my car in {now}, digits only?
            How many years old is my car in {now}?
            """,
        ),
        around(
            solvers.most(
                {"car": "car's model year", "motorbike": "motorbike's model year"},
                "latest",
                tie="same",
            ),
            it="""
            Which is newer, my car or my motorbike?
            Car or motorbike: which was built later?
            What's the newer one of my two vehicles, the car or the motorbike?
            Did I get the more recent model with the motorbike or with the car?
            """,
        ),
        around(
            solvers.apart("car's model year", "motorbike's model year"),
            years="""
            How many years lie between my car and my motorbike?
            How far apart are the model years of car and motorbike?
            """,
            n="""
            Age difference of my car and my motorbike, as a number?
            By how many years do the car and the motorbike differ? Number only.
            """,
        ),
        around(
            solvers.year_of("car's model year", 30, 40),
            n="""
            A car is a classic after {more} years. In which year is mine one?
            In what year will my car be {more} years old?
            My car's model year plus {more}?
            When (year) does my car turn {more}?
            """,
        ),
        around(
            solvers.left("next service mileage", "mileage"),
            kilometres="""
            How far can I drive until the next service?
            How many more kilometres before the car must go in for service?
            """,
            n="""
            Kilometres left until service (number)?
            In how many km is my service due? Just the number.
            """,
        ),
        around(
            solvers.left("tank size", "petrol left"),
            litres="""
            How much petrol can I fill in?
            How many litres are missing until my tank is full?
            """,
            n="""
            Litres to a full tank, digits only?
            Filling up: how many litres go in (just the figure)?
            """,
        ),
        around(
            solvers.sum_of("car insurance", "road tax"),
            euros="""
            What do insurance and tax for my car come to?
            How much do I pay for the car's insurance and tax together?
            """,
            n="""
            Insurance plus road tax, only the number?
            Add up my car insurance and my road tax, in euros (number only).
            """,
        ),
        around(
            solvers.most({"insurance": "car insurance", "tax": "road tax"}, "largest"),
            it="""
            What is dearer, my car's insurance or the tax?
            Which costs me more: insurance or tax?
            Insurance or tax: which is the larger bill for the car?
            Do I pay more for the tax or for the insurance?
            """,
        ),
        around(
            solvers.half("car insurance"),
            n="""
            I pay the insurance in two equal parts. How much is one, in euros (just the number)?
            What is half of my car insurance? Only the figure, please.
            """,
            euros="""
            My brother pays half of the car insurance. How much is that?
            How much is my insurance for half a year, if I pay for a whole one now?
            """,
        ),
        around(
            solvers.times("trip to work", 2, 2),
            kilometres="""
            How long is my way to work and back?
            How far do I drive on a working day, there and back?
            """,
            n="""
            Return trip to work in km, number only?
            Kilometres to work and home again (a number)?
            """,
        ),
        around(
            solvers.times("trip to work", 3, 10),
            n="""
            How many kilometres are {x} drives to work, one way each?
            I drove to work {x} times this month, one way. How many km?
            {x} x my trip to work, in km?
            """,
            kilometres="""
            How far is it if I make my trip to work {x} times?
            """,
        ),
        around(
            calendar.first_date({"service": "service date", "tyre change": "tyre change date"}),
            it="""
            Which is first in the year, service or tyre change?
            Tyre change or service: which is the earlier date?
            Does the service or the tyre change come earlier in the calendar?
            What do I have to do first this year for the car, tyre change or service?
            """,
        ),
        around(
            calendar.month_of("service date"),
            it="""
            In which month is my service?
            Month in which the car goes in for service?
            The service is in...? (month)
            Which month do I need another car because mine is being serviced?
            """,
        ),
        around(
            solvers.over("mileage", 5000, 2),
            yes="""
            Has my car done more than {x} km?
            Is the mileage of my car over {x}?
            The warranty ends after {x} km. Am I past that? Yes or No
            more than {x} km on the clock?
            """,
        ),
        around(
            solvers.initial("insurer"),
            letter="""
            With what letter does my insurer's name start?
            First letter of the company that insures my car?
            My insurer begins with which letter?
            Initial of my insurer?
            """,
        ),
        around(
            calendar.day_after("car wash day", 1, 5, back=True),
            it="""
            What weekday is {x} before I wash the car?
            {x} before my car wash day is which day?
            I book the car wash {x} ahead. On which weekday?
            Which weekday lies {x} before car wash day?
            """,
        ),
        around(
            solvers.look_up("garage"),
            it="""
            My engine makes a funny noise. Who do I call?
            The car broke down. Who repairs it?
            Who should look at my brakes?
            Where do I go with a broken exhaust?
            """,
        ),
        around(
            solvers.look_up("insurer"),
            it="""
            Somebody drove into my car. Whom do I report it to?
            I had an accident; who pays?
            To whom do I send the claim for my scratched car?
            Hail damaged my car. Whom do I write to?
            """,
        ),
    ),
)
