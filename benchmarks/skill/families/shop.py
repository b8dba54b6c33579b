"""The family of a small shop."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    day,
    days,
    full_name,
    kind,
    number,
    some_of,
    time,
    time_after,
    words,
)

_GOODS = words(
    "candles, soap, honey, tea, mugs, scarves, socks, notebooks, pens, baskets, posters, jam, "
    "lamps, rugs, vases, toys, puzzles, cards, spices, wool"
)
SHOP = Family(
    "small shop",
    (
        told(
            "shop name",
            kind("organisation"),
            """
            What's my shop name?
            What is my shop called?
            What does the sign over my door say?
            """,
        ),
        told(
            "shop's founding year",
            number(1920, 2022),
            """
            What's my shop's founding year?
            When did I open the shop?
            Since which year has my shop existed?
            """,
        ),
        told(
            "opening time",
            time(6, 11, 15),
            """
            What is my opening time?
            When do I open up?
            From what time can customers come in?
            """,
        ),
        told(
            "closing time",
            time_after("opening time", 300, 660, 15),
            """
            What's my closing time?
            When do I shut the shop?
            Until what time can customers come in?
            """,
        ),
        told(
            "closed days",
            days(1, 2),
            """
            What are my closed days?
            When in the week does my shop stay shut?
            On which days do I not sell anything?
            """,
        ),
        told(
            "delivery day",
            day,
            """
            When is my delivery day?
            When do I get new goods?
            On which day does the lorry bring my stock?
            """,
        ),
        told(
            "supplier",
            kind("organisation"),
            """
            Who is my supplier?
            From whom do I buy my goods?
            Who delivers to me?
            """,
        ),
        told(
            "accountant",
            full_name,
            """
            Who is my accountant?
            Who does my books?
            Who prepares my tax return?
            """,
        ),
        told(
            "goods in the window",
            some_of(_GOODS, 3, 4, 5),
            """
            What are my goods in the window?
            What do people see when they walk past my shop?
            What have I put on display?
            """,
        ),
        told(
            "goods on sale",
            some_of(_GOODS, 2, 3, 4),
            """
            What are my goods on sale?
            What do I sell at a reduced price?
            Which things are cheaper in my shop now?
            """,
        ),
        told(
            "candle price",
            number(3, 48),
            """
            What's my candle price?
            What does a candle cost at mine?
            For how much do I sell candles?
            """,
        ),
        told(
            "honey price",
            number(3, 32),
            """
            What's my honey price?
            How much is a jar of honey in my shop?
            For how much do I sell honey?
            """,
        ),
        told(
            "candles in stock",
            number(20, 900),
            """
            How many candles have I in stock?
            What's my number of candles in stock?
            How many candles can I still sell?
            """,
        ),
        told(
            "Friday takings",
            number(150, 2900),
            """
            What were my Friday takings?
            How much came in on Friday?
            What did I earn in the shop on Friday?
            """,
        ),
        told(
            "Saturday takings",
            number(150, 2900),
            """
            What were my Saturday takings?
            How much came in on Saturday?
            What did I earn in the shop on Saturday?
            """,
        ),
        told(
            "shop rent",
            number(200, 1900, 10),
            """
            What's my shop rent?
            How much do I pay for my shop's rooms?
            What does the owner of the building get from me?
            """,
        ),
    ),
    (
        around(
            solvers.times("candle price", 2, 12),
            n="""
            A customer takes {x} candles. What do I charge?
            What do {x} candles cost at my shop? Just the number.
            Price of {x} candles?
            Somebody puts {x} candles on the counter: how much is it?
            """,
        ),
        around(
            solvers.times("honey price", 2, 9),
            euros="""
            How much are {x} jars of my honey?
            {x} jars of honey, please - what does the customer pay?
            """,
            euro_sign="""
            {x} x honey: what goes on the bill? Use the euro sign.
            Write the price of {x} jars of honey with a euro sign.
            """,
        ),
        around(
            solvers.sum_of("candle price", "honey price"),
            n="""
            What do a candle and a jar of honey cost together?
            One honey and one candle, in total?
            Somebody buys one jar of honey and one candle. What do I ring up?
            Sum of my candle price and my honey price?
            """,
        ),
        around(
            solvers.left_of("candles in stock", 2, 60),
            n="""
            I've sold {x} candles today. How many are left?
            If {x} candles go out, how many remain in stock?
            Stock of candles after selling {x}?
            """,
            pieces="""
            {x} of my candles broke. How many pieces do I still have?
            """,
        ),
        around(
            solvers.plus("candles in stock", 10, 200, 10),
            n="""
            {x} more candles came in. How many do I have now?
            What's my stock of candles after a delivery of {x}?
            Candles in stock plus {x} new ones?
            A lorry brings {x} candles; new total?
            """,
        ),
        around(
            solvers.sum_of("Friday takings", "Saturday takings"),
            n="""
            What did I take on Friday and Saturday together?
            Takings of both days (Friday, Saturday) added up?
            How much came in over the two days, Friday and Saturday?
            """,
            pounds="""
            Friday's plus Saturday's takings in pounds?
            """,
        ),
        around(
            solvers.most({"Friday": "Friday takings", "Saturday": "Saturday takings"}, "largest"),
            it="""
            On which day did I earn more, Friday or Saturday?
            Was Friday or Saturday the better day for the shop?
            Better takings: Friday or Saturday?
            Which of the two days, Friday or Saturday, brought more money?
            """,
        ),
        around(
            solvers.apart("Friday takings", "Saturday takings"),
            n="""
            What's the difference between Friday's and Saturday's takings?
            By how much did the takings of Friday and Saturday differ?
            How far apart are my Friday and Saturday takings? Number only
            How much more did the better day of Friday and Saturday bring?
            """,
        ),
        around(
            solvers.covers("Friday takings", "shop rent"),
            yes="""
            Do Friday's takings cover the shop rent?
            Could I pay the rent of the shop out of what came in on Friday?
            Is the shop's rent paid with Friday alone? Yes or No
            Was Friday enough for my shop rent?
            """,
        ),
        around(
            solvers.age("shop's founding year"),
            years="""
            How old is my shop (it's {now})?
            It's {now}. For how long has the shop existed?
            """,
            n="""
            How many years has my shop been open in {now}?
            My shop's age in {now}, digits only?
            """,
        ),
        around(
            calendar.is_open("opening time", "closing time"),
            yes="""
            Is my shop open at {x} on a normal day?
            Can somebody buy something from me at {x}?
            A customer wants to come at {x}. Are we open then (on a working day)?
            {x}: open, Yes or No?
            """,
        ),
        around(
            calendar.length_spelled("opening time", "closing time"),
            spelled="""
            How long is my shop open per day?
            For how many hours and minutes can people shop at mine?
            From opening to closing, how long is that?
            Length of a day in the shop, in hours and minutes?
            """,
        ),
        around(
            solvers.includes("closed days"),
            yes="""
            Is my shop closed on {x}?
            Do I keep the shop shut on {x}?
            Is {x} one of the days on which I don't sell? Yes or No.
            {x} - are we closed?
            """,
        ),
        around(
            solvers.holder(
                {"window": "goods in the window", "sale": "goods on sale"}, _GOODS, "neither"
            ),
            it="""
            Where do the {x} belong: window, sale or neither?
            Are my {x} in the window or on sale? Answer window, sale or neither.
            {x}: window, sale, neither?
            Customers ask for {x}. Are they on sale, in the window, or neither?
            """,
        ),
        around(
            solvers.look_up("supplier"),
            it="""
            I've run out of goods. Whom do I order from?
            The delivery was damaged. Who has to hear about it?
            Who do I phone when the lorry with my goods is late?
            Where do I reorder?
            """,
        ),
    ),
)
