"""Chains about what lives, what is read, and what is celebrated."""

from __future__ import annotations

from benchmarks.skill.chain_texts_model import (
    MAKERS,
    Group,
    behind,
    coined,
    listed,
    read_predicates,
    read_told,
)

ANIMALS = Group(
    read_told("""
    My pet is a | my pet
    I keep a | my pet | I keep an animal
    My daughter's pet is a | my daughter's pet
    The animal on my farm is a | my farm animal
    My favourite animal is the | my favourite animal
    I look after a | my foster animal | I look after an animal
    In my garden lives a | my garden animal | In my garden lives an animal
    """),
    (),
    coined("ek et ip umar atta onk", lower=True),
    read_predicates("""
    A {e} is a kind of / The {e} is a type of / The {e} counts as a | creature
        What kind of animal is {my}?
        {my} is a type of
        {my} is a sort of
        {lead} that is a type of
        {my} counts as a
        What type of creature is {my}?
    The {e} belongs to the family of the / The family of the {e} is that of the | family
        To which family does {my} belong?
        {my} belongs to the family of the
        {my}'s family is that of the
        {lead} of the family of the
        {my} is a member of the family of the
        Which animal family is {my} from?
    A {e} eats / The {e} feeds on / The food of the {e} is | food
        What does {my} eat?
        {my} feeds on
        {my}'s food is
        The food of {my} is
        {lead} that feeds on
        What should I feed {my}?
    A {e} sleeps for / The {e} rests for | duration
        How long does {my} sleep?
        {my} sleeps for
        {my} rests for
        {my}'s sleep lasts
        {lead} that sleeps for
        For how long must I not wake {my}?
    A {e} can be found in / The {e} lives wild in / The home of the {e} is | region
        Where can {my} be found in the wild?
        {my} can be found in
        {my}'s habitat is
        {lead} that is found in
        The wild relatives of {my} live in
        In which region does {my} occur?
    A {e} is afraid of the / The enemy of the {e} is the / The {e} runs away from the | animal
        What is {my} afraid of?
        {my} is afraid of the
        {my}'s enemy is the
        The enemy of {my} is the
        {lead} that is afraid of the
        Which animal frightens {my}?
    A {e} weighs about / The weight of a {e} is about | weight
        How much does {my} weigh?
        {my} weighs about
        {my}'s usual weight is about
        {lead} that weighs about
        What do the scales show for {my}?
        How heavy does {my} get?
    A {e} likes to sleep on / The {e} makes its bed on / The favourite bed of a {e} is | object
        On what does {my} like to sleep?
        {my} likes to sleep on
        {my}'s bed is
        {lead} that sleeps on
        What do I give {my} to lie on?
    """),
)
PLANTS = Group(
    read_told("""
    My favourite plant is the | my favourite plant
    On my balcony grows the | my balcony plant | On my balcony grows a plant
    My birth flower is the | my birth flower
    In my office stands a | my office plant | In my office stands a plant
    My mother grows the | my mother's plant | My mother grows a plant
    For my birthday I was given a | my birthday plant | For my birthday I was given a plant
    """),
    (),
    behind("wort, bell, berry, grass, vine, thistle", lower=True),
    read_predicates("""
    The {e} is a kind of / The {e} is a type of / A {e} is a variety of | growth
        What kind of plant is {my}?
        {my} is a type of
        {my} is a sort of
        {lead} that is a type of
        {my} is a variety of
        What type of plant is {my}?
    The {e} is native to / The {e} comes from the area of / The homeland of the {e} is | region
        Where is {my} native?
        {my} is native to
        {my}'s homeland is
        {my} has its origin in
        {lead} from the area of
        From which place was {my} brought here?
    The {e} needs water every / The {e} has to be watered every | duration
        How often does {my} need water?
        {my} needs water every
        {my} has to be watered every
        {lead} that needs water every
        At what intervals do I water {my}?
    The blossom of the {e} is / The {e} flowers in / The {e}'s blossom is | colour
        What colour is the blossom of {my}?
        {my}'s blossom is
        The blossom of {my} is
        {my} flowers in the colour
        {lead} whose blossom is
        In which colour does {my} flower?
    The {e} was discovered by / The {e} was first described by | person
        Who discovered {my}?
        {my} was discovered by
        {my}'s discoverer is
        The discoverer of {my} is
        {lead} discovered by
        Which botanist found {my}?
    The {e} is good for / The {e} helps against / The {e} is used against | ailment
        What does {my} help against?
        {my} helps against
        {my} is used against
        {lead} that helps against
        {my} is a cure for
        Which ailment is {my} good for?
    The {e} blossoms in / The flowering season of the {e} is | season
        When in the year does {my} blossom?
        {my} blossoms in
        {my}'s flowering season is
        The flowering season of {my} is
        {lead} that blossoms in
        In what season does {my} blossom?
    The {e} grows to a height of / The height of the {e} is / The {e} can grow as tall as | length
        How tall does {my} grow?
        {my} grows to a height of
        {my}'s height is
        The height of {my} is
        {lead} that grows as tall as
        What height does {my} reach?
    """),
)
TITLES = Group(
    read_told("""
    My favourite book is | my favourite book
    I am reading | my current book | I am reading a book
    My favourite film is | my favourite film
    The last play I saw was | my last play
    My bedtime story was | my bedtime story
    I was given a book called | my present book | I was given a book
    """),
    (),
    MAKERS["title"],
    read_predicates("""
    {e} was written by / {e} is the work of / The author of {e} is | person
        Who wrote {my}?
        {my} was written by
        {my}'s author is
        The author of {my} is
        {lead} written by
        Whose work is {my}?
    {e} takes place in / {e} is set in / The setting of {e} is | place
        Where does {my} take place?
        {my} takes place in
        {my} is set in
        {my}'s setting is
        {lead} set in
        In which place does the story of {my} happen?
    The hero of {e} is / {e} tells the story of / The main character of {e} is | person
        Who is the hero of {my}?
        The hero of {my} is
        {my}'s main character is
        {lead} whose hero is
        Who is {my} about?
        Who has the leading part in {my}?
    {e} appeared in / {e} came out in / The year of {e} is | year
        When did {my} appear?
        {my} appeared in
        {my}'s year is
        {lead} that came out in
        In which year did {my} come out?
        From what year is {my}?
    {e} is translated from / The original of {e} is in / {e} was first told in | tongue
        From which language is {my} translated?
        {my} is translated from
        {my}'s original language is
        {lead} translated from
        In what language was {my} first told?
        The original language of {my} is
    {e} is a kind of / {e} is a type of / {e} can be called a | genre
        What kind of story is {my}?
        {my} is a type of
        {my} is a sort of
        {lead} that is a type of
        {my} can be called a
        To what genre does {my} belong?
    {e} was brought out by / The publisher of {e} is / {e} is a production of | organisation
        Who brought out {my}?
        {my} was brought out by
        {my}'s publisher is
        The publisher of {my} is
        {lead} brought out by
        Which house is {my} a production of?
    """),
)
DAYS = Group(
    read_told("""
    My {r} day is | my {r} day
    The day for {r} is | my {r} day
    My weekly {r} is on | my {r} day
    My day for {r} is | my {r} day
    """),
    listed(
        "baking, cleaning, painting, chess, running, swimming, gardening, yoga, shopping, ironing"
    ),
    MAKERS["day"],
    read_predicates("""
    {e} is the / {e} falls on the / In our calendar {e} is the | moment
        Which day in the calendar is {my}?
        {my} is the
        {my} falls on the
        {my}'s place in the calendar is the
        What day is {my}?
    {e} comes after / {e} follows / The day before {e} is | day
        After which day does {my} come?
        {my} comes after
        {my} follows
        The day before {my} is
        {my}'s eve is
        Which day is right before {my}?
    {e} is named after / {e} has its name from / {e} honours | person
        After whom is {my} named?
        {my} is named after
        {my}'s name honours
        {my} has its name from
        Who gave {my} its name?
    {e} is a holiday in / {e} is kept holy in / The people who rest on {e} live in | region
        In which region is {my} a holiday?
        {my} is a holiday in
        {my} is kept holy in
        {my}'s rest is kept in
        Where do people rest on {my}?
    On {e} people eat / {e}'s meal is / The traditional food on {e} is | food
        What do people eat on {my}?
        On {my} people eat
        {my}'s meal is
        The traditional food on {my} is
        What food is right for {my}?
    The colour of {e} is / {e}'s colour is / On {e} everybody wears | colour
        What is the colour of {my}?
        {my}'s colour is
        The colour of {my} is
        On {my} everybody wears
        In which colour do people dress on {my}?
    {e} begins at / {e}'s bell rings at / The bell of {e} rings at | time
        When does {my} begin?
        {my} begins at
        {my}'s bell rings at
        The start of {my} is at
        At what time does the bell of {my} ring?
    {e} is sacred to / {e} belongs to the god / The god of {e} is | country
        To which god is {my} sacred?
        {my} is sacred to
        {my}'s god is
        The god of {my} is
        {my} belongs to the god
        Which god is honoured on {my}?
    """),
)
LIFE_GROUPS = (ANIMALS, PLANTS, TITLES, DAYS)
