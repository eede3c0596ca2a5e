"""Scenarios: what holds for all inputs, and agreement with statsmodels, SciPy and pandas."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from statsmodels.api import GLM, Logit, add_constant, families
from statsmodels.datasets import spector
from statsmodels.stats.proportion import confint_proportions_2indep
from statsmodels.tsa.ar_model import AutoReg

from sentiment_course.baselines import tokenize, wilson_interval
from sentiment_course.scenarios import (
    autoregressive_forecast,
    best_of_many_rules,
    check_corrected_share,
    check_log_chance,
    check_share_difference_interval,
    copied_texts,
    fit_logit,
    group_interval,
    logit_intervals,
    looks_ahead,
    moving_average_rules,
    naive_forecast,
    sharpe_ratio,
    shift_images,
    strategy_returns,
    treatment_effects,
    walk_forward,
    word_shares,
)

examples = settings(deadline=None, max_examples=50, derandomize=True)
few = settings(deadline=None, max_examples=12, derandomize=True)
fewest = settings(deadline=None, max_examples=5, derandomize=True)
seeds = st.integers(0, 10_000)


def walk(seed, days=200):
    """The returns and prices of a random walk."""
    returns = np.random.default_rng(seed).normal(0, 0.02, days)
    return returns, 50 * np.exp(np.cumsum(returns))


# Vision


@examples
@given(seeds, st.integers(-3, 3), st.integers(-4, 4))
def test_shift_agrees_with_scipy(seed, right, down):
    images = np.random.default_rng(seed).random((3, 5, 4))
    peer = ndimage.shift(images, (0, down, right), order=0, mode="constant", cval=0)
    np.testing.assert_array_equal(shift_images(images, right, down), peer)


@examples
@given(seeds, st.integers(-2, 2), st.integers(-2, 2))
def test_shift_and_back_keeps_what_did_not_fall_off(seed, right, down):
    images = np.zeros((2, 8, 8))
    images[:, 2:6, 2:6] = np.random.default_rng(seed).random((2, 4, 4))
    back = shift_images(shift_images(images, right, down), -right, -down)
    np.testing.assert_array_equal(back, images)


@pytest.mark.parametrize(
    ("images", "moves", "named"),
    [
        (np.zeros((2, 3)), {}, "images"),
        (np.full((1, 2, 2), np.nan), {}, "images"),
        (np.zeros((1, 3, 4)), {"right": 4}, "right"),
        (np.zeros((1, 3, 4)), {"down": -3}, "down"),
        (np.zeros((1, 3, 4)), {"down": 0.5}, "down"),
    ],
)
def test_shift_refuses(images, moves, named):
    with pytest.raises(ValueError, match=named):
        shift_images(images, **moves)


# Groups


@examples
@given(seeds, st.floats(0.1, 100), st.floats(-100, 100))
def test_group_interval_moves_and_scales_with_the_values(seed, scale, shift):
    rng = np.random.default_rng(seed)
    values, groups = rng.normal(size=60), rng.integers(9, size=60)
    low, high = group_interval(values, groups, resamples=200)
    moved = group_interval(scale * values + shift, groups, resamples=200)
    np.testing.assert_allclose(moved, (scale * low + shift, scale * high + shift), atol=1e-9)
    named = np.array([f"group {g}" for g in groups])
    np.testing.assert_allclose(group_interval(values, named, resamples=200), (low, high))
    means = [values[groups == g].mean() for g in np.unique(groups)]
    assert min(means) - 1e-9 <= low <= high <= max(means) + 1e-9


@examples
@given(seeds)
def test_group_interval_is_the_same_whatever_the_order_of_the_sums(seed):
    rng = np.random.default_rng(seed)
    values, groups = rng.normal(size=60), rng.integers(9, size=60)
    order = rng.permutation(60)
    one, other = group_interval(values, groups), group_interval(values[order], groups[order])
    np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@few
@given(seeds)
def test_group_interval_has_the_width_that_theory_gives(seed):
    m_g = np.random.default_rng(seed).normal(size=40)
    values, groups = np.repeat(m_g, 3), np.repeat(np.arange(40), 3)
    low, high = group_interval(values, groups)
    s = m_g.std() / np.sqrt(40)
    assert abs((high - low) / (2 * stats.norm.ppf(0.975) * s) - 1) < 0.12


def test_group_interval_agrees_with_scipy_where_each_stands_alone():
    values = np.random.default_rng(0).exponential(size=300)
    peer = stats.bootstrap(
        (values,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    np.testing.assert_allclose(group_interval(values, resamples=5000), peer, atol=0.01)


def test_only_grouped_intervals_keep_their_promise():
    held = {"alone": 0, "grouped": 0}
    groups = np.repeat(np.arange(30), 10)
    for seed in range(150):
        rng = np.random.default_rng(seed)
        values = np.repeat(rng.normal(size=30), 10) + 0.3 * rng.normal(size=300)
        for name, parts in (("alone", None), ("grouped", groups)):
            low, high = group_interval(values, parts, resamples=300, seed=seed)
            held[name] += low <= 0 <= high
    assert held["grouped"] > 130 and held["alone"] < 90


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (([],), "values"),
        (([1.0, np.inf],), "values"),
        (([1.0, 2.0], [0]), "groups"),
        (([1.0, 2.0], [7, 7]), "groups"),
        (([1.0, 2.0], None, 1.0), "confidence"),
        (([1.0, 2.0], None, 0.9, 0), "resamples"),
    ],
)
def test_group_interval_refuses(arguments, named):
    with pytest.raises(ValueError, match=named):
        group_interval(*arguments)


# Forecasts


@examples
@given(seeds, st.integers(3, 40), st.floats(-1e4, 1e4))
def test_autoregression_agrees_with_two_references(seed, count, level):
    history = level + np.cumsum(np.random.default_rng(seed).normal(size=count))
    ours = autoregressive_forecast(history)
    slope, start = np.polyfit(history[:-1] - level, history[1:] - level, 1)
    np.testing.assert_allclose(ours - level, start + slope * (history[-1] - level), atol=1e-6)
    if count > 5:
        peer = AutoReg(history - level, lags=1).fit().forecast(1)[0] + level
        np.testing.assert_allclose(ours, peer, rtol=1e-6, atol=1e-6)


def test_a_history_that_never_moved_is_repeated():
    assert autoregressive_forecast([0.1] * 7) == 0.1
    assert naive_forecast([3, 1, 4]) == 4


@examples
@given(seeds, st.integers(1, 29))
def test_walk_forward_hands_over_the_past_only(seed, start):
    series = np.random.default_rng(seed).normal(size=30)
    seen = []

    def forecast(history):
        seen.append(history.copy())
        history[:] = 99  # what a forecast does with its copy is its own affair
        return len(history)

    made = walk_forward(series, forecast, start)
    np.testing.assert_array_equal(made, np.arange(start, 30))
    for t, history in zip(range(start, 30), seen, strict=True):
        np.testing.assert_array_equal(history, series[:t])
    np.testing.assert_array_equal(
        walk_forward(series, naive_forecast, start), series[start - 1 : -1]
    )


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: naive_forecast([]), "history"),
        (lambda: autoregressive_forecast([1, 2]), "history"),
        (lambda: autoregressive_forecast([1, 2, np.nan]), "history"),
        (lambda: walk_forward([1, 2, 3], naive_forecast, 0), "start"),
        (lambda: walk_forward([1, 2, 3], naive_forecast, 3), "start"),
        (lambda: walk_forward([1, 2, 3], naive_forecast, 1.5), "start"),
        (lambda: walk_forward([[1, 2, 3]], naive_forecast, 1), "series"),
        (lambda: walk_forward([1, 2, 3], lambda history: np.nan, 1), "forecast"),
    ],
)
def test_forecasts_refuse(call, named):
    with pytest.raises(ValueError, match=named):
        call()


# Backtests


@examples
@given(seeds)
def test_a_position_earns_the_next_day(seed):
    returns, _ = walk(seed, 20)
    positions = np.random.default_rng(seed + 1).integers(-1, 2, size=(3, 20))
    earned = strategy_returns(returns, positions)
    assert np.all(earned[:, 0] == 0)
    for t in range(1, 20):
        np.testing.assert_array_equal(earned[:, t], positions[:, t - 1] * returns[t])
    np.testing.assert_array_equal(strategy_returns(returns, positions[1]), earned[1])


@examples
@given(seeds, st.floats(1e-3, 1e3))
def test_sharpe_ratio_agrees_with_pandas_and_ignores_the_stake(seed, stake):
    returns = np.random.default_rng(seed).normal(0.001, 0.01, size=(2, 50))
    frame = pd.DataFrame(returns.T)
    peer = np.sqrt(252) * frame.mean() / frame.std(ddof=0)
    np.testing.assert_allclose(sharpe_ratio(returns), peer, rtol=1e-9)
    np.testing.assert_allclose(sharpe_ratio(-stake * returns), -peer, rtol=1e-9)
    assert np.isclose(sharpe_ratio(returns[0], 63), peer[0] / 2)


@few
@given(seeds)
def test_moving_average_rules_by_hand(seed):
    _, prices = walk(seed, 40)
    names, positions = moving_average_rules(prices, (10, 2, 5, 2))
    assert len(names) == len(set(names)) == 6 == len(positions)
    np.testing.assert_array_equal(positions[:3], -positions[3:])
    at = names.index("follow 2 over 10 days")
    for t in range(40):
        short, long = prices[max(0, t - 1) : t + 1].mean(), prices[max(0, t - 9) : t + 1].mean()
        if abs(short - long) > 1e-9:
            assert positions[at, t] == np.sign(short - long)


@few
@given(seeds, st.integers(50, 150))
def test_best_rule_is_chosen_before_the_split_only(seed, split):
    returns, prices = walk(seed)
    _, positions = moving_average_rules(prices, (2, 5, 20))
    best = best_of_many_rules(returns, positions, split)
    earned = strategy_returns(returns, positions)
    assert best["in_sample"] == pytest.approx(sharpe_ratio(earned[:, :split]).max())
    assert best["out_of_sample"] == pytest.approx(sharpe_ratio(earned[best["rule"], split:]))
    later = returns.copy()
    later[split:] *= -1
    again = best_of_many_rules(later, positions, split)
    assert (again["rule"], again["in_sample"]) == (best["rule"], best["in_sample"])
    assert again["out_of_sample"] == pytest.approx(-best["out_of_sample"])


@few
@given(seeds)
def test_looks_ahead_tells_leaks_from_honest_rules(seed):
    _, prices = walk(seed)
    assert not looks_ahead(lambda p: moving_average_rules(p, (2, 7))[1], prices)
    assert not looks_ahead(np.ones_like, prices)
    assert not looks_ahead(lambda p: pd.Series(p).rolling(9).mean(), prices)  # starts with NaN
    assert looks_ahead(lambda p: np.sign(np.append(np.diff(p), 0)), prices)  # tomorrow's move
    assert looks_ahead(lambda p: (p - p.mean()) / p.std(), prices)  # the mean of all days
    late = lambda p: np.where(np.arange(len(p)) < 150, 0, p[-1] - p)  # noqa: E731
    assert looks_ahead(late, prices)
    centred = lambda p: pd.Series(p).rolling(5, center=True, min_periods=1).mean()  # noqa: E731
    assert looks_ahead(centred, prices)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: strategy_returns([0.1, 0.2], np.ones(3)), "positions"),
        (lambda: strategy_returns([0.1, np.nan], np.ones(2)), "returns"),
        (lambda: sharpe_ratio([0.1, 0.1, 0.1]), "never vary"),
        (lambda: sharpe_ratio([[0.1, 0.2], [0.0, 0.0]]), "never vary"),
        (lambda: moving_average_rules([1.0, 0.0], (2, 3)), "prices"),
        (lambda: moving_average_rules([1.0, 2.0], (2, 2)), "windows"),
        (lambda: moving_average_rules([1.0, 2.0], (0, 2)), "windows"),
        (lambda: best_of_many_rules(np.arange(5.0), np.ones((2, 5)), 1), "split"),
        (lambda: best_of_many_rules(np.arange(5.0), np.ones((2, 5)), 4), "split"),
        (lambda: looks_ahead(np.diff, np.arange(30.0)), "rule"),
        (lambda: looks_ahead(np.sign, [1.0, 2.0], 2), "checks"),
        (lambda: looks_ahead(np.sign, [1.0, 2.0], 0), "checks"),
    ],
)
def test_backtests_refuse(call, named):
    with pytest.raises(ValueError, match=named):
        call()


# Words

WORDS = st.lists(st.sampled_from(["good", "bad", "Bad", "don't", "film", "!", "7"]), max_size=6)


@examples
@given(st.lists(st.tuples(WORDS.map(" ".join), st.booleans()), min_size=1, max_size=12))
def test_word_shares_count_texts(pairs):
    texts, praise = zip(*pairs, strict=True)
    assume(any(praise))
    table = word_shares(texts, ["positive" if p else "negative" for p in praise])
    expected = {w for text in texts for w in tokenize(text) if w[0].isalpha()}
    assert set(table.index) == expected
    for word, row in table.iterrows():
        among = [p for text, p in pairs if word in tokenize(text)]
        assert (row.texts, row.positive) == (len(among), sum(among))
        assert row.share == sum(among) / len(among)
        assert (row.low, row.high) == wilson_interval(sum(among), len(among))


@pytest.mark.parametrize(
    ("texts", "labels", "named"),
    [
        ("a b", ["positive", "negative"], "texts"),
        (["a", 3], ["positive", "negative"], "texts"),
        (["a"], ["positive", "negative"], "labels"),
        (["a"], ["negative"], "positive"),
        ([], [], "positive"),
    ],
)
def test_word_shares_refuse(texts, labels, named):
    with pytest.raises(ValueError, match=named):
        word_shares(texts, labels)


@examples
@given(st.lists(st.tuples(WORDS.map(" ".join), st.booleans()), min_size=1, max_size=12), seeds)
def test_word_shares_do_not_hang_on_the_order_of_the_texts(pairs, seed):
    texts, praise = zip(*pairs, strict=True)
    assume(any(praise))
    labels = ["positive" if p else "negative" for p in praise]
    order = np.random.default_rng(seed).permutation(len(texts))
    again = word_shares([texts[i] for i in order], [labels[i] for i in order])
    pd.testing.assert_frame_equal(word_shares(texts, labels), again)
    assert again.index.is_monotonic_increasing  # so that a stable sort leaves ties in order


# Copies


def runs_of(text, run):
    """The runs of `run` words in a text, by a loop."""
    words = tokenize(text)
    return {tuple(words[i : i + run]) for i in range(len(words) - run + 1)}


@examples
@given(st.lists(WORDS.map(" ".join), max_size=7), st.integers(1, 3), st.floats(0.01, 1))
def test_copies_are_the_pairs_with_the_jaccard_index_asked_for(texts, run, threshold):
    expected = {}
    for i, first in enumerate(texts):
        for j in range(i + 1, len(texts)):
            a, b = runs_of(first, run), runs_of(texts[j], run)
            if a | b:
                expected[i, j] = len(a & b) / len(a | b)
    found = copied_texts(texts, threshold, run)
    shown = {(i, j): overlap for i, j, overlap in found.itertuples(index=False)}
    assert shown == {p: pytest.approx(j) for p, j in expected.items() if j >= threshold}
    keys = [(-overlap, i, j) for i, j, overlap in found.itertuples(index=False)]
    assert keys == sorted(keys)


@examples
@given(st.lists(WORDS.map(" ".join), min_size=1, max_size=7), seeds)
def test_copies_do_not_hang_on_the_order_of_the_texts(texts, seed):
    order = np.random.default_rng(seed).permutation(len(texts))
    there = copied_texts(texts, 0.3, 2)
    again = copied_texts([texts[i] for i in order], 0.3, 2)
    pairs = {
        frozenset((int(order[i]), int(order[j]))) for i, j in again[["first", "second"]].values
    }
    assert pairs == {frozenset(pair) for pair in there[["first", "second"]].values.tolist()}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("a b",), "texts"),
        ((["a", None],), "texts"),
        ((["a"], 0), "threshold"),
        ((["a"], 1.1), "threshold"),
        ((["a"], 0.5, 0), "run"),
        ((["a"], 0.5, 1.5), "run"),
    ],
)
def test_copies_refuse(arguments, named):
    with pytest.raises(ValueError, match=named):
        copied_texts(*arguments)


# Logistic regression


def study(seed, count=60, columns=2):
    """Features on very different scales, one of them 0 or 1, and labels that depend on them."""
    rng = np.random.default_rng(seed)
    features = np.column_stack([rng.normal(size=(count, columns)), rng.integers(2, size=count)])
    logits = features @ rng.normal(size=columns + 1) / 2 + rng.normal() / 2
    labels = (rng.random(count) < 1 / (1 + np.exp(-logits))).astype(float)
    return features * np.append(10.0 ** rng.uniform(-3, 3, columns), 1) + 5 * np.eye(3)[0], labels


@examples
@given(seeds)
def test_fit_agrees_with_statsmodels(seed):
    features, labels = study(seed)
    assume(4 < labels.sum() < 56)
    fitted = fit_logit(features, labels)
    mean, spread = features.mean(axis=0), features.std(axis=0)
    peer = Logit(labels, add_constant((features - mean) / spread)).fit(disp=0).params
    np.testing.assert_allclose(fitted["weights"] * spread, peer[1:], atol=1e-6)
    np.testing.assert_allclose(fitted["bias"] + fitted["weights"] @ mean, peer[0], atol=1e-6)


@fewest
@given(seeds)
def test_intervals_end_where_the_likelihood_fell_by_the_limit(seed):
    features, labels = study(seed)
    assume(8 < labels.sum() < 52)
    intervals, fitted = logit_intervals(features, labels), fit_logit(features, labels)
    assert np.all(intervals[:, 0] < fitted["weights"]) and np.all(
        fitted["weights"] < intervals[:, 1]
    )
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    most = Logit(labels, add_constant(scaled)).fit(disp=0).llf
    for j, end in np.ndindex(3, 2):
        offset = intervals[j, end] * features.std(axis=0)[j] * scaled[:, j]
        rest = add_constant(np.delete(scaled, j, axis=1))
        held = GLM(labels, rest, families.Binomial(), offset=offset).fit(tol=1e-12).llf
        assert 2 * (most - held) == pytest.approx(stats.chi2.ppf(0.95, 1), abs=1e-5)


@fewest
@given(seeds, st.floats(0.5, 20))
def test_intervals_follow_units_labels_and_confidence(seed, unit):
    features, labels = study(seed)
    assume(8 < labels.sum() < 52)
    intervals = logit_intervals(features, labels)
    np.testing.assert_allclose(
        logit_intervals(features * unit, labels) * unit, intervals, rtol=1e-5, atol=1e-8
    )
    np.testing.assert_allclose(
        logit_intervals(features, 1 - labels), -intervals[:, ::-1], rtol=1e-5, atol=1e-8
    )
    narrow = logit_intervals(features, labels, 0.5)
    assert np.all(intervals[:, 0] < narrow[:, 0]) and np.all(narrow[:, 1] < intervals[:, 1])


def test_wide_data_gives_the_interval_of_the_normal_theory():
    """With many examples the profile is a parabola, and both kinds of interval meet."""
    features, labels = study(1, count=4000)
    peer = Logit(labels, add_constant(features / features.std(axis=0))).fit(disp=0)
    ours = logit_intervals(features, labels) * features.std(axis=0)[:, None]
    np.testing.assert_allclose(ours, peer.conf_int()[1:], atol=1e-2)


@few
@given(seeds)
def test_effects_agree_with_statsmodels(seed):
    features, labels = study(seed)
    features = (features - features.mean(axis=0) * [1, 1, 0]) / [*features.std(axis=0)[:2], 1]
    assume(8 < labels.sum() < 52)
    fitted = fit_logit(features, labels)
    effects = treatment_effects(fitted, features, 2)
    peer = Logit(labels, add_constant(features)).fit(disp=0).get_margeff(dummy=True)
    assert effects.mean() == pytest.approx(peer.margeff[2], abs=1e-6)
    assert np.all(np.sign(effects) == np.sign(fitted["weights"][2]))
    turned = features * [1, 1, -1] + [0, 0, 1]  # who had it has it not: the effect is the same
    np.testing.assert_allclose(treatment_effects(fitted, turned, 2), effects, atol=1e-12)


def test_students_as_statsmodels_prints_them():
    data = spector.load_pandas()
    fitted = fit_logit(data.exog.to_numpy(), data.endog.to_numpy())
    np.testing.assert_allclose(fitted["weights"], [2.8261, 0.0952, 2.3787], atol=5e-5)
    assert fitted["bias"] == pytest.approx(-13.0213, abs=5e-5)


X = np.array([[0.0, 1], [1, 0], [2, 0], [3, 1], [4, 0], [5, 1]])
Y = np.array([0.0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize("function", [fit_logit, logit_intervals])
@pytest.mark.parametrize(
    ("features", "labels", "named"),
    [
        (X[:, 0], Y, "features"),
        (np.where(X == 5, np.nan, X), Y, "features"),
        (X[:5], Y, "features"),
        (np.column_stack([X, np.full(6, 0.1)]), Y, "features"),
        (X, Y + 1, "labels"),
        (X, np.ones(6), "labels"),
        (X, Y[:, None], "labels"),
        (X, np.array([0.0, 0, 0, 1, 1, 1]), "separate"),  # at 2.5
        (X, np.array([0.0, 0, 0, 1, 0, 1]), "separate"),  # only in part: all of one group are 0
        (np.column_stack([X, X.sum(axis=1)]), Y, "follows"),
    ],
)
def test_logit_refuses(function, features, labels, named):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=named):
            function(features, labels)


def test_the_rest_refuses():
    with pytest.raises(ValueError, match="confidence"):
        logit_intervals(X, Y, 0)
    parameters = {"weights": np.ones(2), "bias": 0.0}
    for column in (2, -1, 0.5):
        with pytest.raises(ValueError, match="column"):
            treatment_effects(parameters, X, column)
    with pytest.raises(ValueError, match="column 0"):
        treatment_effects(parameters, X, 0)
    with pytest.raises(ValueError, match="weights"):
        treatment_effects({"weights": np.ones(3), "bias": 0.0}, X, 1)


# Exercises


def test_corrected_share_recovers_the_truth():
    for q, found, false_alarms in [(0.3, 0.8, 0.1), (0.9, 0.55, 0.5), (0.0, 0.2, 0.6)]:
        counted = q * found + (1 - q) * false_alarms
        got = check_corrected_share.expected(counted, found, false_alarms)
        assert got == pytest.approx(q)


def test_chance_of_luck_agrees_with_a_simulation():
    rng, rules, days = np.random.default_rng(0), 20, 1008
    best = rng.normal(0, np.sqrt(252 / days), size=(20_000, rules)).max(axis=1)
    for sharpe in (0.5, 1.0, 1.4):
        chance = np.exp(check_log_chance.expected(rules, days, sharpe))
        assert chance == pytest.approx((best >= sharpe).mean(), abs=0.01)
    naive = lambda rules, days, s: np.log(1 - stats.norm.cdf(s / np.sqrt(252 / days)) ** rules)  # noqa: E731
    with np.errstate(divide="ignore"):
        assert not check_log_chance(naive)


@examples
@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_difference_of_shares_agrees_with_statsmodels(n1, n2, data):
    k1, k2 = data.draw(st.integers(0, n1)), data.draw(st.integers(0, n2))
    ours = check_share_difference_interval.expected(k1, n1, k2, n2)
    peer = confint_proportions_2indep(k1, n1, k2, n2, method="newcomb", compare="diff")
    np.testing.assert_allclose(ours, peer, atol=1e-9)
