import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.evaluation.detokenizers import (
    ONE_BILLION_WORDS,
    PENN_TREEBANK,
    PLAIN,
    STANFORD,
    WIKITEXT,
    Detokenizer,
)

DETOKENIZERS = [PLAIN, WIKITEXT, PENN_TREEBANK, ONE_BILLION_WORDS, STANFORD]

# Written in the manner of each set: what it has, and what a reader would expect in its place.
SAMPLES = [
    (WIKITEXT, "= = Early life = =", "== Early life =="),
    (WIKITEXT, "= The <unk> ferry =", "= The <unk> ferry ="),
    (WIKITEXT, "a long @-@ serving crew of 1 @,@ 200 , 2 @.@ 5 %", "a long-serving crew of 1,200, 2.5%"),
    (WIKITEXT, 'He said : " Go ! " , and " Stay ? " ( twice ) .', 'He said: "Go!", and "Stay?" (twice).'),
    (WIKITEXT, "the boys ' boat didn 't sink ; it 's hers", "the boys' boat didn't sink; it's hers"),
    (WIKITEXT, "Mr. J. K. Fox of the U.S. , U.S. @-@ built", "Mr. J. K. Fox of the U.S., U.S.-built"),
    (WIKITEXT, "from 1914 – 18 it cost $ 5 or £ 3", "from 1914 – 18 it cost $5 or £3"),
    (PENN_TREEBANK, "no it was n't black monday", "no it wasn't black monday"),
    (PENN_TREEBANK, "abc 's <unk> ca n't rise N % to $ N us$ N", "abc's <unk> can't rise N% to $N us$N"),
    (PENN_TREEBANK, "the traders ' fears they 're u.s. mr. fox", "the traders' fears they're u.s. mr. fox"),
    (ONE_BILLION_WORDS, '" I don \'t know , " said Ms. Fox ( 53 ) .', '"I don\'t know," said Ms. Fox (53).'),
    (ONE_BILLION_WORDS, "A skill -- pays $ 5.5 million , or 10 % .", "A skill -- pays $5.5 million, or 10%."),
    (STANFORD, "`` I do n't know , '' said the king .", '"I don\'t know," said the king.'),
    (STANFORD, "it 's -LRB- I think -RRB- the boys ' fault !", "it's (I think) the boys' fault!"),
    (STANFORD, "`` oh , ` no ' , '' she said ; `` What ? ''", '"oh, \'no\'," she said; "What?"'),
]  # fmt: skip


@pytest.mark.parametrize(("detokenizer", "published", "text"), SAMPLES)
def test_samples_of_each_set_become_running_text_and_come_back(detokenizer, published, text):
    assert detokenizer.detokenize(published.split()) == text
    assert detokenizer.tokenize(text) == published.split()


def test_what_the_rules_would_misread_is_marked_and_comes_back():
    tokens = ["Adm.", "Fox", "chose", "Plan", "B", "."]
    assert WIKITEXT.detokenize(tokens) == " Adm. Fox chose Plan B ."
    assert WIKITEXT.tokenize(" Adm. Fox chose Plan B .") == tokens


def test_without_rules_text_stays_as_it_was_published():
    assert PLAIN.detokenize(["no", "it", "was", "n't", "."]) == "no it was n't ."


GRAMMAR = """
    The ferry U.S. Mr. B boys N $ us$ us 5 200 1,000 % . , ; : ? ! ... -- - – ' " `` '' ` 's 'S n't N'T don't
    @-@ @,@ @.@ = == ( ) [ ] { } -LRB- -RRB- -LSB- -RSB- -LCB- -RCB- <unk> s s' £ # @ café
""".split()  # noqa: SIM905  # easier read than as a list
ODD = st.text(st.characters(exclude_characters=" ", exclude_categories=["Cs"]), min_size=1, max_size=5)
NEARLY = st.text(st.sampled_from(".,;'\"`-@=$%()LRBns1aU"), min_size=1, max_size=6)
TOKENS = st.lists(st.sampled_from(GRAMMAR) | NEARLY | ODD)


@pytest.mark.parametrize("detokenizer", DETOKENIZERS, ids=lambda detokenizer: detokenizer.name)
def test_any_tokens_come_back(detokenizer: Detokenizer) -> None:
    @given(TOKENS)
    def round_trip(tokens: list[str]) -> None:
        assert detokenizer.tokenize(detokenizer.detokenize(tokens)) == tokens

    round_trip()
