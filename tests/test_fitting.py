"""What `fit` does: labels looked at, texts held out, the cheapest of the good rungs kept."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sentiment_course import fitting
from sentiment_course.baselines import MajorityClassifier, TfidfClassifier
from sentiment_course.tables import read_labelled

CASES = Path(__file__).parent / "cases"
GOOD = ["lovely film", "a great joy", "wonderful acting", "great fun", "I loved it", "so good"]
BAD = ["dull film", "an awful bore", "terrible acting", "no fun", "I hated it", "so bad"]
TEXTS, LABELS = GOOD + BAD, ["good"] * 6 + ["bad"] * 6


def table(texts=TEXTS, labels=LABELS):
    return pd.DataFrame({"text": texts, "label": labels})


def held_out(texts, labels):
    """What `hold_out` answers of the texts, and its notes."""
    notes = []
    return fitting.hold_out(table(texts, labels), lambda text: None, notes.append), notes


# The labels


@pytest.mark.parametrize(
    "same", [["So good!", "so  good", "“so good”…", "SO-GOOD"], ["好看！", "好看。"]]
)
def test_texts_alike_but_for_case_blanks_and_punctuation_have_one_key(same):
    assert len(set(map(fitting.near_key, same))) == 1


@pytest.mark.parametrize(
    "other", [["so good", "so bad"], [":-)", ":-("], ["😍", "😡"], ["a b", "ab"]]
)
def test_texts_that_say_something_else_have_another_key(other):
    assert len(set(map(fitting.near_key, other))) == 2


def test_texts_that_are_alike_are_counted_in_a_note():
    _, notes = held_out([*TEXTS, "Lovely film!", "lovely... film", "So bad."],
                        [*LABELS, "good", "good", "bad"])  # fmt: skip
    assert len(notes) == 1 and notes[0].startswith("5 rows hold only 2 different texts")


def test_a_text_with_two_labels_is_noted_and_the_rest_held_out():
    parts, notes = held_out([*TEXTS, "Lovely  film"], [*LABELS, "bad"])
    assert len(parts) == 5 and notes[0] == (
        "1 text has more than one label, as 'lovely film': no answer is right for all its rows"
    )


def test_a_label_that_drowns_the_others_is_noted():
    texts = [f"thing {i}" for i in range(36)]
    _, notes = held_out(texts, ["good"] * 30 + ["bad"] * 6)
    assert len(notes) == 1 and notes[0].startswith("label 'good' has 5 times as many rows as 'bad'")
    assert held_out(texts, ["good"] * 29 + ["bad"] * 7)[1] == []


# Held out


def test_of_few_texts_each_is_held_out_once_and_no_two_that_are_alike_are_parted():
    texts = [f"{text}{end}" for text in TEXTS for end in ("", "!", " ?")]
    parts, _ = held_out(texts, np.repeat(LABELS, 3))
    assert len(parts) == 5
    assert sorted(np.concatenate([test for _, test in parts])) == list(range(36))
    for train, test in parts:
        assert sorted([*train, *test]) == list(range(36))
        assert not {i // 3 for i in train} & {i // 3 for i in test}
        assert {i // 3 > 5 for i in test} == {True, False}  # both labels


def test_of_many_texts_a_fifth_is_held_out():
    texts = [f"thing {i}" for i in range(fitting.MANY)]
    parts, _ = held_out(texts, [i % 2 for i in range(fitting.MANY)])
    assert [(len(train), len(test)) for train, test in parts] == [(400, 100)]
    assert len(held_out(texts[1:], [i % 2 for i in range(fitting.MANY - 1)])[0]) == 5


@pytest.mark.parametrize(
    "texts, labels, part",
    [
        ([*GOOD, "So Bad", "so bad", "SO BAD", "so  bad", "so bad!"], ["good"] * 6 + ["bad"] * 5,
         "'bad' has 1 distinct texts"),
        (TEXTS + GOOD, LABELS + ["neutral"] * 6, "'neutral' has 0 distinct texts"),
    ],
)  # fmt: skip
def test_of_too_few_distinct_texts_nothing_is_held_out_and_that_is_said(texts, labels, part):
    parts, notes = held_out(texts, labels)
    assert parts == [] and part in notes[-1]


@pytest.mark.parametrize("name", ["same-text-two-labels", "differ-in-case"])
def test_tables_of_which_nothing_can_be_held_out_are_trained_on(name):
    reviews = read_labelled(CASES / f"{name}.csv")
    notes = []
    assert fitting.hold_out(reviews, lambda text: None, notes.append) == []
    assert "no held-out test" in notes[-1]
    twice = [n for n in notes if "1 text has more than one label, as 'ok'" in n]
    assert len(twice) == (name == "same-text-two-labels")
    model = fitting.learn_from_all(TfidfClassifier, reviews, Path("x"))
    assert set(model.classes_) == set(reviews["label"])


# Which one to keep


def judged(texts, **right):
    """A ladder of `texts` texts, of which each rung gets those in its list right."""
    names = {"tfidf": fitting.TFIDF, "frozen": fitting.FROZEN, "tuned": fitting.TUNED,
             "taught": fitting.TAUGHT}  # fmt: skip
    said = pd.DataFrame({"label": np.ones(texts, bool)})
    for rung, rows in {"majority": range(texts // 2), **right}.items():
        said[names.get(rung, rung)] = np.isin(np.arange(texts), rows)
    rungs = said.columns[1:]
    ladder = {"rung": rungs, "accuracy": said[rungs].mean().to_numpy(), "test_size": texts}
    return pd.DataFrame(ladder), said


@pytest.mark.parametrize(
    "right, kept, words",
    [
        ({"tfidf": range(711), "frozen": range(524), "tuned": range(524)}, "TF-IDF",
         ["right on 88.9% of 800 held out", "none is better"]),
        ({"tfidf": range(600), "frozen": range(600), "tuned": range(700)}, "fine-tuned encoder",
         ["87.5%", "TF-IDF, which is cheaper, only on 75.0%", "+10.2 to +14.8 points"]),
        ({"tfidf": range(20, 700), "frozen": range(30, 100), "tuned": range(705)},
         "fine-tuned encoder", ["TF-IDF, which is cheaper, only on 85.0%"]),
        ({"tfidf": range(10, 700), "frozen": range(500), "tuned": range(8, 702)}, "TF-IDF",
         ["86.2%", "fine-tuned encoder reached 86.8%", "may be chance", "costs more"]),
        ({"tfidf": range(300), "frozen": range(702), "tuned": range(700)}, "frozen encoder",
         ["TF-IDF, which is cheaper, only on 37.5%"]),
        ({"tfidf": range(300)}, "TF-IDF", ["the only one that was tried"]),
    ],
)  # fmt: skip
def test_the_cheapest_that_is_not_clearly_worse_than_the_best_is_kept(right, kept, words):
    rung, why = fitting.choose(*judged(800, **right))
    assert rung == kept and why.startswith(f"{kept} is kept: right on"), why
    assert all(word in why for word in words), why


@pytest.mark.parametrize(
    "right, kept, words",
    [
        ({"tfidf": range(15), "frozen": range(16), "taught": range(18), "tuned": range(12)},
         "general encoder", ["90.0% of 20", "none is right on more (frozen encoder 80.0%, TF-IDF"]),
        ({"tfidf": range(20), "frozen": range(20), "taught": range(20)}, "general encoder",
         ["of equals, the one that is mostly better"]),
        ({"tfidf": range(20), "frozen": range(20)}, "frozen encoder", ["TF-IDF 100.0%"]),
        ({"tfidf": range(17), "frozen": range(16), "taught": range(16)}, "TF-IDF", ["85.0%"]),
        ({"frozen": range(3)}, "frozen encoder", ["the only one that was tried"]),
    ],
)  # fmt: skip
def test_of_few_the_most_accurate_is_kept(right, kept, words):
    rung, why = fitting.choose(*judged(20, **right), few=True)
    assert rung == kept and all(word in why for word in words), why


def test_a_rung_that_is_no_better_than_the_commonest_label_is_said():
    for right, part in [(range(400, 800), "right on 50.0%"), (range(100, 700), "")]:
        told = fitting.no_better_than_chance(*judged(800, tfidf=right), "TF-IDF")
        assert part in told and bool(told) == bool(part)


def test_every_rung_is_judged_on_the_same_texts_and_none_on_what_it_learned():
    learned, told = [], []

    class Spy(MajorityClassifier):
        def fit(self, texts, labels):
            learned.append(set(texts))
            return super().fit(texts, labels)

        def predict(self, texts):
            assert not learned[-1] & set(texts)
            return super().predict(texts)

    reviews = table(TEXTS + [f"{t}!" for t in TEXTS], LABELS * 2)
    parts = fitting.fifths(reviews)
    ladder, said = fitting.judge({"spy": Spy}, reviews, parts, Path("x"),
                                 lambda rung, rows: told.append(rung))  # fmt: skip
    assert told == ["majority", "spy"] and len(learned) == 5
    assert ladder["rung"].tolist() == ["majority", "spy"] and set(ladder["test_size"]) == {24}
    order = np.concatenate([test for _, test in parts])
    assert said["label"].tolist() == reviews["label"].iloc[order].tolist()
    assert ladder["accuracy"][1] == pytest.approx((said["spy"] == said["label"]).mean())


def test_the_figures_are_kept_with_the_model(tmp_path):
    model = TfidfClassifier().fit(TEXTS, LABELS)
    model.save(tmp_path / "m")
    assert fitting.kept_figures(tmp_path / "m") == {}
    ladder, _ = judged(800, tfidf=range(700))
    ladder = ladder.assign(low=0.1, high=0.9)
    fitting.keep_figures(tmp_path / "m", fitting.figures_of(ladder, "TF-IDF", 4000))
    known = fitting.kept_figures(tmp_path / "m")
    assert known["accuracy"] == 0.875 and known["rungs"] == {"majority": 0.5, "TF-IDF": 0.875}
    assert known["learned_from"] == 4000 and known["test_size"] == 800
    loaded = TfidfClassifier.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict(TEXTS), model.predict(TEXTS))


def test_doubts_are_about_texts_that_were_not_learned_from():
    """A text that stands twice with one wrong label would vouch for itself."""
    texts = [f"{word} {i}" for i in range(30) for word in ("good", "bad")]
    labels = ["praise", "blame"] * 30
    texts, labels = [*texts, "bad thing", "Bad thing!"], [*labels, "praise", "praise"]
    found = fitting.doubts(table(texts, labels))
    assert found["row"].tolist() == [61, 62] and set(found["suggested"]) == {"blame"}
