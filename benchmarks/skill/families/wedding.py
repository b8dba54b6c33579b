"""The family of a wedding planner."""

from __future__ import annotations

from benchmarks.skill.families import calendar, solvers
from benchmarks.skill.families.family import Family, around, told
from benchmarks.skill.families.makers import (
    below,
    date,
    full_name,
    kind,
    near,
    number,
    some_of,
    time,
    words,
)

_DISHES = words(
    "soup, salmon, lamb, risotto, salad, cheese, cake, ice cream, mousse, dumplings, lasagne, "
    "trout, duck, quiche, sorbet, tartlets, paella, ravioli"
)
WEDDING = Family(
    "wedding planner",
    (
        told(
            "partner",
            full_name,
            """
            Who is my partner?
            Whom am I going to marry?
            Who stands next to me at the altar?
            """,
        ),
        told(
            "wedding date",
            date,
            """
            What's my wedding date?
            When do I get married?
            On what date is the big day?
            """,
        ),
        told(
            "hen party date",
            date,
            """
            What's my hen party date?
            When do I celebrate with my friends before I'm married?
            On which date is the hen party?
            """,
        ),
        told(
            "wedding venue",
            kind("organisation"),
            """
            What's my wedding venue?
            Where do we celebrate?
            Where does everybody go for the party?
            """,
        ),
        told(
            "ceremony time",
            time(10, 15),
            """
            What's my ceremony time?
            At what time do we say yes?
            When must everybody be seated?
            """,
        ),
        told(
            "ceremony length",
            number(15, 95, 5, "{} minutes"),
            """
            What's my ceremony length?
            How long does it take until we are married?
            How many minutes do guests have to sit still?
            """,
        ),
        told(
            "dinner time",
            time(17, 20),
            """
            What's my dinner time?
            When is the food served at the wedding?
            At what time do my guests eat?
            """,
        ),
        told(
            "guests invited",
            number(24, 320),
            """
            How many guests are invited?
            What's my number of guests invited?
            How many people did we ask to come?
            """,
        ),
        told(
            "guests coming",
            below("guests invited", 20),
            """
            How many guests are coming?
            What's my number of guests coming?
            How many people said yes to our invitation?
            """,
        ),
        told(
            "seats at the venue",
            near("guests coming", 40),
            """
            How many seats at the venue are there?
            How many people can sit down at our party?
            What's my number of seats at the venue?
            """,
        ),
        told(
            "price per guest",
            number(18, 190, form="£{}"),
            """
            What's my price per guest?
            What does one guest cost me?
            How much does the caterer charge a head?
            """,
        ),
        told(
            "wedding budget",
            number(8000, 39000, 100, "£{}"),
            """
            What's my wedding budget?
            How much may it all cost?
            What have we put aside for the big day?
            """,
        ),
        told(
            "dress price",
            number(150, 3900, 10, "£{}"),
            """
            What's my dress price?
            How much was the gown?
            What do I pay for what I wear?
            """,
        ),
        told(
            "band fee",
            number(150, 3900, 10, "£{}"),
            """
            What's my band fee?
            How much do the musicians get?
            What does the music cost us?
            """,
        ),
        told(
            "florist",
            full_name,
            """
            Who is my florist?
            Who does the flowers?
            From whom do I get my bouquet?
            """,
        ),
        told(
            "best man",
            full_name,
            """
            Who is my best man?
            Who holds the rings?
            Who gives the funny speech?
            """,
        ),
        told(
            "menu",
            some_of(_DISHES, 3, 4, 5),
            """
            What is my menu for the wedding?
            What is there to eat at the party?
            Which dishes do we serve?
            """,
        ),
        told(
            "children's menu",
            some_of(_DISHES, 2, 3),
            """
            What is my children's menu?
            What do the little guests eat?
            Which dishes are for the kids?
            """,
        ),
    ),
    (
        around(
            solvers.left("guests invited", "guests coming"),
            people="""
            How many of the people we invited are not coming?
            How many guests turned us down?
            """,
            n="""
            Guests invited but not coming, as a number?
            How many invitations were declined? Number only.
            """,
        ),
        around(
            solvers.covers("seats at the venue", "guests coming"),
            yes="""
            Are there enough seats for everybody who is coming?
            Does the venue have a seat for each guest who comes?
            Can all my guests sit down? Yes or No.
            Enough chairs at the venue for the guests who said yes?
            """,
        ),
        around(
            solvers.apart("seats at the venue", "guests coming"),
            n="""
            By how many do the seats and the guests who come differ?
            What's the difference between the seats at the venue and the guests coming?
            Seats against guests: how many apart (number only)?
            How far is the number of seats from the number of guests who come?
            """,
        ),
        around(
            solvers.times("price per guest", 2, 12),
            pounds="""
            What do {x} guests cost me at the caterer's?
            My neighbours want to come too, that is {x} more people. What does it cost me?
            """,
            n="""
            Catering for {x} people, only the number?
            A table of {x}: what do I pay the caterer (just digits)?
            """,
        ),
        around(
            solvers.left("wedding budget", "dress price", "band fee"),
            pounds="""
            How much of the wedding budget is left after the dress and the band?
            Once gown and musicians are paid, what remains of our budget?
            """,
            n="""
            Wedding budget minus dress minus band, number only?
            What's left for the rest when dress and band are off the budget (digits)?
            """,
        ),
        around(
            solvers.sum_of("dress price", "band fee"),
            pounds="""
            What do the dress and the band cost together?
            Gown plus music: how much do I pay?
            """,
            n="""
            Sum of the dress price and the band fee, just the number?
            Dress and band added up (no pound sign)?
            """,
        ),
        around(
            solvers.most({"dress": "dress price", "band": "band fee"}, "largest"),
            it="""
            What costs more, the dress or the band?
            Dress or band: which one is dearer?
            Is it the band or the dress that takes more of our money?
            The higher price: dress or band?
            """,
        ),
        around(
            calendar.shifted("ceremony time", "ceremony length"),
            time="""
            When is the ceremony over?
            At what time do we come out of the church? HH:MM
            When can the guests throw rice, right after the ceremony?
            The ceremony ends when?
            """,
        ),
        around(
            calendar.length_spelled("ceremony time", "dinner time"),
            spelled="""
            How much time lies between the start of the ceremony and dinner?
            How long do the guests wait for dinner from the beginning of the ceremony?
            Ceremony start to dinner, in hours and minutes?
            From ceremony to dinner, how many hours and minutes?
            """,
        ),
        around(
            calendar.length("ceremony time", "dinner time"),
            n="""
            How many minutes are there from the start of the ceremony to dinner?
            Minutes between ceremony and dinner times?
            Dinner is how many minutes after the ceremony starts?
            """,
            minute="""
            Ceremony until dinner, in min?
            """,
        ),
        around(
            calendar.shifted_by("ceremony time", 20, 150, back=True),
            time="""
            The hairdresser needs {x} minutes right before the ceremony. When do we begin?
            The photographer comes {x} minutes before the ceremony. At what time?
            {x} minutes before we say yes, what time is it? HH:MM
            The bus for the guests has to leave {x} minutes before the ceremony. When?
            """,
        ),
        around(
            calendar.first_date(
                {"hen party": "hen party date", "wedding": "wedding date"},
            ),
            it="""
            Is the hen party or the wedding earlier in the year?
            Which date comes first in the calendar, hen party or wedding?
            Wedding or hen party: the earlier date in the year?
            Counting from January, what comes first, my wedding or my hen party?
            """,
        ),
        around(
            calendar.month_of("wedding date"),
            it="""
            In which month do I marry?
            Month of the wedding?
            For which month should guests book a room?
            We're getting married in... (which month)?
            """,
        ),
        around(
            solvers.holder(
                {"menu": "menu", "children's menu": "children's menu"}, _DISHES, "neither"
            ),
            it="""
            On which menu is {x}: menu, children's menu or neither?
            {x}: is it on the menu, on the children's menu or on neither?
            Who gets {x}? Answer menu, children's menu, or neither.
            Is {x} part of the menu or the children's menu, or neither?
            """,
        ),
        around(
            solvers.includes("menu", _DISHES),
            yes="""
            Do we serve {x} at the wedding dinner?
            Is {x} on the menu?
            Will there be {x} for the grown-ups? Yes/No
            A guest loves {x}. Is it on our menu?
            """,
        ),
        around(
            solvers.count("menu"),
            n="""
            How many dishes are on my menu?
            How many courses do we serve?
            Number of dishes on the wedding menu?
            Count the dishes of my menu.
            """,
        ),
        around(
            solvers.look_up("florist"),
            it="""
            The bouquet has to be changed. Whom do I call?
            I want roses instead of lilies, whom do I tell?
            Where are the table decorations coming from, who makes them?
            Whom do I ask about the petals?
            """,
        ),
        around(
            solvers.look_up("best man"),
            it="""
            I can't find the rings! Who should have them?
            Who should I ask about the speech?
            If I'm late, whom should guests ring?
            Who organises things if I'm too nervous?
            """,
        ),
    ),
)
