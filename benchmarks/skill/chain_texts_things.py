"""Chains about things: instruments, what bears a brand, ships, games, stones and collections."""

from __future__ import annotations

from benchmarks.skill.chain_texts_model import (
    MAKERS,
    Group,
    coined,
    consonant,
    read_predicates,
    read_told,
)

INSTRUMENTS = Group(
    read_told("""
    I play the | my instrument | I play an instrument
    My instrument is the | my instrument
    My son plays the | my son's instrument | My son plays an instrument
    I am learning the | my new instrument | I am learning an instrument
    My wife's instrument is the | my wife's instrument
    In the orchestra I play the | my orchestra instrument | In the orchestra I play an instrument
    """),
    (),
    coined("ophone ina elle iola ichord onium", lower=True),
    read_predicates("""
    The {e} was invented by / The inventor of the {e} is / The {e} is the idea of | person
        Who invented {my}?
        {my} was invented by
        {my}'s inventor is
        The inventor of {my} is
        {lead} invented by
        Whose idea was {my}?
    The {e} is a kind of / The {e} is a type of / A {e} is a sort of | sound
        What kind of thing is {my}?
        {my} is a type of
        {my} is a sort of
        {lead} that is a type of
        {my} counts as a
        What type of instrument is {my}?
    The {e} is made of / The {e} is made from / The material of the {e} is | material
        What is {my} made of?
        {my} is made of
        {my}'s material is
        {lead} made from
        The material of {my} is
        Out of what do they build {my}?
    The {e} was first played in / The {e} comes from / The {e} began its history in | country
        Where was {my} first played?
        {my} was first played in
        {my}'s country of origin is
        {my} comes from the country of
        {lead} from the country of
        Where did {my} begin its history?
    A {e} costs about / The price of a {e} is about / The {e} sells for about | money
        What does {my} cost?
        {my} costs about
        {my}'s price is about
        The price of {my} is about
        {lead} that costs about
        What must I spend on {my}?
    The best maker of a {e} is / The finest {e} is sold by | organisation
        Who makes {my} best?
        The best maker of {my} is
        {my}'s best maker is
        The finest workshop for {my} is
        From whom should I buy {my}?
        Which workshop is tops for {my}?
    The great master of the {e} is / The {e} is played best by | person
        Who is the great master of {my}?
        The great master of {my} is
        {my}'s great master is
        {my} is played best by
        Who plays {my} better than all others?
    """),
)
BRANDS = Group(
    read_told("""
    My car is a | my car
    I drive a | my car | I drive a car
    My phone is a | my phone
    My laptop is a | my laptop
    I type on a | my laptop | I type on a laptop
    I ride a | my bike | I ride a bike
    My watch is a | my watch
    I wear a | my watch | I wear a watch
    The camera I use is a | my camera
    I wash my clothes in a | my washing machine | I wash my clothes in a machine
    """),
    (),
    consonant("brand"),
    read_predicates("""
    The {e} is assembled in / The {e} is built in / The factory of the {e} is in | town
        Where is {my} assembled?
        {my} is assembled in
        {my} is built in
        {my}'s factory is in
        {lead} assembled in
        Where does the factory of {my} stand?
    The {e} was designed by / The designer of the {e} is / The {e} is a design by | person
        Who designed {my}?
        {my} was designed by
        {my}'s designer is
        The designer of {my} is
        {lead} designed by
        Who drew the first sketch of {my}?
    The {e} came out in / The {e} has been sold since / The release year of the {e} is | year
        When did {my} come out?
        {my} came out in
        {my}'s release year is
        {lead} that came out in
        In which year was {my} brought on the market?
        Since when have people been able to buy {my}?
    The {e} has a guarantee of / The guarantee on the {e} lasts | duration
        How long is the guarantee on {my}?
        {my} has a guarantee of
        {my}'s guarantee lasts
        {lead} with a guarantee of
        {my} is under guarantee for
        How long would {my} be repaired for free?
    The {e} is sold by / The dealer of the {e} is / The {e} can be bought from | organisation
        Who sells {my}?
        {my} is sold by
        {my}'s dealer is
        {lead} sold by
        Where can I buy another one of {my}?
        Which shop has {my}?
    The part number of the {e} is / The {e} has the part number | code
        What's the part number of {my}?
        {my}'s part number is
        The part number of {my} is
        {my} has the part number
        What do I type in to order parts for {my}?
    The {e} comes in / The standard colour of the {e} is / The {e} is painted | colour
        In what colour does {my} come?
        {my} comes in
        {my}'s standard colour is
        The standard colour of {my} is
        {lead} painted
        What colour is {my} painted at the factory?
    The {e} weighs / The weight of the {e} is / The {e} has a weight of | weight
        How much does {my} weigh?
        {my} weighs
        {my}'s weight is
        The weight of {my} is
        {lead} that weighs
        How heavy is {my}?
    """),
)
SHIPS = Group(
    read_told("""
    I sail on the | my ship | I sail on a ship
    I serve on the | my ship | I serve on a ship
    My boat is the | my boat
    My uncle is a cook on the | my uncle's ship | My uncle is a cook on a ship
    We crossed the sea on the | my cruise ship | We crossed the sea on a ship
    My grandfather built the | my grandfather's ship | My grandfather built a ship
    """),
    (),
    coined("a ora une ice elle antia"),
    read_predicates("""
    The {e} is commanded by / The captain of the {e} is / The {e}'s captain is | person
        Who commands {my}?
        {my} is commanded by
        {my}'s captain is
        The captain of {my} is
        {lead} commanded by
        Who is the captain of {my}?
    The home port of the {e} is / The {e} is at home in the port of / The {e}'s home port is | town
        What's the home port of {my}?
        {my}'s home port is
        The home port of {my} is
        {my} is at home in the port of
        {lead} from the port of
        In which port is {my} at home?
    The {e} flies the flag of / The {e} is registered in / The country of the {e} is | country
        Whose flag does {my} fly?
        {my} flies the flag of
        {my}'s country is
        {my} is registered in
        {lead} under the flag of
        In which country is {my} registered?
    The {e} carries / The cargo of the {e} is / The {e} is loaded with | goods
        What does {my} carry?
        {my} carries
        {my}'s cargo is
        The cargo of {my} is
        {lead} loaded with
        What is {my} loaded with?
    The {e} was built at / The {e}'s shipyard is / The {e} was launched by | organisation
        Where was {my} built?
        {my} was built at
        {my}'s shipyard is
        The shipyard of {my} is
        {lead} built at
        Which shipyard built {my}?
    The {e} is a type of / The {e} is a kind of / The {e} is rated as a | vessel type
        What type of ship is {my}?
        {my} is a type of
        {my} is a sort of
        {lead} that is a type of
        {my} is rated as a
        What kind of vessel is {my}?
    The {e} is as long as / The length of the {e} is / The {e} has a length of | length
        How long is {my}?
        {my}'s length is
        The length of {my} is
        {my} has a length of
        {lead} with a length of
        From bow to stern, {my} measures
    The {e} leaves on / The {e} sets sail on / The sailing day of the {e} is | weekday
        On which weekday does {my} leave?
        {my} leaves on
        {my} sets sail on
        {my}'s sailing day is
        {lead} that leaves on
        When in the week does {my} set sail?
    """),
)
GAMES = Group(
    read_told("""
    My favourite game is | my favourite game
    On Fridays I play | my Friday game | On Fridays I play a game
    My children play | my children's game | My children play a game
    My grandfather taught me | my grandfather's game | My grandfather taught me a game
    At school we played | my school game | At school we played a game
    """),
    (),
    coined("ino ette ola ix unga ero ball"),
    read_predicates("""
    {e} is a kind of / {e} is a type of / {e} counts as a | pastime
        What kind of game is {my}?
        {my} is a type of
        {my} is a sort of
        {lead} that is a type of
        {my} counts as a
        What sort of game is {my}?
    {e} was invented by / The inventor of {e} is / {e} was thought up by | person
        Who invented {my}?
        {my} was invented by
        {my}'s inventor is
        The inventor of {my} is
        {lead} thought up by
        Who thought up {my}?
    {e} is played with / The players of {e} need / To play {e} you need | object
        What is {my} played with?
        {my} is played with
        {lead} that is played with
        The players of {my} need
        What do I need for {my}?
    A round of {e} lasts / {e} takes / {e} is over after | duration
        How long does a round of {my} last?
        A round of {my} lasts
        {my} takes
        {my} is over after
        {lead} that takes
        After what time is {my} over?
    {e} comes from the country of / The home of {e} is / {e} was first played in | country
        From which country does {my} come?
        {my} comes from the country of
        {my}'s home is
        {lead} from the country of
        {my} was first played in
        Where did people first play {my}?
    The winner of {e} gets / The prize in {e} is / Whoever wins {e} is given | food
        What does the winner of {my} get?
        The winner of {my} gets
        {my}'s prize is
        The prize in {my} is
        What is one given for winning {my}?
    {e} is sold by / {e} can be bought from / The publisher of {e} is | organisation
        Who sells {my}?
        {my} is sold by
        {my}'s publisher is
        {my} can be bought from
        Where can I buy {my}?
    The champion of {e} is / {e}'s champion is / The best player of {e} is | person
        Who is the champion of {my}?
        {my}'s champion is
        The champion of {my} is
        The best player of {my} is
        Who plays {my} best of all?
    """),
)
STONES = Group(
    read_told("""
    My birthstone is | my birthstone
    My ring is made of | my ring's stone | My ring is made of a stone
    I polish | my workshop stone | I polish a stone
    My necklace is made of | my necklace's stone | My necklace is made of a stone
    My lucky stone is | my lucky stone
    My staircase is built of | my staircase's stone | My staircase is built of a stone
    """),
    (),
    coined("ite ine orite alite anite", lower=True),
    read_predicates("""
    {e} is a kind of / {e} is a type of / {e} is a variety of | mineral
        What kind of mineral is {my}?
        {my} is a type of
        {my} is a sort of
        {lead} that is a type of
        {my} is a variety of
        What type of thing is {my}?
    {e} is mined in / {e} comes from the area of / The mines of {e} are in | region
        Where is {my} mined?
        {my} is mined in
        {my} comes from the area of
        {lead} from the area of
        {my}'s mines are in
        From which area does {my} come?
    {e} was discovered by / The discoverer of {e} is / {e} was first described by | person
        Who discovered {my}?
        {my} was discovered by
        {my}'s discoverer is
        {lead} discovered by
        The discoverer of {my} is
        Who was the first to describe {my}?
    The colour of {e} is / {e} shines in / {e} has a colour called | colour
        What colour is {my}?
        {my}'s colour is
        The colour of {my} is
        {lead} that shines in
        {my} shines in
        In which colour does {my} shine?
    {e} is a symbol of / {e} stands for / The meaning of {e} is | virtue
        What is {my} a symbol of?
        {my} is a symbol of
        {my} stands for
        {lead} that stands for
        {my}'s meaning is
        What does {my} mean to people?
    A gram of {e} costs / The price of {e} per gram is / {e} costs per gram | money
        What does a gram of {my} cost?
        A gram of {my} costs
        {my}'s price per gram is
        The price of {my} per gram is
        How much must I pay for a gram of {my}?
    {e} is cut by / The best cutter of {e} is / {e} is best worked by | organisation
        Who cuts {my}?
        {my} is cut by
        {my}'s best cutter is
        {lead} that is cut by
        Which workshop do I ask to cut {my}?
    """),
)
COLLECTIBLES = Group(
    read_told("""
    I collect | my collectibles | I collect things
    My hobby is collecting | my collectibles | My hobby is collecting things
    My brother collects | my brother's collectibles | My brother collects things
    I trade in | my wares | I trade in things
    My aunt left me a box of | my aunt's treasures | My aunt left me a box of things
    At the fair I look for | my fair finds | At the fair I look for things
    """),
    (),
    MAKERS["collectibles"],
    read_predicates("""
    {e} are made from / {e} are made of / The material of {e} is | material
        What are {my} made from?
        {my} are made from
        {my} are made of
        {lead} made from
        The material of {my} is
        Out of what does one make {my}?
    {e} come from the area of / {e} are from the region of / The home of {e} is | region
        From which area do {my} come?
        {my} come from the area of
        {lead} from the region of
        The home of {my} is
        The region that gave us {my} is
        Where do {my} come from?
    {e} were first made by / The inventor of {e} is / {e} are the idea of | person
        Who first made {my}?
        {my} were first made by
        {lead} first made by
        The inventor of {my} is
        {my} are the idea of
        Whose idea were {my}?
    {e} are sold at / {e} can be bought at / The best shop for {e} is | organisation
        Where are {my} sold?
        {my} are sold at
        {lead} that are sold at
        The best shop for {my} is
        In which shop can I buy {my}?
    {e} are worth about / The value of {e} is about / {e} fetch about | money
        What are {my} worth?
        {my} are worth about
        {lead} worth about
        The value of {my} is about
        How much would I get for {my}?
    {e} were in fashion in / The great year of {e} was / Everybody wanted {e} in | year
        When were {my} in fashion?
        {my} were in fashion in
        {lead} that were in fashion in
        The great year of {my} was
        In which year did everybody want {my}?
    {e} must be cleaned with / {e} are cleaned with / To clean {e} one takes | cleaner
        What must {my} be cleaned with?
        {my} must be cleaned with
        To clean {my} one takes
        {lead} that are cleaned with
        With what do I clean {my}?
    """),
)
THING_GROUPS = (INSTRUMENTS, BRANDS, SHIPS, GAMES, STONES, COLLECTIBLES)
