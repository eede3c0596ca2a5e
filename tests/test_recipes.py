"""Recipes: the variants do what their names say, results are paired, and the tables are whole."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sentiment_course.doctor import quiet
from sentiment_course.losses import softmax
from sentiment_course.reviews import SOURCES, load_reviews, rating_certainty, split_reviews

with quiet():
    from sentiment_course import recipes
    from sentiment_course.bert import BertClassifier, build_network
    from sentiment_course.encoders import keras, load_encoder
    from sentiment_course.recipes import (
        POOLS,
        ConsistencyLoss,
        PairClassifier,
        PairLoss,
        Recipe,
        compare_recipes,
        film_folds,
        paired_difference,
        rate_factors,
        read_results,
        recipe_data,
        right_of,
        try_recipe,
    )

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import compare_trainers


@pytest.fixture
def small(small_encoder, monkeypatch):
    """A small random encoder, which recipes get in place of MiniLM."""

    def load(handle, *settings, **more):
        assert handle == "minilm"
        return load_encoder(small_encoder, *settings, **more)

    monkeypatch.setattr("sentiment_course.bert.load_encoder", load)
    return load_encoder(small_encoder)


@pytest.fixture
def few(small):
    train, choosing, _ = recipe_data()
    return train.sample(32, random_state=0), choosing.head(21)


def test_the_three_parts_share_no_text():
    train, choosing, test = recipe_data()
    assert not set(train.text) & set(choosing.text)
    assert not (set(train.text) | set(choosing.text)) & set(test.text)
    _, held_out = split_reviews(load_reviews("movies"))
    assert test.text.tolist() == held_out.text.tolist()  # the fifth that the ladder is judged on
    assert np.allclose(train.certainty, rating_certainty(train.rating))


def test_each_film_is_held_out_once_and_no_text_is_on_both_sides():
    reviews, (_, test) = load_reviews("movies"), split_reviews(load_reviews("movies"))
    folds = film_folds()
    assert folds[0][1].text.tolist() == test.text.tolist()
    assert sorted(i for _, held_out in folds for i in held_out.id) == sorted(reviews.id)
    for train, held_out in folds:
        assert len(train) + len(held_out) == len(reviews) and abs(len(held_out) - len(test)) <= 2
        sides = [{" ".join(t.casefold().split()) for t in part.text} for part in (train, held_out)]
        assert not sides[0] & sides[1]


def test_pools_leave_padding_out():
    x = np.array([[[1.0, -2.0], [3.0, -4.0], [99.0, 99.0]]])
    m = np.array([[[1.0], [1.0], [0.0]]])
    pooled = {name: np.asarray(pool(x, m))[0].tolist() for name, pool in POOLS.items()}
    assert pooled == {"mean": [2.0, -3.0], "first": [1.0, -2.0], "largest": [3.0, -2.0]}


def test_layers_move_at_their_own_rates():
    network = build_network(load_encoder("minilm").model, 2)
    factors = rate_factors(network, 0.5)
    told = dict(zip((v.path for v in network.trainable_variables), factors, strict=True))
    assert told["head/kernel"] == 1
    assert told["layer_5/expand/kernel"] == 0.5
    assert told["layer_0/attention/query/bias"] == 0.5**6
    assert told["embeddings/word/embeddings"] == 0.5**7
    assert set(rate_factors(network, 1.0)) == {1.0}


def moved(recipe, few, small):
    """How far each array of the encoder went in a training by `recipe`."""
    classifier, _ = try_recipe(recipe, *few)
    after = {v.path: keras.ops.convert_to_numpy(v) for v in classifier.encoder_.model.weights}
    return {
        v.path: np.abs(after[v.path] - keras.ops.convert_to_numpy(v)).mean()
        for v in small.model.weights
    }


def test_frozen_words_stay_and_lower_layers_move_less(few, small, eagerly):
    path = "layer_0/expand/kernel"
    even = moved(Recipe("even", words="frozen", epochs=1), few, small)
    layered = moved(Recipe("layered", rate_decay=0.01, epochs=1), few, small)
    assert even["embeddings/word/embeddings"] == 0 < layered["embeddings/word/embeddings"]
    assert layered[path] < 0.05 * even[path]


def test_what_is_learned_makes_a_difference(few, eagerly):
    ratings, _ = try_recipe(Recipe("ratings", epochs=1), *few)
    labels, row = try_recipe(Recipe("labels", learned="labels", epochs=1), *few)
    texts = few[1].text
    assert not np.allclose(ratings.predict_proba(texts), labels.predict_proba(texts))
    assert right_of(row).tolist() == (labels.predict(texts) == few[1].label).tolist()


def test_adversarial_recipe_is_what_the_classifier_follows(few, eagerly):
    classifier, _ = try_recipe(Recipe("adversarial", perturbation=1.0, epochs=1), *few)
    default = BertClassifier()
    for name in ("perturbation", "learning_rate", "batch_size", "trainable", "encoder"):
        assert getattr(classifier, name) == getattr(default, name)
    assert Recipe("three").epochs == default.epochs


def test_two_readings_that_differ_cost_more():
    targets = np.array([[1.0, 0.0], [1.0, 0.0]])
    alike, apart = np.array([[2.0, 0.0]] * 2), np.array([[2.0, 0.0], [0.0, 1.0]])
    loss = ConsistencyLoss(reduction=None)
    plain = keras.losses.CategoricalCrossentropy(from_logits=True, reduction=None)
    assert np.allclose(loss(targets, alike), plain(targets, alike))
    p, q = softmax(apart)
    expected = plain(targets, apart) + np.sum((p - q) * (np.log(p) - np.log(q))) / 2
    assert np.allclose(loss(targets, apart), expected, atol=1e-6)


def test_two_readings_train(few, monkeypatch):
    optimizers, twice = [], recipes.read_twice
    look = lambda network: optimizers.append(network.optimizer) or twice(network)  # noqa: E731
    monkeypatch.setattr(recipes, "read_twice", look)
    classifier, row = try_recipe(Recipe("twice", readings=2, epochs=1), *few)
    assert np.isfinite(classifier.history_.loss).all() and row["texts"] == 21
    assert optimizers[0].iterations == 1  # one step, each text twice


def test_paired_difference_by_hand():
    gain, error = paired_difference([1, 1, 0, 1], [1, 0, 0, 0])
    assert gain == 0.5 and error == pytest.approx(np.std([0, 1, 0, 1], ddof=1) / 2)


def test_recipes_are_compared_with_the_first_over_all_seeds():
    def row(recipe, seed, right):
        bits = np.packbits(np.array(right, bool)).tobytes().hex()
        return {"recipe": recipe, "seed": seed, "right": bits, "texts": 4}

    table = compare_recipes(pd.DataFrame([
        row("b", 0, [1, 1, 0, 0]), row("b", 1, [1, 0, 0, 0]), row("a", 0, [1, 1, 1, 0]),
    ]))  # fmt: skip
    assert table.index.tolist() == ["b", "a"] and table.seeds.tolist() == [2, 1]
    assert table["accuracy, %"].tolist() == [37.5, 75]
    assert table["gain, points"].tolist() == [0, 37.5]


def test_results_are_there_and_of_this_data():
    _, choosing, test = recipe_data()
    recipes, times, seeds, folds, devices = map(
        read_results, ("recipes", "times", "seeds", "folds", "devices")
    )
    assert not recipes.duplicated(["recipe", "seed"]).any() and len(recipes) >= 5
    assert (recipes.texts == len(choosing)).all()
    assert times.recipe.tolist() == recipes.recipe.unique().tolist() and times.time[0] == 1
    films = seeds[(seeds.trained_on == "movies") & (seeds.source == "movies")]
    assert (films.groupby("recipe").seed.apply(sorted).map(lambda s: s == [0, 1, 2])).all()
    assert set(films.recipe) == {"ratings", "ratings, adversarial"}
    assert (films.texts == len(test)).all()
    assert seeds[seeds.trained_on == "all four"].source.tolist() == list(SOURCES)
    assert folds.fold.tolist() == [0, 1, 2, 3, 4]
    assert folds.texts.tolist() == [len(held_out) for _, held_out in film_folds()]
    both = devices.groupby(["device", "reviews"]).program.apply(set)
    assert both.map(lambda programs: programs == {"this course", "Hugging Face"}).all()


def test_a_device_measured_again_takes_the_place_of_its_rows(tmp_path):
    one = dict.fromkeys(compare_trainers.KEY, "x") | {"epoch_seconds": 3.0}
    compare_trainers.write([one, one | {"device": "y"}], path := tmp_path / "made" / "devices.csv")
    compare_trainers.write([one | {"epoch_seconds": 2.0}], path)
    table = pd.read_csv(path).set_index("device")
    assert table.epoch_seconds.to_dict() == {"x": 2.0, "y": 3.0}


def test_the_loss_of_pairs_is_that_of_its_formula():
    rng = np.random.default_rng(0)
    vectors, ids = rng.normal(size=(6, 4)), np.array([0, 1, 2, 0, 1, 0])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    wanted = [
        np.mean([(vectors[i] @ vectors[j] - (ids[i] == ids[j])) ** 2 for j in range(6) if j != i])
        for i in range(6)
    ]
    targets, loss = np.eye(3, dtype="float32")[ids], PairLoss(reduction="none")
    assert np.allclose(loss(targets, vectors.astype("float32")), wanted, atol=1e-6)


def test_texts_of_a_class_come_to_point_the_same_way(small):
    texts, labels = ["good film", "good book", "bad film", "bad book"] * 3, ["a", "a", "b", "b"] * 3
    classifier = PairClassifier(learning_rate=3e-3, verbose=False).fit(texts, labels)
    pooled = classifier.network_.get_layer("head").input
    vectors = recipes.keras.Model(classifier.network_.inputs, pooled)
    tokens = recipes.pad(classifier.encoder_.tokenize(texts[:4]))
    found = np.array(vectors.predict_on_batch(tokens))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    cosines = found @ found.T
    assert cosines[0, 1] > cosines[0, 2] + 0.1 and cosines[2, 3] > cosines[1, 3] + 0.1
    assert classifier.predict(texts).tolist() == labels
