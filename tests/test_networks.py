"""Networks: gradients against two references, layers, training, and the classifier's interface."""

import os
import subprocess
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from sentiment_course.activations import ACTIVATIONS
from sentiment_course.gradient_descent import Adam, GradientDescent
from sentiment_course.losses import cross_entropy_from_logits, numerical_gradient, softmax
from sentiment_course.networks import (
    Activation,
    Dense,
    Dropout,
    Network,
    NetworkClassifier,
    backpropagate,
    check_accumulate_gradients,
    check_layer_norm_backward,
    check_residual_backward,
    multilayer_perceptron,
    train_epoch,
)

SIZES = st.integers(1, 5)
SEEDS = st.integers(0, 2**32 - 1)
NAMES = st.sampled_from(sorted(ACTIVATIONS))


def checked(**strategies):
    """A property test: the same 50 examples on every run."""
    return lambda test: settings(deadline=None, max_examples=50, derandomize=True)(
        given(**strategies)(test)
    )


def example(seed, batch=4, features=3, classes=3, scale=1.0):
    rng = np.random.default_rng(seed)
    x = scale * rng.normal(size=(batch, features))
    return rng, x, rng.integers(0, classes, batch)


def randomised(network, rng):
    """The network with every parameter random, the biases too."""
    network.parameters = {n: rng.normal(size=p.shape) for n, p in network.parameters.items()}
    return network


def two_layers(rng, features=3, hidden=4, classes=3, activation="tanh"):
    layers = [Dense(features, hidden, rng), Activation(activation), Dense(hidden, classes, rng)]
    return randomised(Network(layers), rng)


# Gradients


@checked(
    seed=SEEDS,
    batch=SIZES,
    hidden=SIZES,
    classes=st.integers(2, 4),
    name=NAMES,
    decay=st.sampled_from([0.0, 0.01, 1.0]),
)
def test_gradients_are_those_of_finite_differences(seed, batch, hidden, classes, name, decay):
    rng, x, labels = example(seed, batch, classes=classes)
    network = two_layers(rng, 3, hidden, classes, name)
    start = network.parameters
    _, gradients = backpropagate(network, x, labels, decay)
    for key, value in start.items():

        def loss(new, key=key):
            network.parameters = {**start, key: new}
            return backpropagate(network, x, labels, decay)[0]

        np.testing.assert_allclose(gradients[key], numerical_gradient(loss, value), atol=1e-6)


@checked(seed=SEEDS, name=st.sampled_from(["sigmoid", "tanh", "relu", "elu"]), soft=st.booleans())
def test_gradients_are_those_of_the_tape(seed, name, soft):
    scale = [1e-3, 1.0, 1e3][seed % 3]
    rng, x, labels = example(seed, scale=scale)
    network = two_layers(rng, activation=name)
    targets = softmax(rng.normal(size=(4, 3))) if soft else np.eye(3)[labels]
    loss, gradients = backpropagate(network, x, targets if soft else labels, 0.1)
    variables = W1, b1, W2, b2 = [tf.Variable(p) for p in network.parameters.values()]
    with tf.GradientTape() as tape:
        logits = getattr(tf.nn, name)(x @ W1 + b1) @ W2 + b2
        penalty = 0.05 * (tf.reduce_sum(W1**2) + tf.reduce_sum(W2**2))
        losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
        total = tf.reduce_mean(losses) + penalty
    np.testing.assert_allclose(loss, total, rtol=1e-9)
    for ours, theirs in zip(gradients.values(), tape.gradient(total, variables), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9 * max(scale, 1))


@checked(seed=SEEDS, name=NAMES)
def test_backward_answers_the_gradient_along_the_input(seed, name):
    rng, x, _ = example(seed)
    network, along = two_layers(rng, activation=name), rng.normal(size=(4, 3))
    network.forward(x)
    numeric = numerical_gradient(lambda x: np.sum(along * network.forward(x)), x)
    network.forward(x)
    np.testing.assert_allclose(network.backward(along), numeric, atol=1e-6)


@checked(seed=SEEDS, copies=st.integers(2, 4))
def test_loss_and_gradients_are_means_over_the_batch(seed, copies):
    rng, x, labels = example(seed)
    network = two_layers(rng)
    once, gradients = backpropagate(network, x, labels)
    order = rng.permutation(np.tile(np.arange(len(x)), copies))
    again, repeated = backpropagate(network, x[order], labels[order])
    assert np.isclose(once, again)
    for name in gradients:
        np.testing.assert_allclose(gradients[name], repeated[name], atol=1e-12)


@checked(seed=SEEDS)
def test_backpropagation_changes_neither_weights_nor_data(seed):
    rng, x, labels = example(seed)
    network, kept = two_layers(rng), x.copy()
    before = {n: p.copy() for n, p in network.parameters.items()}
    backpropagate(network, x, labels, 0.5)
    assert np.array_equal(x, kept)
    assert all(np.array_equal(before[n], p) for n, p in network.parameters.items())


@checked(seed=SEEDS, value=st.floats(-1, 1), name=NAMES)
def test_equal_units_stay_equal(seed, value, name):
    rng, x, labels = example(seed)
    network, optimizer = two_layers(rng, activation=name), GradientDescent(0.1)
    start = network.parameters
    network.parameters = {n: np.full(p.shape, value) for n, p in start.items()}
    for _ in range(5):
        _, gradients = backpropagate(network, x, labels)
        network.parameters = optimizer.update(network.parameters, gradients)
    W = network.parameters["0.W"]
    np.testing.assert_allclose(W, np.tile(W[:, :1], W.shape[1]), atol=1e-12)


# Layers


@checked(seed=SEEDS, rate=st.floats(0, 0.95))
def test_dropout_zeroes_or_scales_in_training_and_passes_everything_else(seed, rate):
    _, x, _ = example(seed)
    layer = Dropout(rate, np.random.default_rng(seed))
    dropped = layer.forward(x, training=True)
    assert np.all((dropped == 0) | np.isclose(dropped, x / (1 - rate)))
    np.testing.assert_allclose(layer.backward(np.ones_like(x)) * x, dropped)
    np.testing.assert_allclose(layer.forward(x), x)
    np.testing.assert_allclose(layer.backward(x), x)


def test_dropout_drops_its_share_and_keeps_the_mean():
    dropped = Dropout(0.8, np.random.default_rng(0)).forward(np.ones((300, 300)), training=True)
    assert abs((dropped == 0).mean() - 0.8) < 0.01
    assert abs(dropped.mean() - 1) < 0.02


def test_backpropagation_drops_and_prediction_does_not():
    rng, x, labels = example(0)
    network = multilayer_perceptron((3, 50, 3), rng, dropout=0.5)
    plain = cross_entropy_from_logits(labels, network.forward(x))
    losses = [backpropagate(network, x, labels)[0] for _ in range(2)]
    assert len({plain, *losses}) == 3
    assert np.isclose(plain, cross_entropy_from_logits(labels, network.forward(x)))


@checked(seed=SEEDS)
def test_parameters_can_be_read_and_put_back(seed):
    rng, x, _ = example(seed)
    network, other = two_layers(rng), two_layers(rng)
    assert list(network.parameters) == ["0.W", "0.b", "2.W", "2.b"]
    other.parameters = network.parameters
    assert np.array_equal(network.forward(x), other.forward(x))
    other.parameters["0.W"][:] = 0  # a copy was put in, so this leaves the first network alone
    assert not np.array_equal(network.forward(x), other.forward(x))


def test_a_perceptron_has_the_layers_that_were_asked_for():
    network = multilayer_perceptron((5, 4, 3, 2), np.random.default_rng(0), dropout=0.3)
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds == ["Dense", "Activation", "Dropout"] * 2 + ["Dense"]
    weights = [p.shape for n, p in network.parameters.items() if n.endswith("W")]
    assert weights == [(5, 4), (4, 3), (3, 2)]
    assert all(not p.any() for n, p in network.parameters.items() if n.endswith("b"))


RNG = np.random.default_rng(0)
DENSE, RELU, DROPOUT = Dense(2, 3, RNG), Activation("relu"), Dropout(0.5, RNG)
for layer in (DENSE, RELU, DROPOUT):
    layer.forward(np.ones((4, 2)))
_, X, LABELS = example(0)
NETWORK = two_layers(RNG)
GIVEN = NETWORK.parameters


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: Dense(0, 3, RNG), "fan_in must be a whole number from 1, not 0"),
        (lambda: Dense(2, 3, 0), "rng"),
        (lambda: Activation("softplus"), "name must be one of .*'softplus'"),
        (lambda: Activation("relu").forward([np.nan]), "^x holds NaN"),
        (lambda: Dropout(1.0, RNG), "rate must be a finite number from 0 and below 1, not 1.0"),
        (lambda: DENSE.forward(np.ones((4, 3))), r"x must have the shape \(any, 2\)"),
        (lambda: DENSE.forward(np.ones(2)), "x must have 2 axes"),
        (lambda: DENSE.forward(np.full((4, 2), np.nan)), "x holds NaN"),
        (lambda: DENSE.backward(np.ones((3, 3))), r"gradient must have the shape \(4, 3\)"),
        (lambda: RELU.backward(np.ones((4, 1))), "gradient must have the shape"),
        (lambda: DROPOUT.backward(np.ones((1, 2))), "gradient must have the shape"),
        (lambda: multilayer_perceptron((3,), RNG), "sizes must be two or more whole numbers"),
        (lambda: multilayer_perceptron((0, 2), RNG), r"sizes\[0\] must be a whole number"),
        (lambda: multilayer_perceptron((3, 0, 2), RNG), r"sizes\[1\] must be a whole number"),
        (lambda: multilayer_perceptron((3, True), RNG), r"sizes\[1\] must be a whole number"),
        (lambda: backpropagate(NETWORK, X, LABELS, -0.1), "weight_decay must be"),
        (lambda: backpropagate(NETWORK, X, LABELS + 3), "labels must lie in"),
        (lambda: backpropagate(NETWORK, X, LABELS[:2]), "labels, of shape"),
        (lambda: train_epoch(NETWORK, Adam(), X, LABELS, 0, RNG), "batch_size must be"),
        (lambda: train_epoch(NETWORK, Adam(), X, LABELS[:2], 2, RNG), "example: 2 for 4"),
        (lambda: setattr(NETWORK, "parameters", {"0.W": GIVEN["0.W"]}), "names"),
        (lambda: setattr(NETWORK, "parameters", {**GIVEN, "0.b": np.ones(3)}), "0.b.*shape"),
        (lambda: setattr(NETWORK, "parameters", {**GIVEN, "0.b": [np.nan] * 4}), "0.b.*NaN"),
    ],
)
def test_what_does_not_fit_is_refused(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


# Training


def test_an_epoch_uses_every_example_once():
    rng, x, labels = example(0, batch=10)
    network = two_layers(rng)

    class Recorder(GradientDescent):
        seen = []

        def update(self, parameters, gradients):
            self.seen.append(network.layers[0].x)
            return parameters

    loss = train_epoch(network, Recorder(1.0), x, labels, 5, rng)
    seen = np.concatenate(Recorder.seen)
    assert [len(batch) for batch in Recorder.seen] == [5, 5]
    assert np.array_equal(np.sort(seen, axis=0), np.sort(x, axis=0))
    assert np.isclose(loss, cross_entropy_from_logits(labels, network.forward(x)))


def test_without_hidden_layer_it_is_scikit_learns_logistic_regression():
    x, labels = make_blobs(60, centers=3, cluster_std=3.0, random_state=0)
    x, decay = StandardScaler().fit_transform(x), 0.1
    rng, optimizer = np.random.default_rng(0), GradientDescent(1.0)
    network = multilayer_perceptron((2, 3), rng)
    for _ in range(500):
        train_epoch(network, optimizer, x, labels, len(x), rng, decay)
    peer = LogisticRegression(C=1 / (decay * len(x)), tol=1e-10, max_iter=1000).fit(x, labels)
    np.testing.assert_allclose(softmax(network.forward(x)), peer.predict_proba(x), atol=1e-6)


def test_scikit_learns_weights_give_scikit_learns_probabilities():
    x, labels = make_blobs(60, centers=3, n_features=4, cluster_std=5.0, random_state=0)
    peer = MLPClassifier((6, 5), max_iter=20, random_state=0)
    with pytest.warns(UserWarning, match="converged"):
        peer.fit(x, labels)
    twin = multilayer_perceptron((4, 6, 5, 3), np.random.default_rng(0))
    pairs = zip(peer.coefs_, peer.intercepts_, strict=True)
    weights = [array for pair in pairs for array in pair]
    twin.parameters = dict(zip(twin.parameters, weights, strict=True))
    ours = softmax(twin.forward(x))
    np.testing.assert_allclose(ours, peer.predict_proba(x), rtol=1e-9, atol=1e-12)


# The classifier


def blobs():
    return make_blobs(80, centers=3, cluster_std=2.5, random_state=1)


def test_the_classifier_keeps_scikit_learns_rules():
    fast = NetworkClassifier(hidden=(16,), epochs=40, learning_rate=0.02)
    results = check_estimator(fast, on_skip=None, on_fail=None)
    assert not [r["check_name"] for r in results if r["status"] == "failed"]


def test_digits_are_read_with_97_percent():
    x, labels = load_digits(return_X_y=True)
    x, x_test, labels, labels_test = train_test_split(
        x / 16, labels, test_size=0.25, stratify=labels, random_state=0
    )
    assert NetworkClassifier().fit(x, labels).score(x_test, labels_test) >= 0.97


def test_labels_of_any_kind_and_the_seed_decides():
    x, labels = blobs()
    names = np.array(["red", "green", "blue"])[labels]
    model = NetworkClassifier(epochs=3, dropout=0.3, patience=2).fit(x, names)
    assert list(model.classes_) == ["blue", "green", "red"]
    assert set(model.predict(x)) <= set(names)
    probabilities = model.predict_proba(x)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    again = NetworkClassifier(epochs=3, dropout=0.3, patience=2).fit(x, names)
    assert np.array_equal(again.predict_proba(x), probabilities)
    other = NetworkClassifier(epochs=3, dropout=0.3, patience=2, seed=1).fit(x, names)
    assert not np.array_equal(other.predict_proba(x), probabilities)


def test_early_stopping_stops_and_keeps_the_best_weights():
    x, labels = blobs()
    model = NetworkClassifier(epochs=500, patience=3, learning_rate=0.05).fit(x, labels)
    assert model.n_iter_ < 500
    best = model.n_iter_ - 3
    until = NetworkClassifier(epochs=best, patience=500, learning_rate=0.05).fit(x, labels)
    assert until.n_iter_ == best
    assert np.array_equal(model.predict_proba(x), until.predict_proba(x))
    before = NetworkClassifier(epochs=best - 1, patience=500, learning_rate=0.05).fit(x, labels)
    assert not np.array_equal(model.predict_proba(x), before.predict_proba(x))


def test_weight_decay_shrinks_the_weights():
    x, labels = blobs()
    sizes = []
    for decay in (0.0, 0.1, 1.0):
        model = NetworkClassifier(weight_decay=decay, epochs=20).fit(x, labels)
        sizes.append(sum(np.sum(p**2) for p in model.network_.parameters.values()))
    assert sizes[0] > sizes[1] > sizes[2]


def test_it_works_in_a_pipeline_under_a_grid_search():
    x, labels = blobs()
    pipeline = make_pipeline(StandardScaler(), NetworkClassifier(epochs=3))
    search = GridSearchCV(pipeline, {"networkclassifier__hidden": [(), (8,)]}, cv=2)
    assert search.fit(x, labels).score(x, labels) > 0.5


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"hidden": 128}, "hidden must be a tuple"),
        ({"hidden": (0,)}, r"sizes\[1\] must be a whole number from 1, not 0"),
        ({"epochs": 0}, "epochs must be a whole number from 1, not 0"),
        ({"epochs": True}, "epochs must be a whole number from 1, not True"),
        ({"patience": 0}, "patience"),
        ({"dropout": 1.0}, "rate"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_bad_settings_are_refused(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        NetworkClassifier(**settings).fit(*blobs())


x, labels = blobs()


@pytest.mark.parametrize(
    ("features", "classes", "complaint"),
    [
        (np.where(x > 5, np.nan, x), labels, "X contains NaN"),
        (x[:0], labels[:0], "0 sample"),
        (x, labels[:-1], "inconsistent numbers of samples"),
        (x, np.zeros(len(x), int), "two classes or more"),
        (x, labels + 0.5, "Unknown label type"),
        (x[0], labels, "2D array"),
    ],
)
def test_bad_data_is_refused(features, classes, complaint):
    with pytest.raises(ValueError, match=complaint):
        NetworkClassifier(epochs=1).fit(features, classes)


def test_a_grid_over_numpys_whole_numbers_works():
    search = GridSearchCV(NetworkClassifier(), {"epochs": np.arange(1, 3)}, cv=2)
    assert search.fit(x, labels).best_params_["epochs"] in (1, 2)


def test_prediction_needs_a_fit_and_the_same_features():
    with pytest.raises(NotFittedError):
        NetworkClassifier().predict(x)
    with pytest.raises(ValueError, match="features"):
        NetworkClassifier(epochs=1).fit(x, labels).predict(x[:, :1])


# The exercises' references, and what the module costs to import


@checked(seed=SEEDS, cut=st.integers(1, 9))
def test_accumulated_gradients_are_those_of_the_whole_batch(seed, cut):
    rng, x, labels = example(seed, batch=10)
    network = two_layers(rng)
    _, whole = backpropagate(network, x, labels)
    halves = slice(None, cut), slice(cut, None)
    parts = [backpropagate(network, x[half], labels[half])[1] for half in halves]
    together = check_accumulate_gradients.expected(parts, [cut, 10 - cut])
    for name in whole:
        np.testing.assert_allclose(together[name], whole[name], atol=1e-12)


@checked(seed=SEEDS)
def test_references_of_the_exercises_are_those_of_finite_differences(seed):
    rng, x, _ = example(seed)
    W, along = rng.normal(size=(3, 3)), rng.normal(size=(4, 3))

    def residual(x, W):
        return np.sum(along * (x + np.maximum(x @ W, 0)))

    dx, dW = check_residual_backward.expected(x, W, along)
    np.testing.assert_allclose(dx, numerical_gradient(lambda x: residual(x, W), x), atol=1e-6)
    np.testing.assert_allclose(dW, numerical_gradient(lambda W: residual(x, W), W), atol=1e-6)

    def normalised(x):
        centred = x - x.mean(axis=1, keepdims=True)
        return np.sum(along * centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 0.1))

    dx = check_layer_norm_backward.expected(x, along, 0.1)
    np.testing.assert_allclose(dx, numerical_gradient(normalised, x), atol=1e-6)


def test_the_module_needs_no_tensorflow():
    code = "import sys, sentiment_course.networks; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
