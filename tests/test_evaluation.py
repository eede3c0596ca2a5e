"""`sentiment_course.evaluation` against scikit-learn, SciPy and statsmodels."""

import math
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

from sentiment_course import evaluation
from sentiment_course.baselines import TfidfClassifier
from sentiment_course.evaluation import (
    bootstrap_interval,
    by_slice,
    calibrated,
    class_ids,
    compare,
    difference_interval,
    doubtful_labels,
    expected_calibration_error,
    faithfulness,
    fit_temperature,
    highlight,
    learning_curve,
    mcnemar,
    measures,
    occlusion,
    reliability,
    slices,
    summary,
    worst_mistakes,
)

PROPERTY = settings(deadline=None, max_examples=50, derandomize=True)
PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def columns(pairs):
    """A list of pairs as two arrays."""
    return np.array(pairs).T


@st.composite
def predictions(draw, classes=3):
    """Class numbers and probabilities for a few texts."""
    n, k = draw(st.integers(1, 40)), draw(st.integers(2, classes))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    return rng.integers(k, size=n), rng.dirichlet(np.full(k, 0.5), n)


class Words(ClassifierMixin, BaseEstimator):
    """Three classes by the presence of words: cheap, and known exactly."""

    classes_ = np.array(["bad", "good", "so-so"])

    def predict_proba(self, texts):
        logits = [[t.count("awful"), t.count("fine"), 0.2] for t in texts]
        p = np.exp(np.array(logits, dtype=float).reshape(-1, 3))
        return p / p.sum(axis=1, keepdims=True)

    def predict(self, texts):
        return self.classes_[self.predict_proba(texts).argmax(axis=1)]


# Measures and intervals


@PROPERTY
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_measures_agree_with_sklearn(pairs):
    y, z = columns(pairs)
    peers = accuracy_score(y, z), balanced_accuracy_score(y, z), f1_score(y, z, average="macro")
    np.testing.assert_allclose(measures(y, z), peers, atol=1e-12)
    names = np.array(["a", "b", "c", "d"])
    np.testing.assert_allclose(measures(names[y], names[z]), peers, atol=1e-12)


def test_bootstrap_agrees_with_scipy_for_paired_arrays():
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    y = x + rng.normal(size=300)

    def correlation(x, y):
        return np.corrcoef(x, y)[0, 1]

    peer = bootstrap((x, y), correlation, paired=True, vectorized=False, method="percentile",
                     n_resamples=2000, confidence_level=0.9, rng=1).confidence_interval  # fmt: skip
    ours = bootstrap_interval(correlation, x, y, confidence=0.9, resamples=2000)
    np.testing.assert_allclose(ours, peer, atol=0.01)


@PROPERTY
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(0, 9))
def test_bootstrap_is_ordered_repeatable_and_inside_the_data(values, seed):
    low, high = bootstrap_interval(np.mean, values, resamples=50, seed=seed)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    again = bootstrap_interval(np.mean, values, resamples=50, seed=seed)
    np.testing.assert_allclose(again, (low, high), atol=1e-12)


def test_bootstrap_intervals_hold_the_truth_about_as_often_as_promised():
    rng = np.random.default_rng(0)
    held = [low <= 0 <= high for low, high in (
        bootstrap_interval(np.mean, rng.normal(size=100), confidence=0.8, resamples=150, seed=i)
        for i in range(400))]  # fmt: skip
    assert 0.73 < np.mean(held) < 0.86  # three standard errors about 0.795


def test_summary_has_the_measures_inside_their_intervals():
    labels = ["a", "b"] * 50
    called = ["a", "b"] * 40 + ["b", "a"] * 10
    table = summary(labels, called)
    assert list(table.index) == ["accuracy", "balanced accuracy", "F1"]
    assert (table.low < table.value).all() and (table.value < table.high).all()
    np.testing.assert_allclose(table.value, 0.8)


# Paired comparison


@PROPERTY
@given(PAIRS)
def test_mcnemar_agrees_with_statsmodels_and_is_symmetric(pairs):
    first, second = columns(pairs)
    b, c, p = mcnemar(first, second)
    assert mcnemar(second, first) == (c, b, pytest.approx(p))
    assert b + c == np.sum(first != second)
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert p == pytest.approx(min(1, 2 * tail))
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    both, neither = np.sum(first & second), np.sum(~first & ~second)
    assert p == pytest.approx(tables.mcnemar([[both, b], [c, neither]], exact=True).pvalue)


@PROPERTY
@given(PAIRS)
def test_difference_interval_is_antisymmetric_and_in_range(pairs):
    first, second = columns(pairs)
    low, high = difference_interval(first, second)
    assert -1 <= low <= high <= 1
    back = difference_interval(second, first)
    np.testing.assert_allclose(back, (-high, -low), atol=1e-12)
    narrow = difference_interval(first, second, confidence=0.5)
    assert low <= narrow[0] and narrow[1] <= high


def test_difference_interval_covers_the_true_gain():
    rng = np.random.default_rng(0)
    cells = rng.choice(4, p=[0.7, 0.05, 0.15, 0.1], size=(1000, 120))  # both, first, second, none
    held = [low <= 0.1 <= high for low, high in (
        difference_interval(np.isin(c, (0, 1)), np.isin(c, (0, 2))) for c in cells)]  # fmt: skip
    assert 0.93 < np.mean(held) < 0.98


def test_compare_takes_neighbours_on_the_ladder():
    labels = np.array(["a", "b"] * 20)
    table = compare(labels, {"worst": labels[::-1], "middle": ["a"] * 40, "best": labels})
    assert list(table.step) == ["worst → middle", "middle → best"]
    np.testing.assert_allclose(table.gain, 0.5)
    assert (table.p_value < 1e-4).all() and (table.low > 0).all()
    assert compare(labels, {"alone": labels}).empty


# Calibration


@PROPERTY
@given(predictions(), st.integers(1, 20))
def test_reliability_counts_every_text_once(case, bins):
    ids, p = case
    table = reliability(ids, p, bins)
    assert table.texts.sum() == len(ids)
    assert ((table.low <= table.confidence + 1e-9) & (table.confidence <= table.high + 1e-9)).all()
    correct = p.argmax(axis=1) == ids
    assert np.average(table.accuracy, weights=table.texts) == pytest.approx(correct.mean())
    error = expected_calibration_error(ids, p, bins)
    assert abs(correct.mean() - p.max(axis=1).mean()) - 1e-9 <= error <= 1


def test_reliability_agrees_with_sklearn():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1], 500)
    ids = rng.integers(2, size=500)
    share, confidence = calibration_curve(p.argmax(axis=1) == ids, p.max(axis=1), n_bins=10)
    table = reliability(ids, p)
    np.testing.assert_allclose(table.accuracy, share)
    np.testing.assert_allclose(table.confidence, confidence)


@PROPERTY
@given(predictions(classes=2), st.sampled_from([5, 10]), st.integers(0, 10**6))
def test_reliability_does_not_hang_on_order_or_on_the_last_digit(case, bins, seed):
    """The kernel of a machine may sum otherwise, and leave 0.6 a hair below or above 0.6."""
    ids, p = case
    p[0] = 0.6, 0.4
    rng = np.random.default_rng(seed)
    order, noise = rng.permutation(len(ids)), rng.uniform(-1e-14, 1e-14, (len(ids), 1))
    other = np.clip(p + noise * [1, -1], 0, 1)
    table, again = reliability(ids, p, bins), reliability(ids[order], other[order], bins)
    pd.testing.assert_frame_equal(table, again, rtol=1e-9, atol=1e-9)


def test_certain_and_right_is_calibrated_certain_and_wrong_is_not():
    sure = np.eye(2)[[0, 1, 1]]
    assert expected_calibration_error([0, 1, 1], sure) == 0
    assert expected_calibration_error([1, 0, 0], sure) == 1


@PROPERTY
@given(predictions(), st.floats(0.05, 20))
def test_calibrated_keeps_the_order_and_gives_probabilities(case, temperature):
    _, p = case
    q = calibrated(p, temperature)
    np.testing.assert_allclose(q.sum(axis=1), 1)
    np.testing.assert_allclose(calibrated(np.clip(p, 1e-9, 1), 1.0), p, atol=1e-6)
    clear = np.ptp(np.sort(p, axis=1)[:, -2:], axis=1) > 1e-6
    assert (q.argmax(axis=1) == p.argmax(axis=1))[clear].all()


@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_fit_temperature_finds_the_one_that_was_used(true):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20000, 3)) * 2
    honest = calibrated(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 1)
    ids = (rng.random((20000, 1)) > np.cumsum(honest, axis=1)).sum(axis=1)
    ids = np.minimum(ids, 2)
    found = fit_temperature(ids, calibrated(honest, 1 / true))
    assert found == pytest.approx(true, rel=0.06)


@PROPERTY
@given(predictions())
def test_fit_temperature_is_never_worse_than_its_neighbours(case):
    ids, p = case
    t = fit_temperature(ids, p)
    assert 0.01 <= t <= 100.0001
    every = range(p.shape[1])
    best = log_loss(ids, calibrated(p, t), labels=every)
    for other in (t * 1.01, t / 1.01, 1.0):
        if 0.01 <= other <= 100:
            assert best <= log_loss(ids, calibrated(p, other), labels=every) + 1e-6


# Slices, mistakes, learning curve


def test_slices_of_known_texts():
    reviews = pd.DataFrame({
        "text": ["Not bad, but slow.", "It isn’t fun", "word " * 25, "Buttery knot", "", "好看"],
        "rating": [0.6, -2.0, 3.0, -0.9, 1.5, 2.0],
        "spread": [1.0, 0.2, 2.0, 0.99, 0.0, 0.0],
        "source": ["films", "films", "cars", "cars", "cars", "cars"],
    }, index=[9, 8, 7, 6, 5, 4])  # fmt: skip
    table = slices(reviews)
    assert list(table.index) == list(reviews.index) and all(
        kind.kind == "b" for kind in table.dtypes
    )
    assert table["negation"].tolist() == [True, True, False, False, False, False]
    assert table["but"].tolist() == [True, False, False, False, False, False]
    assert table["short, to 10 words"].tolist() == [True, True, False, True, True, True]
    assert table["long, from 25 words"].tolist() == [False, False, True, False, False, False]
    assert table["raters disagree, spread from 1"].tolist() == [True, False, True] + [False] * 3
    assert table["weak, rating below 1"].sum() == 2 and table["strong, rating from 2"].sum() == 3
    assert table["cars"].sum() == 4
    assert list(slices(reviews[["text"]])) == list(table)[:4]
    assert len(slices(reviews[["text"]].iloc[:0])) == 0


def test_by_slice_leaves_out_what_is_empty():
    kinds = pd.DataFrame({"some": [True, False, True], "none": [False] * 3}, index=[5, 6, 7])
    table = by_slice([True, False, False], kinds)
    assert list(table.index) == ["all", "some"] and table.texts.tolist() == [3, 2]
    np.testing.assert_allclose(table.accuracy, [1 / 3, 1 / 2])
    assert ((table.low < table.accuracy) & (table.accuracy < table.high)).all()


def test_worst_mistakes_are_wrong_and_sorted():
    texts = ["awful awful", "awful", "fine", "fine awful awful awful", "?"]
    classifier = Words()
    p = classifier.predict_proba(texts)
    table = worst_mistakes(texts, ["good"] * 5, p, classifier.classes_, count=3)
    assert table.index.tolist() == [3, 0, 1] and (table.predicted == "bad").all()
    assert (table.label == "good").all() and table.probability.is_monotonic_decreasing
    perfect = worst_mistakes(texts, classifier.predict(texts), p, classifier.classes_)
    assert perfect.empty


@PROPERTY
@given(st.integers(0, 10**6))
def test_mistakes_it_was_equally_sure_of_stay_in_order_whatever_the_last_digit(seed):
    noise = np.random.default_rng(seed).uniform(-1e-14, 1e-14, 6)
    sure = np.array([0.8, 0.9, 0.8, 0.9, 0.6, 0.8]) + noise
    p = np.column_stack([sure, 1 - sure])
    table = worst_mistakes(list("abcdef"), ["good"] * 6, p, ["bad", "good"], count=5)
    assert table.index.tolist() == [1, 3, 0, 2, 5]


def test_learning_curve_leaves_the_classifier_alone_and_checks_sizes():
    reviews = pd.DataFrame({"text": ["a fine film", "a dull film"] * 20,
                            "label": ["positive", "negative"] * 20})  # fmt: skip
    classifier = TfidfClassifier()
    table = learning_curve(classifier, reviews, reviews, [10, 40])
    assert table["size"].tolist() == [10, 40] and table.accuracy.tolist() == [1, 1]
    assert not hasattr(classifier, "classes_")
    for size in (1, 41, 2.5):
        with pytest.raises(ValueError, match="sizes must be a whole number from 2 to 40"):
            learning_curve(classifier, reviews, reviews, [size])


# Explanations


class Text(HTMLParser):
    """Collects text and tags, and whether every tag is closed in its turn."""

    VOID = {"meta", "br", "img", "circle", "path"}

    def of(self, page):
        """The text of `page`."""
        self.text, self.tags, self.open, self.values = [], [], [], []
        self.feed(page)
        self.close()
        assert not self.open, self.open
        return "".join(self.text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.values += [value or "" for _, value in attributes]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.values += [value or "" for _, value in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@PROPERTY
@given(st.text(max_size=80))
def test_occlusion_finds_the_words_of_any_text(text):
    table = occlusion(Words(), text)
    assert [text[s:e] for s, e in zip(table.start, table.end, strict=True)] == table.word.tolist()
    unspaced = "".join(table.word)
    assert unspaced == "".join(text.split())
    assert "".join(Text().of(highlight(text, table)).split()) == unspaced


def test_several_words_are_taken_out_where_they_stand():
    assert evaluation._without("one two three four", [(0, 3), (8, 13)]) == "two four"


def test_occlusion_names_the_word_that_matters():
    table = occlusion(Words(), "an awful film, fine though")
    assert table.word[table.effect.argmax()] == "awful" and table.effect.min() < 0
    assert (table.effect[[w == "an" or w == "though" for w in table.word]].abs() < 1e-12).all()
    assert occlusion(Words(), "烂awful片").word.tolist() == ["烂", "awful", "片"]
    assert occlusion(Words(), "").empty


def test_faithful_where_the_words_are_the_reason():
    texts = ["awful " + "and so on it goes " * 4] * 20 + [""]
    table = faithfulness(Words(), texts, share=0.01)
    assert len(table) == 20 and table.named.mean() > table.random.mean() + 0.1
    assert faithfulness(Words(), []).empty


def test_what_moved_to_rooms_of_its_own_is_still_found_here():
    from sentiment_course import reports, vader

    for name, module in evaluation._MOVED.items():
        home = {"reports": reports, "vader": vader}[module]
        assert getattr(evaluation, name) is getattr(home, name)
    with pytest.raises(AttributeError, match="no attribute 'reprot'"):
        evaluation.reprot  # noqa: B018


class Noisy:
    """Known probabilities, with a last digit as another machine might have it."""

    GOOD = {"x y z": 0.9, "y z": 0.7, "x z": 0.7, "x y": 0.5, "x": 0.6, "y": 0.3, "z": 0.8}

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def predict_proba(self, texts):
        good = np.array([self.GOOD[text] for text in texts])
        good += self.rng.uniform(-1e-14, 1e-14, len(good))
        return np.column_stack([good, 1 - good])


@PROPERTY
@given(st.integers(0, 10**6))
def test_of_words_that_matter_equally_the_first_is_taken_out_whatever_the_last_digit(seed):
    [fall] = faithfulness(Noisy(seed), ["x y z"], share=0.7).named  # z, and of x and y the first
    assert fall == pytest.approx(0.9 - 0.3)


# What is refused


@pytest.mark.parametrize("call, told", [
    (lambda: measures([], []), "labels is empty"),
    (lambda: measures(["a"], ["a", "b"]), r"labels \(1\) as predicted \(2\)"),
    (lambda: measures(["a", None], ["a", "a"]), r"labels\[1\] is missing"),
    (lambda: measures([1.0, 2.0], [1.0, np.nan]), r"predicted\[1\] is missing or NaN"),
    (lambda: bootstrap_interval(np.mean), "arrays: give at least one"),
    (lambda: bootstrap_interval(np.mean, []), "is empty"),
    (lambda: bootstrap_interval(np.mean, [1, 2], [1]), "as many"),
    (lambda: bootstrap_interval(np.mean, [1], confidence=1), "confidence must be"),
    (lambda: difference_interval([1], [1], confidence=95), "confidence must be"),
    (lambda: mcnemar([True], [0.5]), "correct_second must be one row of True and False"),
    (lambda: mcnemar([[True]], [[True]]), "correct_first must be one row"),
    (lambda: mcnemar([True], []), "as many"),
    (lambda: class_ids(["a", "x"], ["a", "b"]), r"labels\[1\] is 'x'"),
    (lambda: class_ids([0], ["0"]), r"labels\[0\] is 0"),
    (lambda: reliability([0], [[0.5, 0.6]]), "probabilities must be"),
    (lambda: reliability([0], [[1.5, -0.5]]), "probabilities must be"),
    (lambda: reliability([0], [0.5]), "probabilities must be"),
    (lambda: reliability([0], [[np.nan, 1]]), "missing or NaN"),
    (lambda: reliability([2], [[0.5, 0.5]]), "class numbers from 0 to 1"),
    (lambda: reliability([-1], [[0.5, 0.5]]), "class numbers from 0 to 1"),
    (lambda: reliability(["a"], [[0.5, 0.5]]), "class numbers from 0 to 1"),
    (lambda: reliability([0], [[0.5, 0.5]], bins=0), "bins must be"),
    (lambda: fit_temperature([], np.empty((0, 2))), "labels is empty"),
    (lambda: calibrated([[0.5, 0.5]], 0), "temperature must be"),
    (lambda: calibrated([[0.5, 0.5]], math.nan), "temperature must be"),
    (lambda: slices(pd.DataFrame({"words": ["a"]})), "no column 'text'"),
    (lambda: slices(pd.DataFrame({"text": ["a", None]})), r"texts\[1\]"),
    (lambda: by_slice([True], pd.DataFrame({"a": [True, True]})), "1 outcomes but 2 rows"),
    (lambda: worst_mistakes(["a"], ["good", "good"], [[0.2, 0.3, 0.5]] * 2, Words.classes_),
     "1 texts but 2 labels"),
    (lambda: occlusion(Words(), None), "not text"),
    (lambda: faithfulness(Words(), ["a"], share=0), "share must be"),
])  # fmt: skip
def test_refused_in_words(call, told):
    with pytest.raises(ValueError, match=told):
        call()


# Labels that look wrong

CLEANLAB = pd.read_csv(Path(__file__).parent / "cases" / "cleanlab-2.9.0.csv")


@pytest.mark.parametrize("name, rows", list(CLEANLAB.groupby("set")))
def test_doubtful_labels_are_those_of_cleanlab_in_its_order(name, rows):
    """The file says what cleanlab 2.9.0 called wrong, the likeliest first:
    `find_label_issues(..., filter_by="confident_learning",
    return_indices_ranked_by="self_confidence")`.
    """
    p = rows[["p0", "p1", "p2"]].dropna(axis="columns").to_numpy()
    found = doubtful_labels(rows["label"].to_numpy(), p)
    ranks = rows["rank"].to_numpy()[found.index]
    assert len(found) == rows["rank"].notna().sum() > 5
    of_label = p[found.index, found["label"]]
    assert (np.diff(of_label) >= 0).all() and found["probability"].tolist() == of_label.tolist()
    for value in np.unique(of_label):  # equals may stand in any order
        tied = of_label == value
        assert sorted(ranks[tied]) == (np.flatnonzero(tied) + 1).tolist()


def test_labels_that_are_sure_are_not_doubted():
    assert doubtful_labels([0, 1], [[0.9, 0.1], [0.2, 0.8]]).empty


def test_a_class_of_which_no_text_is_labelled_is_never_suggested():
    found = doubtful_labels([0, 0, 1, 1], [[0.6, 0.2, 0.2], [0.1, 0.1, 0.8], [0.2, 0.6, 0.2],
                                           [0.4, 0.2, 0.4]])  # fmt: skip
    assert 2 not in set(found["suggested"]) and found.index.tolist() == [3]
