"""How many English documents stay, how many foreign ones pass for English, and at what cost.

    python tests/benchmarks/bench_language.py [--languages ../shared/data/languages] [--documents 400]

Wants a folder of `xx.txt`, real sentences of one language in each, a sentence a line. Documents of a few
sentences are drawn from a seed. The limits in `language.py` were chosen on the even lines; the odd ones,
which this reads unless `--half even` is given, had no say in them. Last comes `judge` as a whole, which
looks for Wikipedia, walls and repetition too, on English documents of 5 and of 50 sentences; and the cheap
look before extraction, on foreign pages with an English text in them.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pycld2

from pipeline.extract import prefilter as prefilter_module
from pipeline.extract.prefilter import PrefilterOptions, prefilter
from pipeline.filters.language import detect_language
from pipeline.filters.quality import RefineOptions, judge
from pipeline.runner.records import Drop

SEED = 75
LENGTHS = (1, 2, 3, 4, 5, 6, 20)
Detect = Callable[[str], tuple[str, float]]


def cld2_alone(text: str) -> tuple[str, float]:
    """What a plain script would do."""
    try:
        reliable, _, details = pycld2.detect(text)
    except pycld2.error:  # a control character
        return "un", 0.0
    return (details[0][1] if reliable else "un"), details[0][2] / 100


def read_sentences(folder: Path, half: str) -> dict[str, list[str]]:
    """Return each language's even or odd sentences, or all."""
    picked = {"even": slice(0, None, 2), "odd": slice(1, None, 2), "all": slice(None)}[half]
    return {
        file.stem: file.read_text(encoding="utf-8").splitlines()[picked]
        for file in sorted(folder.glob("*.txt"))
    }


def draw(sentences: list[str], length: int, documents: int, chance: random.Random) -> list[str]:
    """Join sentences that were drawn without repetition."""
    return [" ".join(chance.sample(sentences, length)) for _ in range(documents)]


def told_english(detect: Detect, documents: list[str]) -> tuple[int, float]:
    """Count what is taken for English (and mostly that), and the seconds it took."""
    started = time.process_time()
    least = RefineOptions().min_language_share
    count = sum(code == "en" and share >= least for code, share in map(detect, documents))
    return count, time.process_time() - started


def compare(sentences: dict[str, list[str]], documents: int) -> None:
    """Print a line for each length and detector."""
    print("sentences  detector   English kept   foreign kept              documents/s  languages that leak")
    for length in LENGTHS:
        chance = random.Random(SEED + length)
        english = draw(sentences["en"], length, 25 * documents, chance)
        foreign = {
            code: draw(theirs, length, documents, chance)
            for code, theirs in sentences.items()
            if code != "en" and len(theirs) >= length
        }
        total = sum(map(len, foreign.values()))
        for name, detect in (("CLD2 alone", cld2_alone), ("ours", detect_language)):
            kept, seconds = told_english(detect, english)
            leaks = Counter({code: told_english(detect, theirs)[0] for code, theirs in foreign.items()})
            worst = ", ".join(f"{code} {count}" for code, count in leaks.most_common(6) if count)
            share = f"{leaks.total():4} of {total} = {leaks.total() / total:.3%}"
            print(
                f"{length:9}  {name:10} {kept / len(english):12.2%}   {share:24}  "
                f"{len(english) / seconds:10,.0f}  {worst}"
            )


def time_judge(english: list[str]) -> None:
    """Print how fast documents are judged."""
    for length in (5, 50):
        documents = draw(english, length, 2_000, random.Random(SEED))
        size = sum(len(text.encode()) for text in documents)
        started = time.process_time()
        kept = sum(not isinstance(judge(text, "", RefineOptions(min_words=0)), Drop) for text in documents)
        seconds = time.process_time() - started
        print(
            f"judge, {length} sentences: {len(documents) / seconds:,.0f} documents/s, "
            f"{size / seconds / 1e6:.1f} MB/s, {kept / len(documents):.2%} kept"
        )


def place(english: list[str], foreign: list[str], places: int, chance: random.Random) -> str:
    """Return a page of foreign paragraphs with an English text in it, whole or in pieces."""
    page, size = [[each] for each in foreign], -(-len(english) // places)
    for start in range(0, len(english), size):
        page.insert(chance.randrange(len(page) + 1), english[start : start + size])
    return "\n".join(" ".join(paragraph) for paragraph in page)


def show_prefilter(sentences: dict[str, list[str]], documents: int) -> None:
    """Print how many foreign pages with an English text in them the cheap look passes.

    The text is a twentieth to a fifth of its page. Beside it: if all characters that CLD2 takes for English
    count, not those in sentences alone.
    """
    print("English sentences in pieces   pages passed   if all characters count")
    for length in (5, 10, 20):
        for places in (1, 2, 4):
            chance = random.Random(SEED)
            pages = []
            for code in chance.choices([code for code in sentences if code != "en"], k=documents):
                english = chance.sample(sentences["en"], length)
                size, foreign = sum(map(len, english)) / chance.uniform(0.05, 0.2), list[str]()
                while sum(map(len, foreign)) < size:
                    foreign.append(" ".join(chance.choices(sentences[code], k=3)))
                pages.append(place(english, foreign, places, chance))
            passed = sum(prefilter(page, ("en",), PrefilterOptions()) is None for page in pages)
            with mock.patch.object(prefilter_module, "_bytes_in_sentences", lambda text, codes: len(text)):
                before = sum(prefilter(page, ("en",), PrefilterOptions()) is None for page in pages)
            print(f"{length:17} {places:9} {passed / documents:14.1%} {before / documents:14.1%}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    beside = Path(__file__).resolve().parents[3] / "shared" / "data" / "languages"
    parser.add_argument("--languages", type=Path, default=beside)
    parser.add_argument("--documents", type=int, default=400, help="of each foreign language and length")
    parser.add_argument("--half", choices=("even", "odd", "all"), default="odd")
    options = parser.parse_args()
    if not options.languages.is_dir():
        sys.exit(f"needs a folder of sentences: {options.languages} is not there (--languages)")
    sentences = read_sentences(options.languages, options.half)
    compare(sentences, options.documents)
    time_judge(sentences["en"])
    show_prefilter(sentences, options.documents)


if __name__ == "__main__":
    main()
