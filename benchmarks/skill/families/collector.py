"""The family of a collector."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    above,
    day,
    full_name,
    kind,
    number,
    some_of,
    time,
    time_after,
    words,
)

_LANDS = words(
    "Austria, Brazil, Chile, Denmark, Egypt, Finland, Ghana, Hungary, Iceland, Japan, Kenya, "
    "Latvia, Malta, Nepal, Oman, Peru, Qatar, Romania, Sweden, Tonga, Uruguay, Vietnam"
)
COLLECTOR = Family(
    "collector",
    (
        told(
            "stamps",
            number(120, 9800),
            """
            How many stamps do I have?
            What's my number of stamps?
            How many little pictures are in my album?
            """,
        ),
        told(
            "coins",
            number(20, 900),
            """
            How many coins do I have?
            What's my number of coins?
            How much metal money have I collected, in pieces?
            """,
        ),
        told(
            "postcards",
            number(20, 900),
            """
            How many postcards do I have?
            What's my number of postcards?
            How many cards people once wrote have I collected?
            """,
        ),
        told(
            "oldest stamp's year",
            number(1845, 1940),
            """
            What's my oldest stamp's year?
            From which year is the oldest stamp I have?
            When was my oldest stamp printed?
            """,
        ),
        told(
            "oldest coin's year",
            number(1815, 1940),
            """
            What's my oldest coin's year?
            From which year is the oldest coin I have?
            When was my oldest coin struck?
            """,
        ),
        told(
            "stamp countries",
            some_of(_LANDS, 3, 4, 5),
            """
            What are my stamp countries?
            From where do I have stamps?
            Which countries are in the album?
            """,
        ),
        told(
            "coin countries",
            some_of(_LANDS, 2, 3, 4),
            """
            What are my coin countries?
            From where do I have coins?
            Which countries' money do I collect?
            """,
        ),
        told(
            "rarest coin",
            kind("title"),
            """
            What's my rarest coin?
            What is the coin hardly anybody else has called?
            Which coin am I proudest of?
            """,
        ),
        told(
            "rarest coin's price",
            number(80, 7900, 10),
            """
            What's my rarest coin's price?
            How much did I pay for the coin nobody else has?
            What did my rarest coin cost?
            """,
        ),
        told(
            "rarest coin's value",
            above("rarest coin's price", 9000, 10),
            """
            What's my rarest coin's value?
            What would my rarest coin bring today?
            How much is the coin nobody else has worth?
            """,
        ),
        told(
            "album pages",
            number(16, 240),
            """
            How many album pages are there?
            What's my number of album pages?
            How many pages can I fill with stamps?
            """,
        ),
        told(
            "stamps per page",
            number(4, 48),
            """
            How many stamps per page are there?
            What's my number of stamps per page?
            How many stamps do I put on one sheet?
            """,
        ),
        told(
            "club evening",
            day,
            """
            When is my club evening?
            On which weekday do the collectors meet?
            When do I go to swap stamps?
            """,
        ),
        told(
            "fair opening time",
            time(7, 11, 15),
            """
            What's my fair opening time?
            From when can I get into the collectors' fair?
            When does the fair let people in?
            """,
        ),
        told(
            "fair closing time",
            time_after("fair opening time", 240, 600, 15),
            """
            What's my fair closing time?
            Until when can I look around the collectors' fair?
            When does the fair throw people out?
            """,
        ),
        told(
            "dealer",
            full_name,
            """
            Who is my dealer?
            From whom do I buy coins?
            Who finds rare things for me?
            """,
        ),
        told(
            "year of starting",
            number(1960, 2022),
            """
            What was my year of starting the collection?
            Since when have I collected?
            In what year did I get the first piece?
            """,
        ),
    ),
    (
        around(
            solvers.sum_of("coins", "postcards"),
            n="""
            How many coins and postcards do I have together?
            Coins plus postcards?
            What do my coins and postcards add up to? Number only.
            """,
            pieces="""
            How many pieces are my coins and postcards?
            """,
        ),
        around(
            solvers.sum_of("stamps", "coins", "postcards"),
            n="""
            How many things have I collected in all: stamps, coins, postcards?
            Total of stamps, coins and postcards?
            My whole collection (stamps + coins + postcards) has how many pieces? Digits.
            """,
            pieces="""
            How large is the collection, stamps, coins and postcards taken together?
            """,
        ),
        around(
            solvers.apart("coins", "postcards"),
            n="""
            By how many do my coins and postcards differ in number?
            What's the difference between the number of coins and of postcards I own?
            Coins against postcards: how many apart?
            How many more do I have of the larger group, coins or postcards?
            """,
        ),
        around(
            solvers.most({"coins": "coins", "postcards": "postcards"}, "largest"),
            it="""
            Do I own more coins or more postcards?
            Of which do I have more: coins or postcards?
            Coins or postcards - what's the larger part of my collection?
            Coins and postcards: which of these do I own more of?
            """,
        ),
        around(
            solvers.left("rarest coin's value", "rarest coin's price"),
            n="""
            How much would I gain by selling my rarest coin?
            What is the profit on the rarest coin?
            My rarest coin went up by how much?
            """,
            dollars="""
            Gain on my rarest coin since I bought it, in dollars?
            """,
        ),
        around(
            solvers.product("stamps per page", "album pages"),
            n="""
            How many stamps fit into my album?
            Capacity of the album in stamps?
            If all album pages are full, how many stamps is that?
            All pages filled: number of stamps?
            """,
        ),
        around(
            solvers.times("stamps per page", 2, 12),
            n="""
            How many stamps are on {x} full pages?
            {x} pages of my album hold how many stamps?
            I've filled {x} pages. How many stamps are it?
            Stamps on {x} full sheets, as a number?
            """,
        ),
        around(
            solvers.age("oldest coin's year"),
            years="""
            How old is my oldest coin (it's {now})?
            It is {now}. What is the age of the oldest coin I've got?
            """,
            n="""
            Oldest coin: age in {now}?
            How many years ago was the oldest of my coins struck (now: {now})?
            """,
        ),
        around(
            solvers.most(
                {"stamp": "oldest stamp's year", "coin": "oldest coin's year"},
                "earliest",
                lowest=True,
            ),
            it="""
            What's older, my oldest stamp or my oldest coin?
            Oldest stamp or oldest coin: which of the two is from an earlier year?
            Is the oldest thing I have the stamp or the coin?
            Which is the elder, the oldest coin or the oldest stamp? One word: stamp or coin.
            """,
        ),
        around(
            solvers.holder(
                {"stamps": "stamp countries", "coins": "coin countries"}, _LANDS, "neither"
            ),
            it="""
            What do I have from {x}: stamps, coins or neither?
            {x}: do I have stamps from there, coins, or neither?
            Do my stamps or my coins come from {x}? Say neither if there are none.
            From {x} I collect stamps, coins or neither?
            """,
        ),
        around(
            solvers.includes("stamp countries", _LANDS),
            yes="""
            Do I own stamps from {x}?
            Is {x} among the countries of my stamps?
            Does my album have {x}? Yes or No
            {x}: any stamps from there?
            """,
        ),
        around(
            solvers.count("stamp countries"),
            n="""
            From how many countries do I have stamps?
            Number of countries in my stamp album?
            How many lands are my stamps from?
            Count my stamp countries.
            """,
        ),
        around(
            solvers.over("coins", 50, 2),
            yes="""
            Do I have more than {x} coins?
            Are there over {x} coins in my collection?
            more than {x} coins? Yes/No
            My box holds {x} coins. Do I own more than fit in?
            """,
        ),
        around(
            calendar.is_open("fair opening time", "fair closing time"),
            yes="""
            Is the fair open at {x}?
            If I come to the fair at {x}, do I get in?
            Can I still look around the fair at {x}? Yes or No
            {x}: is the collectors' fair open?
            """,
        ),
        around(
            calendar.length("fair opening time", "fair closing time"),
            n="""
            How many minutes is the fair open?
            From opening to closing, how many minutes do I have at the fair?
            Minutes between opening and closing of the fair?
            """,
            minutes="""
            How long could I stay at the fair at most?
            """,
        ),
        around(
            calendar.day_after("club evening", 2, 5),
            it="""
            What weekday is {x} after the club evening?
            {x} after I meet the other collectors is which day?
            On which day are the club's notes sent, {x} after the evening?
            Club evening plus {x}: which weekday?
            """,
        ),
        around(
            solvers.year_of("year of starting", 10, 60),
            n="""
            In which year have I collected for {more} years?
            When do I celebrate {more} years of collecting? Year, please.
            {more} years after I began to collect - which year is it?
            Year of my {more}-year jubilee as a collector?
            """,
        ),
        around(
            solvers.look_up("dealer"),
            it="""
            I want to sell a coin. Whom do I ring?
            I'm looking for a rare piece. Who could find it?
            Who can tell me whether a coin is genuine?
            To whom do I offer my doubles?
            """,
        ),
    ),
)
