"""The family of a software project."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    date,
    days,
    full_name,
    kind,
    number,
    some_of,
    time,
    words,
)

_LANGUAGES = words(
    "Python, Rust, Go, Java, Kotlin, Swift, Ruby, Elixir, Scala, Haskell, Erlang, Julia, Perl, Lua"
)
SOFTWARE = Family(
    "software project",
    (
        told(
            "project name",
            kind("brand"),
            """
            What's my project name?
            What is the software called that I work on?
            Name of what I'm building?
            """,
        ),
        told(
            "project start year",
            number(1998, 2025),
            """
            What's my project start year?
            In which year did the project begin?
            When was the first line of my software written?
            """,
        ),
        told(
            "backend lead",
            full_name,
            """
            Who is my backend lead?
            Who is responsible for the server side of my project?
            Who leads the people who write the backend?
            """,
        ),
        told(
            "frontend lead",
            full_name,
            """
            Who is my frontend lead?
            Who is responsible for the pages users see?
            Who leads the people who write the frontend?
            """,
        ),
        told(
            "on-call engineer",
            full_name,
            """
            Who is my on-call engineer?
            Who gets woken up at night?
            Whose phone rings when alarms go off?
            """,
        ),
        told(
            "backend languages",
            some_of(_LANGUAGES, 2, 3, 4),
            """
            What are my backend languages?
            In what is our server code written?
            Which languages does my server side use?
            """,
        ),
        told(
            "frontend languages",
            some_of(_LANGUAGES, 1, 2, 3),
            """
            What are my frontend languages?
            In what is our client code written?
            Which languages do my pages use?
            """,
        ),
        told(
            "release date",
            date,
            """
            What's my release date?
            When do we ship?
            On which date does my software go out?
            """,
        ),
        told(
            "code freeze date",
            date,
            """
            What's my code freeze date?
            From when on may nobody merge?
            When do we stop changing the code?
            """,
        ),
        told(
            "stand-up time",
            time(8, 11, 5),
            """
            When's my stand-up time?
            When does the team meet in the morning?
            At what time is our daily meeting?
            """,
        ),
        told(
            "stand-up length",
            number(5, 45, 5, "{} minutes"),
            """
            What's my stand-up length?
            How long does our daily meeting last?
            How many minutes do we stand in the morning?
            """,
        ),
        told(
            "open bugs",
            number(12, 640),
            """
            How many open bugs do I have?
            What's my number of open bugs?
            How many defects are not fixed yet?
            """,
        ),
        told(
            "fixed bugs",
            number(12, 840),
            """
            How many fixed bugs are there?
            What's the count of my fixed bugs?
            How many defects have been dealt with?
            """,
        ),
        told(
            "test run time",
            number(12, 320, form="{} minutes"),
            """
            What's my test run time?
            How long do all the tests take?
            For how many minutes does the suite run?
            """,
        ),
        told(
            "deploy days",
            days(1, 2, 3),
            """
            What are my deploy days?
            When do we put things into production?
            On which weekdays do we deploy?
            """,
        ),
        told(
            "team size",
            number(3, 48, form="{} people"),
            """
            What's my team size?
            How many of us work on the project?
            How many people are on the team?
            """,
        ),
        told(
            "required reviewers",
            number(1, 5),
            """
            How many required reviewers are there?
            How many people must look at a change of mine?
            What's my number of required reviewers?
            """,
        ),
    ),
    (
        around(
            solvers.sum_of("open bugs", "fixed bugs"),
            n="""
            How many bugs have been reported altogether, open and fixed?
            Open plus fixed bugs?
            Total of bugs in my tracker (open and fixed ones)?
            Add up the bugs, whether fixed or not.
            """,
        ),
        around(
            solvers.most({"open": "open bugs", "fixed": "fixed bugs"}, "largest"),
            it="""
            Do I have more open or more fixed bugs? (open, fixed or same)
            Are open or fixed bugs in the majority?
            Which number is higher, open bugs or fixed ones? Answer open, fixed or same.
            open or fixed: where are there more bugs
            """,
        ),
        around(
            solvers.left_of("open bugs", 1, 40),
            n="""
            If we close {x} bugs, how many stay open?
            Today {x} bugs get fixed. What's the number of open bugs then?
            Open bugs after fixing {x} more?
            How many open bugs remain once {x} are closed? Just digits.
            """,
        ),
        around(
            solvers.over("open bugs", 25, 3),
            yes="""
            We don't ship with more than {x} open bugs. Are we over?
            Have I got over {x} open bugs?
            More than {x} bugs still open? Yes or No
            Is the count of open bugs above {x}?
            """,
        ),
        around(
            calendar.first_date({"release": "release date", "code freeze": "code freeze date"}),
            it="""
            What's earlier in the year, the release or the code freeze?
            Code freeze or release: which date comes first?
            Which is first on the calendar, my release or my code freeze?
            Going through the year, do we hit the code freeze or the release first?
            """,
        ),
        around(
            calendar.shifted("stand-up time", "stand-up length"),
            time="""
            When is the stand-up over?
            At what time can I go back to coding after the daily meeting? HH:MM
            The stand-up ends at what time?
            When does our morning meeting finish?
            """,
        ),
        around(
            calendar.before("stand-up time"),
            yes="""
            Is the stand-up before {x}?
            If I get in at {x}, has the stand-up already begun?
            Does our daily meeting start earlier than {x}? Yes/No
            Stand-up before {x}: right?
            """,
        ),
        around(
            solvers.times("test run time", 2, 6),
            n="""
            How many minutes do {x} full test runs take?
            The tests are run {x} times one after another. How many minutes?
            {x} runs of the suite, in minutes?
            """,
            minutes="""
            How long do I wait if the tests have to run {x} times?
            """,
        ),
        around(
            solvers.hours_of("test run time"),
            spelled="""
            How long does a test run take in hours and minutes?
            Give me the suite's run time in hours and minutes.
            My tests: how many hours and minutes?
            Test run time as hours plus minutes?
            """,
        ),
        around(
            solvers.holder(
                {"backend": "backend languages", "frontend": "frontend languages"},
                _LANGUAGES,
                "neither",
            ),
            it="""
            Where do we use {x}: backend, frontend or neither?
            Is {x} a backend or a frontend language of ours, or neither?
            {x} - which side of the project is it on? (backend/frontend/neither)
            Which part is written in {x}, backend, frontend, or neither of them?
            """,
        ),
        around(
            solvers.in_both("backend languages", "frontend languages", _LANGUAGES),
            yes="""
            Is {x} used on both sides, backend and frontend?
            Do backend and frontend both use {x}?
            Do the two halves of my project share {x}? Yes or No.
            {x} in the backend as well as in the frontend?
            """,
            constant=True,
        ),
        around(
            solvers.count("backend languages"),
            n="""
            How many languages does my backend use?
            In how many languages is the server side written?
            Number of backend languages?
            The server team has to know how many languages?
            """,
        ),
        around(
            solvers.initial("backend lead"),
            letter="""
            With which letter does my backend lead's name begin?
            First letter of my backend lead's name?
            What's the initial of the first name of the one who leads the backend?
            Backend lead's initial (one letter)?
            """,
        ),
        around(
            solvers.includes("deploy days"),
            yes="""
            Do we deploy on {x}?
            Is {x} a deploy day?
            Can my change go live on {x}? Yes or No.
            {x}: are we allowed to deploy?
            """,
        ),
        around(
            solvers.age("project start year"),
            n="""
            How old is my project in {now}?
            How many years has my software been developed by {now}?
            It's {now}; how many years ago was the project begun?
            """,
            years="""
            What's the age of my project (it is {now})?
            """,
        ),
        around(
            solvers.look_up("on-call engineer"),
            it="""
            The servers are down in the middle of the night. Who do I ring?
            Production is on fire! Who has to be told?
            Whom do I wake when the alarm goes off?
            Our site doesn't respond, it's 3 a.m. - who is to be called?
            """,
        ),
    ),
)
