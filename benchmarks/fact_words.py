"""Words that made-up facts are made of."""

from __future__ import annotations

PEOPLE = (
    "Ada Bela Cyro Dunja Emre Fenna Goran Hilde Iker Jolan Kaja Lorcan Mirek Nuria Odile Pavo Quim"
    " Runa Sanna Tove Ugo Vesna Wiebe Ximena Yara Zeno Anouk Bastian Ciara Dario Elodie Flurin"
    " Greta Hamza Ilse Joris Katya Leander Maelys Nils Orla Piet Renske Silvio Tamsin Ulrich Vico"
    " Wanda Xaver Ylva Zita Aster Bruno Carla Dorian Edda Fabio Gwen Henk Isolde Jaan Klara Ludo"
    " Marit Noor Otis Petra Rasmus Signe Tomas Ursula Viggo Wilma Yannick Zora Alba Birk Celeste"
    " Detlef Esra Frida Gilles Hanne Ivo Juna Kemal Linnea Milos Nadja Oskar Pilar Ronja Stellan"
    " Thea Umberto Valerie Willem Yolanda Zdenka"
).split()
RELATIONS = (
    "aunt boss butcher cousin dentist editor florist neighbour plumber tutor uncle landlord"
    " hairdresser flatmate godmother translator accountant trainer colleague optician baker"
    " goddaughter niece nephew gardener"
).split()
TOWNS = (
    "Lisbon Oslo Tallinn Ghent Porto Krakow Malmö Trieste Bergen Utrecht Graz Bilbao Aarhus Lyon"
    " Riga Basel Cork Split Tartu Leipzig Gdansk Verona Turku Delft Brno Nantes Cadiz Uppsala"
    " Maribor Dundee Kosice Esbjerg Bruges Catania Limerick Rostock Tromso Salerno Piran Vigo"
).split()
# Invented, and in no other list: a file can be searched for them.
VILLAGES = (
    "Averndale Brockhelm Cressingford Dunmarrow Elverstoke Farrowmere Grimbleton Hollinsea"
    " Ivelbrook Jarrowfield Kestermoor"
).split()
INSTRUMENTS = "cello oboe lute drums harp bassoon viola banjo tuba zither accordion flute".split()
DOGS = "Pepper Biscuit Rolo Figaro Juno Mango Waffles Olive Bandit Pickles Tofu Maple".split()
JOBS = (
    "carpenter, ferry captain, bookbinder, tax adviser, beekeeper, set designer, locksmith,"
    " paramedic, roofer, piano tuner, cheesemonger, land surveyor, sound engineer, midwife"
).split(", ")
CARS = (
    "red van, blue Fiat, white pickup, grey Volvo estate, green Vespa, black Skoda,"
    " yellow camper, silver hatchback, two-seater, rusty Land Rover"
).split(", ")
ALLERGENS = "walnuts, birch pollen, shellfish, penicillin, latex, sesame, cats, gluten".split(", ")
SPICES = "cardamom cumin saffron sumac turmeric fennel nutmeg paprika coriander cloves".split()
COLOURS = "teal, burnt orange, navy blue, olive green, lilac, crimson, mustard, ivory".split(", ")
FRUITS = "quince papaya mulberry persimmon lychee apricot gooseberry pomelo fig greengage".split()
DESSERTS = (
    "lemon tart, rice pudding, tiramisu, apple strudel, baklava, pavlova, plum cake, crème brûlée"
).split(", ")
SPORTS = "fencing curling rowing handball archery bouldering judo badminton sailing".split()
LANGUAGES = "Welsh Catalan Turkish Basque Finnish Swahili Czech Farsi Tamil Maltese".split()
COLLECTIBLES = (
    "tram tickets, fountain pens, old maps, sea glass, jazz records, tin toys, stamps, beer mats"
).split(", ")
MONTHS = (
    "January February March April May June July August September October November December"
).split()
CODE_WORDS = "maple otter copper lantern willow falcon pebble amber thistle comet juniper".split()

SERVICES = (
    "billing ledger checkout search basket catalogue courier invoices gateway mailer metrics"
    " archive booking payroll tickets thumbnails sessions uploads reports webhooks stock"
    " vouchers refunds profiles exports scheduler translations geocoder licences surveys"
).split()
PARTS = "api worker cache queue importer frontend database proxy scraper indexer".split()
HOSTS = "alpha birch cedar delta ember fjord grove haven inlet juniper kestrel lagoon".split()
KEYS = "ttl, max_retries, batch_size, region, log_level, timeout_ms, pool_size, theme".split(", ")
VERBS = "parse merge validate export archive rotate compress enqueue".split()
THINGS = "invoices receipts tokens avatars coupons manifests addresses snapshots".split()

DISHES = (
    "fish soup, plum dumplings, nettle pie, lentil stew, rye bread, pepper relish, saffron buns,"
    " beetroot salad"
).split(", ")
STEPS = (
    "Soak the beans overnight in plenty of cold water",
    "Chop two onions and three carrots as finely as you can",
    "Warm a spoonful of butter in the old iron pot",
    "Add a pinch of smoked paprika and the juice of half a lemon",
    "Stir slowly until the smell reaches the staircase",
    "Pour in a litre of stock and let it simmer for forty minutes",
    "Grate the hard cheese over it while it is still hot",
    "Cover the bowl with a damp cloth and leave it near the stove",
    "Knead the dough for a quarter of an hour without adding flour",
    "Taste it twice, and salt it only the second time",
    "Roast the seeds in a dry pan until they begin to jump",
    "Serve it with pickled radishes and a slice of dark bread",
    "Fold in the egg whites at the very end",
    "Let it cool on the window sill before anybody touches it",
)
WAYS = (
    "Take the number 14 tram from the harbour to the last stop",
    "Walk past the closed bakery and the blue letter box",
    "Turn left at the chestnut tree with the broken bench",
    "Cross the iron bridge, but only on the right-hand side",
    "Follow the stream upwards until you see a red barn",
    "Ring the bell twice and wait, because nobody hears the first ring",
    "Do not believe the sign that points to the quarry",
    "Climb the forty steps behind the chapel",
    "Ask the man at the kiosk for the key to the gate",
    "Keep the vineyard on your left for about ten minutes",
    "The house is the one with green shutters and a bicycle on the roof",
    "Park in front of the school, since the yard belongs to the neighbour",
    "Mind the dog, which is friendly but very loud",
    "If the road is flooded, go round by the railway crossing",
)
