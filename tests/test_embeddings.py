"""Chapter 8: tokens, the embedding table and its gradients, lazy Adam, PPMI, the classifier."""

import copy
import functools
import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sentiment_course import embeddings
from sentiment_course.embeddings import (
    LENGTH,
    RARE,
    EmbeddingClassifier,
    LazyAdam,
    bag_matrix,
    build_vocabulary,
    cooccurrences,
    cosines,
    gradients,
    hide_tokens,
    join_units,
    ppmi,
    row_shares,
    split_units,
    starting_table,
    tokenize,
    train,
)
from sentiment_course.gradient_descent import Adam
from sentiment_course.losses import cross_entropy_from_logits, numerical_gradient
from sentiment_course.reviews import load_reviews, split_reviews

quick = settings(deadline=None, max_examples=50, derandomize=True)
analyzers = st.sampled_from(["word", "char"])
token_lists = st.lists(st.lists(st.sampled_from("abcdef"), max_size=8), min_size=1, max_size=6)
seeds = st.integers(0, 2**32 - 1)


def problem(seed, texts=5, tokens=7, dimension=3, classes=3, scale=1.0):
    """Random parameters, counts (the last text blank) and labels."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 3, (texts, tokens)) * (rng.random((texts, tokens)) < 0.5)
    counts[-1] = 0
    parameters = {
        "V": scale * rng.normal(size=(tokens, dimension)),
        "W": rng.normal(size=(dimension, classes)),
        "b": rng.normal(size=classes),
    }
    return parameters, csr_matrix(counts.astype(float)), rng.integers(0, classes, texts)


def dense(slopes, table):
    """The gradient of the table as a whole array."""
    whole = np.zeros_like(table)
    rows, values = slopes["V"]
    whole[rows] = values
    return whole


# Tokens


@pytest.mark.parametrize(
    "text, analyzer, ngrams, expected",
    [
        ("Don't miss it!", "word", 1, ["don't", "miss", "it"]),
        ("Don’t", "word", 1, ["don't"]),
        ("'quoted' rock'n'roll", "word", 1, ["quoted", "rock'n'roll"]),
        ("snake_case 3D", "word", 1, ["snake", "case", "3d"]),
        ("a b c", "word", 3, ["a", "b", "c", "a b", "b c", "a b c"]),
        ("很 好看", "char", 2, ["很", "好", "看", "很好", "好看"]),
        ("一", "char", 3, ["一"]),
        (" \t", "char", 2, []),
        ("?!", "word", 2, []),
    ],
)
def test_tokens_of_known_texts(text, analyzer, ngrams, expected):
    assert tokenize(text, analyzer, ngrams) == expected


@quick
@given(st.text(max_size=40), analyzers, st.integers(1, 4))
def test_number_of_tokens(text, analyzer, ngrams):
    units = split_units(text, analyzer)
    tokens = tokenize(text, analyzer, ngrams)
    assert len(tokens) == sum(max(0, len(units) - n) for n in range(ngrams))
    assert tokens == join_units(units, analyzer, ngrams)
    assert tokens[: len(units)] == units


@quick
@given(token_lists, st.integers(1, 3))
def test_vocabulary_numbers_what_is_common_enough(lists, min_count):
    vocabulary = build_vocabulary(lists, min_count)
    assert list(vocabulary.values()) == list(range(len(vocabulary)))
    for token in "abcdef":
        assert (token in vocabulary) == (sum(token in tokens for tokens in lists) >= min_count)


# Bags and pooling


@quick
@given(token_lists, token_lists)
def test_pooling_is_the_mean_of_the_known_rows(lists, others):
    vocabulary = build_vocabulary(lists)
    V = np.random.default_rng(0).normal(size=(len(vocabulary), 3))
    pooled = row_shares(bag_matrix(others, vocabulary)) @ V
    for tokens, p in zip(others, pooled, strict=True):
        known = [vocabulary[t] for t in tokens if t in vocabulary]
        assert np.allclose(p, V[known].mean(axis=0) if known else 0)


@quick
@given(token_lists)
def test_bags_count(lists):
    vocabulary = build_vocabulary(lists)
    bags = bag_matrix(lists, vocabulary)
    assert bags.shape == (len(lists), len(vocabulary))
    for tokens, row in zip(lists, bags.toarray(), strict=True):
        assert [tokens.count(t) for t in vocabulary] == list(row)
    sums = np.asarray(row_shares(bags).sum(axis=1)).ravel()
    assert np.allclose(sums, [bool(tokens) for tokens in lists])


def test_row_shares_of_a_stored_zero():
    stored = csr_matrix((np.array([0.0]), ([0], [1])), (1, 2))
    assert np.array_equal(row_shares(stored).toarray(), [[0, 0]])


def test_hidden_tokens():
    bags = csr_matrix(np.full((200, 50), 2.0))
    kept = hide_tokens(bags, 0.3, np.random.default_rng(0))
    assert set(kept.data) == {2.0} and abs(kept.nnz / bags.nnz - 0.7) < 0.02
    assert hide_tokens(bags, 0, np.random.default_rng(0)).nnz == bags.nnz == 200 * 50


# Gradients


@quick
@given(seeds, st.integers(1, 4), st.integers(2, 4))
def test_gradients_equal_finite_differences(seed, dimension, classes):
    parameters, bags, labels = problem(seed, dimension=dimension, classes=classes)
    A = row_shares(bags)
    loss, slopes = gradients(parameters, A, labels)

    def loss_with(name):
        def of(value):
            p = {**parameters, name: value}
            return cross_entropy_from_logits(labels, A @ p["V"] @ p["W"] + p["b"])

        return of

    assert np.isclose(loss, loss_with("V")(parameters["V"]))
    found = {"V": dense(slopes, parameters["V"]), "W": slopes["W"], "b": slopes["b"]}
    for name, value in parameters.items():
        assert np.allclose(found[name], numerical_gradient(loss_with(name), value), atol=1e-7)


@quick
@given(seeds)
def test_gradient_rows_are_those_in_the_batch(seed):
    parameters, bags, labels = problem(seed)
    rows, values = gradients(parameters, row_shares(bags), labels)[1]["V"]
    assert np.array_equal(rows, np.flatnonzero(bags.sum(axis=0)))
    assert values.shape == (len(rows), 3)


@quick
@given(seeds)
def test_with_two_classes_all_rows_move_along_one_line(seed):
    parameters, bags, labels = problem(seed, classes=2)
    _, values = gradients(parameters, row_shares(bags), labels)[1]["V"]
    line = parameters["W"] @ [-1, 1]
    assert np.allclose(values, np.outer(values @ line, line) / (line @ line))


def test_gradients_of_extreme_logits_are_finite():
    parameters, bags, labels = problem(0, scale=1e4)
    loss, slopes = gradients(parameters, row_shares(bags), labels)
    assert np.isfinite(loss) and np.isfinite(slopes["V"][1]).all()


def test_blank_batch():
    parameters, _, _ = problem(0)
    loss, slopes = gradients(parameters, csr_matrix((2, 7)), np.array([0, 1]))
    assert np.isfinite(loss) and len(slopes["V"][0]) == 0 and not slopes["W"].any()


def test_gradients_agree_with_torch():
    torch = pytest.importorskip("torch")
    parameters, bags, labels = problem(3)
    leaves = {n: torch.tensor(p, requires_grad=True) for n, p in parameters.items()}
    A = torch.tensor(row_shares(bags).toarray())
    logits = A @ leaves["V"] @ leaves["W"] + leaves["b"]
    theirs = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    theirs.backward()
    loss, slopes = gradients(parameters, row_shares(bags), labels)
    assert np.isclose(loss, theirs.item())
    assert np.allclose(dense(slopes, parameters["V"]), leaves["V"].grad)
    assert np.allclose(slopes["W"], leaves["W"].grad)
    assert np.allclose(slopes["b"], leaves["b"].grad)


# Lazy Adam


@quick
@given(seeds)
def test_lazy_adam_with_every_row_is_adam(seed):
    rng = np.random.default_rng(seed)
    plain, lazy, rows = Adam(0.1), LazyAdam(0.1), np.arange(4)
    a = {"V": rng.normal(size=(4, 2)), "b": rng.normal(size=3)}
    c = {name: value.copy() for name, value in a.items()}
    for _ in range(5):
        g = {name: rng.normal(size=value.shape) for name, value in a.items()}
        a = plain.update(a, g)
        c = lazy.update(c, {"V": (rows, g["V"]), "b": g["b"]})
        assert all(np.allclose(a[name], c[name], rtol=1e-12) for name in a)


def test_lazy_adam_is_torchs_sparse_adam():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    table = rng.normal(size=(6, 3))
    theirs = torch.nn.Parameter(torch.tensor(table.copy()))
    of_torch = torch.optim.SparseAdam([theirs], lr=0.05, eps=1e-7)
    ours, mine = LazyAdam(0.05), {"V": table}
    for _ in range(8):
        rows = np.sort(rng.choice(6, rng.integers(1, 5), replace=False))
        values = rng.normal(size=(len(rows), 3))
        theirs.grad = torch.sparse_coo_tensor(rows[None], values, (6, 3), check_invariants=True)
        of_torch.step()
        mine = ours.update(mine, {"V": (rows, values)})
        assert np.allclose(mine["V"], theirs.detach(), atol=1e-9)


@quick
@given(seeds)
def test_lazy_adam_leaves_other_rows_alone(seed):
    rng = np.random.default_rng(seed)
    table = {"V": rng.normal(size=(5, 2))}
    optimizer = LazyAdam(0.1)
    optimizer.update(table, {"V": (np.arange(5), rng.normal(size=(5, 2)))})
    before = table["V"].copy()
    slots = [slot.copy() for slot in optimizer.slots["V"]]
    optimizer.update(table, {"V": (np.array([1, 3]), rng.normal(size=(2, 2)))})
    same = [0, 2, 4]
    assert np.array_equal(table["V"][same], before[same])
    assert not np.any(table["V"][[1, 3]] == before[[1, 3]])
    for old, new in zip(slots, optimizer.slots["V"], strict=True):
        assert np.array_equal(old[same], new[same])


@pytest.mark.parametrize("rows", [[1, 1], [2, 0]])
def test_lazy_adam_wants_each_row_once_in_order(rows):
    with pytest.raises(ValueError, match="rows of gradients"):
        LazyAdam(0.1).update({"V": np.zeros((3, 2))}, {"V": (np.array(rows), np.ones((2, 2)))})


# Training


def test_train_lowers_the_loss_and_leaves_the_start_alone():
    parameters, bags, labels = problem(1, texts=40)
    before = {name: value.copy() for name, value in parameters.items()}
    rng = np.random.default_rng(0)
    after = train(parameters, bags, labels, rng, epochs=40, learning_rate=0.02, token_dropout=0)
    assert all(np.array_equal(before[name], parameters[name]) for name in before)
    A = row_shares(bags)
    assert gradients(after, A, labels)[0] < 0.9 * gradients(before, A, labels)[0]


# Co-occurrence and PPMI


def slow_cooccurrences(unit_lists, vocabulary, joint, ngrams, window):
    """The same counts, one loop at a time."""
    counts = np.zeros((len(vocabulary), len(vocabulary)))
    for units in unit_lists:
        for n in range(1, ngrams + 1):
            for i in range(len(units) - n + 1):
                around = units[max(0, i - window) : i] + units[i + n : i + n + window]
                token = joint.join(units[i : i + n])
                for unit in around:
                    if token in vocabulary and unit in vocabulary:
                        counts[vocabulary[token], vocabulary[unit]] += 1
    return counts


@quick
@given(token_lists, analyzers, st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_cooccurrences(lists, analyzer, ngrams, window, min_count):
    tokens = [join_units(units, analyzer, ngrams) for units in lists]
    vocabulary = build_vocabulary(tokens, min_count)
    joint = " " if analyzer == "word" else ""
    expected = slow_cooccurrences(lists, vocabulary, joint, ngrams, window)
    found = cooccurrences(lists, vocabulary, analyzer, ngrams, window)
    assert np.array_equal(found.toarray(), expected)


@quick
@given(seeds)
def test_ppmi_by_its_definition(seed):
    counts = np.random.default_rng(seed).integers(0, 4, (5, 4)).astype(float)
    q = counts.sum(axis=0) ** 0.75
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.log(counts / np.outer(counts.sum(axis=1), q / q.sum()))
    expected = np.where(counts > 0, np.maximum(expected, 0), 0)
    assert np.allclose(ppmi(csr_matrix(counts)).toarray(), expected)


def another_svd(basis):
    """A decomposition as right as any: vectors of equal singular values may be turned."""
    rng = np.random.default_rng(basis)

    def turn(vectors):
        return vectors @ np.linalg.qr(rng.normal(size=(vectors.shape[1],) * 2))[0]

    def decompose(matrix, size, random_state):
        U, S, Q = np.linalg.svd(matrix.toarray())
        rank, first = int(np.sum(S > 1e-9)), 0
        for last in range(1, rank + 1):
            if last == rank or S[first] - S[last] > 1e-9:
                both = turn(np.vstack([U[:, first:last], Q[first:last].T]))
                U[:, first:last], Q[first:last] = both[: len(U)], both[len(U) :].T
                first = last
        U[:, rank:], Q[rank:] = turn(U[:, rank:]), turn(Q[rank:].T).T
        assert np.allclose(U[:, : len(S)] * S @ Q[: len(S)], matrix.toarray())
        return U[:, :size].copy(), S[:size].copy(), Q[:size]

    return decompose


BASES = st.one_of(st.none(), seeds)  # the solver of the course, or another right answer


def table_in(basis, counts, dimension):
    """The starting table, where the decomposition comes out in another basis."""
    solver = embeddings.randomized_svd if basis is None else another_svd(basis)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embeddings, "randomized_svd", solver)
        return starting_table(csr_matrix(counts), dimension)


def matrix_root(counts):
    """U S Uᵀ of the PPMI, the products of the rows of U √S: the same in every basis."""
    M = ppmi(csr_matrix(counts)).toarray()
    values, vectors = np.linalg.eigh(M @ M.T)
    return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T


@quick
@given(seeds, BASES)
def test_starting_table_has_the_angles_of_the_svd_of_ppmi_in_any_basis(seed, basis):
    counts = np.random.default_rng(seed).integers(5, 60, (6, 6)).astype(float)
    table, root = table_in(basis, counts, 6), matrix_root(counts)
    lengths = np.sqrt(np.diag(root))
    assert np.allclose(np.linalg.norm(table, axis=1), LENGTH)
    assert np.allclose(table @ table.T / LENGTH**2, root / np.outer(lengths, lengths), atol=1e-6)


@quick
@given(seeds, BASES, st.integers(1, 6))
def test_starting_table_cut_to_a_dimension_has_rows_of_one_length_or_zero(seed, basis, dimension):
    counts = np.random.default_rng(seed).integers(5, 60, (6, 6)).astype(float)
    table = table_in(basis, counts, dimension)
    assert table.shape == (6, dimension)
    lengths = np.linalg.norm(table, axis=1)
    assert np.all(np.isclose(lengths, LENGTH) | (lengths == 0))


@quick
@given(BASES)
def test_rare_tokens_start_at_zero(basis):
    counts = np.full((4, 4), 9.0) + 9 * np.eye(4)  # three equal singular values, once 2 is out
    counts[2], counts[:, 2] = 0, 0
    table = table_in(basis, counts, 3)
    kept = table[[0, 1, 3]]
    assert not table[2].any() and np.allclose(kept @ kept.T, LENGTH**2 * np.eye(3), atol=1e-7)
    edge = table_in(basis, np.diag([RARE, RARE, RARE - 1.0]), 2)
    assert edge.any(axis=1).tolist() == [True, True, False]


@quick
@given(BASES)
def test_tokens_without_company_beyond_chance_start_at_zero(basis):
    counts = np.array([[40.0, 40, 10], [40, 40, 10], [10, 10, 70], [12, 12, 12]])
    assert np.linalg.matrix_rank(ppmi(csr_matrix(counts)).toarray()) == 2
    assert table_in(basis, counts, 3).any(axis=1).tolist() == [True, True, True, False]
    assert not table_in(basis, np.full((3, 3), 20.0), 3).any()  # rounding is no direction


def test_starting_table_of_nothing():
    assert not starting_table(csr_matrix((3, 3)), 5).any()
    assert starting_table(csr_matrix((0, 0)), 5).shape == (0, 5)


@quick
@given(seeds)
def test_cosines(seed):
    V = np.random.default_rng(seed).normal(size=(6, 3))
    assert np.allclose(cosines(V, V[2]), cosine_similarity(V, V[2:3])[:, 0])
    assert np.allclose(cosines(7 * V, V[2]), cosines(V, 3 * V[2]))
    assert not cosines(V, np.zeros(3)).any()


# The classifier

GOOD = ["a fine film", "fine acting", "a fine fine story", "lovely and fine", "a lovely film"]
BAD = ["a dull film", "dull acting", "a dull dull story", "poor and dull", "a poor film"]
TEXTS, LABELS = GOOD + BAD, ["good"] * 5 + ["bad"] * 5


def model(**settings):
    """A classifier quick and eager enough for ten texts."""
    return EmbeddingClassifier(
        **{"verbose": False, "epochs": 30, "learning_rate": 0.05, **settings}
    )


@functools.cache
def fitted_once():
    return model().fit(TEXTS, LABELS)


def test_it_learns_ten_texts():
    fitted = model().fit(TEXTS, LABELS)
    assert fitted.score(TEXTS, LABELS) == 1
    assert list(fitted.classes_) == ["bad", "good"]
    assert fitted.counts_[fitted.vocabulary_["fine"]] == 4  # texts, not occurrences
    assert list(fitted.predict(["fine", "dull", "FINE!"])) == ["good", "bad", "good"]


@pytest.mark.parametrize("make", [list, tuple, np.array, pd.Series, lambda x: np.array(x, object)])
def test_any_sequence_of_texts(make):
    fitted = model().fit(make(TEXTS), make(LABELS))
    same = model().fit(TEXTS, LABELS)
    assert np.allclose(fitted.predict_proba(make(TEXTS)), same.predict_proba(TEXTS))


@pytest.mark.parametrize("labels", [[0, 1, 2] * 3, ["x", "y", "z"] * 3, [True, False, True] * 3])
def test_labels_of_any_kind(labels):
    fitted = model(epochs=100).fit([f"word{label} and" for label in labels], labels)
    texts = [f"word{label}" for label in fitted.classes_]
    assert list(fitted.predict(texts)) == sorted(set(labels))
    P = fitted.predict_proba(texts)
    assert P.shape == (len(texts), len(set(labels)))
    assert np.allclose(P.sum(axis=1), 1) and P.min() >= 0


@quick
@given(st.lists(st.text(max_size=30), max_size=5))
def test_probabilities_of_any_text(texts):
    fitted = fitted_once()
    P = fitted.predict_proba(texts)
    assert P.shape == (len(texts), 2) and np.allclose(P.sum(axis=1), 1) and P.min(initial=0) >= 0
    if texts:
        alone = np.concatenate([fitted.predict_proba([text]) for text in texts])
        assert np.allclose(P, alone)


def test_blank_texts():
    fitted = model().fit(["", " ", "!", ""], [0, 1, 0, 1])
    assert np.allclose(fitted.predict_proba(["", "unknown"]).sum(axis=1), 1)
    fitted = model().fit([*TEXTS, ""], [*LABELS, "bad"])
    assert np.allclose(fitted.predict_proba([""]), fitted.predict_proba(["zzz"]))


def test_it_is_a_scikit_learn_estimator():
    other = clone(EmbeddingClassifier(dimension=8, ngrams=1, seed=3))
    assert other.get_params()["dimension"] == 8 and other.seed == 3
    assert cross_val_score(model(), TEXTS, LABELS, cv=2).shape == (2,)
    search = GridSearchCV(model(), {"ngrams": [1, 2]}, cv=2).fit(TEXTS, LABELS)
    assert search.best_params_["ngrams"] in (1, 2)
    assert make_pipeline(model()).fit(TEXTS, LABELS).score(TEXTS, LABELS) == 1


def test_same_seed_same_result():
    a, b, c = (model(seed=s).fit(TEXTS, LABELS).predict_proba(TEXTS) for s in (0, 0, 1))
    assert np.allclose(a, b) and not np.allclose(a, c)


def test_fit_is_silent(capsys):
    model().fit(TEXTS, LABELS)
    assert capsys.readouterr() == ("", "")


def test_characters():
    texts = ["很好", "好看", "很好看", "不错", "很差", "难看", "太差", "真差"]
    fitted = model(analyzer="char", epochs=60).fit(texts, [1] * 4 + [0] * 4)
    assert list(fitted.predict(["好", "差"])) == [1, 0]


@pytest.mark.parametrize("basis", [None, 1, 2])
def test_neighbours(basis, monkeypatch):
    if basis:
        monkeypatch.setattr(embeddings, "randomized_svd", another_svd(basis))
    rng = np.random.default_rng(0)
    nouns, kinds = ["film", "movie", "story"], ["fine", "lovely", "dull", "poor"]
    texts = [f"the {rng.choice(nouns)} is {rng.choice(kinds)}" for _ in range(300)]
    fitted = model(epochs=3, learning_rate=0.002).fit(
        texts, [t.split()[3] in kinds[:2] for t in texts]
    )
    near = fitted.neighbours("Film", count=2, min_texts=1)
    assert {token for token, _ in near} == {"movie", "story"}
    V, ids = fitted.parameters_["V"], fitted.vocabulary_
    assert np.isclose(near[0][1], cosines(V, V[ids["film"]])[ids[near[0][0]]])
    every = fitted.neighbours("film", count=999, min_texts=1)
    assert all(a >= b - 1e-6 for (_, a), (_, b) in pairwise(every))
    tokens = {token for token, _ in every}
    assert not any("film" in t.split() for t in tokens) and "is" in tokens
    assert fitted.neighbours("film", min_texts=301) == []


@quick
@given(seeds)
def test_neighbours_equally_near_stand_in_the_order_of_the_vocabulary_in_any_basis(seed):
    fitted = copy.copy(fitted_once())
    fitted.vocabulary_ = {token: i for i, token in enumerate(["ask", "far", "b", "a", "d", "c"])}
    fitted.counts_ = np.full(6, 9)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    vectors = np.array([[1, 0, 0.0], [-1, 0, 0], *[[3, 4, 0], [9, 12, 0]] * 2]) @ turn
    fitted.parameters_ = {**fitted.parameters_, "V": vectors}
    near = fitted.neighbours("ask", min_texts=1)
    assert [token for token, _ in near] == ["b", "a", "d", "c", "far"]
    assert np.allclose([cosine for _, cosine in near], [0.6] * 4 + [-1])


@pytest.mark.parametrize("basis", range(1, 4))
def test_the_classifier_learns_from_any_basis(basis, monkeypatch):
    monkeypatch.setattr(embeddings, "randomized_svd", another_svd(basis))
    fitted = model().fit(TEXTS, LABELS)
    assert fitted.score(TEXTS, LABELS) == 1
    assert list(fitted.predict(["fine", "dull"])) == ["good", "bad"]


def test_neighbours_of_characters_hold_letters_only():
    texts = ["好，看", "好。看"] * 3 + ["差！天", "差。地"] * 3
    fitted = model(analyzer="char").fit(texts, [1] * 6 + [0] * 6)
    every = [token for token, _ in fitted.neighbours("好", count=99, min_texts=1)]
    assert set(every) == {"看", "差", "天", "地"}


@pytest.mark.parametrize("seed", [None, 1])
def test_movies_whatever_the_signs_of_the_decomposition(seed, monkeypatch):
    solve = embeddings.randomized_svd

    def flipped(*args, **kwargs):
        U, S, Q = solve(*args, **kwargs)
        signs = np.random.default_rng(seed).choice([-1, 1], len(S))
        return U * signs, S, Q * signs[:, None]

    if seed:
        monkeypatch.setattr(embeddings, "randomized_svd", flipped)
    reviews, test = split_reviews(load_reviews("movies"))
    fitted = EmbeddingClassifier(verbose=False).fit(reviews.text, reviews.label)
    assert fitted.score(test.text, test.label) >= 0.79
    near = {token: dict(fitted.neighbours(token)) for token in ("script", "boring", "beautiful")}
    assert "writing" in near["script"] and "unfunny" in near["boring"]
    assert "gorgeous" in near["beautiful"]


# What is refused


@pytest.mark.parametrize(
    "texts, labels",
    [
        (TEXTS, LABELS[:-1]),
        ([*TEXTS[:-1], None], LABELS),
        ([*TEXTS[:-1], float("nan")], LABELS),
        ("a single text", LABELS),
        (TEXTS, ["good"] * 10),
        (TEXTS, ["good"] * 9 + ["bad"]),
        (TEXTS, [*LABELS[:-1], 1]),
        (TEXTS, [*LABELS[:-1], None]),
        ([], []),
    ],
)
def test_bad_training_data(texts, labels):
    with pytest.raises(ValueError, match="text|label"):
        model().fit(texts, labels)


@pytest.mark.parametrize(
    "name, value",
    [
        ("analyzer", "words"), ("ngrams", 0), ("ngrams", 1.5), ("min_count", 0), ("dimension", 0),
        ("dimension", True), ("epochs", 0), ("batch_size", 0), ("learning_rate", 0),
        ("learning_rate", np.nan), ("learning_rate", "fast"), ("token_dropout", 1),
        ("token_dropout", -0.1), ("token_dropout", np.nan),
    ],
)  # fmt: skip
def test_bad_settings(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        model(**{name: value}).fit(TEXTS, LABELS)


def test_bad_questions():
    with pytest.raises(NotFittedError):
        model().predict(TEXTS)
    with pytest.raises(NotFittedError):
        model().neighbours("fine")
    fitted = model(epochs=1).fit(TEXTS, LABELS)
    for texts in ("one text", [1], [None]):
        with pytest.raises(ValueError, match="text"):
            fitted.predict_proba(texts)
    with pytest.raises(ValueError, match="'zzz' is not in the vocabulary"):
        fitted.neighbours("zzz")
    with pytest.raises(ValueError, match="count must be"):
        fitted.neighbours("fine", count=0)


def call(function, *args, **kwargs):
    return lambda: function(*args, **kwargs)


P3, BAGS, Y = problem(0)
NEGATIVE, NAN = csr_matrix(np.array([[-1.0]])), csr_matrix(np.array([[np.nan]]))
REFUSED = [
    ("analyzer must be", call(split_units, "a", "letters")),
    ("text must be a str", call(split_units, 3)),
    ("text must be a str", call(tokenize, None)),
    ("ngrams must be", call(tokenize, "a b", ngrams=0)),
    ("min_count must be", call(build_vocabulary, [["a"]], 0)),
    ("bags must hold", call(row_shares, NEGATIVE)),
    ("bags must hold", call(row_shares, NAN)),
    ("counts must hold", call(ppmi, NEGATIVE)),
    ("token_dropout must be", call(hide_tokens, BAGS, 1.0, None)),
    ("dimension must be", call(starting_table, BAGS, 0)),
    ("do not fit together", call(gradients, P3, BAGS[:, :3], Y)),
    ("do not fit together", call(gradients, {**P3, "b": np.zeros(2)}, BAGS, Y)),
    ("labels", call(gradients, P3, BAGS, Y + 3)),
    ("labels", call(gradients, P3, BAGS, Y[:-1])),
    ("v has 2 numbers", call(cosines, np.ones((2, 3)), np.ones(2))),
    ("V holds NaN", call(cosines, np.full((2, 3), np.nan), np.ones(3))),
    ("epochs must be", call(train, P3, BAGS, Y, None, epochs=0)),
    ("batch_size must be", call(train, P3, BAGS, Y, None, batch_size=0)),
]


@pytest.mark.parametrize("message, attempt", REFUSED)
def test_bad_arguments(message, attempt):
    with pytest.raises(ValueError, match=re.escape(message)):
        attempt()
