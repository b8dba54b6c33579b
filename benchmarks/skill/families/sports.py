"""The family of a sports player."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    day,
    days,
    full_name,
    kind,
    near,
    number,
    time,
    time_after,
)
from benchmarks.skill.values import FIRST

SPORTS = Family(
    "sports player",
    (
        told(
            "club",
            kind("organisation"),
            """
            What is my club?
            For whom do I play?
            Which club's shirt do I wear?
            """,
        ),
        told(
            "coach",
            full_name,
            """
            Who is my coach?
            Who trains me?
            Who decides if I play?
            """,
        ),
        told(
            "physio",
            full_name,
            """
            Who is my physio?
            Who treats my muscles?
            Who looks after players' injuries?
            """,
        ),
        told(
            "shirt number",
            number(1, 99),
            """
            What's my shirt number?
            What number is on my back?
            Which number do I wear?
            """,
        ),
        told(
            "year of joining",
            number(1995, 2025),
            """
            What's my year of joining the club?
            When did I join?
            Since which year have I been in the club?
            """,
        ),
        told(
            "training days",
            days(2, 3, 4),
            """
            What are my training days?
            When do I train?
            On which weekdays do I practise?
            """,
        ),
        told(
            "training start",
            time(9, 19),
            """
            When is my training start?
            At what time do I begin to train?
            From when must I be on the pitch?
            """,
        ),
        told(
            "training end",
            time_after("training start", 40, 200),
            """
            When is my training end?
            At what time is practice over?
            When can I hit the showers?
            """,
        ),
        told(
            "match day",
            day,
            """
            What is my match day?
            On which weekday do we play?
            When are my games?
            """,
        ),
        told(
            "goals last season",
            number(2, 68),
            """
            How many goals last season?
            What's my number of goals last season?
            How often did I score a year ago?
            """,
        ),
        told(
            "goals this season",
            number(2, 68),
            """
            How many goals have I this season?
            What's my number of goals this season?
            How often have I scored so far?
            """,
        ),
        told(
            "points of the team",
            number(10, 90),
            """
            What are the points of the team?
            How many points do we have?
            Where do we stand in points?
            """,
        ),
        told(
            "points of the rivals",
            near("points of the team", 14),
            """
            What are the points of the rivals?
            How many points have our rivals?
            How many points has the team that we chase?
            """,
        ),
        told(
            "membership fee",
            number(12, 140, 2),
            """
            What's my membership fee?
            What do I pay the club a month?
            How much does the club cost me?
            """,
        ),
        told(
            "best time",
            number(41, 260, form="{} minutes"),
            """
            What's my best time in the marathon?
            How many minutes was my fastest run?
            What is my record?
            """,
        ),
        told(
            "team mates in defence",
            lambda lot, v: ", ".join(lot.sample(FIRST, lot.choice((2, 3, 4)))),
            """
            Who are my team mates in defence?
            Who plays at the back with me?
            Which players keep the other side out?
            """,
        ),
        told(
            "team mates in attack",
            lambda lot, v: ", ".join(
                lot.sample(
                    [one for one in FIRST if one not in v["team mates in defence"]],
                    lot.choice((2, 3)),
                )
            ),
            """
            Who are my team mates in attack?
            Who plays up front?
            Which players go forward with me?
            """,
        ),
    ),
    (
        around(
            solvers.sum_of("goals last season", "goals this season"),
            n="""
            How many goals have I scored in both seasons together?
            Last season's and this season's goals, added?
            My goals over the two seasons?
            Total of my goals, this season and last?
            """,
        ),
        around(
            solvers.most(
                {"last season": "goals last season", "this season": "goals this season"}, "largest"
            ),
            it="""
            In which season have I more goals, last season or this season?
            When did I score more: last season or this season?
            Better season by goals, this season or last season?
            My stronger season in front of goal: last season, this season or same?
            """,
        ),
        around(
            solvers.apart("points of the team", "points of the rivals"),
            points="""
            What's the gap between us and our rivals?
            How many points lie between my team and the rivals?
            """,
            n="""
            By how many points do we differ from the rivals (a number)?
            Gap to the rivals in points, digits only?
            """,
        ),
        around(
            solvers.most(
                {"we": "points of the team", "they": "points of the rivals"}, "largest", tie="level"
            ),
            it="""
            Who is ahead, we or they (our rivals)? Say level if it's equal.
            Are we or the rivals in front? (we, they, level)
            Who has more points: we, or they, the rivals?
            In points, is it we or they who lead? Or level?
            """,
        ),
        around(
            solvers.plus("points of the team", 3, 12, 3),
            n="""
            If we win {x} more points, how many do we have?
            Our points plus {x}?
            Suppose we collect {x} points in the next games. Our new total?
            """,
            points="""
            Where do we stand with {x} more?
            """,
        ),
        around(
            solvers.left_of("goals this season", 1, 9),
            n="""
            If {x} of this season's goals were taken away, how many would count?
            {x} of my goals this season were penalties. How many were not?
            Goals this season without the {x} I scored with my head?
            This season's goals minus {x}?
            """,
        ),
        around(
            solvers.at_least("goals this season", 5, 2),
            yes="""
            I get a bonus from {x} goals this season. Do I get it?
            Have I scored at least {x} times this season?
            {x} goals or more this season? Yes/No
            Did I make it to {x} goals this season?
            """,
        ),
        around(
            calendar.length("training start", "training end"),
            n="""
            How many minutes is my training?
            How long do I train (in minutes)?
            Length of practice in minutes?
            """,
            minute="""
            Give the length of my training in min.
            """,
        ),
        around(
            calendar.length_spelled("training start", "training end"),
            spelled="""
            How long is practice in hours and minutes?
            How many hours and minutes do I train in one session?
            The duration of my training, hours and minutes?
            From first whistle to the showers, how long is training?
            """,
        ),
        around(
            calendar.shifted_by("training start", 10, 60, back=True),
            time="""
            I have to be changed {x} minutes before training. When is that?
            {x} minutes before practice begins is what time? HH:MM
            The coach wants us there {x} minutes early. From when on, then?
            I cycle {x} minutes to training. When do I leave?
            """,
        ),
        around(
            solvers.includes("training days"),
            yes="""
            Do I train on {x}?
            Is there practice on {x}?
            Will the coach see me at practice on {x}?
            {x} = training day? Yes or No
            """,
        ),
        around(
            solvers.count("training days"),
            n="""
            How often a week do I train?
            Number of training days per week?
            How many times do I practise in a week?
            """,
            days="""
            How many days of the week do I train on?
            """,
        ),
        around(
            calendar.days_to("match day"),
            days="""
            It's {x}. How long until the match?
            Today is {x}; how many days until we play?
            """,
            n="""
            If today is {x}, in how many days is match day?
            Days from {x} to our match, as a number?
            """,
        ),
        around(
            calendar.day_after("match day"),
            it="""
            We rest on the day after the match. Which day is it?
            Which weekday follows match day?
            Day after we play?
            On which day can I sleep in after a game the day before?
            """,
        ),
        around(
            solvers.age("year of joining"),
            n="""
            How many years have I been in the club by {now}?
            It's {now}; how many years ago did I join the club?
            My years as a member in {now}?
            """,
            years="""
            How long have I been with the club (it's {now})?
            """,
        ),
        around(
            solvers.holder(
                {"defence": "team mates in defence", "attack": "team mates in attack"},
                FIRST,
                "neither",
            ),
            it="""
            Where does {x} play, defence or attack? Say neither if it's neither.
            Is {x} in our attack, in our defence or neither?
            {x}: defence, attack or neither?
            Which part of the team is {x} in? (attack/defence/neither)
            """,
        ),
        around(
            solvers.half("membership fee"),
            n="""
            Students pay half my membership fee. How much is it?
            What is half of what I pay the club?
            If the club halves the fee, what do I pay?
            50 % of my membership fee?
            """,
        ),
        around(
            solvers.look_up("physio"),
            it="""
            I've pulled a muscle. Who do I go to?
            My knee is sore after the game, who treats me?
            Who at the club can tape my ankle?
            Who should see me about an injury?
            """,
        ),
        around(
            solvers.look_up("coach"),
            it="""
            I can't come to practice. Whom do I tell?
            I want to play in another position. Whom do I have to persuade?
            Who decides about the line-up?
            Who should know that I'll miss the match?
            """,
        ),
    ),
)
