"""The family of a freelancer."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    above,
    date,
    day,
    days,
    full_name,
    kind,
    number,
    time,
)

FREELANCER = Family(
    "freelancer",
    (
        told(
            "biggest client",
            kind("organisation"),
            """
            Who is my biggest client?
            Who gives me most of my work?
            Which customer matters most to me?
            """,
        ),
        told(
            "hourly rate",
            number(18, 180, 2),
            """
            What's my hourly rate?
            What do I charge for an hour?
            How much does an hour of my work cost?
            """,
        ),
        told(
            "hours worked",
            number(2, 38),
            """
            How many hours worked this week?
            What's my number of hours worked?
            How long have I worked on the job so far?
            """,
        ),
        told(
            "hours agreed",
            above("hours worked", 45),
            """
            How many hours were agreed?
            What's my number of hours agreed?
            For how many hours was I booked?
            """,
        ),
        told(
            "March income",
            number(300, 6900, 10),
            """
            What was my March income?
            How much did I make in March?
            What came in during the third month?
            """,
        ),
        told(
            "April income",
            number(300, 6900, 10),
            """
            What was my April income?
            How much did I make in April?
            What came in during the fourth month?
            """,
        ),
        told(
            "savings",
            number(500, 28000, 100),
            """
            How high are my savings?
            What is my amount of savings?
            How much money have I put by?
            """,
        ),
        told(
            "laptop price",
            number(400, 3900, 20),
            """
            What's my laptop price?
            How much is the computer I want?
            What would a new machine cost me?
            """,
        ),
        told(
            "invoice date",
            date,
            """
            What's my invoice date?
            When did I send the bill?
            On which date did I ask for my money?
            """,
        ),
        told(
            "payment date",
            date,
            """
            What's my payment date?
            When do I get my money?
            On which date does the client pay?
            """,
        ),
        told(
            "tax adviser",
            full_name,
            """
            Who is my tax adviser?
            Who helps me with the tax office?
            Who does my tax?
            """,
        ),
        told(
            "year of going freelance",
            number(1988, 2025),
            """
            What's my year of going freelance?
            Since when have I worked for myself?
            In what year did I quit my job to be my own boss?
            """,
        ),
        told(
            "call time",
            time(8, 17),
            """
            What's my call time with the client?
            When do I speak with the client?
            At what time do I dial in?
            """,
        ),
        told(
            "call length",
            number(10, 115, 5, "{} minutes"),
            """
            What's my call length?
            How long do I talk to the client?
            For how many minutes am I on the phone?
            """,
        ),
        told(
            "days off",
            days(1, 2, 3),
            """
            What are my days off?
            When do I not work?
            On which weekdays am I free?
            """,
        ),
        told(
            "deadline day",
            day,
            """
            What's my deadline day?
            On which weekday is my work due?
            When in the week must I deliver?
            """,
        ),
    ),
    (
        around(
            solvers.product("hourly rate", "hours worked"),
            n="""
            What can I bill for the hours I have worked?
            Hours worked at my rate: how much is it?
            How much have I earned on the job so far?
            """,
            dollars="""
            What's on the bill for my hours, in dollars?
            """,
        ),
        around(
            solvers.times("hourly rate", 2, 9),
            n="""
            What do I charge for {x} hours?
            {x} hours of my work cost how much?
            A client books me for {x} hours. The price?
            """,
            euros="""
            How many euros are {x} hours at my rate?
            """,
        ),
        around(
            solvers.half("hourly rate"),
            n="""
            My friends pay half my rate. How much an hour?
            What do I charge for half an hour?
            Half of my hourly rate?
            30 minutes of my work cost what?
            """,
        ),
        around(
            solvers.left("hours agreed", "hours worked"),
            hours="""
            How many of the agreed hours are left?
            How much longer may I work on the job?
            """,
            n="""
            Agreed hours minus hours worked (number)?
            How many hours can I still bill? Number only.
            """,
        ),
        around(
            solvers.sum_of("March income", "April income"),
            n="""
            What did I earn in March and April together?
            March plus April: my income?
            How much did the two months, March and April, bring?
            Sum of my income of March and of April?
            """,
        ),
        around(
            solvers.most({"March": "March income", "April": "April income"}, "largest"),
            it="""
            In which month did I make more, March or April?
            Was April or March better for me?
            March or April: where's the higher income?
            My better month of the two, March or April?
            """,
        ),
        around(
            solvers.most({"March": "March income", "April": "April income"}, "lowest", lowest=True),
            it="""
            In which month did I make less, March or April?
            March or April, which was the worse one for my income?
            The weaker month of the two, April or March?
            Which brought less money: March or April?
            """,
        ),
        around(
            solvers.apart("March income", "April income"),
            n="""
            By how much do my March and April incomes differ?
            What's the difference between my income in March and in April?
            How much more did I make in the better month of March and April?
            March against April, the difference as a number?
            """,
        ),
        around(
            solvers.covers("March income", "laptop price"),
            yes="""
            Could I have bought the laptop from what I made in March?
            Was March enough for the new laptop?
            Does my income of March cover the laptop? Yes or No
            Laptop paid out of the March money: possible?
            """,
        ),
        around(
            solvers.sum_of("savings", "April income"),
            n="""
            If I put all of April's income with my savings, how much have I?
            Savings plus April income?
            What are my savings once the April money is added?
            April's income goes on the savings account. New balance?
            """,
        ),
        around(
            calendar.shifted("call time", "call length"),
            time="""
            When does my call with the client end?
            At what time am I off the phone? HH:MM
            When am I free again after the client's call?
            The call is over at what time?
            """,
        ),
        around(
            calendar.before("call time"),
            yes="""
            Is the client's call before {x}?
            Do I talk to the client earlier than {x}?
            Does my call start before {x}? Yes/No.
            Will the call have begun by {x}?
            """,
        ),
        around(
            calendar.first_date({"invoice": "invoice date", "payment": "payment date"}),
            it="""
            Which date is earlier in the year, the invoice's or the payment's?
            Invoice or payment: what's first in the calendar?
            In the calendar year, is the payment or the invoice first?
            What comes first by date, payment or invoice? One word (or: same day).
            """,
        ),
        around(
            solvers.age("year of going freelance"),
            n="""
            How many years have I been freelance in {now}?
            It's {now}. For how many years have I been my own boss?
            Years of freelancing by {now}?
            """,
            years="""
            How long have I worked for myself (it's {now})?
            """,
        ),
        around(
            solvers.includes("days off"),
            yes="""
            Am I off on {x}?
            Is {x} one of my free days?
            Can we go hiking on {x} without me missing work? Yes or No.
            Do I have {x} off?
            """,
        ),
        around(
            calendar.days_to("deadline day"),
            days="""
            It's {x}. How much time do I have until the deadline?
            Today is {x}; in how many days do I have to deliver?
            """,
            n="""
            Days left from {x} to my deadline day?
            If it's {x}, how many days are left for the work (number)?
            """,
        ),
        around(
            solvers.look_up("tax adviser"),
            it="""
            A letter from the tax office came. Whom do I show it to?
            I don't know if I can deduct this. Whom do I ask?
            Who could explain VAT to me?
            Who should go through my receipts?
            """,
        ),
    ),
)
