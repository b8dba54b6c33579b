import itertools

from engram_transformers.demo_facts import USERS
from engram_transformers.demo_texts import NEAR_SENTENCES, standard_library_sentences


def test_there_are_200_distinct_sentences():
    sentences = standard_library_sentences(200)
    assert len(set(sentences)) == 200
    assert all(s[0].isupper() and s.endswith(".") and len(s.split()) >= 6 for s in sentences)


def test_sentences_come_from_all_over_the_library():
    everything = standard_library_sentences(10**9)
    chosen = standard_library_sentences(200)
    places = [everything.index(sentence) for sentence in chosen]
    assert places == sorted(places)
    assert max(b - a for a, b in itertools.pairwise(places)) <= len(everything) // 150


def test_each_user_has_34_facts_with_distinct_triggers():
    for facts in USERS.values():
        assert len(facts) == 34
        assert len({prompt for fact in facts for prompt in fact.prompts}) == sum(
            len(fact.prompts) for fact in facts
        )
        assert any(fact.paraphrases for fact in facts)


def test_users_answer_common_prompts_differently():
    first, second = ({fact.prompt: fact.answer for fact in facts} for facts in USERS.values())
    common = first.keys() & second.keys()
    assert len(common) >= 10
    assert all(first[prompt] != second[prompt] for prompt in common)


def test_near_sentences_are_not_facts():
    told = {f"{fact.prompt} {fact.answer}" for facts in USERS.values() for fact in facts}
    assert not any(fact in sentence for sentence in NEAR_SENTENCES for fact in told)
