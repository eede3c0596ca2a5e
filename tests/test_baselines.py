"""`sentiment_course.baselines`: the lower rungs, Wilson's interval and the ladder."""

import hashlib
import json
import math
import pickle
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scipy.stats import binom, binomtest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from sentiment_course.baselines import (
    LADDER_COLUMNS,
    PIECE,
    LexiconClassifier,
    MajorityClassifier,
    TfidfClassifier,
    climb,
    compound_scores,
    draw_ladder,
    format_ladder,
    term_vectorizer,
    tokenize,
    wilson_interval,
)
from sentiment_course.reviews import clean_text, load_reviews, split_reviews

matplotlib.use("Agg")
pytestmark = pytest.mark.filterwarnings("error")
thorough = settings(deadline=None, max_examples=50, derandomize=True)
CLASSIFIERS = [MajorityClassifier, LexiconClassifier, TfidfClassifier]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
PRAISE = ["a great film", "I love it", "good, very good", "wonderful!", "the best", "so happy"]
BLAME = ["a terrible film", "I hate it", "bad, very bad", "awful!", "the worst", "so sad"]
TEXTS, LABELS = PRAISE + BLAME, ["positive"] * 6 + ["negative"] * 6
THREE = ["it arrived on Monday", "the box is blue", "it has two doors", "size of a book"]


@pytest.fixture(scope="module")
def movies():
    return split_reviews(load_reviews("movies"))


# ------------------------------------------------------------------------------ Wilson's interval


@st.composite
def counts(draw):
    total = draw(st.one_of(st.integers(1, 50), st.integers(1, 10**7)))
    return draw(st.one_of(st.integers(0, total), st.sampled_from([0, total]))), total


@thorough
@given(counts(), st.sampled_from([0.5, 0.8, 0.95, 0.999]))
def test_wilson_agrees_with_scipy(count, confidence):
    low, high = wilson_interval(*count, confidence)
    peer = binomtest(*count).proportion_ci(confidence, method="wilson")
    assert np.allclose([low, high], [peer.low, peer.high], rtol=1e-6, atol=1e-9)


@thorough
@given(counts(), st.floats(0.01, 0.9999))
def test_wilson_ends_lie_z_standard_errors_away(count, confidence):
    k, n = count
    low, high = wilson_interval(k, n, confidence)
    assert 0 <= low <= k / n + 1e-12 and k / n - 1e-12 <= high <= 1
    for p in (low, high):
        if 1e-9 < p < 1 - 1e-9:
            z = abs(k / n - p) / math.sqrt(p * (1 - p) / n)
            assert math.isclose(math.erf(z / math.sqrt(2)), confidence, rel_tol=1e-4)
    mirrored = wilson_interval(n - k, n, confidence)
    assert np.allclose(mirrored, [1 - high, 1 - low], atol=1e-9)


@thorough
@given(counts())
def test_wilson_narrows_with_more_reviews_and_less_confidence(count):
    k, n = count
    low, high = wilson_interval(k, n)
    more, less = wilson_interval(4 * k, 4 * n), wilson_interval(k, n, 0.8)
    assert more[1] - more[0] < high - low and less[1] - less[0] < high - low


@pytest.mark.parametrize("p", [0.5, 0.8, 0.97])
@pytest.mark.parametrize("n", [100, 2015])
def test_wilson_covers_what_it_promises(p, n):
    k = np.arange(n + 1)
    ends = np.array([wilson_interval(int(i), n) for i in k])
    held = (ends[:, 0] <= p) & (p <= ends[:, 1])
    assert abs(binom.pmf(k, n, p)[held].sum() - 0.95) < 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0), "total must be a whole number from 1 on, not 0"),
        ((1, -5), "total must be"),
        ((1, 2.5), "total must be"),
        ((1, math.nan), "total must be"),
        ((1, math.inf), "total must be"),
        ((3, 2), "correct must be a whole number from 0 to 2, not 3"),
        ((-1, 2), "correct must be"),
        ((0.5, 2), "correct must be"),
        ((math.nan, 2), "correct must be"),
        ((1, 2, 0), "confidence must lie between 0 and 1, not 0"),
        ((1, 2, 1), "confidence must"),
        ((1, 2, 95), "confidence must"),
        ((1, 2, math.nan), "confidence must"),
    ],
)
def test_wilson_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        wilson_interval(*arguments)


# ------------------------------------------------------------------------------ tokens, TF-IDF


@thorough
@given(TEXT)
def test_tokens_keep_every_visible_character_in_order(text):
    tokens = tokenize(text)
    assert all(tokens) and not any(c.isspace() for token in tokens for c in token)
    assert "".join(tokens) == "".join(text.lower().replace("’", "'").split())


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("I DON’T know...", ["i", "don't", "know", "..."]),
        ("'quoted' rock'n'roll", ["'", "quoted", "'", "rock'n'roll"]),
        ("好看！very好", ["好", "看", "！", "very", "好"]),
        ("とても", ["と", "て", "も"]),
        ("café 10/10 :-)", ["café", "10", "/", "10", ":-)"]),
        ("", []),
        (" \n\t", []),
    ],
)
def test_tokens(text, tokens):
    assert tokenize(text) == tokens


def tf_idf(texts, longest, logarithm):
    """TF-IDF by its formulas, one text and term at a time."""
    grams = []
    for text in texts:
        t = tokenize(text)
        n = range(1, longest + 1)
        grams.append([" ".join(t[i : i + k]) for k in n for i in range(len(t) - k + 1)])
    terms = sorted({term for gram in grams for term in gram})
    x = np.zeros((len(texts), len(terms)))
    for i, gram in enumerate(grams):
        for j, term in enumerate(terms):
            c, d = gram.count(term), sum(term in g for g in grams)
            tf = (1 + math.log(c) if logarithm else c) if c else 0
            x[i, j] = tf * (math.log((1 + len(texts)) / (1 + d)) + 1)
    lengths = np.sqrt((x**2).sum(axis=1, keepdims=True))
    return x / np.where(lengths == 0, 1, lengths), terms


@thorough
@given(
    st.lists(st.text("ab c!'é好", min_size=1, max_size=12), min_size=1, max_size=6).filter(
        lambda texts: any(map(tokenize, texts))
    ),
    st.integers(1, 3),
    st.booleans(),
)
def test_term_vectorizer_is_the_formula(texts, longest, logarithm):
    vectorizer = term_vectorizer(longest, logarithm)
    x, terms = tf_idf(texts, longest, logarithm)
    assert np.allclose(vectorizer.fit_transform(texts).toarray(), x, atol=1e-9)
    assert list(vectorizer.get_feature_names_out()) == terms


def test_tfidf_classifier_is_logistic_regression_on_tf_idf():
    x, _ = tf_idf(TEXTS, 2, True)
    peer = LogisticRegression(C=30.0, max_iter=1000).fit(x, LABELS)
    given = TfidfClassifier().fit(TEXTS, LABELS).predict_proba(TEXTS)
    assert np.allclose(given, peer.predict_proba(x), atol=1e-4)


# ------------------------------------------------------------------------------ compound score


def test_compound_is_vaders():
    vader = SentimentIntensityAnalyzer()
    texts = [*TEXTS, "", " ", "好看", "NOT good, but :-) !!!", "no\nline\tbreak"]
    assert compound_scores(texts).tolist() == [vader.polarity_scores(t)["compound"] for t in texts]
    assert compound_scores([]).shape == (0,)


@thorough
@given(st.lists(TEXT, max_size=4))
def test_compound_lies_between_minus_one_and_one(texts):
    scores = compound_scores(texts)
    assert scores.shape == (len(texts),) and (np.abs(scores) <= 1).all()


def test_compound_of_a_long_text_is_the_mean_over_pieces():
    good, bad = "good film " * (PIECE // 2), "bad film " * (PIECE // 2)
    ends = compound_scores([good, bad])
    assert np.isclose(compound_scores([good + bad])[0], ends.mean())
    with pytest.raises(ValueError, match=r"texts\[0\] is 1"):
        compound_scores([1])


# ------------------------------------------------------------------------------ every classifier


@pytest.mark.parametrize("kind", CLASSIFIERS)
class TestEveryClassifier:
    def test_is_a_scikit_learn_classifier(self, kind):
        classifier = kind()
        assert is_classifier(classifier) and classifier.fit(TEXTS, LABELS) is classifier
        assert type(clone(classifier)) is kind and not hasattr(clone(classifier), "classes_")
        assert clone(classifier).get_params() == classifier.get_params()
        same = pickle.loads(pickle.dumps(classifier))
        assert np.array_equal(same.predict_proba(TEXTS), classifier.predict_proba(TEXTS))

    def test_fits_in_cross_validation_search_and_pipeline(self, kind):
        assert cross_val_score(kind(), TEXTS, LABELS, cv=3).shape == (3,)
        proba = cross_val_predict(kind(), TEXTS, LABELS, cv=3, method="predict_proba")
        assert proba.shape == (12, 2)
        grid = {"C": [1, 10]} if kind is TfidfClassifier else {}
        search = GridSearchCV(kind(), grid, cv=2).fit(TEXTS, LABELS)
        assert search.predict(TEXTS).shape == (12,)
        clean = FunctionTransformer(lambda texts: [clean_text(text) for text in texts])
        pipeline = make_pipeline(clean, kind()).fit(TEXTS, LABELS)
        assert 0 <= pipeline.score(TEXTS, LABELS) <= 1
        assert list(pipeline.classes_) == ["negative", "positive"]

    def test_probabilities_and_predictions_agree(self, kind):
        classifier = kind().fit(TEXTS, LABELS)
        texts = [*TEXTS, "", " ", "never seen", "好看", "great " * 20_000]
        proba = classifier.predict_proba(texts)
        assert proba.shape == (17, 2) and np.allclose(proba.sum(axis=1), 1)
        assert ((proba >= 0) & (proba <= 1)).all()
        assert (classifier.predict(texts) == classifier.classes_[proba.argmax(axis=1)]).all()
        alone = np.vstack([classifier.predict_proba([text]) for text in texts])
        assert np.allclose(alone, proba)

    @pytest.mark.parametrize("labels", [LABELS, [1] * 6 + [0] * 6, [True] * 6 + [False] * 6])
    def test_takes_labels_of_any_type_and_texts_of_any_sequence(self, kind, labels):
        index = np.arange(12)[::-1]
        expected = kind().fit(TEXTS, labels).predict(TEXTS)
        assert expected.dtype == np.asarray(labels).dtype
        for make in (tuple, np.array, lambda v: pd.Series(v, index=index)):
            given = kind().fit(make(TEXTS), make(labels)).predict(make(TEXTS))
            assert given.tolist() == expected.tolist()

    def test_no_texts_give_empty_arrays(self, kind):
        classifier = kind().fit(TEXTS, LABELS)
        for none in ([], np.array([], dtype=str), pd.Series([], dtype=str)):
            assert classifier.predict(none).shape == (0,)
            assert classifier.predict_proba(none).shape == (0, 2)
        assert classifier.predict([]).dtype == np.asarray(LABELS).dtype

    def test_unfitted(self, kind):
        for texts in ([], ["a"]):
            with pytest.raises(NotFittedError):
                kind().predict(texts)

    @pytest.mark.parametrize(
        ("texts", "labels", "message"),
        [
            (["a"] * 4, ["x"] * 4, "only 'x': a classifier needs at least two classes"),
            (["a"] * 4, ["x", "x", "x", "y"], "label 'y' has one example"),
            (["a"] * 4, ["x", "y", "x", 1], "labels mix int and str"),
            (["a"] * 4, ["x", "y", "x", float("nan")], r"labels\[3\] is missing"),
            (["a"] * 4, ["x", "y", "x", None], r"labels\[3\] is missing"),
            (["a"] * 4, ["x", "y", "x", ""], r"labels\[3\] is missing"),
            (["a"] * 4, ["x", "y"], "there are 4 texts but 2 labels"),
            (["a", None, "b", "c"], ["x", "y"] * 2, r"texts\[1\] is None"),
            (["a", "b", 3, "c"], ["x", "y"] * 2, r"texts\[2\] is 3 \(int\)"),
            ("text", ["x", "y"] * 2, "not a single text"),
            ([], [], "no label at all"),
        ],
    )
    def test_refuses_to_train(self, kind, texts, labels, message):
        with pytest.raises(ValueError, match=message):
            kind().fit(texts, labels)

    @pytest.mark.parametrize("texts", ["one", [None], [float("nan")], [3], [b"x"], None])
    def test_refuses_to_predict(self, kind, texts):
        classifier = kind().fit(TEXTS, LABELS)
        with pytest.raises(ValueError, match="texts"):
            classifier.predict(texts)


@pytest.mark.parametrize("kind", [MajorityClassifier, TfidfClassifier])
def test_three_classes(kind):
    texts, labels = TEXTS + THREE, LABELS + ["neutral"] * 4
    classifier = kind().fit(texts, labels)
    assert list(classifier.classes_) == ["negative", "neutral", "positive"]
    assert np.allclose(classifier.predict_proba(texts).sum(axis=1), 1)
    assert classifier.predict_proba([]).shape == (0, 3)
    if kind is TfidfClassifier:
        assert classifier.predict(texts).tolist() == labels


# ------------------------------------------------------------------------------ each classifier


@thorough
@given(st.lists(st.sampled_from("abc"), min_size=4, max_size=30).filter(
    lambda labels: len(set(labels)) > 1 and all(labels.count(v) > 1 for v in set(labels))
))  # fmt: skip
def test_majority_is_the_commonest(labels):
    classifier = MajorityClassifier().fit(["t"] * len(labels), labels)
    [label], [shares] = classifier.predict(["x"]), classifier.predict_proba(["x"])
    assert labels.count(label) == max(map(labels.count, labels))
    assert np.allclose(shares, [labels.count(c) / len(labels) for c in sorted(set(labels))])


def test_majority_accuracy_is_the_share_of_its_label():
    classifier = MajorityClassifier().fit(["t"] * 5, [0, 1, 1, 1, 0])
    assert classifier.score(["u"] * 4, [1, 1, 1, 0]) == 0.75


def test_lexicon_threshold_is_zero():
    classifier = LexiconClassifier().fit(TEXTS, LABELS)
    texts = ["good", "bad", "", "table", "not good", "好看"]
    wanted = np.where(compound_scores(texts) > 0, "positive", "negative")
    assert classifier.predict(texts).tolist() == wanted.tolist()
    assert classifier.score(TEXTS, LABELS) == 1


def test_lexicon_probability_rises_with_the_score():
    classifier = LexiconClassifier().fit(TEXTS, LABELS)
    scores = compound_scores(TEXTS)
    proba = classifier.predict_proba(TEXTS)[:, 1]
    assert np.allclose(proba, (1 + scores) / 2)


@pytest.mark.parametrize(
    ("praise", "blame"), [("happy", "angry"), ("A", "B"), ("B", "A"), (1, 0), (0, 1), (1.0, -2.0)]
)
def test_lexicon_finds_which_label_is_praise(praise, blame):
    labels = [praise] * 6 + [blame] * 6
    classifier = LexiconClassifier().fit(TEXTS, labels)
    assert classifier.predict(["great, I love it", "awful, I hate it"]).tolist() == [praise, blame]
    assert classifier.score(TEXTS, labels) == 1


def test_lexicon_trusts_the_names_negative_and_positive():
    turned = ["negative"] * 6 + ["positive"] * 6  # whatever the texts say
    assert LexiconClassifier().fit(TEXTS, turned).predict(["I love it"]) == ["positive"]


def test_lexicon_refuses_three_classes():
    with pytest.raises(ValueError, match="labels hold 3 classes, .* use TfidfClassifier"):
        LexiconClassifier().fit(TEXTS + THREE, LABELS + ["neutral"] * 4)


def test_lexicon_of_a_language_that_vader_does_not_know():
    classifier = LexiconClassifier().fit(["好看", "很好", "难看", "不好"], ["b", "b", "a", "a"])
    assert np.allclose(classifier.predict_proba(["好看"]), 0.5)


def test_tfidf_reads_chinese():
    texts = ["好看", "很好看", "真好", "难看", "不好", "不好看"]
    classifier = TfidfClassifier().fit(texts, ["好"] * 3 + ["坏"] * 3)
    assert classifier.predict(["不好看！", "真好看"]).tolist() == ["坏", "好"]


def test_tfidf_without_a_token():
    with pytest.raises(ValueError, match="texts hold no word, number or mark"):
        TfidfClassifier().fit(["", " ", "\n", ""], ["x", "y"] * 2)
    some = TfidfClassifier().fit(["", "good", "bad", ""], ["x", "x", "y", "y"])
    assert some.predict(["good", "bad"]).tolist() == ["x", "y"]


@pytest.mark.parametrize("C", [0, -1, "large"])
def test_tfidf_refuses_its_parameter(C):
    with pytest.raises(ValueError, match="'C' parameter"):
        TfidfClassifier(C=C).fit(TEXTS, LABELS)


def test_a_smaller_c_pulls_probabilities_to_the_middle():
    sure = [np.abs(TfidfClassifier(C=C).fit(TEXTS, LABELS).predict_proba(TEXTS) - 0.5).mean()
            for C in (0.01, 1, 100)]  # fmt: skip
    assert sure == sorted(sure)


# ------------------------------------------------------------------------------ the ladder


def test_the_ladder_rises_on_the_movies(movies):
    seen = []
    rungs = [("majority", MajorityClassifier()), ("lexicon", LexiconClassifier()),
             ("TF-IDF", TfidfClassifier())]  # fmt: skip
    table = climb(rungs, *movies, on_rung=lambda row, said: seen.append((dict(row), list(said))))
    assert list(table.columns) == LADDER_COLUMNS == [
        "rung", "accuracy", "low", "high", "train_seconds", "reviews_per_second", "test_size",
    ]  # fmt: skip
    assert pd.DataFrame([row for row, _ in seen]).equals(table)
    assert all(
        said == classifier.predict(movies[1].text).tolist()
        for (_, said), (_, classifier) in zip(seen, rungs, strict=True)
    )
    assert (table.low.to_numpy()[1:] > table.high.to_numpy()[:-1]).all()
    assert abs(table.accuracy[1] - 0.65) < 0.015 and 0.80 <= table.accuracy[2] <= 0.83
    assert (table.train_seconds >= 0).all() and (table.reviews_per_second > 0).all()
    test = movies[1]
    for (_, classifier), row in zip(rungs, table.itertuples(), strict=True):
        correct = int((classifier.predict(test.text) == test.label.to_numpy()).sum())
        assert row.accuracy == correct / len(test) and row.test_size == len(test)
        assert (row.low, row.high) == wilson_interval(correct, len(test))


def test_certainty_goes_to_those_who_take_it(movies):
    class Asking(MajorityClassifier):
        def fit(self, texts, labels, certainty=None):
            self.certainty_ = certainty
            return super().fit(texts, labels)

    train = movies[0].assign(certainty=0.75)
    asking = Asking()
    climb([("asking", asking), ("majority", MajorityClassifier())], train, movies[1])
    assert (asking.certainty_ == 0.75).all() and len(asking.certainty_) == len(train)
    climb([("asking", asking)], *movies)
    assert asking.certainty_ is None


TABLE = pd.DataFrame({"text": TEXTS, "label": LABELS}, index=range(100, 112))


def test_climb_takes_any_classifier_of_texts():
    rungs = [("pipeline", make_pipeline(term_vectorizer(1), LogisticRegression()))]
    table = climb(rungs, TABLE, TABLE)
    assert table.rung.tolist() == ["pipeline"] and table.accuracy[0] == 1
    rungs = [("numbers", MajorityClassifier())]
    table = climb(rungs, TABLE.assign(label=[1] * 7 + [0] * 5), TABLE.assign(label=[1, 0] * 6))
    assert table.accuracy[0] == 0.5


def test_climb_keeps_what_was_done_when_a_rung_fails():
    class Broken(MajorityClassifier):
        def fit(self, texts, labels):
            raise KeyboardInterrupt

    seen = []
    with pytest.raises(KeyboardInterrupt):
        rungs = [("first", MajorityClassifier()), ("second", Broken())]
        climb(rungs, TABLE, TABLE, lambda row, said: seen.append(row))
    assert [row["rung"] for row in seen] == ["first"]


ONE = [("one", MajorityClassifier())]


@pytest.mark.parametrize(
    ("rungs", "train", "test", "message"),
    [
        ([], TABLE, TABLE, "rungs must be a list of"),
        ([MajorityClassifier()], TABLE, TABLE, "rungs must be a list of"),
        ([("one", "two")], TABLE, TABLE, "rungs must be a list of"),
        (ONE * 2, TABLE, TABLE, "rungs must have different names, not one, one"),
        (ONE, TABLE[["text"]], TABLE, "train has no column 'label'; its columns are: text"),
        (ONE, TABLE, TABLE[["label"]], "test has no column 'text'; its columns are: label"),
        (ONE, TABLE, TABLE[:0], "test has no rows"),
        (ONE, TABLE, TABLE.assign(label="odd"), "test has the label 'odd', which train has not"),
        (ONE, TABLE, TABLE.assign(text=3), r"texts\[0\] is 3"),
        (ONE, TABLE[:6], TABLE[:6], "only 'positive'"),
    ],
)
def test_climb_refuses(rungs, train, test, message):
    with pytest.raises(ValueError, match=message):
        climb(rungs, train, test)


def ladder(*rows):
    return pd.DataFrame(rows, columns=LADDER_COLUMNS)


LADDER = ladder(
    ("majority", 0.504, 0.482, 0.526, 0.0123, 1_234_567.0, 2015),
    ("a rung with a long name", 0.9, 0.88, 0.91, 614.2, 63.4, 2015),
)


def test_format_ladder():
    lines = format_ladder(LADDER).splitlines()
    assert len({len(line) for line in lines}) == 1 and len(lines) == 3
    words = [re.split(r"\s{3,}", line) for line in lines]
    assert words[0] == ["rung", "accuracy", "95 % interval", "training", "reviews/s"]
    assert words[1] == ["majority", "50.4%", "48.2% to 52.6%", "0.012 s", "1,200,000"]
    assert words[2][-2:] == ["610 s", "63"]


def test_draw_ladder():
    ax = draw_ladder(LADDER)
    assert [label.get_text() for label in ax.get_yticklabels()] == LADDER.rung.tolist()
    assert [text.get_text() for text in ax.texts] == ["50.4%", "90.0%"]
    whiskers = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2]
    assert np.allclose(whiskers, 100 * LADDER[["low", "high"]].to_numpy())
    heights = [line.get_ydata()[0] for line in ax.lines if len(line.get_xdata()) == 1]
    assert heights == sorted(heights)
    ax.figure.canvas.draw()
    inside = ax.get_window_extent()
    assert all(text.get_window_extent().x1 <= inside.x1 for text in ax.texts)
    assert draw_ladder(LADDER[:1], ax=ax) is ax
    matplotlib.pyplot.close(ax.figure)


def test_draw_ladder_takes_the_style_of_the_page():
    with matplotlib.pyplot.style.context("dark_background"):
        ax = draw_ladder(LADDER)
        assert ax.texts[0].get_color() == "white"
    matplotlib.pyplot.close(ax.figure)


@pytest.mark.parametrize("show", [format_ladder, draw_ladder])
def test_ladders_that_cannot_be_shown(show):
    with pytest.raises(ValueError, match="table has no rows"):
        show(LADDER[:0])
    with pytest.raises(ValueError, match="table has no column 'high'"):
        show(LADDER.drop(columns="high"))


# Kept as data

RUNGS = [
    (MajorityClassifier(), ["bad", "good"]),
    (LexiconClassifier(), ["bad", "good"]),
    (TfidfClassifier(), ["bad", "good"]),
    (TfidfClassifier(C=3.0), ["差", "好", "so-so"]),
    (TfidfClassifier(), [1, 2, 3]),
]
KEPT = ["a dull film", 'dull "and" long', "a joy", "很好", "joy 😀", "so-so", "long, so-so"]


@pytest.mark.parametrize("rung, labels", RUNGS)
def test_what_is_saved_comes_back_and_answers_the_same(tmp_path, rung, labels):
    labels = [labels[i % len(labels)] for i in range(len(KEPT))]
    trained = clone(rung).fit(KEPT, labels)
    trained.save(tmp_path / "model")
    again = type(rung).load(str(tmp_path / "model"))
    assert again.get_params() == trained.get_params()
    assert again.classes_.tolist() == trained.classes_.tolist()
    new = [*KEPT, "", "never seen", "dull joy 很"]
    np.testing.assert_array_equal(again.predict_proba(new), trained.predict_proba(new))
    again.save(tmp_path / "model")  # over the first
    assert type(rung).load(tmp_path / "model").predict(new).tolist() == again.predict(new).tolist()


@pytest.fixture
def saved(tmp_path):
    """A folder with a saved TF-IDF classifier."""
    TfidfClassifier().fit(KEPT, list("aabbabb")).save(tmp_path / "model")
    return tmp_path / "model"


def test_what_is_saved_is_data_and_no_program(saved):
    assert sorted(p.name for p in saved.iterdir()) == [
        "classifier.json", "state.json", "state.safetensors"
    ]  # fmt: skip
    json.loads((saved / "state.json").read_text("utf-8"))
    load_file(saved / "state.safetensors")


def sign(folder):
    """Write the hashes of the files in `folder` into its note, as who tampers with them would."""
    note = json.loads((folder / "classifier.json").read_text("utf-8"))
    note["sha256"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
                      for name in note["sha256"]}  # fmt: skip
    (folder / "classifier.json").write_text(json.dumps(note), encoding="utf-8")


def change_note(folder, **changes):
    """Change entries of the note in `folder`; None takes one out."""
    note = json.loads((folder / "classifier.json").read_text("utf-8")) | changes
    note = {key: value for key, value in note.items() if value is not None}
    (folder / "classifier.json").write_text(json.dumps(note), encoding="utf-8")


def change_arrays(folder, **changes):
    arrays = load_file(folder / "state.safetensors") | changes
    save_file(arrays, folder / "state.safetensors")
    sign(folder)


def put(folder, name, data):
    (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    "spoil, part",
    [
        (lambda f: put(f, "state.json", b"{}"), "damaged (state.json)"),
        (lambda f: put(f, "state.safetensors", b""), "damaged (state.safetensors)"),
        (lambda f: (f / "state.json").unlink(), "damaged (state.json)"),
        (lambda f: put(f, "classifier.json", b"{"), "damaged (classifier.json)"),
        (lambda f: put(f, "classifier.json", b"[]"), "damaged (classifier.json)"),
        (lambda f: put(f, "classifier.json", b"[" * 100_000), "damaged (classifier.json)"),
        (lambda f: (f / "classifier.json").unlink(), "no saved classifier"),
        (lambda f: put(f, "saved_model.pb", b"x"), "holds saved_model.pb"),
        (lambda f: change_note(f, sha256={"../../etc/passwd": "0"}), "damaged (classifier.json)"),
        (lambda f: change_note(f, sha256=None), "damaged (classifier.json)"),
        (lambda f: change_note(f, version="99.0.0"), "saved by version 99.0.0 of the course"),
        (lambda f: change_note(f, version=7), "damaged (classifier.json)"),
        (lambda f: change_note(f, kind=None), "holds a BertClassifier, not a TfidfClassifier"),
        (lambda f: change_note(f, kind="MajorityClassifier"), "holds a MajorityClassifier"),
        (lambda f: change_note(f, classes=["a"]), "damaged"),
        (lambda f: change_note(f, classes=["a", "a"]), "damaged"),
        (lambda f: change_note(f, classes=["a", "b", "c"]), "damaged"),
        (lambda f: change_note(f, classes=[["a"], ["b"]]), "damaged"),
        (lambda f: change_note(f, parameters={"D": 1}), "damaged"),
        (lambda f: change_arrays(f, idf=np.ones(1)), "damaged"),
        (lambda f: change_arrays(f, coef=np.ones((1, 1))), "damaged"),
        (lambda f: change_arrays(f, intercept=np.array([np.nan])), "damaged"),
        (lambda f: (put(f, "state.json", b'{"terms": []}'), sign(f)), "damaged"),
        (lambda f: (put(f, "state.json", b'{"terms": 5}'), sign(f)), "damaged"),
        (lambda f: (put(f, "state.safetensors", b"no"), sign(f)), "damaged"),
    ],
)  # fmt: skip
def test_a_saved_classifier_that_is_damaged_foreign_or_newer_is_refused(saved, spoil, part):
    spoil(saved)
    with pytest.raises(ValueError) as caught:
        TfidfClassifier.load(saved)
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_that_is_no_classifier_is_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    put(tmp_path / "photos", "1.jpg", b"mine")
    with pytest.raises(FileExistsError, match="photos exists and is no classifier"):
        TfidfClassifier().fit(KEPT, list("aabbabb")).save(tmp_path / "photos")
    with pytest.raises(NotFittedError):
        TfidfClassifier().save(tmp_path / "new")
    assert [p.name for p in tmp_path.rglob("*")] == ["photos", "1.jpg"]
