"""VQA's normal form of an answer, in which a model's answer is compared with people's.

The rules are those of https://visualqa.org/evaluation.html, and where that page leaves something open (the
order of steps, when a sign becomes a blank, which contractions) those of the evaluation code it describes:
punctuation, small letters, number words, articles, contractions, in this order.
"""

from __future__ import annotations

import re

_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS)} | {"none": "0"}

_SIGNS = ';/[]"{}()=+\\_-><@`,?!'
_THOUSANDS = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")

_CONTRACTED = {
    "n't": "ai are ca could did does do had has have is might must need ought sha should was were wo would",
    "n't've": "could had might should would",
    "'d": "he how it someone something there they where who you",
    "'d've": "he it she somebody someone something there they we who y'all you",
    "'ll": "how it somebody someone something they what who why y'all you",
    "'re": "there they what why you",
    "'s": "he how somebody someone that there what when where who why",
    "'ve": "could might must not should they we what where who would you",
    "": "ma'am o'clock 'ow's'at 'twas y'all",
}
"""What the evaluation code knows: the ends of contractions and the words before them."""


def _without_one_apostrophe() -> dict[str, str]:
    """Contractions by every spelling that lacks one of their apostrophes.

    "somebody'd" loses its apostrophe instead: so it does in the evaluation code, and a figure is comparable
    only where the same answers match.
    """
    spellings = {"somebody'd": "somebodyd"}
    for end, words in _CONTRACTED.items():
        for word in (f"{begin}{end}" for begin in words.split()):
            for mark in re.finditer("'", word):
                spellings[word[: mark.start()] + word[mark.end() :]] = word
    return spellings


_CONTRACTIONS = _without_one_apostrophe()


def normal_answer(answer: str) -> str:
    """An answer in VQA's normal form: "The dog's on 1,000 beds." -> "dog's on 1000 beds".

    A sign becomes a blank ("t-shirt" -> "t shirt"), and nothing where it stands beside a blank anywhere in
    the answer, or where the answer holds a number with a comma. Apostrophes and colons stay, and so does a
    full stop before a digit.
    """
    text = answer
    has_thousands = _THOUSANDS.search(answer) is not None
    for sign in _SIGNS:
        if sign in answer:
            beside_blank = f"{sign} " in answer or f" {sign}" in answer
            text = text.replace(sign, "" if beside_blank or has_thousands else " ")
    words = [_DIGITS.get(word, word) for word in _FULL_STOP.sub("", text).lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def raw_answer(answer: str) -> str:
    """An answer before it is brought into normal form: line breaks and tabs as blanks, none at its ends."""
    return answer.replace("\n", " ").replace("\t", " ").strip()
