"""`sentiment_course.vader` against the program of 2014 and the table that was printed."""

import numpy as np
import pytest

from sentiment_course import vader
from sentiment_course.vader import (
    COLUMNS_2014,
    TABLE_2014,
    compound_2014,
    hutto_table,
    three_class_scores,
)


def test_compound_2014_agrees_with_the_program_of_2014():
    """The expected values were printed by the archive's own program, run under Python 3."""
    lexicon = vader._lexicon_2014()
    for text, expected in EXPECTED_2014.items():
        assert compound_2014(text, lexicon) == pytest.approx(expected, abs=1e-4), text


EXPECTED_2014 = {
    "VADER is smart, handsome, and funny.": 0.8316,
    "VADER is VERY SMART, really handsome, and INCREDIBLY FUNNY!!!": 0.9469,
    "The book was kind of good.": 0.3832,
    "The plot was good, but the characters are uncompelling and the dialog is not great.": -0.7042,
    "At least it isn't a horrible book.": 0.431,
    ":) and :D": 0.7925,
    "": 0.0,
    "Today kinda sux! But I'll get by, lol": 0.2228,
    "Sentiment analysis has never been good.": -0.3412,
    "Sentiment analysis with VADER has never been this good.": 0.5228,
    "Warren Beatty has never been so entertaining.": 0.5777,
    "There are slow parts, BUT it has just enough spice to keep it interesting.": 0.5499,
    "Roger Dodger is one of the least compelling variations on this theme.": -0.1695,
    "Roger Dodger is at least compelling as a variation on the theme.": 0.2263,
    "Well, that phone is the shit, good and bad ass": 0.4767,
    "good good, but bad?? really good good???? good": 0.7789,
    "Not the kind of sort of bad film I hate": -0.8173,
    "WORST FUCKING FINALE FUCKING EVER D: D: D:": -0.6249,
    "a total bore with heart": -0.25,
}


def test_three_class_scores_by_hand():
    r, precision, recall, f1 = three_class_scores([1, 2, -1, 0], [0.5, 0.01, -0.5, 0.0], 0.05)
    assert r == pytest.approx(np.corrcoef([1, 2, -1, 0], [0.5, 0.01, -0.5, 0.0])[0, 1])
    # praise: 1 of 1 called, 1 of 2 found; blame: 1 of 1, 1 of 1; neutral: 1 of 2, 1 of 1
    assert (precision, recall) == (pytest.approx(0.875), pytest.approx(0.75))
    assert f1 == pytest.approx((2 * 2 / 3 + 1 + 2 / 3) / 4)


def test_hutto_table_rows_agree_and_two_are_exchanged():
    table = hutto_table()
    assert table.shape == (16, 4) and len(TABLE_2014) == 12
    for (source, name), row in TABLE_2014.items():
        then = table.loc[source].loc[COLUMNS_2014, "VADER 2014"]
        agrees = [round(x, d) for x, d in zip(then, (3, 2, 2, 2), strict=True)] == list(row)
        exchanged = source in ("movies", "amazon")
        assert agrees == (name == ("Hu-Liu04" if exchanged else "VADER")), (source, name)
        if name != "one person":
            assert table.loc[source][f"published {name}"].tolist() == list(row)
