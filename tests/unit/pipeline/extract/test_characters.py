"""Whatever a page's encoding, and whatever is said of it, its characters come out; and clean."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract.characters import decode, tidy, tidy_line, utf8_for_parser

# Sentences of our own, long enough to show how bytes stand in their language.
SENTENCES = {
    "English": "The baker’s naïve niece paid £5 – or was it €6? – for a “crème brûlée” at the café. ",
    "German": "Über den größten Flüssen zögern die Möwen, während müde Träger früh nach Süden aufbrechen. ",
    "Portuguese": "As orações e as canções da região não são lições de ninguém, mas dão alegria. ",
    "Polish": "Zażółcona gęś sięgnęła wzdłuż łąki, gdzie późną jesienią źrebięta wciąż jeszcze śpią. ",
    "Russian": "Ночью река поднялась, и к утру нижняя дорога скрылась под водой; такого здесь не помнят. ",
    "Ukrainian": "Вночі річка піднялася, і до ранку нижній шлях зник під водою; такого тут не пам'ятають. ",
    "Greek": "Το ποτάμι φούσκωσε τη νύχτα και το πρωί ο κάτω δρόμος είχε χαθεί μέσα στο νερό. ",
    "Hebrew": "הנהר עלה כל הלילה ועד הבוקר נעלמה הדרך התחתונה מתחת למים ואיש לא זכר שיטפון כזה. ",
    "Arabic": "ارتفع النهر طوال الليل وبحلول الصباح كان الطريق السفلي قد اختفى تحت الماء تماما. ",
    "Thai": "แม่น้ำขึ้นสูงตลอดทั้งคืนและพอถึงเช้าถนนสายล่างก็หายไปใต้น้ำ ไม่มีใครจำน้ำท่วมเช่นนี้ได้ ",
    "Chinese": "河水涨了一整夜，到了早晨，下面的路已经不见了。村里没有人记得有过这样的洪水。",
    "Taiwanese": "河水漲了一整夜，到了早晨，下面的路已經不見了。村裡沒有人記得有過這樣的洪水。",
    "Japanese": "川は一晩中増水し、朝には下の道はもうなくなっていた。村の誰もこんな洪水を覚えていなかった。",
    "Korean": "강물은 밤새 불어났고 아침이 되자 아랫길은 사라졌다. 마을의 누구도 그런 홍수를 모른다. ",
}
# language, Python's codec, the name by which pages call it
ENCODINGS = [
    *((language, "utf-8", "utf-8") for language in SENTENCES),
    *((language, "utf-16-le", "utf-16") for language in SENTENCES),
    ("English", "cp1252", "iso-8859-1"),  # the WHATWG takes the one for the other
    ("German", "cp1252", "windows-1252"),
    ("Portuguese", "cp1252", "latin1"),
    ("Polish", "iso8859-2", "iso-8859-2"),
    ("Polish", "cp1250", "windows-1250"),
    ("Russian", "cp1251", "windows-1251"),
    ("Russian", "koi8-r", "KOI8-R"),
    ("Russian", "iso8859-5", "iso-8859-5"),
    ("Ukrainian", "koi8-u", "koi8-u"),
    ("Greek", "cp1253", "windows-1253"),
    ("Hebrew", "cp1255", "windows-1255"),
    ("Arabic", "cp1256", "windows-1256"),
    ("Thai", "cp874", "tis-620"),
    ("Chinese", "gb18030", "gb2312"),
    ("Taiwanese", "big5", "big5"),
    ("Japanese", "cp932", "shift_jis"),
    ("Japanese", "euc_jp", "euc-jp"),
    ("Japanese", "iso2022_jp", "iso-2022-jp"),
    ("Korean", "cp949", "euc-kr"),
]
# What no declaration is needed for: Unicode, and the encodings that detectors know for certain.
FAMILIAR = {
    "utf-8",
    "utf-16-le",
    "cp1251",
    "koi8-r",
    "gb18030",
    "big5",
    "cp932",
    "euc_jp",
    "iso2022_jp",
    "cp949",
}


def page(text: str, codec: str, meta: str = "") -> bytes:
    declaration = f'<meta charset="{meta}">' if meta else ""
    html = f"<!DOCTYPE html><html><head><title>x</title>{declaration}</head><body><p>{text}</p></body></html>"
    return html.encode(codec)


@pytest.mark.parametrize(("language", "codec", "label"), ENCODINGS)
def test_declared_encoding_is_read_whoever_declares_it(language: str, codec: str, label: str) -> None:
    text = SENTENCES[language] * 3
    assert text in decode(page(text, codec), label)
    assert text in decode(page(text, codec, meta=label), "")
    assert text in decode(page(text, codec, meta=label), "no-such-charset")
    assert text in decode(page(text, codec, meta="utf-8"), label)


@pytest.mark.parametrize(("language", "codec", "label"), [row for row in ENCODINGS if row[1] in FAMILIAR])
@pytest.mark.parametrize("lie", ["", "utf-8", "iso-8859-1", "us-ascii", "utf-16", "base64", "\0"])
def test_wrong_declaration_is_not_believed(language: str, codec: str, label: str, lie: str) -> None:
    text = SENTENCES[language] * 3
    assert text in decode(page(text, codec), lie)
    assert text in decode(page(text, codec, meta=label), lie)


@pytest.mark.parametrize("lie", ["windows-1251", "gbk", "shift_jis", "euc-kr", "iso-8859-7"])
def test_western_page_is_not_read_as_another_script(lie: str) -> None:
    text = SENTENCES["German"] * 3
    assert text in decode(page(text, "cp1252"), lie)


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16"])
def test_byte_order_mark_comes_before_all_declarations(codec: str) -> None:
    html = decode(page("Déjà vu", codec, meta="koi8-r"), "shift_jis")
    assert html.startswith("<!DOCTYPE")
    assert "Déjà vu" in html


@given(st.binary(max_size=300), st.text(max_size=20))
def test_any_bytes_under_any_name_give_text(html: bytes, charset: str) -> None:
    utf8_for_parser(decode(html, charset)).decode()


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    st.text(max_size=9),
)
def test_valid_utf8_is_read_as_such_under_any_name(text: str, charset: str) -> None:
    html = "<!DOCTYPE html><html><head></head><body>" + text
    if "\x1b$" not in text:
        assert decode(html.encode(), charset) == html


@pytest.mark.parametrize("charset", ["", "utf-8", "iso-8859-1"])
def test_few_broken_bytes_spoil_themselves_only(charset: str) -> None:
    html = page(SENTENCES["Russian"] * 5, "utf-8")
    text = decode(html[:400] + b"\xff" + html[400:], charset)
    assert 1 <= text.count("\ufffd") <= 3
    assert text.count(SENTENCES["Russian"]) == 4


@pytest.mark.parametrize(("language", "codec", "label"), ENCODINGS)
def test_character_cut_off_at_the_end_leaves_no_trace(language: str, codec: str, label: str) -> None:
    text = SENTENCES[language] * 3
    whole = page(text, codec)
    cut = whole[: whole.rindex(text.strip()[-1].encode(codec)[-1:]) - 1] if codec == "utf-8" else whole[:-3]
    assert "\ufffd" not in decode(cut, label)


def test_controls_of_windows_1252_are_the_characters_that_browsers_show() -> None:
    shown = "<p>It’s “fine” – 5 €…</p>".encode()
    assert utf8_for_parser("<p>It&#146;s &#147;fine&#148; &#150; 5 &#x80;&#133;</p>") == shown
    assert utf8_for_parser("<p>It\x92s \x93fine\x94 \x96 5 \x80\x85</p>") == shown
    untouched = "&#1460; &#x92a; &#60; &#x3c; &#9; &#10; &#13; &#160; &#65533;"
    assert utf8_for_parser(untouched) == untouched.encode()


@pytest.mark.parametrize("code", [0, 1, 8, 11, 14, 31, 127, 129, 0xD800, 0xDFFF])
def test_reference_to_what_is_no_character_is_left_out(code: int) -> None:
    assert (
        utf8_for_parser(f"<p>a&#{code};b&#x{code:x};c&#0{code};d</p>").replace(b"\x7f", b"") == b"<p>abcd</p>"
    )


@given(st.text())
def test_tidy_text_is_in_nfc_and_shows_all_it_has(text: str) -> None:
    clean = tidy(text)
    assert unicodedata.is_normalized("NFC", clean)
    assert tidy(clean) == clean
    for line in clean.splitlines():
        assert line == line.strip() != ""
    assert not {unicodedata.category(c) for c in clean.replace("\n", "")} & {"Cc", "Cs", "Co", "Zl", "Zp"}
    clean.encode()


def test_tidy_keeps_paragraphs_and_joiners_and_drops_what_hides() -> None:
    assert tidy("One\r\n\r\n  two\u2028three\t\xa0 four ") == "One\ntwo\nthree four"
    assert (
        tidy("hy\xadphen, ze\u200bro, \u202eorder\u202c, \ufeffmark, ico\ue000n")
        == "hyphen, zero, order, mark, icon"
    )
    assert tidy("می\u200cخواهم 👩\u200d🚀 cafe\u0301") == "می\u200cخواهم 👩\u200d🚀 café"
    assert tidy_line("A title\non two  lines") == "A title on two lines"


@pytest.mark.parametrize("charset", ["", "utf-8", "windows-1252"])
def test_two_stray_bytes_turn_no_good_character_into_others(charset: str) -> None:
    """A few curly apostrophes in UTF-8, and two that somebody pasted out of Windows."""
    html = (
        "<p>It’s the harbour’s, she said; it’s café.</p>".encode()
        + b"<p>It\x92s \x93his.</p>"
        + b"<p>Plain.</p>" * 50
    )
    text = decode(html, charset)
    assert "It’s the harbour’s, she said; it’s café." in text
    assert "â" not in text
