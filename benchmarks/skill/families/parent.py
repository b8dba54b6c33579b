"""The family of a parent."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    days,
    doctor,
    first_name,
    full_name,
    kind,
    near,
    number,
    some_of,
    time,
    time_after,
    words,
)

_SUBJECTS = words(
    "maths, reading, swimming, music, art, history, geography, science, drama, football, dancing, "
    "French, writing, chess, gymnastics, handball"
)
PARENT = Family(
    "parent",
    (
        told(
            "daughter",
            first_name,
            """
            What's my daughter's name?
            What is my girl called?
            Who is my daughter?
            """,
        ),
        told(
            "daughter's birth year",
            number(2003, 2023),
            """
            What is my daughter's birth year?
            When was my daughter born?
            In what year did my girl come into the world?
            """,
        ),
        told(
            "son",
            first_name,
            """
            What's my son's name?
            What's my boy called?
            Who's my son?
            """,
        ),
        told(
            "son's birth year",
            near("daughter's birth year", 3, highest=2025),
            """
            What is my son's birth year?
            When was my son born?
            In what year was my boy born?
            """,
        ),
        told(
            "birth year",
            number(1962, 1986),
            """
            What's my birth year?
            What year was I born?
            In which year did I come into the world?
            """,
        ),
        told(
            "daughter's school",
            kind("organisation"),
            """
            What is my daughter's school?
            Where does my daughter go to school?
            Which school does my girl attend?
            """,
        ),
        told(
            "son's school",
            kind("organisation"),
            """
            What is my son's school?
            Where does my boy go to learn?
            Which school is my son at?
            """,
        ),
        told(
            "school start time",
            time(7, 9),
            """
            What is the school start time of my children?
            When do my kids have to be at school?
            When do my children's lessons begin?
            """,
        ),
        told(
            "school end time",
            time_after("school start time", 210, 480),
            """
            When is the school end time for my kids?
            At what time are my kids done at school?
            When can I pick up my children?
            """,
        ),
        told(
            "way to school",
            number(5, 55, form="{} minutes"),
            """
            How long is my children's way to school?
            How many minutes do my kids need to get to their lessons?
            Way to school, how long?
            """,
        ),
        told(
            "daughter's favourite subjects",
            some_of(_SUBJECTS, 2, 3),
            """
            What are my daughter's favourite subjects?
            What does my girl like best at school?
            Favourite subjects of my daughter?
            """,
        ),
        told(
            "son's favourite subjects",
            some_of(_SUBJECTS, 2, 3),
            """
            What are my son's favourite subjects?
            What does my boy like best at school?
            Favourite subjects of my son?
            """,
        ),
        told(
            "babysitter",
            full_name,
            """
            Who is my babysitter?
            Who minds my children when I go out?
            Babysitter's name?
            """,
        ),
        told(
            "paediatrician",
            doctor,
            """
            Who is my paediatrician?
            Which doctor sees my children?
            Name of the kids' doctor?
            """,
        ),
        told(
            "daughter's pocket money",
            number(4, 60, form="{} euros"),
            """
            How much is my daughter's pocket money?
            What do I give my girl each week?
            My daughter gets how much a week?
            """,
        ),
        told(
            "son's pocket money",
            number(4, 60, form="{} euros"),
            """
            How much is my son's pocket money?
            What do I give my boy each week?
            My son gets how much a week?
            """,
        ),
        told(
            "swimming days",
            days(1, 2, 3),
            """
            What are my children's swimming days?
            On which days are my kids in the pool?
            When do my children swim?
            """,
        ),
    ),
    (
        around(
            solvers.age("daughter's birth year"),
            n="""
            How old is my daughter (it's {now})?
            It is {now}. My girl's age?
            Age of my daughter in {now}, just the number.
            """,
            years_old="""
            How old does my daughter turn in {now}?
            """,
        ),
        around(
            solvers.age("son's birth year"),
            n="""
            How old is my son (it's {now})?
            We are in {now}: my boy's age?
            Age of my son in {now}, number only.
            """,
            years_old="""
            How old does my son turn in {now}?
            """,
        ),
        around(
            solvers.older(
                {
                    "daughter": ("daughter", "daughter's birth year"),
                    "son": ("son", "son's birth year"),
                },
                form="{name} (my {who})",
            ),
            it="""
            Who is older, my daughter or my son?
            Which of my two children was born first?
            My son or my daughter: who's the elder?
            Who is my oldest child?
            """,
        ),
        around(
            solvers.older(
                {
                    "daughter": ("daughter", "daughter's birth year"),
                    "son": ("son", "son's birth year"),
                },
                youngest=True,
            ),
            it="""
            Which of my children is the youngest? Just the name.
            Name of my youngest child? (same age if they are the same age)
            Who is younger, my son or my daughter? Give the name.
            What's the name of the younger one of my kids?
            """,
        ),
        around(
            solvers.years_apart("son's birth year", "daughter's birth year", "son", "daughter"),
            sentence="""
            Is my son older or younger than my daughter, and by how much?
            By how many years is my son older or younger than his sister?
            My boy compared with my girl: older or younger, how many years?
            Compare my son's age with my daughter's.
            """,
        ),
        around(
            solvers.apart("birth year", "daughter's birth year"),
            n="""
            How old was I when my daughter was born?
            How many years lie between my girl's birth and mine?
            My age in the year my daughter was born?
            """,
            years="""
            What is the age difference between my daughter and me?
            """,
        ),
        around(
            solvers.year_of("son's birth year", 16, 21),
            n="""
            In which year will my son be {more}?
            When does my boy turn {more}? Just the year.
            What year is my son's birthday number {more}?
            My son's {more}th year is complete in which calendar year?
            """,
        ),
        around(
            calendar.length("school start time", "school end time"),
            n="""
            How long is my children's day at school (in minutes)?
            How many minutes do my kids spend at school?
            From the first bell to the last, how many minutes is it for my kids?
            """,
            minutes="""
            How many minutes are there from my kids' start of school to its end?
            """,
        ),
        around(
            calendar.shifted("school start time", "way to school", back=True),
            time="""
            When must my kids leave home to be at school on time?
            What's the latest my children can set off for school? HH:MM
            To arrive right at the start of school, when do my kids have to leave?
            school run: at what time do the kids go out of the door
            """,
        ),
        around(
            calendar.shifted("school end time", "way to school"),
            time="""
            When are my children back home if they leave right after school?
            At what time can I expect the kids home from school? HH:MM
            School's out, straight home: when do my kids get here?
            What time do my children arrive home after school?
            """,
        ),
        around(
            solvers.sum_of("daughter's pocket money", "son's pocket money"),
            euros="""
            How much pocket money do I pay for both children?
            What do my son and daughter get per week, taken together?
            """,
            n="""
            Sum of my kids' pocket money (just the number)?
            Pocket money of my daughter plus my son's, in euros, number only?
            """,
        ),
        around(
            solvers.most(
                {"daughter": "daughter's pocket money", "son": "son's pocket money"}, "largest"
            ),
            it="""
            Who gets more pocket money: my daughter or my son? (son, daughter or same)
            Which child do I give more money, son or daughter?
            Pocket money: does my son or my daughter have more?
            More pocket money goes to whom, daughter or son?
            """,
        ),
        around(
            solvers.includes("swimming days"),
            yes="""
            Do my kids go swimming on {x}?
            Is {x} a swimming day for my children? Yes/No.
            Do I have to pack swimming things on {x}?
            Is there swimming on {x}?
            """,
        ),
        around(
            solvers.look_up("paediatrician"),
            it="""
            My daughter has a fever. Which doctor do I call?
            My boy has a rash - who should look at it?
            One of the kids is ill. Who is the person to ring?
            Who do I see for my children's vaccinations?
            """,
        ),
        around(
            solvers.look_up("babysitter"),
            it="""
            We want to go to the cinema tonight. Who could stay with the children?
            Who do I ask to mind the kids this evening?
            I need someone for the children on Saturday night. Who?
            Who can sit in with the little ones?
            """,
        ),
    ),
)
