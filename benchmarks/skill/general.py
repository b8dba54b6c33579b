"""Questions that need nobody's memory, and pieces of ordinary text: there the model is to stay.

The texts are Python's own help topics (PSF licence), which every installation has.
"""

from __future__ import annotations

import random

from benchmarks.skill.values import FIRST

_SUBJECTS = (
    "tides, glaciers, bread, democracy, bicycles, volcanoes, jazz, printing, vaccines, compasses,"
    " rainbows, steam engines, chess, coral reefs, inflation, satellites, fermentation, opera,"
    " earthquakes, photosynthesis, recycling, insulin, maps, gravity, magnets, the Silk Road,"
    " the Roman Empire, the moon, black holes, honey bees, paper, glass, soap, tea, coffee, silk,"
    " whales, penguins, deserts, rivers, batteries, solar panels, bridges, lighthouses, encryption,"
    " databases, compilers, spreadsheets, prime numbers, fractions, probability, haiku, sonnets"
).split(",")
_ASKING = (
    "What are the basics of {subject}?",
    "Explain {subject} to a child.",
    "Tell me something interesting about {subject}.",
    "Why does {subject} matter?",
    "Give me three facts about {subject}.",
    "Write a short poem about {subject}.",
    "Summarise the history of {subject} in two sentences.",
    "What should I read about {subject}?",
)
_QUESTIONS = (
    "What is the capital of France?",
    "Who wrote Romeo and Juliet?",
    "How many legs does a spider have?",
    "What is 12 times 12?",
    "What is 7 + 15?",
    "Translate 'good morning' into Spanish.",
    "Write a haiku about autumn.",
    "Give me a recipe for pancakes.",
    "How do I boil an egg?",
    "What is the boiling point of water?",
    "Name three primary colours.",
    "What is the largest planet in the solar system?",
    "Who painted the Mona Lisa?",
    "What year did the Second World War end?",
    "Write a polite email that declines an invitation.",
    "How do I reverse a list in Python?",
    "What does HTTP stand for?",
    "What is the difference between a crocodile and an alligator?",
    "Suggest a name for a bakery.",
    "How can I sleep better?",
    "What are the symptoms of a cold?",
    "Give me a synonym for happy.",
    "Correct this sentence: He go to school yesterday.",
    "Is a tomato a fruit or a vegetable?",
    "What is the square root of 81?",
    "How far is the moon from the earth?",
    "Who was the first person on the moon?",
    "Write a limerick about a cat.",
    "What is the chemical symbol for gold?",
    "How do plants make food?",
    "List the days of the week.",
    "What is machine learning?",
    "How do I tie a tie?",
    "Tell me a joke.",
    "Hello! How are you?",
    "Hi there.",
    "Thank you, that was helpful.",
    "Who are you?",
    "What can you do?",
    "Write a SQL query that counts rows.",
    "What time zone is used in Japan?",
    "How many minutes are in three hours?",
    "What is the plural of mouse?",
    "Which language is spoken in Brazil?",
    "How do I get wine stains out of a carpet?",
    "Plan a weekend in Rome.",
    "What should a beginner know about running?",
    "Give me tips for a job interview.",
    "What does a notary do?",
    "Is it safe to eat raw eggs?",
    "What is the speed of light?",
    "Who is the author of Don Quixote?",
    "Which day comes after Tuesday?",
    "How old was Mozart when he died?",
    "What is the currency of Switzerland?",
)
_OPENINGS = (
    "{first}: Hey {second}, how was your week?\n{second}:",
    "{first}: I can't believe it's already Friday!\n{second}:",
    "{first}: Guess what happened to my sister yesterday.\n{second}:",
    "{first}: Did you finish the painting you told me about?\n{second}:",
    "{first}: We should go camping again this summer.\n{second}:",
    "{first}: My dog is driving me crazy.\n{second}:",
    "{first}: I got the job!\n{second}:",
    "{first}: I've been thinking about moving to the coast.\n{second}:",
    "{first}: What are you reading at the moment?\n{second}:",
    "{first}: Thanks again for your help with the party.\n{second}:",
    "Dear {first},\n\nthank you for",
    "Hi {first}, just a quick note about",
    "Dear diary, today",
    "My name is {first} and I",
    "My favourite thing about",
    "My mother always said that",
    "When I was a child, my",
    "{first} opened the door and",
    "It was raining when {first} and {second}",
    "Once upon a time there was",
    "The company announced on Monday that",
    "In this chapter, we will",
    "Ingredients:\n",
    "def ",
    "The patient is a",
    "Q: What is",
    "According to the report,",
    "The weather in",
    "I bought this phone last month and",
    "The museum of",
)
"""Beginnings that a model goes on from by itself."""
_HELD_OUT = 6
"""One question in so many is held out of training."""


def questions() -> tuple[list[str], list[str]]:
    """Return the questions for training and those held out, the same ones every time."""
    asked = [form.format(subject=one.strip()) for one in _SUBJECTS for form in _ASKING]
    everything = [*_QUESTIONS, *asked]
    random.Random(0).shuffle(everything)
    held_out = everything[::_HELD_OUT]
    return [one for one in everything if one not in held_out], held_out


def texts() -> tuple[list[str], list[str]]:
    """Return paragraphs of prose and code for training, and those held out."""
    from pydoc_data.topics import topics

    cut = [piece.strip() for topic in topics.values() for piece in topic.split("\n\n")]
    paragraphs = sorted({piece for piece in cut if len(piece) > 80})
    random.Random(0).shuffle(paragraphs)
    held_out = paragraphs[::10]
    return [one for one in paragraphs if one not in held_out], held_out


def openings(count: int, seed: int) -> list[str]:
    """Return beginnings of ordinary text: conversations, letters, stories, reports."""
    lot = random.Random(seed)
    made: list[str] = []
    for number in range(count):
        first, second = lot.sample(FIRST, 2)
        made.append(_OPENINGS[number % len(_OPENINGS)].format(first=first, second=second))
    return made
