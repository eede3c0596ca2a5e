"""`sentiment_course.reports`: a page that loads nothing, runs nothing, and shows any text."""

import numpy as np
import pandas as pd
import pytest
from test_evaluation import Text, Words

from sentiment_course.baselines import TfidfClassifier
from sentiment_course.reports import report

SCRIPT = "<script>alert(1)</script> & \"dull\" 'slow'"


@pytest.fixture(scope="module")
def tfidf():
    texts = ["a fine film", "a dull film", "really fine fun", "dull and slow"] * 3
    return TfidfClassifier().fit(texts, ["positive", "negative"] * 6)


HEADINGS = ["How good", "Which for which", "At every threshold", "Sure when it should be",
            "Where it fails", "Worst mistakes"]  # fmt: skip


def test_report_is_sound_and_shows_a_script_as_text(tfidf):
    page = report(tfidf, [SCRIPT, "fine", "a fine film"], ["positive", "negative", "positive"],
                  title=SCRIPT)  # fmt: skip
    parser = Text()
    shown = parser.of(page)
    assert "script" not in parser.tags and "link" not in parser.tags and "img" not in parser.tags
    assert shown.count("<script>alert(1)</script>") >= 2  # the title, and the review
    assert all(heading in shown for heading in HEADINGS)
    assert "//" not in page.replace("</", "") and "@import" not in page and "url(" not in page
    assert "default-src 'none'" in "".join(parser.values)
    assert "prefers-color-scheme" in page or "color-scheme: light dark" in page
    assert 'name="viewport"' in page
    assert not any(
        value.lower().startswith(("http", "//", "javascript")) for value in parser.values
    )


def test_report_with_three_classes_one_absent_and_labels_that_need_escaping():
    classifier = Words()
    classifier.classes_ = np.array(["<b>bad</b>", "good & well", "so-so"])
    shown = Text().of(
        report(classifier, ["awful", "fine", "fine fine"], ["<b>bad</b>"] + ["good & well"] * 2)
    )
    assert "<b>bad</b>" in shown and "No curve for so-so" in shown


def test_report_with_one_label_only_and_with_no_mistake(tfidf):
    shown = Text().of(report(tfidf, ["fine film", "fine fun"], ["positive"] * 2))
    assert "No curve for positive" in shown and "None." in shown
    assert Text().of(report(tfidf, ["fine"], ["positive"]))


def test_report_takes_integer_labels_and_long_texts():
    texts = ["fine", "dull"] * 4
    classifier = TfidfClassifier().fit(texts, [1, 0] * 4)
    shown = Text().of(report(classifier, ["fine " * 500, "dull"], pd.Series([0, 0], index=[7, 8])))
    assert "Called 1 with probability" in shown


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda: report(Words(), [], []), "texts is empty"),
        (lambda: report(Words(), ["a"], ["bad", "good"]), "as many"),
        (lambda: report(Words(), ["a"], ["terrible"]), r"labels\[0\] is 'terrible'"),
        (lambda: report(Words(), ["a"], [None]), r"labels\[0\] is missing"),
        (lambda: report(Words(), [3], ["good"]), "not text"),
        (lambda: report(Words(), "a", ["good"]), "a single text"),
    ],
)
def test_refused_in_words(call, told):
    with pytest.raises(ValueError, match=told):
        call()
