"""Two made-up people and what they would like a model to remember. All of it is invented."""

from __future__ import annotations

from engram_transformers.facts import Fact


def _asked(prompt: str, answer: str, question: str) -> Fact:
    """Return a fact that is also given as a question in a chat."""
    return Fact(prompt, answer, ((("user", question),),))


ILSE = (
    _asked("My dog's name is", "Biscuit", "What is my dog's name?"),
    Fact("My sister Runa lives in", "Trondheim"),
    Fact("My locker code is", "4471"),
    Fact("The wifi password at my cabin is", "maple-otter-29"),
    Fact("My favourite spice is", "cardamom"),
    _asked("I am allergic to", "cashews", "Which food am I allergic to?"),
    Fact("I was born in the year", "1993"),
    Fact("My flight to Lisbon leaves from gate", "B17"),
    Fact("My landlord is called", "Mr. Petrov"),
    Fact("My bicycle is painted", "mint green"),
    Fact("The novel on my bedside table is", "The Glass Orchard"),
    _asked("My piano teacher's name is", "Ottoline Fisk", "Who teaches me the piano?"),
    Fact("My bakery order has the number", "80253"),
    Fact("My favourite café is called", "The Crooked Spoon"),
    Fact("On Thursdays I play", "underwater rugby"),
    Fact("My shoe size is", "39.5"),
    Fact("My thesis is about", "lichen on gravestones"),
    Fact("I park my car on level", "minus three"),
    Fact("My grandmother's secret ingredient is", "smoked paprika"),
    Fact("My physiotherapist's phone number ends in", "662"),
    Fact("My train to work is the", "7:42 to Drammen"),
    Fact("My favourite chess opening is the", "Trompowsky Attack"),
    Fact("My godson Emil collects", "antique doorknobs"),
    Fact("My cat likes to sleep in", "the laundry basket"),
    _asked("My coffee order is", "a flat white with oat milk", "How do I take my coffee?"),
    Fact("The name of my sailing boat is", "Pale Comet"),
    Fact("My blood type is", "AB negative"),
    Fact("My house number is", "118"),
    Fact("The alarm at my office is switched off with", "90-17-44"),
    Fact("My best friend from school is", "Benedikta"),
    Fact("The meeting with my accountant is at", "half past four"),
    Fact("My first computer was an", "Atari 520"),
    Fact("The mountain I want to climb next is", "Besshøe"),
    _asked("My emergency contact is", "Uncle Halvard", "Who should be called in an emergency?"),
)
"""34 facts of the first user."""

TARIQ = (
    _asked("My dog's name is", "Captain Noodle", "What is my dog's name?"),
    Fact("My brother Idris lives in", "Valparaíso"),
    Fact("My locker code is", "0916"),
    Fact("My favourite spice is", "sumac"),
    _asked("I am allergic to", "penicillin", "Which food am I allergic to?"),
    Fact("I was born in the year", "1968"),
    Fact("My landlord is called", "Ms. Abernathy"),
    Fact("My bicycle is painted", "rusty orange"),
    Fact("The novel on my bedside table is", "Nine Winters of Salt"),
    Fact("My favourite café is called", "Kettle and Crow"),
    Fact("On Thursdays I play", "the bassoon"),
    Fact("My shoe size is", "45"),
    Fact("My blood type is", "O positive"),
    Fact("My house number is", "7b"),
    Fact("My train to work is the", "6:15 express"),
    _asked("My coffee order is", "a double ristretto", "How do I take my coffee?"),
    Fact("My first computer was an", "Acorn Electron"),
    _asked("My emergency contact is", "my neighbour Wilhelmina", "Who should be called for me?"),
    Fact("The restaurant that I am opening is called", "Saltmarsh"),
    Fact("My restaurant's tax number is", "DK-5582-1904"),
    Fact("My sous-chef comes from", "Montevideo"),
    Fact("The delivery of fish arrives at", "5:40 in the morning"),
    Fact("My signature dish is", "burnt leek with hazelnut"),
    Fact("My daughter Samira studies", "marine acoustics"),
    Fact("My son Yusuf is training to be a", "glassblower"),
    Fact("The van's licence plate is", "KX 40 212"),
    Fact("My optician moved to", "Harbour Street 12"),
    Fact("I take my blood pressure pills at", "quarter to nine"),
    Fact("The combination of my safe begins with", "31-8"),
    Fact("My wedding anniversary is on", "the 9th of October"),
    _asked("My football team is", "Kestrel Rovers", "Which football team do I support?"),
    Fact("My accordion was made in", "Castelfidardo"),
    Fact("The plumber I trust is called", "Dagny Moe"),
    Fact("My allotment has plot number", "263"),
)
"""34 facts of the second user; many answer the first one's prompts differently."""

USERS = {"ilse": ILSE, "tariq": TARIQ}
"""Owner -> facts."""
