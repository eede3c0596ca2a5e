"""Reviews to a decision: clauses, aspects, shares of praise with intervals that hold, a plan."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests

from sentiment_course.clauses import LONGEST, clause_table, clauses
from sentiment_course.market import (
    Aspects,
    Rates,
    aspect_costs,
    aspect_table,
    benjamini_hochberg,
    change_points,
    clause_key,
    coming_back,
    corrected_share,
    coverage,
    find_aspects,
    group_differences,
    judge_aspects,
    keyword_aspects,
    lean_on_neighbours,
    needs_from,
    overlap,
    product_reviews,
    quotes,
    rates,
    said_by_review,
    share_interval,
    split_again,
    topic_words,
    word_vectors,
    worth,
)
from sentiment_course.resources import VENTURE

KNOWN = Rates(praise=400, praise_found=320, blame=400, blame_found=300)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("Good screen but the battery died.", ["Good screen but the battery died."]),
        (
            "The screen is good but the battery died.",
            ["The screen is good", "but the battery died."],
        ),
        ("Wow! It works very well.", ["Wow! It works very well."]),
        ("It works. It is loud.", ["It works.", "It is loud."]),
        ("i bought this a while ago in a shop", ["i bought this a while ago in a shop"]),
        ("屏幕很好，但是电池太差了。", ["屏幕很好，", "但是电池太差了。"]),
        (
            "good phone 屏幕很好，电池太差。really loud",
            ["good phone 屏幕很好，", "电池太差。", "really loud"],
        ),
        ("", []),
        ("!!! ...", []),
        ("word", ["word"]),
    ],
)
def test_a_review_is_cut_into_clauses(text, cut):
    assert clauses(text) == cut


@pytest.mark.parametrize(
    "text", ["word " * 10_000, "字" * 10_000, "a, b, c, " * 3000, "x" * 50_000]
)
def test_no_clause_is_endless_and_nothing_is_lost(text):
    cut = clauses(text)
    assert "".join("".join(cut).split()) == "".join(text.split())
    assert all(len(c.split()) <= LONGEST + 3 for c in cut)


def test_product_reviews_are_whole_and_in_order():
    reviews = product_reviews()
    assert reviews.review.is_monotonic_increasing and reviews.review.is_unique
    assert reviews.text[0].startswith("troubleshooting ad-2500")
    assert reviews.text[0].endswith("i would recommend buying one.")
    for product, word in [
        ("Canon camera", "canon"),
        ("Nokia phone", "phone"),
        ("DVD player", "dvd"),
    ]:
        theirs = reviews["product"] == product
        has = reviews.text.str.contains(word)
        assert has[theirs].mean() > 2 * has[~theirs].mean()


def test_the_key_has_at_least_300_clauses_as_they_are_cut_today():
    key, reviews = clause_key(), product_reviews()
    assert len(key) >= 300 and not key.isna().any(axis=None)
    assert set(key.polarity) == {"praise", "blame", "neither"}
    assert (key.polarity[key.aspect == "none"] == "neither").all() and key.aspect.nunique() == 15
    table = clause_table(reviews.text[reviews.review.isin(key.review)].tolist())
    assert table.text.tolist() == key.text.tolist()
    assert (key.review % 16 == 1).all()


def test_a_clause_leans_on_its_neighbours_in_its_own_review_only():
    leaning = lean_on_neighbours([4.0, 0.0, 4.0, -8.0], [0, 0, 0, 1])
    assert leaning.tolist() == [4, 2, 4, -8]


TOPICS = {
    "battery": "battery charge charger hours power",
    "screen": "screen display pixels panel colours",
    "seller": "seller delivery parcel courier refund",
}


def invented(reviews=200, seed=0):
    """Reviews of clauses, each on one of three topics, and the topic of each."""
    rng, rows = np.random.default_rng(seed), []
    for review in range(reviews):
        for _ in range(4):
            topic = rng.choice(list(TOPICS))
            words = rng.choice(TOPICS[topic].split(), 3)
            rows.append((review, " ".join(["really", *words, "somehow"]), topic))
    table = pd.DataFrame(rows, columns=["review", "text", "topic"])
    return table, word_vectors(table.text, 10)


def test_aspects_are_the_topics_that_reviews_were_made_of():
    table, vectors = invented()
    aspects = find_aspects(table.text, vectors, 3)
    assert {frozenset(words) for words in aspects.words} == {
        frozenset(words.split()) for words in TOPICS.values()
    }
    found = aspects.of(vectors)
    assert all(len(set(found[table.topic == topic])) == 1 for topic in TOPICS)


def test_words_that_say_nothing_or_an_opinion_are_no_topic():
    table, vectors = invented()
    texts = table.text + np.where(table.topic == "battery", " great", "")
    words = set(topic_words(texts.tolist(), vectors).words)
    assert "battery" in words and not words & {"really", "great"}


def test_true_topics_come_back_in_halves_and_noise_does_not():
    table, vectors = invented()
    aspects = find_aspects(table.text, vectors, 3)
    assert (coming_back(aspects, table, vectors) == 5).all()
    rng = np.random.default_rng(0)
    noise = rng.normal(size=vectors.shape)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    centres = rng.normal(size=(3, vectors.shape[1]))
    assert (coming_back(Aspects([["a"], ["b"], ["c"]], centres), table, noise) < 4).all()


def test_overlap_is_jaccards_index():
    pairs = overlap(np.array([0, 0, 1, -1]), np.array([1, 0, 0, 0]), (2, 2))
    assert np.allclose(pairs, [[1 / 4, 1 / 2], [1 / 3, 0]])


def test_few_clauses_have_no_aspects_and_do_not_fail():
    vectors = word_vectors(["good screen", "bad battery", "loud"])
    aspects = find_aspects(["good screen", "bad battery", "loud"], vectors)
    assert aspects.words == [] and aspects.names == []


def test_aspects_are_judged_by_the_other_reviews_of_the_key():
    key = pd.DataFrame({"review": [1, 1, 2, 2, 3, 3], "aspect": ["battery", "none"] * 3})
    assert judge_aspects([0, 1, 0, 1, 0, 1], key) == (1, 1, 1)
    assert judge_aspects([0, 0, 1, 1, 2, 2], key)[1] == 0  # nothing known from other reviews
    precision, recall, _ = judge_aspects([0, -1, 0, -1, -1, 0], key)
    assert (precision, recall) == (2 / 3, 2 / 3)


def test_keywords_give_a_clause_its_rarest_common_word():
    texts = ["the battery", "battery screen", "screen", "battery", "nothing here"]
    found = keyword_aspects(texts, [0, 1, 2, 3, 4], count=2)
    assert found.tolist() == [0, 1, 1, 0, -1]


def test_rates_count_both_kinds_and_refuse_one():
    assert rates([1, 1, 0, 0], [1, 0, 0, 0]) == Rates(2, 1, 2, 2)
    with pytest.raises(ValueError, match="praise and texts that blame"):
        rates([1, 1], [1, 0])


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_the_corrected_share_undoes_the_errors(share):
    called = share * 0.8 + (1 - share) * 0.25
    assert np.isclose(corrected_share(called, 0.8, 0.75), share)
    with pytest.raises(ValueError, match="coin"):
        corrected_share(called, 0.5, 0.5)


def test_with_endless_labels_the_interval_is_that_of_the_count():
    endless = Rates(10**9, 10**9, 10**9, 10**9)
    share = share_interval(0.3, 10_000, endless)
    half = norm.ppf(0.975) * (0.3 * 0.7 / 10_000) ** 0.5
    assert np.allclose([share.low, share.high], [0.3 - half, 0.3 + half], atol=2e-4)
    few = share_interval(0.3, 10_000, Rates(50, 50, 50, 50))
    assert few.high - few.low > 2 * (share.high - share.low)


def test_the_interval_holds_the_truth_and_the_naive_count_does_not():
    rng = np.random.default_rng(0)
    labels = rng.random(3000) < 0.6
    called = np.where(rng.random(3000) < 0.78, labels, ~labels)
    held = np.array([coverage(share, labels, called, runs=600) for share in (0.2, 0.8)])
    assert ((held[:, 0] > 0.92) & (held[:, 0] < 0.98)).all() and (held[:, 1] < 0.2).all()


def test_clauses_of_one_review_count_as_little_as_they_are_alike():
    alike = np.repeat(np.arange(40) % 2 == 0, 10)
    reviews = np.repeat(np.arange(40), 10)
    assert 25 < worth(alike, reviews) < 60
    mixed = np.random.default_rng(0).random(400) < 0.5
    assert worth(mixed, reviews) > 200
    assert worth([True] * 9, [0] * 9) == 1


def test_the_table_counts_reviews_once_and_leaves_out_what_has_no_aspect():
    table = pd.DataFrame(
        {"review": [0, 0, 1, 2, 3], "aspect": [0, 0, 0, -1, 1], "praise": [1, 1, 0, 1, 1]}
    ).astype({"praise": bool})
    found = aspect_table(table, ["a", "b", "c"], KNOWN).set_index("aspect")
    assert found.index.tolist() == ["a", "b"]
    assert found.loc["a", ["clauses", "reviews", "mentioned"]].tolist() == [3, 2, 0.5]
    assert (found.low <= found.praise).all() and (found.praise <= found.high).all()
    assert np.isclose(found.naive["a"], 2 / 3)


def test_quotes_are_different_short_and_from_the_middle():
    texts = ["the battery is bad"] * 3 + [
        "battery is bad indeed today",
        "one two three four five six odd ones",
    ]
    vectors = np.array([[1, 0]] * 4 + [[0, 1]])
    assert quotes(texts, vectors, 1) == ["the battery is bad"]
    assert quotes(texts, vectors, 2) == ["the battery is bad", "battery is bad indeed today"]


def test_benjamini_and_hochberg_agree_with_statsmodels():
    p_values = np.random.default_rng(0).random(30) ** 2
    peer = multipletests(p_values, method="fdr_bh")[1]
    assert np.allclose(benjamini_hochberg(p_values), peer)


def two_groups(gap, seed=0, reviews=300):
    """Clauses of one aspect in two groups of reviews, that differ by `gap` in praise."""
    rng = np.random.default_rng(seed)
    group = np.where(np.arange(reviews) % 2, "new", "old")
    praise = rng.random(reviews) < 0.5 + gap * (group == "new")
    columns = {"review": range(reviews), "aspect": 0, "praise": praise, "group": group}
    return pd.DataFrame(columns)


def test_a_group_that_differs_is_found_and_corrected_and_chance_is_not():
    found = group_differences(two_groups(0.3), ["battery"], KNOWN)
    new = found[found.group == "new"].iloc[0]
    assert new.adjusted < 0.001 and 0.3 < new.difference < 0.8
    by_chance = [
        group_differences(two_groups(0, seed), ["battery"], KNOWN).adjusted.min() <= 0.05
        for seed in range(40)
    ]
    assert sum(by_chance) <= 6


def test_groups_of_three_members_are_not_compared():
    table = two_groups(0.3)
    table.loc[:2, "group"] = "tiny"
    assert "tiny" not in set(group_differences(table, ["battery"], KNOWN).group)


@pytest.mark.parametrize(
    ("praised", "places"),
    [
        ([48] * 8 + [30] * 6, [8]),
        ([48] * 5 + [20] * 5 + [50] * 5, [5, 10]),
        ([40] * 12, []),
        ([60] * 12, []),
        ([30, 50], []),
        ([], []),
    ],
)
def test_changes_are_found_where_they_are(praised, places):
    assert change_points(praised, [60] * len(praised)) == places


def test_series_without_a_change_seldom_show_one():
    rng = np.random.default_rng(0)
    found = [bool(change_points(rng.binomial(50, 0.6, 20), [50] * 20)) for _ in range(60)]
    assert sum(found) <= 9


def test_a_cost_is_the_coefficient_times_how_often_it_is_blamed():
    rng = np.random.default_rng(0)
    blamed = rng.random((2000, 2)) < [0.5, 0.1]
    stars = 5 - 2 * blamed[:, 0] - 3 * blamed[:, 1] + rng.normal(0, 0.3, 2000)
    costs = aspect_costs(stars, blamed, np.zeros((2000, 2)), draws=100)
    assert np.allclose(costs[:, 0], [1, 0.3], atol=0.07)
    assert (costs[:, 1] < costs[:, 0]).all() and (costs[:, 0] < costs[:, 2]).all()


def test_a_review_may_blame_and_praise_the_same():
    table = pd.DataFrame({"review": [0, 0, 2], "aspect": [1, 1, -1], "praise": [True, False, True]})
    blamed, praised = said_by_review(table, 2, 3)
    assert blamed.tolist() == praised.tolist() == [[False, True], [False] * 2, [False] * 2]


def test_only_what_costs_praise_beyond_doubt_becomes_a_need_and_money_moves_to_it():
    measured = pd.DataFrame({"aspect": ["a", "b", "c", "d"], "praise": [0.3, 0.3, 0.9, 0.9]})
    costs = pd.DataFrame(
        {"cost": [0.1, 0.2, 0.3, 0.1], "low": [0.05, -0.1, 0.1, 0.1], "high": [0.2, 0.5, 0.5, 0.2]},
        index=list("abcd"),
    )
    needs = needs_from(measured, costs)
    assert needs.resource.tolist() == ["Better: a"]  # b is in doubt; c and d are good enough
    assert needs.have.tolist() == [3.0] and needs.need[0] > 3
    table = split_again(VENTURE, needs, 30.0)
    assert np.isclose(table.after.sum(), 30) and np.isclose(table.moves.sum(), 0)
    assert table.after.iloc[-1] > 0 and table.before.iloc[-1] == 0
    unmoved = split_again(VENTURE, needs_from(measured, costs.assign(low=-1.0)), 30.0)
    assert np.allclose(unmoved.moves, 0)


@pytest.mark.parametrize(
    ("texts", "width"), [(["one battery"], 2), (["Батарея плохая"] * 3, 2), (["!!", "12"], 1)]
)
def test_word_vectors_exist_for_few_texts_and_any_script(texts, width):
    vectors = word_vectors(texts)
    assert vectors.shape == (len(texts), width) and np.isfinite(vectors).all()
