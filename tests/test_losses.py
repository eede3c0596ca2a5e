"""`sentiment_course.losses` against scikit-learn, SciPy, Keras and finite differences."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import approx_fprime
from scipy.special import expit, logsumexp
from scipy.special import log_softmax as scipy_log_softmax
from scipy.special import softmax as scipy_softmax
from sklearn.metrics import log_loss
from sklearn.metrics import mean_squared_error as sklearn_mean_squared_error

from sentiment_course import losses
from sentiment_course.losses import (
    binary_cross_entropy,
    binary_cross_entropy_from_logits,
    binary_cross_entropy_gradient,
    cross_entropy,
    cross_entropy_from_logits,
    cross_entropy_gradient,
    half_squared_error,
    half_squared_error_gradient,
    log_softmax,
    log_sum_exp,
    mean_squared_error,
    mean_squared_error_gradient,
    numerical_gradient,
    one_hot,
    softmax,
)

pytestmark = pytest.mark.filterwarnings("error")
thorough = settings(deadline=None, max_examples=50, derandomize=True)
NEAR = {"rtol": 1e-6, "atol": 1e-6}
LOGIT = st.one_of(st.floats(-1000, 1000), st.floats(-5, 5), st.sampled_from([-1000.0, 0.0, 1000.0]))


def arrays(elements, low=1, axes=2):
    """Arrays of `axes` axes, each of 1 to 6, the last of at least `low`."""
    shapes = st.tuples(*[st.integers(1, 6)] * (axes - 1), st.integers(low, 6))
    return shapes.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=elements))


@st.composite
def classified(draw, elements=LOGIT):
    """Labels (batch,) and logits (batch, classes), two classes or more."""
    logits = draw(arrays(elements, low=2))
    batch, classes = logits.shape
    labels = draw(hnp.arrays(np.int64, batch, elements=st.integers(0, classes - 1)))
    return labels, logits


@st.composite
def binary(draw, elements=LOGIT):
    """Labels 0 or 1 and logits, (batch,)."""
    logits = draw(arrays(elements, axes=1))
    labels = draw(hnp.arrays(np.int64, logits.shape, elements=st.integers(0, 1)))
    return labels, logits


@pytest.fixture(scope="module")
def keras():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what TensorFlow says of itself is not tested here
        return pytest.importorskip("keras")


# --- the numerically safe building blocks


@thorough
@given(arrays(LOGIT))
def test_safe_functions_agree_with_scipy(z):
    for axis in (0, 1, -1):
        np.testing.assert_allclose(log_sum_exp(z, axis=axis), logsumexp(z, axis=axis), **NEAR)
    np.testing.assert_allclose(log_softmax(z), scipy_log_softmax(z, axis=-1), **NEAR)
    np.testing.assert_allclose(softmax(z), scipy_softmax(z, axis=-1), **NEAR)


@thorough
@given(arrays(LOGIT, axes=3), st.floats(-1e6, 1e6))
def test_softmax_is_a_distribution_and_ignores_a_shift(z, shift):
    p = softmax(z)
    assert p.shape == z.shape and p.dtype == np.float64
    assert np.all((p >= 0) & (p <= 1))
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-12)
    np.testing.assert_allclose(softmax(z + shift), p, **NEAR)
    np.testing.assert_allclose(log_sum_exp(z + shift), log_sum_exp(z) + shift, **NEAR)


@thorough
@given(arrays(LOGIT))
def test_log_sum_exp_lies_between_the_largest_and_the_largest_plus_log_n(z):
    largest, value = z.max(axis=-1), log_sum_exp(z)
    assert np.all(value >= largest)
    assert np.all(value <= largest + np.log(z.shape[-1]) + 1e-9)


def test_large_logits_keep_their_digits():
    np.testing.assert_allclose(log_softmax([1e12, 1e12 + 1]), log_softmax([0, 1]), rtol=1e-9)


# --- cross-entropy


@thorough
@given(classified(st.floats(-15, 15)))
def test_cross_entropy_agrees_with_scikit_learn(example):
    labels, z = example
    p = softmax(z)
    reference = log_loss(labels, p, labels=np.arange(z.shape[1]))
    np.testing.assert_allclose(cross_entropy(labels, p), reference, **NEAR)
    np.testing.assert_allclose(cross_entropy_from_logits(labels, z), reference, **NEAR)


@thorough
@given(classified())
def test_cross_entropy_from_logits_agrees_with_scipy_at_any_size(example):
    labels, z = example
    reference = -scipy_log_softmax(z, axis=1)[np.arange(len(labels)), labels].mean()
    value = cross_entropy_from_logits(labels, z)
    assert isinstance(value, float) and np.isfinite(value) and value >= 0
    np.testing.assert_allclose(value, reference, **NEAR)
    rows = one_hot(labels, z.shape[1])
    np.testing.assert_allclose(cross_entropy_from_logits(rows, z), reference, **NEAR)


@settings(thorough, max_examples=20)
@given(classified(), st.sampled_from([0.0, 0.1, 1.0]))
def test_cross_entropy_agrees_with_keras(keras, example, epsilon):
    labels, z = example
    theirs = keras.losses.categorical_crossentropy(
        one_hot(labels, z.shape[1]), z, from_logits=True, label_smoothing=epsilon
    )
    ours = cross_entropy_from_logits(labels, z, label_smoothing=epsilon)
    np.testing.assert_allclose(ours, np.mean(theirs), **NEAR)


@thorough
@given(classified(), st.floats(0, 1), st.booleans(), st.integers(0, 2**32 - 1))
def test_cross_entropy_gradient_agrees_with_differences(example, epsilon, weighted, seed):
    labels, z = example
    rng = np.random.default_rng(seed)
    options = {"label_smoothing": epsilon}
    if weighted:
        options["class_weights"] = rng.uniform(0, 3, size=z.shape[1])
    ours = cross_entropy_gradient(labels, z, **options)
    measured = numerical_gradient(lambda z: cross_entropy_from_logits(labels, z, **options), z)
    np.testing.assert_allclose(ours, measured, rtol=0, atol=2e-6)
    np.testing.assert_allclose(ours.sum(axis=1), 0, atol=1e-12)


@thorough
@given(classified(st.floats(-10, 10)), st.integers(0, 2**32 - 1))
def test_class_weights_multiply_the_terms(example, seed):
    labels, z = example
    weights = np.random.default_rng(seed).uniform(0.1, 3, size=z.shape[1])
    p, each = softmax(z), weights[labels]
    theirs = log_loss(labels, p, labels=np.arange(z.shape[1]), sample_weight=each) * each.mean()
    np.testing.assert_allclose(cross_entropy(labels, p, class_weights=weights), theirs, **NEAR)
    ours = cross_entropy_from_logits(labels, z, class_weights=weights)
    np.testing.assert_allclose(ours, theirs, **NEAR)


@thorough
@given(classified(st.floats(-20, 20)), st.integers(0, 2**32 - 1))
def test_soft_labels_average_the_hard_ones(example, seed):
    _, z = example
    rows = np.random.default_rng(seed).dirichlet(np.ones(z.shape[1]), size=len(z))
    one_each = [
        sum(q * cross_entropy_from_logits([k], [logits]) for k, q in enumerate(row))
        for row, logits in zip(rows, z, strict=True)
    ]
    np.testing.assert_allclose(cross_entropy_from_logits(rows, z), np.mean(one_each), **NEAR)
    np.testing.assert_allclose(cross_entropy(rows, softmax(z)), np.mean(one_each), **NEAR)
    # never below the labels' own entropy, reached where the prediction is the label
    assert cross_entropy(rows, softmax(z)) >= cross_entropy(rows, rows) - 1e-12


def test_an_impossible_class_costs_nothing_unless_it_was_true():
    assert cross_entropy([0, 1], [[1, 0], [0, 1]]) == 0
    assert cross_entropy([1], [[1, 0]]) == np.inf
    assert binary_cross_entropy([0, 1], [0, 1]) == 0
    assert binary_cross_entropy([1, 0], [0, 0]) == np.inf


# --- binary cross-entropy


@thorough
@given(binary())
def test_binary_cross_entropy_is_the_two_class_form(example):
    y, z = example
    two = np.stack([np.zeros_like(z), z], axis=1)
    value = binary_cross_entropy_from_logits(y, z)
    assert isinstance(value, float) and np.isfinite(value) and value >= 0
    np.testing.assert_allclose(value, cross_entropy_from_logits(y, two), **NEAR)
    gradient = binary_cross_entropy_gradient(y, z)
    np.testing.assert_allclose(gradient, cross_entropy_gradient(y, two)[:, 1], **NEAR)
    np.testing.assert_allclose(gradient, (expit(z) - y) / len(y), **NEAR)
    # turning labels and logits around changes nothing
    np.testing.assert_allclose(binary_cross_entropy_from_logits(1 - y, -z), value, **NEAR)


@thorough
@given(binary(st.floats(-15, 15)))
def test_binary_cross_entropy_agrees_with_scikit_learn(example):
    y, z = example
    reference = log_loss(y, expit(z), labels=[0, 1])
    np.testing.assert_allclose(binary_cross_entropy(y, expit(z)), reference, **NEAR)
    np.testing.assert_allclose(binary_cross_entropy_from_logits(y, z), reference, **NEAR)


@settings(thorough, max_examples=20)
@given(binary())
def test_binary_cross_entropy_agrees_with_keras(keras, example):
    y, z = example
    theirs = keras.losses.binary_crossentropy(y.astype(float), z, from_logits=True)
    np.testing.assert_allclose(binary_cross_entropy_from_logits(y, z), theirs, **NEAR)


@thorough
@given(binary(), st.floats(0, 1))
def test_binary_gradient_agrees_with_differences(example, softness):
    y, z = example
    soft = softness * y
    measured = numerical_gradient(lambda z: binary_cross_entropy_from_logits(soft, z), z)
    ours = binary_cross_entropy_gradient(soft, z)
    np.testing.assert_allclose(ours, measured, rtol=0, atol=2e-6)


def test_a_tiny_loss_keeps_its_digits():
    np.testing.assert_allclose(binary_cross_entropy_from_logits([1], [50]), np.exp(-50), rtol=1e-9)


def test_the_articles_example_counts_both_classes():
    y, p = np.array([1, 0, 1, 0]), np.array([0.9, 0.1, 0.8, 0.2])
    assert round(4 * binary_cross_entropy(y, p), 4) == 0.6570
    assert round(binary_cross_entropy(y, p), 4) == 0.1643


# --- squared error


@thorough
@given(arrays(st.floats(-1000, 1000)), st.integers(0, 2**32 - 1))
def test_squared_errors(y, seed):
    y_hat = y + np.random.default_rng(seed).normal(size=y.shape)
    mean = mean_squared_error(y, y_hat)
    np.testing.assert_allclose(mean, sklearn_mean_squared_error(y, y_hat), **NEAR)
    np.testing.assert_allclose(half_squared_error(y, y_hat), y.size * mean / 2, **NEAR)
    assert mean_squared_error(y, y) == half_squared_error(y, y) == 0
    for loss, gradient in (
        (mean_squared_error, mean_squared_error_gradient),
        (half_squared_error, half_squared_error_gradient),
    ):
        measured = numerical_gradient(lambda v, loss=loss: loss(y, v), y_hat)
        np.testing.assert_allclose(gradient(y, y_hat), measured, rtol=1e-5, atol=1e-5)


# --- the numerical gradient


@thorough
@given(arrays(st.floats(-3, 3)))
def test_numerical_gradient_of_known_functions(x):
    before = x.copy()
    measured = numerical_gradient(lambda x: np.sum(np.sin(x)), x)
    np.testing.assert_allclose(measured, np.cos(x), rtol=0, atol=1e-8)
    scipys = approx_fprime(x.ravel(), lambda v: np.sum(v**3))
    cubes = numerical_gradient(lambda x: np.sum(x**3), x)
    np.testing.assert_allclose(cubes.ravel(), scipys, atol=1e-5)
    np.testing.assert_array_equal(x, before)


def test_numerical_gradient_takes_integers_and_single_numbers():
    np.testing.assert_allclose(numerical_gradient(lambda x: np.sum(x**2), [1, 2]), [2, 4])
    assert numerical_gradient(lambda x: x**2, 3).shape == ()
    # central differences are exact for a parabola, whatever the step
    np.testing.assert_allclose(numerical_gradient(lambda x: x**2, 3.0, step=0.5), 6)


# --- what is refused, and what is left alone

NAN, HALF = float("nan"), [[0.5, 0.5], [0.5, 0.5]]
REFUSED = [
    (lambda: one_hot([0, 3], 3), "labels must lie in 0..2, got 0 to 3"),
    (lambda: one_hot([0.0, 1.0], 3), "labels must be integer"),
    (lambda: log_sum_exp([]), "logits is empty"),
    (lambda: log_sum_exp([NAN]), "logits holds NaN"),
    (lambda: log_sum_exp(1.0), "logits must be an array"),
    (lambda: log_sum_exp([1.0], axis=1), "axis 1"),
    (lambda: log_softmax([np.inf, 0]), "logits holds NaN or infinity"),
    (lambda: softmax(1.0), "logits must be an array"),
    (lambda: cross_entropy([0, 1], [[0.5, 0.6], [0.5, 0.5]]), "row 0 sums to 1.1"),
    (lambda: cross_entropy([0, 1], [[2.0, -1.0], [0.5, 0.5]]), r"probabilities must lie in .0, 1"),
    (lambda: cross_entropy([0, 1, 0], HALF), "labels, of shape"),
    (lambda: cross_entropy([0, 2], HALF), r"labels must lie in 0..1"),
    (lambda: cross_entropy([0, 1], [0.5, 0.5]), "probabilities must have 2 axes"),
    (lambda: cross_entropy([[0.5, 0.6]], [[0.5, 0.5]]), "each row of labels must sum to 1"),
    (lambda: cross_entropy([[1.5, -0.5]], [[0.5, 0.5]]), r"labels must lie in .0, 1"),
    (lambda: cross_entropy([[1.0, NAN]], [[0.5, 0.5]]), "labels holds NaN"),
    (lambda: cross_entropy([0, 1], HALF, class_weights=[1.0]), "class_weights must be 2 numbers"),
    (lambda: cross_entropy([0, 1], HALF, class_weights=[1, -1]), "class_weights must be 2 numbers"),
    (lambda: cross_entropy([0, 1], HALF, class_weights=[1, NAN]), "class_weights holds NaN"),
    (lambda: cross_entropy_from_logits([0], [[NAN, 0]]), "logits holds NaN"),
    (lambda: cross_entropy_from_logits([0], [0.0, 1.0]), "logits must have 2 axes"),
    (lambda: cross_entropy_from_logits([0], HALF), "labels, of shape"),
    (lambda: cross_entropy_from_logits([0, 1], HALF, label_smoothing=1.5), "label_smoothing"),
    (lambda: cross_entropy_from_logits([0, 1], HALF, label_smoothing=NAN), "label_smoothing"),
    (lambda: cross_entropy_gradient([0, 1], HALF, label_smoothing=-0.1), "label_smoothing"),
    (lambda: cross_entropy_gradient([0, 2], HALF), r"labels must lie in 0..1"),
    (lambda: binary_cross_entropy([0, 1], [0.5]), "labels has the shape .* probabilities has"),
    (lambda: binary_cross_entropy([0, 1], [0.5, 1.5]), r"probabilities must lie in .0, 1"),
    (lambda: binary_cross_entropy([0, 2], [0.5, 0.5]), r"labels must lie in .0, 1"),
    (lambda: binary_cross_entropy([], []), "labels is empty"),
    (lambda: binary_cross_entropy_from_logits([0, 1], [[0.5], [1]]), "labels has the shape"),
    (lambda: binary_cross_entropy_from_logits([-1, 1], [0.5, 1]), r"labels must lie in .0, 1"),
    (lambda: binary_cross_entropy_from_logits([0, 1], [0.5, np.nan]), "^logits holds NaN"),
    (lambda: cross_entropy_gradient([0], [[0.5, np.nan]]), "^logits holds NaN"),
    (lambda: binary_cross_entropy_gradient([1], [NAN]), "logits holds NaN"),
    (lambda: half_squared_error([1, 2], [1]), "y has the shape .* y_hat has"),
    (lambda: half_squared_error_gradient([1, 2], [[1, 2]]), "y has the shape"),
    (lambda: mean_squared_error([NAN], [1]), "y holds NaN"),
    (lambda: mean_squared_error_gradient([1], [np.inf]), "y_hat holds NaN or infinity"),
    (
        lambda: numerical_gradient(np.sum, [1.0], step=0),
        "step must be a finite number above 0",
    ),
    (
        lambda: numerical_gradient(np.sum, [1.0], step=NAN),
        "step must be a finite number above 0",
    ),
    (lambda: numerical_gradient(np.sum, [NAN]), "x holds NaN"),
    (
        lambda: numerical_gradient(lambda x: x, [1.0, 2.0]),
        r"function must return one number, its result has the shape .2,.",
    ),
]


@pytest.mark.parametrize("call, message", REFUSED, ids=[m for _, m in REFUSED])
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_arguments_are_left_as_they_were():
    labels, z = np.array([0, 1]), np.array([[1.0, 2.0], [3.0, 4.0]])
    weights = np.array([1.0, 2.0])
    cross_entropy_from_logits(labels, z, class_weights=weights, label_smoothing=0.1)
    half_squared_error_gradient(z, z)
    np.testing.assert_array_equal(z, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(labels, [0, 1])
    np.testing.assert_array_equal(weights, [1, 2])


def test_the_module_imports_no_deep_learning_framework():
    code = "import sys, sentiment_course.losses; print({'tensorflow', 'keras'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_every_public_name_is_documented():
    for name in losses.__all__:
        assert name.startswith("check_") or getattr(losses, name).__doc__, name
