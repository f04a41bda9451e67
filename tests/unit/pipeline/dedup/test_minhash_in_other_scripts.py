"""Near-duplicates are found in every script as they are in English, and English keeps its signatures."""

import random
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from pipeline.dedup.bands import Bands, digests, sketches
from pipeline.dedup.duplicates import Components, Sketches, match
from pipeline.dedup.letters import code_points, fold, word_letters
from pipeline.dedup.minhash import DuplicateOptions, exact_key, normalise, shingle_hashes, signature
from tests.unit.pipeline.dedup.test_minhash import plain_words

OPTIONS = DuplicateOptions()
WORDS = {
    "zh": "我们 今天 城市 图书馆 孩子 学习 历史 天气 火车 朋友 音乐 因为 所以 已经 开始 喜欢 工作 "
    "问题 世界 春天 河边 老师 写信 红色 房子 非常 安静 明天 可能 下雨",
    "zh-Hant": "我們 圖書館 學習 歷史 天氣 火車 音樂 因為 已經 開始 喜歡 問題 世界 河邊 老師 寫信 紅色 "
    "房子 安靜 可能 下雨 讀書",
    "ja": "今日は 図書館で 子供が 歴史を 学んだ 天気が 電車に 友達と 音楽を 聞いた しかし もう "
    "始まる 仕事の 問題は 世界で 春の 川辺 先生に 手紙 赤い 家は とても 静かな ニュース "
    "コーヒー",
    "th": "วันนี้ เมือง ห้องสมุด เด็ก เรียน ประวัติศาสตร์ อากาศ รถไฟ เพื่อน ดนตรี เพราะ ดังนั้น "
    "แล้ว เริ่ม ชอบ ทำงาน ปัญหา โลก ฤดูใบไม้ผลิ แม่น้ำ ครู จดหมาย สีแดง บ้าน เงียบ พรุ่งนี้",
    "lo": "ມື້ນີ້ ເມືອງ ຫໍສະໝຸດ ເດັກນ້ອຍ ຮຽນ ອາກາດ ລົດໄຟ ໝູ່ ດົນຕີ ເພາະ ແລ້ວ ເລີ່ມ ມັກ ເຮັດວຽກ ບັນຫາ ໂລກ ແມ່ນ້ຳ ຄູ ຈົດໝາຍ ສີແດງ ເຮືອນ",
    "km": "ថ្ងៃនេះ ទីក្រុង បណ្ណាល័យ ក្មេង រៀន អាកាសធាតុ រថភ្លើង មិត្តភក្តិ តន្ត្រី ព្រោះ ហើយ "
    "ចាប់ផ្តើម ចូលចិត្ត ការងារ បញ្ហា ពិភពលោក ទន្លេ គ្រូ សំបុត្រ ក្រហម ផ្ទះ",
    "my": "ဒီနေ့ မြို့ စာကြည့်တိုက် ကလေး သင်ယူ သမိုင်း ရာသီဥတု ရထား သူငယ်ချင်း ဂီတ ဘာကြောင့် "
    "ပြီးပြီ စတင် ကြိုက် အလုပ် ပြဿနာ ကမ္ဘာ မြစ် ဆရာ စာ အနီရောင် အိမ်",
    "hi": "आज शहर पुस्तकालय बच्चे सीखते इतिहास मौसम रेलगाड़ी मित्र संगीत क्योंकि इसलिए चुके शुरू "
    "पसंद काम समस्या दुनिया वसंत नदी शिक्षक चिट्ठी लाल घर बहुत शांत कल शायद बारिश हिन्दी में "
    "है की को",
    "en": "today the city library children learn history weather train friend music because so "
    "already begin like work problem world spring river teacher letter red house very quiet "
    "tomorrow may rain",
}
SPACED = ("hi", "en")
STOPS = {
    "zh": "。",
    "zh-Hant": "，",
    "ja": "。",
    "hi": "। ",
    "km": "។ ",
    "my": "။ ",
    "th": " ",
    "lo": " ",
    "en": ". ",
}


def write(language: str, words: list[str]) -> str:
    """Write words as the language does: sentences of twelve, with spaces only where it has some."""
    space = " " if language in SPACED else ""
    sentences = (space.join(words[start : start + 12]) for start in range(0, len(words), 12))
    return STOPS[language].join(sentences)


@cache
def shingles(text: str) -> set[tuple[str, ...]]:
    words = plain_words(text)
    return {tuple(words[start : start + 5]) for start in range(len(words) - 4)}


def jaccard(one: str, other: str) -> float:
    """The similarity of two texts by their runs of five words, as anybody would count them."""
    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


def clusters(texts: list[str]) -> np.ndarray:
    signatures = np.stack([signature(shingle_hashes(normalise(text), 5), OPTIONS) for text in texts])
    bands, components = Bands.of(OPTIONS), Components(len(texts))
    parts = Sketches([sketches(signatures)])
    match(digests(signatures), bands.keys(signatures), parts, bands, components)
    return components.roots(np.arange(len(texts)))


@pytest.mark.parametrize("language", WORDS)
def test_planted_near_duplicates_are_found_and_unrelated_texts_are_not(language: str) -> None:
    chance = random.Random(f"near/{language}")
    vocabulary = WORDS[language].split()
    pairs, similar = [], 0
    while similar < 100:
        words = [chance.choice(vocabulary) for _ in range(150)]
        changed = words.copy()
        for place in chance.sample(range(150), chance.choice((1, 2))):
            changed[place] = chance.choice(vocabulary)
        one, other = write(language, words), write(language, changed)
        if jaccard(one, other) >= 0.85:
            similar += 1
            pairs.append((one, other))
    roots = clusters([text for pair in pairs for text in pair])
    assert sum(roots[0::2] == roots[1::2]) >= 98
    firsts = roots[0::2].tolist()
    assert len(set(firsts)) == len(firsts)
    unrelated = [jaccard(one, other) for (one, _), (other, _) in combinations(pairs[:20], 2)]
    assert max(unrelated) < 0.3


@pytest.mark.parametrize(
    ("one", "other"),
    [("की", "का"), ("हिन्दी में", "हिन्दू में"), ("น้ำ ที่นี่", "น้า ที่นี้"), ("שָׁלוֹם", "שָׁלֵם"), ("ကြီး", "ကြား")],
)
def test_marks_tell_words_apart(one: str, other: str) -> None:
    assert exact_key(normalise(one)) != exact_key(normalise(other))


def test_a_word_of_india_is_one_word() -> None:
    assert len(shingle_hashes(normalise("हिन्दी में लिखा गया एक लेख"), 1)) == 6


def test_space_between_letters_of_scripts_without_it_makes_no_other_text() -> None:
    assert exact_key(normalise("今天的天气很好")) == exact_key(normalise("今天的 天气\n很好"))
    assert exact_key(normalise("今天的天气很好")) != exact_key(normalise("今天的天气不好"))


ENGLISH = [
    "It was the best of times, it was the worst of times \u2014 “naïve café” n’est 2 x_y. " * 3,
    "The word for water is 水 (shui), Tokyo is 東京, and in Hindi one says पानी, as I was told.",
    "I \u2764\ufe0f this \U0001f600\U0001f44d\U0001f3fd! 1\ufe0f\u20e3 Ça va? Zürich, Łódź, İstanbul \u2026",
    "Vectors x\u0304 and y\u0302 are orthogonal, which is what we wanted to show in the first place.",
    "Ελλάδα και Κύπρος, Россия и Україна",
]


@pytest.mark.parametrize("text", ENGLISH)
def test_texts_in_latin_greek_and_cyrillic_letters_keep_their_signatures(text: str) -> None:
    letters, _ = word_letters(code_points(f"{fold(text)} "), underscore=True, marks=False)
    assert np.array_equal(normalise(text), letters)
