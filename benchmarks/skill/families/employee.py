"""The family of a new employee."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    below,
    day,
    days,
    full_name,
    kind,
    near,
    number,
    time,
    time_after,
)

EMPLOYEE = Family(
    "new employee",
    (
        told(
            "employer",
            kind("organisation"),
            """
            Who is my employer?
            Which firm do I work for?
            Who pays my wages?
            """,
        ),
        told(
            "employee number",
            kind("code"),
            """
            What's my employee number?
            What number do I have at the firm?
            staff number?
            """,
        ),
        told(
            "manager",
            full_name,
            """
            Who is my manager?
            To whom do I report?
            Who's my boss?
            """,
        ),
        told(
            "manager's starting year",
            number(1990, 2025),
            """
            What is my manager's starting year?
            Since when has my manager been with the firm?
            In which year did my boss join the firm?
            """,
        ),
        told(
            "starting year",
            near("manager's starting year", 6, highest=2025),
            """
            What is my starting year at the firm?
            When did I begin at the firm?
            Which year did I join?
            """,
        ),
        told(
            "salary",
            number(1500, 7800, 20),
            """
            What's my salary?
            How much do I earn a month?
            What am I paid each month?
            """,
        ),
        told(
            "monthly bonus",
            number(40, 990, 10),
            """
            How high is my monthly bonus?
            What do I get on top of my pay?
            How much extra am I paid each month?
            """,
        ),
        told(
            "office days",
            days(1, 2, 3, 4),
            """
            What are my office days?
            On which days am I at my desk in the firm?
            When do I go in to work?
            """,
        ),
        told(
            "team meeting day",
            day,
            """
            Which is my team meeting day?
            When does my team get together?
            On what day of the week do we all meet at work?
            """,
        ),
        told(
            "shift start",
            time(5, 11),
            """
            When is my shift start?
            When do I begin work?
            At what time must I clock in?
            """,
        ),
        told(
            "shift end",
            time_after("shift start", 240, 600),
            """
            When is my shift end?
            When do I knock off?
            At what time can I clock out?
            """,
        ),
        told(
            "lunch break",
            number(15, 90, 5, "{} minutes"),
            """
            How long is my lunch break?
            How much time do I have to eat at work?
            How many minutes may I be away at noon?
            """,
        ),
        told(
            "holiday days",
            number(20, 36),
            """
            How many holiday days do I get?
            How much leave do I have a year?
            What is my number of days off?
            """,
        ),
        told(
            "holiday days taken",
            below("holiday days"),
            """
            How many holiday days have I taken?
            How much of my leave is used up?
            How many days off have I had?
            """,
        ),
        told(
            "IT contact",
            full_name,
            """
            Who is my IT contact?
            Who helps when computers go wrong at my firm?
            What's the name of our computer person?
            """,
        ),
        told(
            "payroll contact",
            full_name,
            """
            Who is my payroll contact?
            Who sends out our payslips?
            Which colleague does the wages?
            """,
        ),
    ),
    (
        around(
            solvers.left("holiday days", "holiday days taken"),
            days="""
            How much leave have I left?
            How many days may I still take off this year?
            """,
            n="""
            Remaining holiday, in days, as a number?
            How many holiday days do I have left? Just the number.
            """,
        ),
        around(
            solvers.sum_of("salary", "monthly bonus"),
            n="""
            What do salary and bonus come to in a month?
            How much do I get a month with the bonus included?
            Salary plus monthly bonus, only the figure?
            """,
            dollars="""
            My monthly pay with the bonus, in dollars?
            """,
        ),
        around(
            solvers.times("monthly bonus", 2, 9),
            n="""
            How much bonus do I collect in {x} months?
            {x} monthly bonuses make how much?
            What does my bonus add up to over {x} months?
            Bonus for {x} months, as a figure?
            """,
        ),
        around(
            solvers.half("salary"),
            n="""
            I put half of my salary into savings. How much is that?
            What's half my monthly salary?
            If I spend only half of what I earn a month, how much do I spend?
            50% of my salary?
            """,
        ),
        around(
            solvers.most(
                {"me": "starting year", "my manager": "manager's starting year"},
                "earliest",
                lowest=True,
                tie="same year",
            ),
            it="""
            Who has been with the firm longer, me or my manager?
            Who joined first, my manager or me?
            Me or my manager: who started at the firm earlier?
            My boss and I - which of us was hired first? (me, my manager or same year)
            """,
        ),
        around(
            solvers.age("starting year"),
            n="""
            How many years have I been with the firm by {now}?
            It's {now}: for how many years have I worked here?
            My years of service in {now}?
            """,
            years="""
            How long have I been in this job (it's {now})?
            """,
        ),
        around(
            solvers.year_of("starting year", 5, 30),
            n="""
            In what year do I celebrate {more} years with the firm?
            When is my {more}-year anniversary at work? Year only.
            Which year makes it {more} years since I joined?
            After {more} years of service I get a watch. In which year?
            """,
        ),
        around(
            calendar.length_spelled("shift start", "shift end"),
            spelled="""
            How long is my shift in hours and minutes?
            From clocking in to clocking out, how long is it?
            What's the length of my working day?
            How many hours and minutes lie between the start and the end of my shift?
            """,
        ),
        around(
            calendar.is_open("shift start", "shift end"),
            yes="""
            Am I at work at {x}?
            Is {x} within my shift? Yes or No.
            Somebody wants to ring me at {x}. Will I be working?
            Does {x} fall into my working hours?
            """,
        ),
        around(
            calendar.shifted_by("shift start", back=True),
            time="""
            My train takes {x} minutes. When must I set off for my shift?
            {x} minutes before work starts, what's the time?
            I get up {x} minutes before my shift. When is that? HH:MM
            If I want to be {x} minutes early for my shift, when do I arrive?
            """,
        ),
        around(
            solvers.includes("office days"),
            yes="""
            Am I in the office on {x}?
            Is {x} one of the days I go in?
            Can a parcel for me be delivered to the office on {x}? Yes if I'm there, No if not.
            Do I work from the office on {x}?
            """,
        ),
        around(
            solvers.count("office days"),
            n="""
            How many days a week do I go to the office?
            Number of office days per week?
            On how many days am I in?
            """,
            days="""
            How much of the week am I in the office, in days?
            """,
        ),
        around(
            calendar.day_after("team meeting day", 1, 4),
            it="""
            The minutes go out {x} after the team meeting. On which weekday?
            What day is it {x} after my team meeting?
            Which weekday comes {x} after we meet as a team?
            {x} after team meeting day is a...?
            """,
        ),
        around(
            solvers.look_up("IT contact"),
            it="""
            My laptop won't start. Whom do I contact at work?
            I've forgotten my password at the firm, who can reset it?
            The printer in the office is dead. Who helps?
            Whom should I tell about a virus on my work computer?
            """,
        ),
        around(
            solvers.look_up("payroll contact"),
            it="""
            My pay is wrong this month. Who do I ask?
            Who should I speak to about a missing payslip?
            Whom at the firm do I tell my new bank account?
            There's something odd about my wages; who can explain it?
            """,
        ),
    ),
)
