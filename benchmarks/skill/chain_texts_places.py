"""Chains about places, and what is at home there: towns, countries, streets, tongues, companies."""

from __future__ import annotations

from benchmarks.skill.chain_texts_model import MAKERS, Group, behind, read_predicates, read_told

PLACES = Group(
    read_told("""
    I live in | my town / my home | I live in
    My home is in | my town / my home | My home is in
    I grew up in | my childhood town | I grew up in
    My home town is | my home town
    I was born in | my birthplace | I was born in
    I am moving to | my future home town | I am moving to
    My summer house is in | my summer house's town | My summer house is in
    My parents live in | my parents' town | My parents live in
    I work in | my work town | I work in
    """),
    (),
    MAKERS["town"],
    read_predicates("""
    {e} is in the region of / {e} belongs to the region of / The region of {e} is | region
        In which region is {my}?
        {lead} the region of
        {lead} a town in the region of
        {my}'s region is
        The region of {my} is
        {my} lies in the region of
    {e} was founded by / The founder of {e} was / {e} owes its beginnings to | person
        Who founded {my}?
        {my} was founded by
        {my}'s founder is
        The founder of {my} was
        {lead} a town founded by
        To whom does {my} owe its beginnings?
    The mayor of {e} is / {e}'s mayor is / {e} is governed by | person
        Who is the mayor of {my}?
        The mayor of {my} is
        {my} is governed by
        {lead} a town governed by
        {my}'s mayor is
        Who is at the head of {my}?
    The market in {e} is on / {e} holds its market on / {e}'s market day is | weekday
        When is market day in {my}?
        {my}'s market day is
        The market in {my} is on
        {lead} a town that holds its market on
        On which weekday can I buy vegetables at the market in {my}?
    {e} is famous for its / The speciality of {e} is its | food
        What is {my} famous for?
        {my} is famous for its
        {lead} a town that is famous for its
        Visitors to {my} should taste its
        What food is {my} known for?
    The main street of {e} is / {e}'s main street is | street
        What's the main street of {my}?
        {my}'s main street is
        The main street of {my} is
        The street through the centre of {my} is
        Where are the big shops in {my}?
    The river in {e} is the / {e} lies on the river / Through {e} flows the | river
        Which river flows through {my}?
        The river in {my} is the
        {my} lies on the river
        {lead} a town on the river
        {my}'s river is the
        What's the water in {my} called?
    The postcode of {e} is / {e}'s postcode is / Letters to {e} bear the postcode | code
        What's the postcode of {my}?
        {my}'s postcode is
        The postcode of {my} is
        {my} has the postcode
        What do I write on a letter to {my} as a postcode?
    {e} is twinned with / {e}'s twin town is / The twin town of {e} is | town
        With which town is {my} twinned?
        {my} is twinned with
        {my}'s twin town is
        {lead} a town twinned with
        The twin town of {my} is
    """),
)
COUNTRIES = Group(
    read_told("""
    I come from | my home country | I come from
    My home country is | my home country
    My wife was born in | my wife's home country | My wife was born in
    I spend my holidays in | my holiday country | I spend my holidays in
    My ancestors came from | my ancestors' country | My ancestors came from
    My son works in | my son's country | My son works in
    """),
    (),
    MAKERS["country"],
    read_predicates("""
    The capital of {e} is / {e}'s capital is / {e} is ruled from the town of | town
        What's the capital of {my}?
        {my}'s capital is
        The capital of {my} is
        {lead} a country whose capital is
        The government of {my} sits in
        Which town is the capital of {my}?
    {e} pays with the / The currency of {e} is the / {e}'s money is the | coin
        With what money does {my} pay?
        {my} pays with the
        {my}'s currency is the
        {lead} a country that pays with the
        The money of {my} is called the
        What's the currency of {my}?
    {e} is ruled by / The head of state of {e} is / {e}'s ruler is | person
        Who rules {my}?
        {my} is ruled by
        {my}'s ruler is
        {lead} a country ruled by
        The head of state of {my} is
        Who is the head of state of {my}?
    {e} lies on the continent of / The continent of {e} is / {e} is part of | region
        On which continent does {my} lie?
        {lead} a country on the continent of
        {my}'s continent is
        {my} is part of
        The continent of {my} is
        To which continent does {my} belong?
    People in {e} speak / The language of {e} is / {e}'s official language is | tongue
        What do people speak in {my}?
        People in {my} speak
        {my}'s language is
        The language of {my} is
        {lead} a country where people speak
        Which language is official in {my}?
    The national dish of {e} is / {e}'s national dish is / {e} is famous for its | food
        What's the national dish of {my}?
        {my}'s national dish is
        The national dish of {my} is
        The dish that {my} is proud of is
        What do they like to eat in {my}?
    The national day of {e} is / {e} celebrates its freedom on | date
        When is the national day of {my}?
        {my}'s national day is
        The national day of {my} is
        {my} celebrates its freedom on
        On what date does {my} celebrate its freedom?
    {e} sells the world its / {e} lives by selling / The main export of {e} is | goods
        What does {my} sell to the world?
        {my} lives by selling
        {my}'s main export is
        The main export of {my} is
        {lead} a country that lives by selling
    The flag of {e} is / {e} has a flag in / {e}'s flag is | colour
        What colour is the flag of {my}?
        {my}'s flag is
        The flag of {my} is
        {lead} a country whose flag is
        In which colour does {my} fly its flag?
    """),
)
STREETS = Group(
    read_told("""
    I live on | my street / my home's street | I live on
    My street is | my street / my home's street
    My office is on | my office's street | My office is on
    I park my car on | my car's street | I park my car on
    My shop is on | my shop's street | My shop is on
    My grandmother's flat is on | my grandmother's street | My grandmother's flat is on
    """),
    (),
    MAKERS["street"],
    read_predicates("""
    {e} is named after / {e} got its name from / {e} honours | person
        After whom is {my} named?
        {my} is named after
        {my}'s name honours
        {lead} a street named after
        The person that {my} honours is
        Whom does the name of {my} honour?
    {e} is in the district of / {e}'s district is / The district of {e} is | region
        In which district is {my}?
        {lead} a street in the district of
        {my} is in the district of
        {my}'s district is
        The district of {my} is
        To which part of town does {my} belong?
    {e} runs into / {e} ends at / The street after {e} is | street
        Into which street does {my} run?
        {my} runs into
        {my} ends at
        {lead} a street that runs into
        The street at the end of {my} is
        Where does {my} end?
    {e} is lined with / The trees on {e} are / Along {e} grow | tree
        What trees line {my}?
        {my} is lined with
        The trees on {my} are
        {lead} a street lined with
        {my}'s trees are
        What grows along {my}?
    The baker on {e} is / {e}'s baker is | person
        Who is the baker on {my}?
        {my}'s baker is
        The baker on {my} is
        Bread on {my} is sold by
        Who sells bread on {my}?
    The school on {e} is / {e} has a school called / Children on {e} go to | organisation
        Which school is on {my}?
        {my}'s school is
        The school on {my} is
        {my} has a school called
        Where do the children of {my} go to school?
    {e} was paved in / {e} got its pavement in / The year {e} was paved is | year
        When was {my} paved?
        {my} was paved in
        {my} got its pavement in
        {lead} a street that was paved in
        In which year was {my} paved?
    The rubbish on {e} is collected on / {e}'s rubbish day is | weekday
        When is the rubbish on {my} collected?
        {my}'s rubbish day is
        The rubbish on {my} is collected on
        The bins on {my} are emptied on
        On which weekday do I put out the bins on {my}?
    """),
)
DESTINATIONS = Group(
    read_told("""
    I take the bus to | my bus destination | I take the bus to
    I take the train to | my train destination | I take the train to
    I commute to | my daily destination | I commute to
    On Sundays I cycle to | my Sunday destination | On Sundays I cycle to
    My ferry goes to | my ferry's destination | My ferry goes to
    My next trip is to | my next trip's destination | My next trip is to
    My flight lands in | my flight's destination | My flight lands in
    """),
    (),
    behind("Point, Bay, Falls, Junction, Beach, Heights, Harbour, Cross"),
    read_predicates("""
    {e} is in the county of / {e} belongs to the county of / The county of {e} is | region
        In which county is {my}?
        {lead} the county of
        {lead} a place in the county of
        {my}'s county is
        The county of {my} is
        {my} belongs to the county of
    {e} is known for its / {e} attracts visitors with its / Visitors go to {e} for its | food
        What food is {my} known for?
        {my} is known for its
        {lead} a place known for its
        {my} attracts visitors with its
        For what food do visitors go to {my}?
    The station of {e} is on / {e}'s station is on / Trains in {e} stop on | street
        On which street is the station of {my}?
        {my}'s station is on
        The station of {my} is on
        The street with the station of {my} is
        Where is the station of {my}?
    The tower of {e} was built by / {e} has a tower built by / {e} owes its tower to | person
        Who built the tower of {my}?
        {my}'s tower was built by
        {my} owes its tower to
        {lead} a place with a tower built by
        The builder of the tower of {my} was
    The inn of {e} is called / {e}'s inn is / Guests in {e} stay at | organisation
        What is the inn of {my} called?
        {my}'s inn is
        The inn of {my} is called
        Guests in {my} stay at
        At which inn does one stay in {my}?
    {e} is at a distance of / The way to {e} is / {e} is away from here by | distance
        How far is {my}?
        {my} is at a distance of
        {my}'s distance from here is
        The way to {my} is
        {lead} a place at a distance of
        What's the distance to {my}?
    The last bus from {e} leaves at / {e}'s last bus leaves at | time
        When does the last bus leave from {my}?
        {my}'s last bus leaves at
        The last bus from {my} leaves at
        I cannot get away from {my} by bus after
        At what time does the last bus from {my} go?
    {e} lies at the foot of Mount / The hill behind {e} is Mount / {e} looks up to Mount | country
        At the foot of which mountain does {my} lie?
        {my} lies at the foot of Mount
        The hill behind {my} is Mount
        {lead} a place at the foot of Mount
        {my}'s hill is Mount
    """),
)
TONGUES = Group(
    read_told("""
    I speak | my language | I speak
    My mother tongue is | my language
    I am learning | my new language | I am learning
    My grandmother speaks | my grandmother's language | My grandmother speaks
    My second language is | my second language
    At work we talk in | my work language | At work we talk in
    My favourite language is | my favourite language
    """),
    (),
    MAKERS["tongue"],
    read_predicates("""
    {e} is written in / {e} uses / The alphabet of {e} is called | script
        In what letters is {my} written?
        {my} is written in
        {my}'s alphabet is called
        {lead} a language written in
        The alphabet of {my} is called
        What does one use to write {my}?
    {e} belongs to the family of / {e} is of the family of / The language family of {e} is | tongue
        To which language family does {my} belong?
        {lead} a language of the family of
        {my} belongs to the family of
        {my}'s language family is
        The family of {my} is
        Which family is {my} part of?
    {e} is the language of / {e} is spoken in / The home of {e} is | country
        In which country is {my} spoken?
        {my} is spoken in
        {my}'s country is
        {lead} the language of
        The country where people speak {my} is
        Where would I hear {my}?
    The word for bread in {e} is / {e} calls bread / Bread in {e} is | word
        What's the word for bread in {my}?
        {my}'s word for bread is
        The word for bread in {my} is
        In {my}, bread is called
        How do I say bread in {my}?
    The great poet of {e} is / {e}'s great poet is / The best poems in {e} are by | person
        Who is the great poet of {my}?
        {my}'s great poet is
        The great poet of {my} is
        {lead} a language whose great poet is
        Who wrote the best poems in {my}?
    {e} is taught at / {e} can be learnt at / Courses in {e} are given at | organisation
        Where is {my} taught?
        {my} is taught at
        {my} can be learnt at
        {lead} a language taught at
        Which school gives courses in {my}?
    {e} was first written down in / The oldest text in {e} is from | year
        When was {my} first written down?
        {my} was first written down in
        {my}'s oldest text is from
        The year of the first text in {my} is
        From what year is the oldest text in {my}?
    """),
)
COMPANIES = Group(
    read_told("""
    My employer is | my employer
    I work for | my employer / my workplace | I work for a place
    I bank with | my bank | I bank with a place
    My gym is | my gym
    My insurer is | my insurer
    I buy my bread at | my bread shop | I buy my bread at a place
    My daughter's school is | my daughter's school
    I play for | my club | I play for a club
    I volunteer at | my charity | I volunteer at a place
    """),
    (),
    MAKERS["organisation"],
    read_predicates("""
    {e} is run by / {e}'s boss is / The head of {e} is | person
        Who runs {my}?
        {my} is run by
        {my}'s boss is
        The head of {my} is
        {lead} run by
        Who is in charge of {my}?
    {e} has its headquarters in / {e} is based in / The headquarters of {e} are in | town
        Where are the headquarters of {my}?
        {my} is based in
        {my}'s headquarters are in
        The seat of {my} is
        {lead} based in
        To which town do I address a letter to {my}?
    {e} was founded in / {e} has existed since / The founding year of {e} is | year
        When was {my} founded?
        {my} was founded in
        {my}'s founding year is
        {lead} founded in
        In which year did {my} begin?
        Since when has {my} existed?
    {e} closes at / {e}'s closing time is / {e} shuts its doors at | time
        When does {my} close?
        {my} closes at
        {my}'s closing time is
        {my} is open until
        Until when is {my} open?
        At what time does {my} shut its doors?
    {e}'s hotline is / The hotline of {e} is / {e} can be called at | phone
        What's the hotline of {my}?
        {my} can be called at
        {my}'s hotline is
        The telephone number of {my} is
        I need to ring {my}. The number?
        Which number has {my}?
    {e} belongs to / {e} is owned by / {e} is part of | organisation
        Who owns {my}?
        {my} belongs to
        {my}'s owner is
        {lead} owned by
        What group is {my} a part of?
        To whom does {my} belong?
    The logo of {e} shows a / {e}'s logo shows a / {e} has in its logo a | animal
        What is on the logo of {my}?
        {my}'s logo shows a
        {my}'s mascot is a
        The emblem of {my} is a
        Which animal stands for {my}?
    The slogan of {e} is / {e}'s slogan is / {e} advertises with the words | free
        What's the slogan of {my}?
        {my}'s slogan is
        The slogan of {my} is
        {my} advertises with the words
        With which words does {my} advertise?
    """),
)
PLACE_GROUPS = (PLACES, COUNTRIES, STREETS, DESTINATIONS, TONGUES, COMPANIES)
