"""What is private is masked, wherever it stands; what is ordinary is left as it was."""

import csv
import re
import unicodedata
from pathlib import Path

import pytest

from sentiment_course.privacy import mask, mask_all
from sentiment_course.reviews import SOURCES, load_chinese_reviews, load_ratings

pytest.importorskip("phonenumbers")
luhn = pytest.importorskip("stdnum.luhn")

# Planted private data, all of it invented. How each was made:
# - phone: the example numbers of each country's numbering plan, as `phonenumbers` keeps them, in
#   four ways of writing; card: beginnings of published test numbers, with Luhn's digit;
# - account: the examples in the IBAN registry, and round numbers after a word such as "account";
# - id: stems of repeated or counted digits, with the check digits that `stdnum` computes; forms
#   never given out for the United States (000, 666, 9xx) and the United Kingdom (QQ);
# - e-mail, link: names below example domains; handle, name: with "sample" or "test" in some form.
# Each stands in a sentence that a customer might write, English or Chinese; ⏎ is a new line.
with open(Path(__file__).parent / "planted.tsv", encoding="utf-8", newline="") as file:
    PLANTED = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def squeezed(text):
    """Letters and digits alone, full width or not, so that no way of writing hides what is left."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", text)).lower()


def what_is_left(secret, text):
    """Any seven letters or digits in a row of `secret`, all where it is short, that `text` has."""
    secret, text = squeezed(secret), squeezed(text)
    size = min(7, len(secret))
    pieces = (secret[i : i + size] for i in range(len(secret) - size + 1))
    return [piece for piece in pieces if piece in text]


def test_the_planted_data_are_many_and_of_many_countries():
    texts = [row["text"] for row in PLANTED]
    assert len(PLANTED) >= 300 and len(set(texts)) == len(texts)
    assert len({row["country"] for row in PLANTED}) >= 12
    chinese = sum(bool(re.search(r"[\u4e00-\u9fff]", text)) for text in texts)
    assert min(chinese, len(texts) - chinese) >= 100


def test_none_of_the_planted_data_survives():
    left = []
    for row in PLANTED:
        masked, found = mask(row["text"].replace("⏎", "\n"))
        left += [row["text"]] if what_is_left(row["secret"], masked) or not found else []
    assert left == []


def test_words_around_the_private_data_stay():
    for row in PLANTED:
        text = row["text"].replace("⏎", "\n")
        before, after = text.split(row["secret"], 1)
        masked, _ = mask(text)
        kept = sum(word in masked for word in (before + " " + after).split())
        assert kept >= len((before + " " + after).split()) - 2, masked


@pytest.mark.parametrize("source", [*SOURCES, "Chinese"])
def test_ordinary_reviews_are_left_as_they_are(source):
    reviews = load_chinese_reviews() if source == "Chinese" else load_ratings(source)
    texts = reviews.text.tolist()[::4]
    masked, _, altered = mask_all(texts)
    assert altered <= 0.005 * len(texts)
    assert sum(m != t for m, t in zip(masked, texts, strict=True)) == altered


@pytest.mark.parametrize(
    "text",
    [
        "At 1280-1024 it takes 2200 pictures, 130-140 of them sharp, for $ 49.99.",
        "4111 1111 1111 1112 pages",  # Luhn's rule says no
        "https://shop.example/kettles/steel?colour=red",
        "@anonymous sent me http://url_removed",
        "Bought 12/25/2004, broke 2005-01-03 at 14:30.",
        "电池用了2600毫安，屏幕1920x1080，价格5999元",
    ],
)
def test_numbers_that_are_nobodys_stay(text):
    assert mask(text) == (text, {})


def test_a_card_is_known_by_its_check_digit_alone():
    stem = "411111111111111"
    masked = [mask(f"No {stem}{d}.")[0] for d in "0123456789"]
    valid = [luhn.is_valid(f"{stem}{d}") for d in "0123456789"]
    assert [text == "No [card]." for text in masked] == valid and sum(valid) == 1


def test_what_is_hidden_by_characters_without_width_is_found():
    assert mask("ann\u200b@mail.exa\u00admple")[0] == "[e-mail]"


def test_masking_twice_changes_nothing_more():
    for row in PLANTED:
        once, _ = mask(row["text"])
        assert mask(once)[0] == once


def test_kinds_are_counted_and_nothing_else_is_kept(capsys, caplog):
    texts = ["ann@mail.example and bob@mail.example", "(201) 555-0123", "fine"]
    masked, found, altered = mask_all(texts)
    assert masked == ["[e-mail] and [e-mail]", "[phone]", "fine"]
    assert (dict(found), altered) == ({"e-mail": 2, "phone": 1}, 2)
    assert capsys.readouterr() == ("", "") and not caplog.records


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("IBAN GB82 WEST 1234 5698 7654 32 please", "IBAN [account] please"),
        ("my de89370400440532013000.", "my [account]."),
        ("PESEL 44051401359", "PESEL [id]"),
        ("TFN 123 456 782", "TFN [id]"),
        ("身份证号11010519491231002X。", "身份证号[id]。"),
        ("call +86 131 2345 6789 or 010-12345678", "call [phone] or [phone]"),
        ("5555 5555 5555 4444 (mine)", "[card] (mine)"),
    ],
)
def test_each_kind_is_masked_as_a_whole_and_as_what_it_is(text, masked):
    assert mask(text)[0] == masked
