"""The family of a student."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    below,
    date,
    days,
    full_name,
    kind,
    number,
    one_of,
    some_of,
    time,
    time_after,
    words,
)

_COURSES = words(
    "algebra, anatomy, botany, chemistry, economics, ethics, genetics, geology, law, linguistics, "
    "logic, mechanics, optics, philosophy, psychology, rhetoric, statistics, zoology"
)
STUDENT = Family(
    "student",
    (
        told(
            "university",
            kind("organisation"),
            """
            What is my university?
            Where do I study?
            At which place am I enrolled?
            """,
        ),
        told(
            "student number",
            kind("code"),
            """
            What is my student number?
            What's the number on my student card?
            matriculation number?
            """,
        ),
        told(
            "first year of study",
            number(2012, 2025),
            """
            What was my first year of study?
            When did I begin at university?
            Which year did I enrol?
            """,
        ),
        told(
            "courses",
            some_of(_COURSES, 3, 4, 5),
            """
            What are my courses?
            What do I take this term?
            Which subjects am I signed up for?
            """,
        ),
        told(
            "favourite course",
            one_of(_COURSES),
            """
            Which is my favourite course?
            Which subject do I like best?
            What do I enjoy most at university?
            """,
        ),
        told(
            "tutor",
            full_name,
            """
            Who is my tutor?
            Who supervises me?
            Name of the person who tutors me?
            """,
        ),
        told(
            "library card expiry",
            date,
            """
            When does my library card expire? (library card expiry)
            What's my library card expiry?
            Until when can I borrow books?
            """,
        ),
        told(
            "exam date",
            date,
            """
            When is my exam date?
            On what day do I sit my exam?
            When am I examined?
            """,
        ),
        told(
            "essay deadline",
            date,
            """
            What is my essay deadline?
            When must my essay be in?
            By which date do I have to hand in what I write?
            """,
        ),
        told(
            "lecture start time",
            time(8, 15),
            """
            What's my lecture start time?
            When does my lecture begin?
            When do I have to sit in the hall?
            """,
        ),
        told(
            "lecture end time",
            time_after("lecture start time", 45, 240),
            """
            What's my lecture end time?
            When is my lecture over?
            When can I leave the hall?
            """,
        ),
        told(
            "lecture days",
            days(2, 3, 4),
            """
            Which are my lecture days?
            On which days do I have lectures?
            When in the week am I at university?
            """,
        ),
        told(
            "tuition fee",
            number(300, 9800, 10),
            """
            How much is my tuition fee?
            What do I pay to study?
            How much does the university charge me?
            """,
        ),
        told(
            "scholarship",
            below("tuition fee", 100, 10),
            """
            How high is my scholarship?
            How much does the foundation give me?
            What do I get for my good marks?
            """,
        ),
        told(
            "credits earned",
            number(20, 150),
            """
            How many credits have I earned?
            What are my credits earned so far?
            How many points have I collected towards my degree?
            """,
        ),
        told(
            "credits required",
            number(151, 240),
            """
            How many credits are required?
            What's the number of credits required for my degree?
            How many points do I need to graduate?
            """,
        ),
    ),
    (
        around(
            solvers.left("credits required", "credits earned"),
            n="""
            How many credits do I still need for my degree?
            Credits missing until I can graduate?
            How many more credits until I'm done? Only the number, please.
            How far am I from graduating, in credits?
            """,
        ),
        around(
            solvers.left("tuition fee", "scholarship"),
            n="""
            What must I pay myself once the scholarship is taken off the fee?
            Tuition minus scholarship?
            How much of my tuition fee is not covered by the scholarship?
            """,
            euros="""
            My scholarship goes towards the tuition fee; how many euros remain?
            """,
        ),
        around(
            solvers.age("first year of study"),
            n="""
            It's {now}. How many years ago did I enrol?
            How many years have I been at university by {now}?
            Years since I started to study, in {now}?
            """,
            years="""
            For how long have I been a student (it is {now})?
            """,
        ),
        around(
            solvers.year_of("first year of study", 3, 8),
            n="""
            If my studies take {more} years, in which year do I finish?
            What's the year {more} years after I began studying?
            I'll need {more} years in all. When do I graduate (year)?
            Enrolment plus {more} years is which year?
            """,
        ),
        around(
            solvers.count("courses"),
            n="""
            How many courses do I take?
            In how many subjects am I enrolled?
            Number of my courses?
            I've signed up for how many courses this term?
            """,
        ),
        around(
            solvers.includes("courses", _COURSES),
            yes="""
            Do I take {x}?
            Is {x} one of my courses? Yes or No.
            Am I signed up for {x}?
            {x}: am I in that course?
            """,
        ),
        around(
            solvers.includes_both("courses", _COURSES),
            yes="""
            Am I taking both {x} and {y}?
            Do my courses include {x} as well as {y}?
            {x} and {y}, do I have both this term? Yes/No
            Are {x} and {y} both among my subjects?
            """,
        ),
        around(
            solvers.nth("courses", -1),
            it="""
            Which of my courses did I name last?
            What's the last course on my list?
            Last one in the list of my subjects?
            My list of courses ends with which one?
            """,
        ),
        around(
            calendar.first_date({"exam": "exam date", "essay": "essay deadline"}),
            it="""
            What comes first in the year, my exam or my essay?
            Exam or essay: which is due earlier?
            Is my essay deadline or my exam sooner? Answer exam or essay.
            Going by the calendar year, do I face the essay or the exam first?
            """,
        ),
        around(
            calendar.first_date(
                {"exam": "exam date", "essay": "essay deadline", "card": "library card expiry"},
                last=True,
            ),
            it="""
            Of exam, essay deadline and library card expiry (card), which is last in the year?
            Exam, essay or library card: which date is the latest? Say exam, essay or card.
            Which falls latest in the calendar year: exam, essay, or card?
            What is the last of these to come: my exam, my essay, my library card's end (card)?
            """,
        ),
        around(
            calendar.length("lecture start time", "lecture end time"),
            n="""
            How many minutes does my lecture last?
            How long is my lecture (in minutes)?
            Length of my lecture in minutes, bare number?
            """,
            minutes="""
            For how long do I have to listen in my lecture?
            """,
        ),
        around(
            calendar.shifted_by("lecture start time", back=True),
            time="""
            I need {x} minutes to get to the lecture. When do I leave?
            What time is it {x} minutes before my lecture begins? HH:MM
            I'd like to be in the hall {x} minutes early. When is that?
            {x} minutes ahead of my lecture - at what time?
            """,
        ),
        around(
            solvers.includes("lecture days"),
            yes="""
            Do I have a lecture on {x}?
            Is {x} a lecture day for me? Yes or No
            Do I need to go to the university on {x}?
            Am I in the lecture hall on {x}?
            """,
        ),
        around(
            solvers.at_least("credits earned", 10, 3),
            yes="""
            The seminar requires {x} credits. Do I have at least that many?
            Have I earned {x} credits or more?
            Am I at {x} credits yet? Yes/No.
            Do my credits reach {x}?
            """,
        ),
        around(
            solvers.look_up("tutor"),
            it="""
            I'm struggling with my studies. Who should I talk to?
            Who can advise me on my thesis?
            I don't understand the assignment. Whom do I ask?
            Who would write me a reference at university?
            """,
        ),
    ),
)
