"""English stays however it is written; other languages, and what is no language, do not pass for it."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract.prefilter import PrefilterOptions, prefilter
from pipeline.filters.language import detect_language
from pipeline.filters.quality import RefineOptions, judge
from pipeline.runner.records import Drop

ENGLISH = (
    "The committee met on Tuesday to discuss the harbour, and nobody could agree on what to do with it. "
)
LANGUAGES = Path(__file__).parents[5] / "shared" / "data" / "languages"

FOREIGN = {
    "de": "Der Hafen blieb nach dem Sturm geschlossen. Niemand wusste, wann die Boote zurückkehren können.",
    "fr": "Le port est resté fermé après la tempête. Personne ne savait quand les bateaux reviendraient.",
    "es": "El puerto siguió cerrado después de la tormenta. Nadie sabía cuándo podrían volver los barcos.",
    "it": "Il porto è rimasto chiuso dopo la tempesta. Nessuno sapeva quando le barche sarebbero tornate.",
    "pt": "O porto ficou fechado depois da tempestade. Ninguém sabia quando os barcos poderiam voltar.",
    "nl": "De haven bleef na de storm gesloten. Niemand wist wanneer de boten terug konden komen.",
    "sv": "Hamnen förblev stängd efter stormen. Ingen visste när båtarna skulle kunna komma tillbaka.",
    "da": "Havnen forblev lukket efter stormen. Ingen vidste, hvornår bådene kunne komme tilbage igen.",
    "no": "Havnen forble stengt etter stormen. Ingen visste når båtene kunne komme tilbake til byen.",
    "fi": "Satama pysyi suljettuna myrskyn jälkeen. Kukaan ei tiennyt, milloin veneet voisivat palata.",
    "pl": "Port pozostał zamknięty po burzy. Nikt nie wiedział, kiedy łodzie będą mogły wrócić do miasta.",
    "cs": "Přístav zůstal po bouři zavřený. Nikdo nevěděl, kdy se lodě budou moci vrátit do města.",
    "hu": "A kikötő a vihar után zárva maradt. Senki sem tudta, mikor térhetnek vissza a hajók.",
    "ro": "Portul a rămas închis după furtună. Nimeni nu știa când se vor putea întoarce bărcile.",
    "tr": "Liman fırtınadan sonra kapalı kaldı. Teknelerin ne zaman dönebileceğini kimse bilmiyordu.",
    "id": "Pelabuhan tetap ditutup setelah badai. Tidak ada yang tahu kapan perahu bisa kembali ke sana.",
    "sw": "Bandari ilibaki imefungwa baada ya dhoruba. Hakuna aliyejua lini mashua zingeweza kurudi.",
    "ru": "После бури гавань оставалась закрытой. Никто не знал, когда лодки смогут вернуться в город.",
    "el": "Το λιμάνι έμεινε κλειστό μετά την καταιγίδα. Κανείς δεν ήξερε πότε θα γυρίσουν τα πλοία.",
    "ar": "ظل الميناء مغلقا بعد العاصفة. ولم يكن أحد يعرف متى يمكن أن تعود القوارب إلى المدينة.",
    "hi": "तूफ़ान के बाद बंदरगाह बंद रहा। किसी को नहीं पता था कि नावें कब लौट सकेंगी।",
    "zh": "暴风雨过后,港口一直关闭。没有人知道船只什么时候能够回到这座城市。",
    "ja": "嵐のあと、港は閉まったままだった。船がいつ戻ってこられるのか、誰にも分からなかった。",
}
PROSE = {
    "capitals": "THE HARBOUR WAS CLOSED ON MONDAY AFTER THE STORM HAD TORN AWAY THE OUTER WALL. NOBODY DIED.",
    "old spelling": "Ther was a greate fyre in the citie, and manie howses were brent; the Maior did sende "
    "for water, but it came to late, and the wynde was strong.",
    "dialect": "Man, I ain't seen him since last week, he been gone. They was all up in here lookin' for "
    "that dude, and ain't nobody know where he at.",
    "addresses": "See http://www.harbour.example/a/b/c.html for the details and https://old.example/x?y=1 "
    "for the older version. The slides and the talk will be up soon.",
    "hashtags": "Just landed in Lisbon! #travel #sunshine So happy to be here with @anna and @tom. We are "
    "going to the beach tomorrow #beachlife #summer",
    "numbers": "Sales rose to 1,204 boats in 2019 from 1,150 in 2018, while the price of a berth went up by "
    "3.5% to $420. In 2020 they fell to 890, or 26% less.",
    "commands": "Stop the server with ctrl-C, then run make clean && make all in the folder that you have. "
    "It should print the number of tests that have passed.",
}
NO_LANGUAGE = {
    "Python": """
import os
import sys

class Reader:
    def __init__(self, path, mode="r"):
        self.path = path
        self.mode = mode

    def lines(self):
        for name in sorted(os.listdir(self.path)):
            if name.endswith(".txt") and not name.startswith("."):
                with open(os.path.join(self.path, name)) as file:
                    yield from file.read().splitlines()

if __name__ == "__main__":
    print(len(list(Reader(sys.argv[1]).lines())))
""",
    "JavaScript": """
function add(a, b) {
  if (a === undefined) { return b; }
  for (let i = 0; i < 10; i++) { console.log(i, a, b); }
  const total = [a, b].reduce((x, y) => x + y, 0);
  return total;
}
module.exports = { add };
""",
    "table of numbers": "Year Wins Losses Draws\n"
    + "\n".join(f"{1990 + n} {n % 13} {n % 7} 0.{n}" for n in range(30)),
    "names": "John Smith\nMary Jones\nPeter Brown\nSusan Clark\nRobert Hall\nLinda Young\nJames King\n"
    "Patricia Wright\nMichael Green\nBarbara Baker\nDavid Adams\nElizabeth Nelson\nThomas Hill",
}


@pytest.mark.parametrize("code", FOREIGN)
def test_two_sentences_are_told_from_english(code: str) -> None:
    assert detect_language(FOREIGN[code])[0] == code


@pytest.mark.parametrize("kind", PROSE)
def test_english_is_english_however_it_is_written(kind: str) -> None:
    assert detect_language(PROSE[kind])[0] == "en"


@pytest.mark.parametrize("kind", NO_LANGUAGE)
def test_what_is_no_language_is_not_english(kind: str) -> None:
    assert detect_language(NO_LANGUAGE[kind]) == ("un", 0.0)


@pytest.mark.parametrize("kind", NO_LANGUAGE)
def test_article_with_code_or_tables_in_it_is_english(kind: str) -> None:
    assert detect_language(f"{ENGLISH * 6}\n{NO_LANGUAGE[kind]}\n{ENGLISH * 6}")[0] == "en"
    much = "\n".join([NO_LANGUAGE[kind]] * 40)
    assert detect_language(f"{ENGLISH * 6}\n{much}")[0] == "en"


@pytest.mark.parametrize("code", ["de", "fr", "ru"])
def test_mixed_pages_go_by_their_main_text(code: str) -> None:
    quotation, article = FOREIGN[code], "\n".join([FOREIGN[code]] * 10)
    assert detect_language(f"{ENGLISH * 8}\n{quotation}\n{ENGLISH * 4}")[0] == "en"
    assert detect_language(f"{article}\n{ENGLISH * 2}")[0] == code


def test_foreign_text_around_one_english_sentence_is_not_english() -> None:
    catalan = "El port va quedar tancat després de la tempesta. Ningú no sabia quan tornarien les barques. "
    quoted = (
        "Harbour and Estuary Management in the Western Mediterranean, a Handbook for Engineers and Planners "
        "of the Coastal Authorities, with an Index of Ports. "
    )
    assert detect_language(catalan + quoted)[0] != "en"


@given(st.text())
def test_language_detection_never_raises(text: str) -> None:
    code, share = detect_language(text)
    assert code
    assert 0 <= share <= 1


@given(st.text(st.characters(categories=["Cc", "Cs", "Cn", "Co", "Cf"])))
def test_characters_that_cld2_refuses_do_no_harm(text: str) -> None:
    assert detect_language(f"{ENGLISH} {text} {ENGLISH}")[0] == "en"


@pytest.mark.skipif(not LANGUAGES.is_dir(), reason="needs the sentences in 75 languages")
@pytest.mark.parametrize("length", [3, 5])
def test_english_is_told_from_74_languages_within_the_limits(length: int) -> None:
    chance = random.Random(length)
    printed: dict[bool, list[bool]] = {True: [], False: []}
    for path in sorted(LANGUAGES.glob("*.txt")):
        sentences = path.read_text(encoding="utf-8").splitlines()
        for _ in range(2_000 if path.stem == "en" else 150):
            code, _ = detect_language(" ".join(chance.sample(sentences, length)))
            printed[path.stem == "en"].append(code == "en")
    assert sum(printed[True]) >= 0.995 * len(printed[True])
    assert len(printed[False]) > 10_000
    assert sum(printed[False]) <= 0.001 * len(printed[False])


CODES = [
    ("zh", "暴風雨過後,港口一直關閉。沒有人知道船隻什麼時候能夠回到這座城市。漁民們坐在岸邊的"
     "木屋裡等待消息。"),
    ("zh", "暴风雨过后,港口一直关闭。没有人知道船只什么时候能够回到这座城市。渔民们坐在岸边的"
     "木屋里等待消息。"),
    ("ja", "嵐のあと、港は閉まったままだった。船がいつ戻ってこられるのか、誰にも分からなかっ"
     "た。漁師たちは待っていた。"),
    ("th", "หลังจากพายุผ่านไป ท่าเรือก็ยังคงปิดอยู่ ไม่มีใครรู้ว่าเรือจะกลับมาที่เมืองนี้ได้เมื่อใด"
     " ชาวประมงนั่งรอข่าว"),
    ("hi", "तूफ़ान के बाद बंदरगाह बंद रहा। किसी को नहीं पता था कि नावें कब लौट सकेंगी। मछुआरे"
     " किनारे पर बैठकर समाचार की प्रतीक्षा करते रहे।"),
    ("he", "אחרי הסערה הנמל נשאר סגור. איש לא ידע מתי יוכלו הסירות לחזור אל העיר. הדייגים ישבו"
     " על החוף וחיכו לחדשות."),
    ("nb", "Havnen forble stengt etter stormen. Ingen visste når båtene kunne komme tilbake til"
     " byen. Fiskerne ventet."),
]  # fmt: skip


@pytest.mark.parametrize(("code", "text"), CODES)
def test_a_language_is_kept_under_its_code_and_the_text_under_its_length(code: str, text: str) -> None:
    options = RefineOptions(languages=(code,), min_words=15, min_distinct_share=0)
    verdict = judge(text, "http://a.example/", options)
    assert not isinstance(verdict, Drop) and verdict[0] in (code, "no")
    assert isinstance(judge(text, "http://a.example/", RefineOptions(min_words=15)), Drop)
    assert prefilter(text * 3, (code,), PrefilterOptions()) is None
    assert prefilter(text * 3, ("en",), PrefilterOptions()) is not None


def test_a_short_chinese_article_among_english_menus_is_looked_at() -> None:
    menu = "Sign up for our newsletter and read the news of the day in your inbox every morning. " * 25
    assert prefilter(CODES[1][1] * 5 + menu, ("zh",), PrefilterOptions()) is None
