"""The family of a musician."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    above,
    day,
    days,
    full_name,
    kind,
    near,
    number,
    one_of,
    some_of,
    time,
    words,
)

_PIECES = words(
    "nocturne, sonata, waltz, tango, rhapsody, fugue, minuet, prelude, ballad, serenade, polka, "
    "bolero, mazurka, toccata, lullaby, march"
)
MUSICIAN = Family(
    "musician",
    (
        told(
            "instrument",
            one_of(words("cello, oboe, harp, tuba, flute, viola, lute, bassoon")),
            """
            What is my instrument?
            What do I play?
            What do I carry to rehearsals?
            """,
        ),
        told(
            "instrument's year",
            number(1780, 2020),
            """
            What's my instrument's year?
            When was what I play built?
            In which year was my instrument made?
            """,
        ),
        told(
            "orchestra",
            kind("organisation"),
            """
            What's my orchestra?
            With whom do I make music?
            Where do I play with others?
            """,
        ),
        told(
            "teacher",
            full_name,
            """
            Who is my teacher?
            Who gives me lessons?
            From whom do I learn to play?
            """,
        ),
        told(
            "teacher's birth year",
            number(1940, 1995),
            """
            What's my teacher's birth year?
            When was my teacher born?
            Which year was the person born who gives me lessons?
            """,
        ),
        told(
            "conductor",
            full_name,
            """
            Who is my conductor?
            Who waves the baton?
            Who stands in front of our orchestra?
            """,
        ),
        told(
            "conductor's birth year",
            near("teacher's birth year", 8, highest=2025),
            """
            What's my conductor's birth year?
            When was the conductor born?
            In what year was the one born who leads our orchestra?
            """,
        ),
        told(
            "lesson day",
            day,
            """
            What's my lesson day?
            When in the week do I have my lesson?
            On which weekday do I see my teacher?
            """,
        ),
        told(
            "rehearsal day",
            day,
            """
            What's my rehearsal day?
            When in the week does the orchestra practise?
            On which weekday do we rehearse?
            """,
        ),
        told(
            "practice days",
            days(2, 3, 4, 5),
            """
            What are my practice days?
            On which days do I play at home?
            When do my neighbours hear me?
            """,
        ),
        told(
            "daily practice",
            number(15, 190, 5, "{} minutes"),
            """
            How long is my daily practice?
            How many minutes do I play a day?
            For how long do I practise?
            """,
        ),
        told(
            "concert start",
            time(15, 20),
            """
            When is my concert start?
            At what time do we go on stage?
            When does the audience have to be there?
            """,
        ),
        told(
            "concert length",
            number(40, 190, 5, "{} minutes"),
            """
            What's my concert length?
            How long do we play on stage?
            How many minutes does the concert last?
            """,
        ),
        told(
            "ticket price",
            number(6, 95, form="{} euros"),
            """
            What's my ticket price?
            What must people pay to hear me?
            How much is it to get into my concert?
            """,
        ),
        told(
            "tickets sold",
            number(12, 900),
            """
            How many tickets sold?
            What's my number of tickets sold?
            How many people have paid to hear me?
            """,
        ),
        told(
            "seats in the hall",
            above("tickets sold", 700),
            """
            How many seats in the hall are there?
            How many people fit into the hall?
            What's my number of seats in the hall?
            """,
        ),
        told(
            "concert pieces",
            some_of(_PIECES, 3, 4, 5),
            """
            What are my concert pieces?
            What do I play on stage?
            Which pieces are on the programme?
            """,
        ),
        told(
            "luthier",
            full_name,
            """
            Who is my luthier?
            Who mends my instrument?
            Whom do I trust with repairs of what I play?
            """,
        ),
    ),
    (
        around(
            solvers.left("seats in the hall", "tickets sold"),
            n="""
            How many tickets can still be sold for my concert?
            How many seats in the hall are unsold?
            Tickets left?
            Number of people who can still get in?
            """,
        ),
        around(
            solvers.times("ticket price", 2, 9),
            euros="""
            What do {x} tickets for my concert cost?
            My aunt wants {x} tickets. What does she pay?
            """,
            n="""
            {x} tickets, how many euros (number)?
            Price of {x} tickets to my concert, bare number?
            """,
        ),
        around(
            calendar.shifted("concert start", "concert length"),
            time="""
            When does my concert end?
            At what time can people go home after my concert? HH:MM
            When is the last note played if we start on time?
            For when should I order a taxi, right at the end of the concert?
            """,
        ),
        around(
            calendar.shifted_by("concert start", 15, 120, back=True),
            time="""
            I tune {x} minutes before the concert. When is it?
            The doors open {x} minutes before the concert. At what time?
            {x} minutes before going on stage - what does the clock say? HH:MM
            We meet {x} minutes before the concert starts. When do we meet?
            """,
        ),
        around(
            solvers.hours_of("concert length"),
            spelled="""
            How long is my concert in hours and minutes?
            Concert length, please in hours and minutes.
            How many hours and minutes do we play?
            Turn the length of my concert into hours and minutes.
            """,
        ),
        around(
            solvers.per_item("daily practice", "practice days"),
            n="""
            How many minutes do I practise per week?
            Minutes of practice in a week?
            All my practice days together are how many minutes?
            """,
            minutes="""
            How long do I practise in a whole week?
            """,
        ),
        around(
            solvers.includes("practice days"),
            yes="""
            Do I practise on {x}?
            Is {x} a practice day of mine?
            Will the neighbours hear me on {x}? Yes or No
            Do I play at home on {x}?
            """,
        ),
        around(
            solvers.older(
                {
                    "conductor": ("conductor", "conductor's birth year"),
                    "teacher": ("teacher", "teacher's birth year"),
                },
                form="{name} (my {who})",
            ),
            it="""
            Who is older, my teacher or my conductor?
            Conductor or teacher: who was born first?
            Which is the older one, the person who teaches me or the one who conducts us?
            Of my conductor and my teacher, who is the elder?
            """,
        ),
        around(
            solvers.older(
                {
                    "conductor": ("conductor", "conductor's birth year"),
                    "teacher": ("teacher", "teacher's birth year"),
                },
                form="my {who}",
                youngest=True,
            ),
            it="""
            Who is younger, my teacher or my conductor? Don't give the name.
            Is my conductor or my teacher the younger one? Just say which (my teacher/conductor).
            Who was born later, my teacher or my conductor (no names)?
            My teacher or my conductor - who's younger, without a name?
            """,
        ),
        around(
            solvers.years_apart(
                "conductor's birth year", "teacher's birth year", "conductor", "teacher"
            ),
            sentence="""
            Is my conductor older or younger than my teacher, and by how many years?
            Conductor compared with teacher: how many years older or younger?
            How much older or younger is the conductor than the teacher of mine?
            Say how the conductor's age compares with my teacher's.
            """,
        ),
        around(
            solvers.age("teacher's birth year"),
            n="""
            How old is my teacher (it's {now})?
            Age of my teacher in {now}?
            It's {now}. Number of years my teacher has lived?
            """,
            years_old="""
            What age does my teacher reach in {now}?
            """,
        ),
        around(
            solvers.age("instrument's year"),
            years="""
            How old is my instrument (it is {now})?
            It's {now}; what's the age of what I play?
            """,
            n="""
            My instrument's age in {now}, only digits?
            How many years ago was my instrument made, counted from {now}?
            """,
        ),
        around(
            calendar.days_from_to("lesson day", "rehearsal day"),
            n="""
            How many days after my lesson is the next rehearsal? (0 if it's the same day)
            From my lesson day to my rehearsal day it is how many days? 0 for the same.
            Days between lesson and the rehearsal that follows (number, 0 if same day)?
            """,
            days="""
            How long after my lesson is the rehearsal? Say 0 days if it's on the same day.
            """,
        ),
        around(
            solvers.nth("concert pieces", 1),
            it="""
            With what do we open the concert?
            First piece of the concert?
            What do I play first on stage?
            Which piece begins the programme?
            """,
        ),
        around(
            solvers.nth("concert pieces", -1),
            it="""
            With which piece does the concert end?
            Last piece on the programme?
            What do we play at the very end of the concert?
            Which piece comes last in my concert?
            """,
        ),
        around(
            solvers.includes("concert pieces", _PIECES),
            yes="""
            Is a {x} on the programme?
            Do we play the {x} in the concert?
            Somebody would like to hear the {x}. Is it among my pieces? Yes/No
            {x}: part of my concert?
            """,
        ),
        around(
            solvers.look_up("luthier"),
            it="""
            My instrument has a crack. Who can repair it?
            Whom should I see about a broken string peg?
            Something rattles when I play. Whose workshop do I go to?
            Who could restore what I play?
            """,
        ),
    ),
)
