"""`sentiment_course.reviews`: sources, tables, splits, batches, and every refusal."""

import string
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_course import reviews
from sentiment_course.reviews import (
    SOURCES,
    article_cleaning,
    bucket_batches,
    check_texts,
    check_training,
    clean_text,
    encode_labels,
    load_chinese_reviews,
    load_ratings,
    load_reviews,
    panel_agreement,
    split_reviews,
)
from sentiment_course.tables import read_table

pytestmark = pytest.mark.filterwarnings("error")
thorough = settings(deadline=None, max_examples=50, derandomize=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
# Made of what entities, commas, quotes and line ends are made of, to hit the awkward cases.
AWKWARD = st.text("&ampltg;#x3 \"',;\n\t\r\0é好ß", max_size=20)


def write(folder, name, data):
    """A file in `folder`, from text or bytes."""
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


# ------------------------------------------------------------------------------ the four sources


@pytest.mark.parametrize(
    ("source", "rated", "clear"),
    [
        ("movies", 10605, 10072),
        ("amazon", 3708, 2985),
        ("tweets", 4200, 3432),
        ("nyt", 5190, 2970),
    ],
)
def test_sources_are_whole(source, rated, clear):
    ratings, labelled = load_ratings(source), load_reviews(source)
    assert len(ratings) == rated and len(labelled) == clear
    assert ratings.id.is_unique and not ratings.isna().any(axis=None)
    assert ratings.rating.between(-4, 4).all() and (ratings.raters >= 15).all()
    assert ratings.text.str.strip().ne("").all()
    assert list(labelled.columns) == ["id", "text", "rating", "raters", "spread", "label"]
    assert (labelled.rating.abs() >= 0.5).all()
    assert ((labelled.rating > 0) == (labelled.label == "positive")).all()
    assert set(labelled.label) == {"negative", "positive"}


@pytest.mark.parametrize("source", SOURCES)
def test_ratings_come_with_the_raters_own(source):
    ratings = load_ratings(source)
    means = ratings.ratings.map(np.mean)
    assert np.allclose(ratings.ratings.map(np.std), ratings.spread, atol=1e-5)
    # Of 199 tweets the published mean is not that of the published ratings; none changes sides.
    differ = ~np.isclose(means, ratings.rating, atol=1e-6)
    assert differ.sum() == (199 if source == "tweets" else 0)
    clear = ratings.rating.abs() >= 0.5
    assert (np.sign(means) == np.sign(ratings.rating))[clear].all()


def test_threshold_leaves_out_what_it_says():
    ratings = load_ratings("amazon")
    for neutral in (0, 0.3, 2):
        kept = load_reviews("amazon", neutral=neutral)
        size = ratings.rating.abs()
        assert len(kept) == ((size >= neutral) & (size > 0)).sum()


def test_quotation_marks_and_hash_signs_stay():
    assert load_ratings().text.str.contains("''").any()
    assert load_ratings("tweets").text.str.contains("#").any()


def test_chinese_reviews_are_kept_as_they_come(monkeypatch, tmp_path):
    write(tmp_path, "pos.txt", "好看\n\n很好\u2028看\n好看\n".replace("\u2028", ""))
    write(tmp_path, "neg.txt", "难看\n")
    monkeypatch.setattr(reviews, "asset_path", lambda name: {"chinese": tmp_path}[name])
    table = load_chinese_reviews()
    assert table.text.tolist() == ["好看", "很好看", "好看", "难看"]
    assert table.label.tolist() == ["positive"] * 3 + ["negative"]


@pytest.mark.parametrize("neutral", [-0.1, 4, float("nan")])
def test_bad_threshold(neutral):
    with pytest.raises(ValueError, match="neutral must be"):
        load_reviews("movies", neutral)


def test_unknown_source():
    with pytest.raises(ValueError, match="'books' is unknown: choose one of movies, amazon"):
        load_reviews("books")


# ------------------------------------------------------------------------------ cleaning


@thorough
@given(st.one_of(TEXT, AWKWARD))
def test_clean_text_is_idempotent_and_leaves_one_line(text):
    once = clean_text(text)
    assert clean_text(once) == once
    assert once == once.strip() and "  " not in once and once.isprintable()


@thorough
@given(st.text(string.ascii_letters + string.digits + "éß好!?,.()- '", max_size=30))
def test_clean_text_takes_nothing_away(text):
    assert clean_text(text).split() == text.split()


@pytest.mark.parametrize(
    ("written", "read"),
    [("&amp;amp;lt;3 &amp;", "<3 &"), ("a&nbsp;b", "a b"), ("a\x00b", "a b"), ("\u200bx", "x"),
     ("", ""), (" \t\n", ""), ("AT&T", "AT&T")],
)  # fmt: skip
def test_clean_text_examples(written, read):
    assert clean_text(written) == read


@thorough
@given(TEXT)
def test_article_cleaning(text):
    cleaned = article_cleaning(text)
    assert set(cleaned) <= set(string.ascii_lowercase + string.digits + " ")
    assert len(cleaned) == len(text.lower()) and article_cleaning(cleaned) == cleaned
    kept = [c for c in text.lower() if c in string.ascii_lowercase + string.digits]
    assert [c for c in cleaned if c != " "] == kept


# ------------------------------------------------------------------------------ ceiling


RATINGS = st.lists(st.integers(-4, 4), min_size=1, max_size=12)


@thorough
@given(st.lists(RATINGS, max_size=5), st.integers(0, 9))
def test_panel_agreement_is_a_share_and_knows_no_side(ratings, seed):
    shares = panel_agreement(ratings, seed=seed, panels=40)
    assert shares.shape == (len(ratings),) and ((shares >= 0) & (shares <= 1)).all()
    assert np.array_equal(shares, panel_agreement(ratings, seed=seed, panels=40))
    turned = panel_agreement([[-r for r in given] for given in ratings], seed=seed, panels=40)
    assert np.allclose(shares, turned)


def test_panel_agreement_against_the_binomial():
    # Of the 3 draws from (1, 1, -1), the majority is 1 with probability p³ + 3p²(1-p), p = 2/3.
    expected = (2 / 3) ** 3 + 3 * (2 / 3) ** 2 / 3
    [share] = panel_agreement([[1, 1, -1]], panels=20000)
    assert abs(share - expected) < 0.01
    assert panel_agreement([[2, 2, 2], [-1, 1], [0, 0]]).tolist()[::2] == [1, 0.5]


@pytest.mark.parametrize("given", [[0.1, 0.2, -0.3], [-0.3, 0.2, 0.1], [0.2, -0.3, 0.1]])
def test_a_mean_of_zero_counts_half_in_whatever_order_it_is_summed(given):
    assert panel_agreement([given]).tolist() == [0.5]


def test_panel_without_ratings():
    with pytest.raises(ValueError, match=r"ratings\[1\] is empty"):
        panel_agreement([[1], []])


# ------------------------------------------------------------------------------ split


@st.composite
def tables(draw):
    """Texts of two or three labels, at least four distinct of each, many of them repeated."""
    labels = draw(st.sampled_from([["a", "b"], ["x", "y", "z"], [0, 1]]))
    rows = []
    for label in labels:
        size = draw(st.integers(4, 12))
        rows += [(f"{label} {i}", label) for i in range(size)]
    copies = draw(st.lists(st.sampled_from(rows), max_size=15))
    change = [str.upper, str.title, lambda t: f"  {t.replace(' ', '   ')} "]
    rows += [(change[i % 3](text), label) for i, (text, label) in enumerate(copies)]
    order = draw(st.permutations(range(len(rows))))
    return pd.DataFrame([rows[i] for i in order], columns=["text", "label"]).assign(row=order)


@thorough
@given(tables(), st.sampled_from([0.25, 0.5]), st.integers(0, 5))
def test_split_shares_no_text_and_loses_no_row(table, test_size, seed):
    train, test = split_reviews(table, test_size, seed)
    key = lambda part: {" ".join(t.lower().split()) for t in part.text}  # noqa: E731
    assert not key(train) & key(test)
    assert sorted([*train.row, *test.row]) == sorted(table.row)
    position = {row: i for i, row in enumerate(table.row)}
    for part in (train, test):
        assert part.row.map(position).is_monotonic_increasing
        assert part.index.tolist() == list(range(len(part)))
    again = split_reviews(table, test_size, seed)
    assert train.equals(again[0]) and test.equals(again[1])


@thorough
@given(tables(), st.integers(0, 5))
def test_split_is_stratified(table, seed):
    _, test = split_reviews(table, 0.5, seed)
    distinct = table.assign(key=table.text.str.lower().str.split().str.join(" "))
    held = test.assign(key=test.text.str.lower().str.split().str.join(" "))
    total = distinct.drop_duplicates("key").label.value_counts()
    part = held.drop_duplicates("key").label.value_counts()
    assert (abs(part - total / 2) <= 1).all()


def test_split_of_the_movies():
    table = load_reviews("movies")
    train, test = split_reviews(table)
    assert (len(train), len(test)) == (8057, 2015)
    assert not set(train.text.str.casefold()) & set(test.text.str.casefold())
    assert set(train.id) | set(test.id) == set(table.id)
    assert train.columns.equals(table.columns) and test.columns.equals(table.columns)
    shares = [(part.label == "positive").mean() for part in (train, test, table)]
    assert max(shares) - min(shares) < 1e-3
    assert not test.equals(split_reviews(table, seed=1)[1])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"text": ["a"], "kind": ["x"]}, "no column 'label'; its columns are: text, kind"),
        ({"label": ["a"]}, "no column 'text'"),
        ({"text": [], "label": []}, "has no rows"),
        ({"text": ["a", None], "label": ["x", "y"]}, "the text (None|nan)"),
        ({"text": ["a", 3.5], "label": ["x", "y"]}, "the text 3.5"),
        ({"text": ["a", "b"], "label": ["x", None]}, "the label (None|nan)"),
        ({"text": ["a", "b", "c"], "label": ["x", "x", "y"]}, "label 'y' has one text"),
        ({"text": ["a", "A ", "b", "c"], "label": ["y", "y", "x", "x"]}, "label 'y' has one text"),
    ],
)
def test_split_refuses(table, message):
    with pytest.raises(ValueError, match=message):
        split_reviews(pd.DataFrame(table), 0.5)


def test_split_refuses_an_impossible_size():
    table = pd.DataFrame({"text": list("abcdefgh"), "label": ["x", "y"] * 4})
    with pytest.raises(ValueError, match="test_size"):
        split_reviews(table, 1.5)


# ------------------------------------------------------------------------------ encode, batch

LABELS = st.one_of(st.lists(TEXT, max_size=12), st.lists(st.integers(-9, 9), max_size=12))


@thorough
@given(LABELS)
def test_encode_labels_round_trip(labels):
    labels = [label.replace("\0", "") if isinstance(label, str) else label for label in labels]
    ids, classes = encode_labels(labels)
    assert ids.shape == (len(labels),) and list(classes) == sorted(set(labels))
    assert list(classes[ids]) == labels


@thorough
@given(
    st.lists(st.integers(0, 200), max_size=150),
    st.integers(1, 40),
    st.integers(1, 4),
    st.one_of(st.none(), st.integers(0, 9)),
)
def test_bucket_batches_hold_every_index_once(lengths, batch_size, stretch, seed):
    rng = None if seed is None else np.random.default_rng(seed)
    batches = bucket_batches(lengths, batch_size, rng, stretch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    if seed is None:
        assert len(batches) == -(-len(lengths) // batch_size)
        in_order = [lengths[i] for batch in batches for i in batch]
        assert in_order == sorted(lengths)
    else:
        again = bucket_batches(lengths, batch_size, np.random.default_rng(seed), stretch)
        assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def test_bucket_batches_waste_less_and_differ_by_epoch():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 60, 2000)
    first, second = bucket_batches(lengths, 32, rng), bucket_batches(lengths, 32, rng)
    assert sum(lengths[b].max() * len(b) for b in first) < 1.1 * lengths.sum()
    assert any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True])
def test_bucket_batches_refuse(batch_size):
    with pytest.raises(ValueError, match="batch_size must be a whole number from 1"):
        bucket_batches([1, 2], batch_size)


# ------------------------------------------------------------------------------ tables


def test_read_table_is_the_one_of_the_tables():
    assert reviews.read_table is read_table


# ------------------------------------------------------------------------------ validators


@pytest.mark.parametrize(
    "make", [list, tuple, np.array, pd.Series, lambda t: pd.Series(t, index=[7] * len(t)), iter]
)
def test_check_texts_takes_any_sequence(make):
    assert check_texts(make(["a", "", "好" * 100_000])) == ["a", "", "好" * 100_000]
    assert check_texts([]) == []


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a text", "texts must be a list, not a single text"),
        (b"bytes", "not a single text"),
        (None, "texts must be a list, a Series or an array, not NoneType"),
        (5, "not int"),
        (pd.DataFrame({"text": ["a"]}), "not DataFrame"),
        ({"a": 1}, "not dict"),
        (["a", None], r"texts\[1\] is None \(NoneType\), not text"),
        (["a", float("nan")], r"texts\[1\] is nan \(float\), not text"),
        ([3], r"texts\[0\] is 3 \(int\), not text"),
        ([b"a"], r"texts\[0\] is b'a'"),
        (["a", "\ud83db"], r"texts\[1\] holds half a character: replace it$"),
        (pd.Series(["a", pd.NA], dtype="string"), r"texts\[1\] is <NA>"),
        (np.array([["a", "b"]]), r"texts\[0\]"),
    ],
)
def test_check_texts_refuses(texts, message):
    with pytest.raises(ValueError, match=message):
        check_texts(texts)


@pytest.mark.parametrize(
    "labels",
    [
        ["a", "b"] * 2,
        np.array([0, 1] * 2),
        [0, np.int64(1)] * 2,
        [0.5, np.float32(1.5)] * 2,
        [4, 4.5, np.int64(4), np.float64(4.5)],
        [True, False] * 2,
        [True, np.False_] * 2,
        pd.Categorical(["x", "y"] * 2),
        pd.Series(["x", "y"] * 2, index=[9, 8, 7, 6]),
        ["正", "负"] * 2,
    ],
)
def test_check_training_takes_any_labels_of_one_type(labels):
    texts, kept = check_training(["t"] * 4, labels)
    assert texts == ["t"] * 4 and isinstance(kept, np.ndarray)
    assert kept.tolist() == list(labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "a", "b", "b", "c"], "label 'c' has one example"),
        (["a"] * 5, "only 'a': a classifier needs at least two classes"),
        (["a", "b", "a", "b"], "there are 5 texts but 4 labels"),
        (["a", "b", "a", "b", 1], "labels mix int and str"),
        ([1, 2, 1, 2, True], "labels mix bool and int"),
        (["a", "b", "a", "b", None], r"labels\[4\] is missing"),
        (["a", "b", "a", "b", float("nan")], r"labels\[4\] is missing"),
        ([np.nan, 1.0, 2.0, 1.0, 2.0], r"labels\[0\] is missing"),
        (["a", "b", pd.NA, "b", "a"], r"labels\[2\] is missing"),
        ([pd.NaT, 1, 2, 1, 2], r"labels\[0\] is missing"),
        (["a", "b", "a", "b", " "], r"labels\[4\] is missing"),
        (["", "", "b", "b", "b"], r"labels\[0\] is missing"),
        ([("a", 1)] * 5, r"labels\[0\] is \('a', 1\): a text has one label"),
        ([["a"], ["b"]] * 2 + [["a"]], "a text has one label"),
        (np.zeros((5, 2)), "a text has one label"),
        ("ababa", "labels must be a list, not a single text"),
        (None, "labels must be a list"),
    ],
)
def test_check_training_refuses(labels, message):
    with pytest.raises(ValueError, match=message):
        check_training(["t"] * 5, labels)


def test_nothing_to_train_on():
    with pytest.raises(ValueError, match="no label at all"):
        check_training([], [])


def test_imports_bring_in_no_tensorflow():
    code = (
        "import sys, sentiment_course.reviews, sentiment_course.baselines; "
        "print([m for m in ('tensorflow', 'keras', 'torch', 'jax', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
