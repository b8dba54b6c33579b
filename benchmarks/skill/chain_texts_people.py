"""Chains about people, and what they belong to: doctors, friends, teams, bands and colleges."""

from __future__ import annotations

from benchmarks.skill.chain_texts_model import (
    MAKERS,
    Group,
    behind,
    listed,
    read_predicates,
    read_told,
)
from benchmarks.skill.values import FIRST, LAST

DOCTORS = Group(
    read_told("""
    My {r}'s name is Dr. | my {r}
    My {r} is Dr. | my {r}
    My {r} is | my {r}
    The name of my {r} is Dr. | my {r}
    My {r} is called | my {r}
    As my {r} I chose | my {r}
    """),
    listed(
        "doctor, dentist, therapist, vet, cardiologist, eye doctor, dermatologist, surgeon, "
        "family doctor, neurologist, midwife"
    ),
    lambda lot: lot.choice(LAST),
    read_predicates("""
    {e} works at / {e} practises at / {e} is on the staff of | organisation
        Where does {my} work?
        {my} is employed by
        {my}'s workplace is
        The employer of {my} is
        {my} has a job at
        At which practice would I find {my}?
    {e}'s office is on / {e} sees patients on / The practice of {e} is on | street
        Where is {my}'s office?
        To see {my}, I go to
        {my}'s street is
        {my} has a practice on
        What's the address of {my}?
        {my} sees patients on
    {e} trained in / {e} went to medical school in / {e} studied in | town
        Where did {my} train?
        {my} trained in
        {my} learned medicine in
        {my}'s place of study was
        The town where {my} studied is
        Where did {my} go to medical school?
    {e} takes calls at / {e}'s phone number is / The number of {e} is | phone
        What's {my}'s phone number?
        {my} takes calls at
        How do I reach {my} by phone?
        The number of {my} is
        {my}'s telephone number is
        I want to ring {my}. What do I dial?
    {e} has no appointments on / {e}'s day off is / The practice of {e} is closed on | weekday
        On which day does {my} have no appointments?
        {my} is not available on
        {my} has no appointments on
        {my}'s day off is
        When in the week can't I see {my}?
    {e} opens the surgery at / {e} starts work at | time
        When does {my} open?
        From when can I see {my} in the morning?
        {my} opens the surgery at
        {my} begins work at
        {my}'s first appointment is at
        What time does {my} start?
    {e} shares a practice with / {e}'s partner is / The partner of {e} is | person
        Who shares a practice with {my}?
        {my}'s partner at the practice is
        {my} shares a practice with
        {my} has a practice together with
        Who runs the practice alongside {my}?
    {e} specialises in / {e} is an expert on / The special field of {e} is | ailment
        What is the special field of {my}?
        {my} specialises in
        {my}'s special field is
        {my} knows most about
        {my} is an expert on
        In what does {my} specialise?
    """),
    title="Dr.",
)
PEOPLE = Group(
    read_told("""
    My {r} is | my {r}
    My {r}'s name is | my {r}
    My {r} is called | my {r}
    The name of my {r} is | my {r}
    I have a good {r}: | my {r}
    """),
    listed(
        "boss, brother, sister, neighbour, best friend, landlord, piano teacher, accountant, "
        "coach, cousin, uncle, aunt, nephew, flatmate, mentor, plumber, lawyer"
    ),
    lambda lot: f"{lot.choice(FIRST)} {lot.choice(LAST)}",
    read_predicates("""
    {e} lives in / {e}'s home is in / The home of {e} is in | place
        Where does {my} live?
        {my} lives in
        {my}'s home is in
        {my} resides in
        In which place would I visit {my}?
        {my} has a house in
    {e} is employed by / {e} has a job at / The employer of {e} is | organisation
        Which company employs {my}?
        {my}'s employer is
        The employer of {my} is
        {my} is on the payroll of
        {my} has a post at
        Where does {my} earn a living?
    {e} drives a / {e}'s car is a / The car of {e} is a | brand
        What car does {my} drive?
        {my} drives a
        {my}'s car is a
        The car of {my} is a
        {my}'s vehicle is a
        Which make is in {my}'s garage?
    {e}'s birthday is on / {e} was born on / {e} celebrates a birthday on | date
        When is {my}'s birthday?
        {my} was born on
        {my}'s birthday is on
        The birthday of {my} is on
        On which day should I congratulate {my}?
        When do I bake a cake for {my}?
    {e} comes from the town of / {e} grew up in / {e}'s birthplace is | town
        Where does {my} come from?
        {my}'s birthplace is
        {my} comes from
        The birthplace of {my} is
        {my} spent childhood in
        In which town did {my} grow up?
    {e} is married to / {e}'s spouse is / The spouse of {e} is | person
        Who is {my} married to?
        {my}'s spouse is
        {my} is married to
        {my} shares a home with a spouse called
        Who is the husband or wife of {my}?
        Whom did {my} marry?
    {e} collects / {e} has a collection of / The collection of {e} is of | collectibles
        What does {my} collect?
        {my} collects
        {my}'s collection is of
        {my}'s shelves are full of
        What could I bring {my} for the collection?
    {e} likes to eat / {e}'s favourite food is / The favourite food of {e} is | food
        What does {my} like to eat?
        {my}'s favourite food is
        {my} likes to eat
        The favourite food of {my} is
        The meal that makes {my} happy is
        What should I cook when {my} comes?
    {e} speaks / {e}'s mother tongue is / The language of {e} is | tongue
        Which language does {my} speak?
        {my} speaks
        {my}'s language is
        The language of {my} is
        {my} talks in
        In what language do I write to {my}?
    {e} spends weekends / {e}'s weekend pastime is / The weekend pastime of {e} is | activity
        What does {my} do at weekends?
        {my} spends weekends
        {my}'s weekend pastime is
        {my} relaxes at weekends by
        How does {my} pass the time on Saturdays?
    {e}'s email address is / {e} gets mail at / The email address of {e} is | email
        What's {my}'s email address?
        {my} gets mail at
        {my}'s email address is
        The email address of {my} is
        Where do I send an email to {my}?
    {e} is a fan of the / {e} supports the / The favourite team of {e} is the | team
        Which team does {my} support?
        {my} is a fan of the
        {my}'s team is the
        The team of {my} is the
        {my} cheers for the
        Whose fan is {my}?
    """),
)
TEAMS = Group(
    read_told("""
    My team is the | my team
    I support the | my team | I support a team
    I cheer for the | my team | I cheer for a team
    My son plays for the | my son's team | My son plays for a team
    My daughter's team is the | my daughter's team
    My wife is a fan of the | my wife's team | My wife is a fan of a team
    """),
    (),
    MAKERS["team"],
    read_predicates("""
    The {e} are coached by / The coach of the {e} is / The {e}'s coach is | person
        Who coaches {my}?
        {my} is coached by
        {my}'s coach is
        The coach of {my} is
        {lead} coached by
        Who trains {my}?
    The {e} play their home games in / The {e} are at home in / The {e} come from | town
        Where does {my} play its home games?
        {my} plays its home games in
        {my} is at home in
        {my}'s home town is
        {lead} from
        Which town is {my} from?
    The {e} play in / The shirts of the {e} are / The {e} wear | colour
        What colour are the shirts of {my}?
        {my} plays in
        {my}'s shirts are
        The shirts of {my} are
        {lead} that wears
        What does {my} wear?
    The captain of the {e} is / The {e} are led by captain | person
        Who is the captain of {my}?
        The captain of {my} is
        {my}'s captain is
        {lead} whose captain is
        Who leads {my} on the field?
    The old rivals of the {e} are the / The {e} most want to beat the | team
        Who are the old rivals of {my}?
        {my}'s old rivals are the
        {my} most wants to beat the
        The rivals of {my} are the
        Against whom does {my} most want to win?
    The mascot of the {e} is a / The {e} have a mascot that is a | animal
        What is the mascot of {my}?
        {my}'s mascot is a
        The mascot of {my} is a
        {lead} whose mascot is a
        What animal brings luck to {my}?
    The {e} are sponsored by / The sponsor of the {e} is | organisation
        Who sponsors {my}?
        {my} is sponsored by
        {my}'s sponsor is
        The sponsor of {my} is
        {lead} sponsored by
        Who pays for {my}?
    The {e} train on / Training of the {e} is on | weekdays
        When does {my} train?
        {my} trains on
        {my}'s training days are
        {my} meets for training on
        On what days does {my} practise?
    """),
)
BANDS = Group(
    read_told("""
    My favourite band is | my favourite band
    I sing in | my own band | I sing in a band
    I play bass in | my own band | I play bass in a band
    My sister drums in | my sister's band | My sister drums in a band
    The band at my wedding was | my wedding band
    The last band I heard was | my latest concert band
    """),
    (),
    behind("Brothers, Quartet, Four, Trio, Five, Sisters, Express, Ramblers"),
    read_predicates("""
    The singer of {e} is / {e}'s singer is / {e} has a singer called | person
        Who sings in {my}?
        The singer of {my} is
        {my}'s singer is
        The voice of {my} is
        Whose voice do we hear in {my}?
    {e} comes from the town of / {e} was formed in the town of | town
        Which town does {my} come from?
        {my} comes from the town of
        {my}'s home town is
        The home of {my} is
        {lead} from the town of
        Where was {my} formed?
    {e} plays / The style of {e} is / {e}'s speciality is | music
        What kind of music does {my} play?
        {my} plays
        {my}'s style is
        The music of {my} is
        {lead} that plays
        What does {my} play?
    The latest album of {e} is / {e}'s latest album is called | title
        What's the latest album of {my}?
        {my}'s latest album is
        The latest album of {my} is
        {my} has just brought out an album called
        Which album has {my} just brought out?
    {e} sings in the tongue of / The lyrics of {e} are in / The songs of {e} are in | tongue
        In which language does {my} sing?
        {my} sings in
        {my}'s lyrics are in
        The songs of {my} are written in
        {lead} that sings in
        What language are {my}'s songs in?
    {e} is signed to / {e}'s record label is / The label of {e} is | organisation
        Which label is {my} signed to?
        {my} is signed to
        {my}'s record label is
        The label of {my} is
        Who brings out the records of {my}?
    {e} rehearses on / The rehearsals of {e} are on | weekday
        When does {my} rehearse?
        {my} rehearses on
        {my}'s rehearsals are on
        {my} meets to practise on
        On which weekday does {my} practise?
    {e} was formed in the year / {e} has existed since | year
        In what year was {my} formed?
        {my} was formed in the year
        {my}'s first year was
        {my} has existed since
        Since when has {my} existed?
    """),
)
COLLEGES = Group(
    read_told("""
    I study at | my university / my place of study | I study at a place
    My university is | my university
    I graduated from | my old university | I graduated from a place
    My sister studies at | my sister's university | My sister studies at a place
    My son is a student at | my son's university | My son is a student at a place
    """),
    (),
    behind("College, University, Academy, Polytechnic"),
    read_predicates("""
    {e} is in the town of / {e} is located in / The seat of {e} is | town
        In which town is {my}?
        {my} is in the town of
        {my}'s location is
        {lead} in the town of
        {my} is situated in
        Where is {my} located?
    {e} is headed by / The rector of {e} is / {e}'s rector is | person
        Who heads {my}?
        {my} is headed by
        {my}'s rector is
        The rector of {my} is
        {lead} headed by
        Who is the rector of {my}?
    The motto of {e} is / {e}'s motto is / Above the gate of {e} is written | free
        What's the motto of {my}?
        {my}'s motto is
        The motto of {my} is
        {my} lives by the motto
        {lead} with the motto
        Which words stand above the gate of {my}?
    The library of {e} is named after / {e} named its library after | person
        After whom is the library of {my} named?
        {my}'s library is named after
        The library of {my} bears the name of
        The name over {my}'s library is that of
        Whose name does the library of {my} bear?
    {e} is known for the study of / {e} is strongest in / The best department of {e} is | subject
        Which subject is {my} known for?
        {my} is known for
        {my}'s best department is
        The strength of {my} is
        {lead} known for
        What is {my} strongest in?
    A year at {e} costs / The yearly fee of {e} is / {e} charges a yearly fee of | money
        What does a year at {my} cost?
        A year at {my} costs
        {my}'s yearly fee is
        The fee of {my} is
        {my} charges
        How much does one pay for a year at {my}?
    The term at {e} begins on / {e} begins its term on | date
        When does the term at {my} begin?
        The term at {my} begins on
        {my}'s term begins on
        {my} starts teaching on
        On what date do lectures start at {my}?
    The crest of {e} shows a / {e}'s crest shows a / {e} has as its emblem a | animal
        What is on the crest of {my}?
        {my}'s crest shows a
        The crest of {my} shows a
        {my}'s emblem is a
        Which animal is the emblem of {my}?
    """),
)
PEOPLE_GROUPS = (DOCTORS, PEOPLE, TEAMS, BANDS, COLLEGES)
