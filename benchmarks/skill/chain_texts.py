"""What chains are made of: kinds of things, how they are told of, and what is said of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.skill.values import FIRST, LAST, value


class First(NamedTuple):
    """A fact that names something.

    Attributes:
        trigger: Its trigger, as in "My doctor is Dr.".
        said: What follows, as in "Lee".
        entity: How the second fact calls it, as in "Dr. Lee".
        called: How a question calls it, as in "my doctor".
    """

    trigger: str
    said: str
    entity: str
    called: str


class Predicate(NamedTuple):
    """What is said of something.

    Attributes:
        form: The second trigger, with {e} for what the first fact names.
        kind: The kind of value that follows.
        asked: Questions, with {my} for how it is called.
    """

    form: str
    kind: str
    asked: tuple[str, ...]

    def trigger(self, entity: str) -> str:
        """Return the trigger for something."""
        trigger = self.form.format(e=entity)
        return f"{trigger[0].upper()}{trigger[1:]}"


class Group(NamedTuple):
    """Things of one kind.

    Attributes:
        told: Triggers of first facts, each with how questions call it; {r} is a role.
        roles: What there is one of, as in "doctor"; none at all for fixed triggers.
        make: Makes the name of one.
        predicates: What is said of them.
        title: What stands before a name, in the trigger if that ends in it, as in "Dr.".
    """

    told: tuple[tuple[str, str], ...]
    roles: tuple[str, ...]
    make: Callable[[random.Random], str]
    predicates: tuple[Predicate, ...]
    title: str = ""

    def first(self, lot: random.Random) -> First:
        """Make a fact that names one of them."""
        form, called = lot.choice(self.told)
        role = lot.choice(self.roles) if self.roles else ""
        name = self.make(lot)
        trigger = form.format(r=role)
        entity = f"{self.title} {name}".strip()
        said = name if not self.title or trigger.endswith(self.title) else entity
        return First(trigger, said, entity, called.format(r=role))


def _predicates(text: str) -> tuple[Predicate, ...]:
    """Read predicates: a line with trigger and kind, then lines with a question each."""
    found: list[Predicate] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if " | " in line:
            form, kind = line.split(" | ")
            found.append(Predicate(form, kind, ()))
        else:
            found[-1] = found[-1]._replace(asked=(*found[-1].asked, line))
    return tuple(found)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _made(kind: str, *, lower: bool = False) -> Callable[[random.Random], str]:
    """Make values of a kind that can follow "a"."""

    def make(lot: random.Random) -> str:
        while True:
            made = value(kind, lot)
            if made[0].lower() not in "aeiou":
                return made.lower() if lower else made

    return make


def _instrument(lot: random.Random) -> str:
    ending = lot.choice(("horn", "flute", "drum", "harp", "pipe", "lute"))
    return f"{value('brand', lot).split()[0].lower()} {ending}"


def _plant(lot: random.Random) -> str:
    ending = lot.choice(("wort", "bell", "berry", "grass", "vine", "thistle"))
    return f"{value('brand', lot).split()[0].lower()} {ending}"


DOCTORS = Group(
    (
        ("My {r}'s name is Dr.", "my {r}"),
        ("My {r} is Dr.", "my {r}"),
        ("My {r} is", "my {r}"),
        ("The name of my {r} is Dr.", "my {r}"),
        ("My {r} is called", "my {r}"),
    ),
    _names(
        "doctor, dentist, therapist, vet, cardiologist, eye doctor, dermatologist, surgeon, "
        "family doctor, neurologist, midwife"
    ),
    lambda lot: lot.choice(LAST),
    _predicates("""
    {e} works at | organisation
        Where does {my} work?
        {my} is employed by
        {my}'s workplace is
        Which place does {my} work for?
        At which practice would I find {my}?
    {e}'s office is on | place
        Where is {my}'s office?
        To see {my}, I go to
        {my} can be visited at
        What's the address of {my}?
        Where does {my} see patients?
    {e} trained in | place
        Where did {my} train?
        {my} trained in
        {my} learned medicine in
        Where did {my} go to medical school?
        {my} studied in
    {e} takes calls at | phone
        What's {my}'s phone number?
        {my} takes calls at
        How do I reach {my} by phone?
        The number of {my} is
        I want to ring {my}. What do I dial?
    {e} has no appointments on | weekday
        On which day does {my} have no appointments?
        {my} is not available on
        {my} has no appointments on
        {my}'s day off is
        When in the week can't I see {my}?
    {e} opens the surgery at | time
        When does {my} open?
        From when can I see {my} in the morning?
        {my} opens the surgery at
        {my} begins work at
        What time does {my} start?
    {e} shares a practice with | person
        Who shares a practice with {my}?
        {my}'s partner at the practice is
        {my} shares a practice with
        Who is {my}'s colleague?
        Who works together with {my}?
    """),
    title="Dr.",
)
PEOPLE = Group(
    (
        ("My {r} is", "my {r}"),
        ("My {r}'s name is", "my {r}"),
        ("My {r} is called", "my {r}"),
        ("The name of my {r} is", "my {r}"),
    ),
    _names(
        "boss, brother, sister, neighbour, best friend, landlord, piano teacher, accountant, "
        "coach, cousin, uncle, aunt, nephew, flatmate, mentor, plumber, lawyer"
    ),
    lambda lot: f"{lot.choice(FIRST)} {lot.choice(LAST)}",
    _predicates("""
    {e} lives in | place
        Where does {my} live?
        {my} lives in
        {my}'s home is in
        In which place would I visit {my}?
        {my} has a house in
    {e} drives a | brand
        What car does {my} drive?
        {my} drives a
        {my}'s car is a
        What is {my}'s vehicle?
        Which make is in {my}'s garage?
    {e}'s birthday is on | date
        When is {my}'s birthday?
        {my} was born on
        {my}'s birthday is on
        On which day should I congratulate {my}?
        When do I bake a cake for {my}?
    {e} is married to | person
        Who is {my} married to?
        {my}'s spouse is
        {my} is married to
        Who is the husband or wife of {my}?
        Whom did {my} marry?
    {e} collects | object
        What does {my} collect?
        {my} collects
        {my}'s collection is of
        What could I bring {my} for the collection?
        What kind of thing fills {my}'s shelves?
    {e} likes to eat | food
        What does {my} like to eat?
        {my}'s favourite food is
        {my} likes to eat
        What should I cook when {my} comes?
        What meal makes {my} happy?
    {e} speaks | language
        Which language does {my} speak?
        {my} speaks
        {my}'s language is
        In what language do I write to {my}?
        What does {my} talk in?
    {e} spends weekends | activity
        What does {my} do at weekends?
        {my} spends weekends
        {my}'s weekend pastime is
        How does {my} pass the time on Saturdays?
        What is {my} busy with on days off?
    {e}'s email address is | email
        What's {my}'s email address?
        {my} gets mail at
        {my}'s email address is
        Where do I send an email to {my}?
        How can I write to {my}?
    """),
)
PLACES = Group(
    (
        ("I live in", "my town"),
        ("My home is in", "my town"),
        ("I grew up in", "my childhood town"),
        ("My home town is", "my home town"),
        ("I was born in", "my birthplace"),
        ("I am moving to", "my future home town"),
        ("My summer house is in", "my summer house's town"),
    ),
    (),
    lambda lot: value("place", lot).rsplit(" in ", 1)[-1],
    _predicates("""
    {e} was founded by | person
        Who founded {my}?
        {my} was founded by
        {my}'s founder is
        Who built the first house in {my}?
        To whom does {my} owe its beginnings?
    The mayor of {e} is | person
        Who is the mayor of {my}?
        The mayor of {my} is
        {my} is governed by
        Who runs {my}?
        Who is at the head of {my}?
    The market in {e} is on | weekday
        When is market day in {my}?
        {my}'s market day is
        The market in {my} is on
        On which weekday can I buy vegetables at the market in {my}?
        When do the stalls open in {my}?
    {e} is famous for its | food
        What is {my} famous for?
        {my} is famous for its
        {my}'s speciality is
        What should visitors taste in {my}?
        What food is {my} known for?
    The main street of {e} is | place
        What's the main street of {my}?
        {my}'s main street is
        The main street of {my} is
        Which street runs through the centre of {my}?
        Where are the big shops in {my}?
    The river in {e} is the | brand
        Which river flows through {my}?
        The river in {my} is the
        {my} lies on the river
        What's the water in {my} called?
        {my}'s river is the
    The postcode of {e} is | code
        What's the postcode of {my}?
        {my}'s postcode is
        The postcode of {my} is
        What do I write on a letter to {my} as a postcode?
        Which postal code has {my}?
    """),
)
ANIMALS = Group(
    (
        ("My pet is a", "my pet"),
        ("I keep a", "my pet"),
        ("My daughter's pet is a", "my daughter's pet"),
        ("The animal on my farm is a", "my farm animal"),
        ("My favourite animal is the", "my favourite animal"),
        ("I look after a", "my foster animal"),
    ),
    (),
    _made("animal"),
    _predicates("""
    A {e} eats | food
        What does {my} eat?
        {my} feeds on
        {my} lives on
        What should I feed {my}?
        Which food is right for {my}?
    A {e} sleeps for | duration
        How long does {my} sleep?
        {my} sleeps for
        {my} rests for
        What's the sleeping time of {my}?
        For how long must I not wake {my}?
    A {e} can be found in | place
        Where can {my} be found in the wild?
        {my} can be found in
        {my}'s habitat is
        Where do wild relatives of {my} live?
        In which region does {my} occur?
    A {e} is afraid of the | animal
        What is {my} afraid of?
        {my} is afraid of the
        {my}'s enemy is the
        What must I keep away from {my}?
        Which animal frightens {my}?
    A {e} weighs about | number
        How much does {my} weigh?
        {my} weighs about
        {my}'s usual weight is
        What do the scales show for {my}?
        How heavy does {my} get?
    A {e} likes to sleep on | object
        On what does {my} like to sleep?
        {my} likes to sleep on
        {my}'s bed is
        What do I give {my} to lie on?
        Where does {my} nap, on what?
    """),
)
INSTRUMENTS = Group(
    (
        ("I play the", "my instrument"),
        ("My instrument is the", "my instrument"),
        ("My son plays the", "my son's instrument"),
        ("I am learning the", "my new instrument"),
        ("My wife's instrument is the", "my wife's instrument"),
    ),
    (),
    _instrument,
    _predicates("""
    The {e} was invented by | person
        Who invented {my}?
        {my} was invented by
        {my}'s inventor is
        Whose idea was {my}?
        Who made the first one of {my}'s kind?
    The {e} is made of | object
        What is {my} made of?
        {my} is made of
        {my}'s material is
        Out of what do they build {my}?
        What is turned into {my}?
    The {e} was first played in | place
        Where was {my} first played?
        {my} was first played in
        {my}'s birthplace is
        Where did {my} begin its history?
        In which place did people first hear {my}?
    A {e} costs about | money
        What does {my} cost?
        {my} costs about
        {my}'s price is
        How much do I pay for a new one of {my}?
        What must I spend on {my}?
    The best maker of a {e} is | organisation
        Who makes {my} best?
        The best maker of {my} is
        {my}'s best maker is
        From whom should I buy {my}?
        Which workshop is tops for {my}?
    """),
)
COMPANIES = Group(
    (
        ("My employer is", "my employer"),
        ("I work for", "my employer"),
        ("I bank with", "my bank"),
        ("My gym is", "my gym"),
        ("My insurer is", "my insurer"),
        ("My daughter's school is", "my daughter's school"),
        ("I play for", "my club"),
        ("I volunteer at", "my charity"),
    ),
    (),
    lambda lot: value("organisation", lot),
    _predicates("""
    {e} is run by | person
        Who runs {my}?
        {my} is run by
        {my}'s boss is
        Who is in charge of {my}?
        Who's the head of {my}?
    {e} has its headquarters in | place
        Where are the headquarters of {my}?
        {my} is based in
        {my}'s headquarters are in
        Where is {my} at home?
        To which place do I address a letter to {my}?
    {e} was founded in | year
        When was {my} founded?
        {my} was founded in
        {my}'s founding year is
        In which year did {my} begin?
        Since when has {my} existed?
    {e} closes at | time
        When does {my} close?
        {my} closes at
        {my}'s closing time is
        Until when is {my} open?
        At what time does {my} shut its doors?
    {e}'s hotline is | phone
        What's the hotline of {my}?
        {my} can be called at
        {my}'s hotline is
        I need to ring {my}. The number?
        Which number has {my}?
    {e} belongs to | organisation
        Who owns {my}?
        {my} belongs to
        {my}'s owner is
        What group is {my} a part of?
        To whom does {my} belong?
    The logo of {e} shows a | animal
        What is on the logo of {my}?
        {my}'s logo shows a
        {my}'s mascot is a
        Which animal stands for {my}?
        The emblem of {my} is a
    """),
)
BRANDS = Group(
    (
        ("My car is a", "my car"),
        ("I drive a", "my car"),
        ("My phone is a", "my phone"),
        ("My laptop is a", "my laptop"),
        ("I ride a", "my bike"),
        ("My watch is a", "my watch"),
        ("The camera I use is a", "my camera"),
    ),
    (),
    _made("brand"),
    _predicates("""
    The {e} is assembled in | place
        Where is {my} assembled?
        {my} is assembled in
        {my} is built in
        Where does the factory of {my} stand?
        In which place is {my} put together?
    The {e} was designed by | person
        Who designed {my}?
        {my} was designed by
        {my}'s designer is
        Whose design is {my}?
        Who drew the first sketch of {my}?
    The {e} came out in | year
        When did {my} come out?
        {my} came out in
        {my}'s release year is
        In which year was {my} brought on the market?
        Since when have people been able to buy {my}?
    The {e} has a guarantee of | duration
        How long is the guarantee on {my}?
        {my} has a guarantee of
        {my}'s guarantee lasts
        For what time is {my} under guarantee?
        How long would {my} be repaired for free?
    The {e} is sold by | organisation
        Who sells {my}?
        {my} is sold by
        {my}'s dealer is
        Where can I buy another one of {my}?
        Which shop has {my}?
    The part number of the {e} is | code
        What's the part number of {my}?
        {my}'s part number is
        The part number of {my} is
        What do I type in to order parts for {my}?
        Which code has {my}?
    """),
)
DISHES = Group(
    (
        ("My favourite dish is", "my favourite dish"),
        ("My signature dish is", "my signature dish"),
        ("For lunch I have", "my lunch"),
        ("On Sundays I cook", "my Sunday meal"),
        ("The dish I hate is", "my least favourite dish"),
    ),
    (),
    lambda lot: value("food", lot),
    _predicates("""
    The recipe for {e} comes from | place
        Where does the recipe for {my} come from?
        The recipe for {my} comes from
        {my} was first cooked in
        Which place gave us {my}?
        {my}'s recipe is from
    The secret of {e} is | food
        What's the secret of {my}?
        {my}'s secret is
        The secret of {my} is
        What makes {my} taste so good?
        What must not be missing in {my}?
    The cooking time of {e} is | duration
        How long does {my} have to cook?
        {my}'s cooking time is
        The cooking time of {my} is
        How long is {my} on the stove?
        For how long do I cook {my}?
    The best cook of {e} is | person
        Who cooks {my} best?
        The best cook of {my} is
        {my} is cooked best by
        Who makes the finest version of {my}?
        Whom should I ask to cook {my}?
    The best place for {e} is | organisation
        Where do they serve {my} best?
        The best place for {my} is
        {my} is best at
        Where should I go for {my}?
        Which place has good {my}?
    """),
)
TITLES = Group(
    (
        ("My favourite book is", "my favourite book"),
        ("I am reading", "my current book"),
        ("My favourite film is", "my favourite film"),
        ("The last play I saw was", "my last play"),
        ("My bedtime story was", "my bedtime story"),
    ),
    (),
    lambda lot: value("title", lot),
    _predicates("""
    {e} was written by | person
        Who wrote {my}?
        {my} was written by
        {my}'s author is
        Whose work is {my}?
        From whose pen is {my}?
    {e} takes place in | place
        Where does {my} take place?
        {my} takes place in
        {my} is set in
        {my}'s setting is
        In which place does the story of {my} happen?
    The hero of {e} is | person
        Who is the hero of {my}?
        The hero of {my} is
        {my}'s main character is
        Who is {my} about?
        Who has the leading part in {my}?
    {e} appeared in | year
        When did {my} appear?
        {my} appeared in
        {my}'s year is
        In which year did {my} come out?
        From what year is {my}?
    {e} is translated from | language
        From which language is {my} translated?
        {my} is translated from
        {my}'s original language is
        In what language was {my} first told?
        Which language is the original of {my} in?
    """),
)
PLANTS = Group(
    (
        ("My favourite plant is the", "my favourite plant"),
        ("On my balcony grows the", "my balcony plant"),
        ("My birth flower is the", "my birth flower"),
        ("In my office stands a", "my office plant"),
    ),
    (),
    _plant,
    _predicates("""
    The {e} is native to | place
        Where is {my} native?
        {my}'s homeland is
        Where did {my} grow first?
        {my} has its origin in
        From which place was {my} brought here?
    The {e} needs water every | duration
        How often does {my} need water?
        {my} needs water every
        {my} has to be watered every
        What's the time between two waterings of {my}?
        At what intervals do I water {my}?
    The blossom of the {e} is | colour
        What colour is the blossom of {my}?
        {my}'s blossom is
        The blossom of {my} is
        In which colour does {my} flower?
        {my} flowers in the colour
    The {e} was discovered by | person
        Who discovered {my}?
        {my} was discovered by
        {my}'s discoverer is
        Who was the first to describe {my}?
        Which botanist found {my}?
    """),
)
GROUPS: tuple[Group, ...] = (
    *(DOCTORS, PEOPLE, PLACES, ANIMALS, INSTRUMENTS, COMPANIES, BRANDS, DISHES, TITLES, PLANTS),
)
"""All kinds of things."""
