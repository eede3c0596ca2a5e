"""Activations and slopes agree with PyTorch, stacks with autograd, and bad input is named."""

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sentiment_course import activations as a
from sentiment_course.exercises import Exercise
from sentiment_course.losses import numerical_gradient, softmax

torch.set_num_threads(1)
quick = settings(deadline=None, max_examples=50, derandomize=True)
EXTREMES = np.array([-1e308, -1000.0, -40.0, -1e-300, 0.0, 1e-300, 40.0, 1000.0, 1e308])
EXTREMES_FOR_TORCH = EXTREMES[1:-1]  # its own forms overflow at 1e308
NAMES = sorted(a.ACTIVATIONS)
TORCH = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "elu": torch.nn.functional.elu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
}
any_size = arrays(np.float64, st.integers(1, 20), elements=st.floats(-1e300, 1e300))
moderate = arrays(np.float64, st.integers(1, 20), elements=st.floats(-50, 50))


def both(name, x):
    function, derivative = a.ACTIVATIONS[name]
    return function(x), derivative(x)


def test_the_agreed_names_are_there():
    for name in ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "gelu_tanh"):
        function, derivative = getattr(a, name), getattr(a, f"{name}_derivative")
        assert a.ACTIVATIONS[name] == (function, derivative)
    assert a.softmax is softmax


@pytest.mark.parametrize("name", NAMES)
@given(x=moderate)
@quick
def test_values_and_slopes_agree_with_torch(name, x):
    t = torch.tensor(x, requires_grad=True)
    value = TORCH[name](t)
    value.sum().backward()
    ours = both(name, x)
    np.testing.assert_allclose(ours[0], value.detach().numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours[1], t.grad.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_extremes_agree_with_torch(name):
    t = torch.tensor(EXTREMES_FOR_TORCH, requires_grad=True)
    value = TORCH[name](t)
    value.sum().backward()
    ours = both(name, EXTREMES_FOR_TORCH)
    np.testing.assert_allclose(ours[0], value.detach().numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours[1], t.grad.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@given(x=any_size)
@quick
@pytest.mark.filterwarnings("error")
def test_any_finite_input_gives_finite_output_of_the_same_shape(name, x):
    x = np.concatenate([x, EXTREMES])
    for result in both(name, x):
        assert result.shape == x.shape and result.dtype == np.float64
        assert np.isfinite(result).all()


@pytest.mark.parametrize("name", NAMES)
def test_scalars_lists_and_integers_are_taken_and_nothing_is_changed(name):
    for function in a.ACTIVATIONS[name]:
        assert np.ndim(function(2)) == 0
        np.testing.assert_array_equal(function([[1, -2]]), function(np.array([[1.0, -2.0]])))
        x = np.array([-1.0, 2.0])
        function(x)
        assert x.tolist() == [-1, 2]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("bad", "message"),
    [([], "x is empty"), ([np.nan], "x holds NaN"), ([np.inf], "x holds NaN"), (["a"], "x must")],
)
def test_bad_input_is_named(name, bad, message):
    for function in a.ACTIVATIONS[name]:
        with pytest.raises(ValueError, match=message):
            function(bad)


@given(x=any_size)
@quick
def test_bounds_and_symmetries(x):
    assert (a.sigmoid(x) >= 0).all() and (a.sigmoid(x) <= 1).all()
    assert (a.sigmoid_derivative(x) >= 0).all() and (a.sigmoid_derivative(x) <= 1 / 4).all()
    assert (a.tanh_derivative(x) >= 0).all() and (a.tanh_derivative(x) <= 1).all()
    np.testing.assert_allclose(a.sigmoid(x) + a.sigmoid(-x), 1)
    np.testing.assert_array_equal(a.tanh(-x), -a.tanh(x))
    np.testing.assert_array_equal(a.relu(x) - a.relu(-x), x)
    np.testing.assert_array_equal(a.relu(x / 2), a.relu(x) / 2)
    assert (a.elu(x) >= -1).all() and (a.gelu(x) >= -0.17).all() and (a.gelu(x) <= a.relu(x)).all()


@given(x=moderate)
@quick
def test_the_two_forms_of_gelu_are_close(x):
    np.testing.assert_allclose(a.gelu(x), a.gelu_tanh(x), atol=5e-4)


def test_tails_keep_their_digits():
    far = np.array([30.0, 300.0, 700.0])
    np.testing.assert_allclose(a.sigmoid(-far), np.exp(-far), rtol=1e-12)
    np.testing.assert_allclose(a.sigmoid_derivative(far), np.exp(-far), rtol=1e-12)
    np.testing.assert_allclose(a.tanh_derivative(far[:2]), 4 * np.exp(-2 * far[:2]), rtol=1e-12)
    tail = -10 * scipy.special.erfc(10 / np.sqrt(2)) / 2
    np.testing.assert_allclose(a.gelu(-10.0), tail, rtol=1e-12)


def test_slopes_of_other_leaks_and_limits():
    x = np.array([-2.0, -0.1, 0.3])
    for function, derivative, value in [
        (a.leaky_relu, a.leaky_relu_derivative, 0.3),
        (a.elu, a.elu_derivative, 2.5),
    ]:
        numerical = numerical_gradient(lambda x, f=function, v=value: f(x, v).sum(), x)
        np.testing.assert_allclose(derivative(x, value), numerical, atol=1e-7)
    np.testing.assert_allclose(a.elu(-1e3, 2.5), -2.5)


@given(
    arrays(
        np.float64, st.tuples(st.integers(1, 3), st.integers(1, 5)), elements=st.floats(-1e3, 1e3)
    )
)
@quick
def test_softmax_jacobian_agrees_with_torch(logits):
    ours = a.softmax_jacobian(logits)
    assert ours.shape == (*logits.shape, logits.shape[-1])
    for row, jacobian in zip(logits, ours, strict=True):
        theirs = torch.autograd.functional.jacobian(
            lambda z: torch.softmax(z, -1), torch.tensor(row)
        )
        np.testing.assert_allclose(jacobian, theirs.numpy(), atol=1e-9)
    np.testing.assert_allclose(ours.sum(axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(ours, np.swapaxes(ours, -1, -2), atol=1e-15)


@given(
    st.sampled_from(NAMES), st.integers(0, 100), st.lists(st.integers(1, 5), min_size=2, max_size=5)
)
@quick
def test_stack_agrees_with_torch(name, seed, sizes):
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=shape) for shape in zip(sizes[:-1], sizes[1:], strict=True)]
    x, gradient = rng.normal(size=(3, sizes[0])), rng.normal(size=(3, sizes[-1]))
    inputs = [torch.tensor(x, requires_grad=True)]
    for W in weights:
        inputs.append(TORCH[name](inputs[-1] @ torch.tensor(W)))
        inputs[-1].retain_grad()
    inputs[-1].backward(torch.tensor(gradient))
    pre_activations, output = a.stack_forward(x, weights, name)
    np.testing.assert_allclose(output, inputs[-1].detach().numpy(), atol=1e-9)
    deltas = a.stack_backward(gradient, pre_activations, weights, name)
    assert len(deltas) == len(weights) + 1
    for delta, theirs in zip(deltas, inputs, strict=True):
        np.testing.assert_allclose(delta, theirs.grad.numpy(), rtol=1e-8, atol=1e-9)


X, STACK = np.ones((2, 3)), [np.ones((3, 4)), np.ones((4, 1))]
PRE, OUTPUT = a.stack_forward(X, STACK, "relu")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: a.stack_forward(X, STACK, "swish"), "name must be one of .*'swish'"),
        (lambda: a.stack_forward(X[0], STACK, "relu"), "x must have 2 axes"),
        (lambda: a.stack_forward(X, [STACK[0]] * 2, "relu"), r"weights\[1\] must have 4 rows"),
        (lambda: a.stack_forward(X, [STACK[0] * np.nan], "relu"), r"weights\[0\] holds NaN"),
        (lambda: a.stack_forward(X, [], "relu"), "weights is empty"),
        (lambda: a.stack_backward(np.ones((2, 2)), PRE, STACK, "relu"), "same stack"),
        (lambda: a.stack_backward(OUTPUT, PRE[1:], STACK, "relu"), "same stack"),
        (lambda: a.stack_backward(OUTPUT, PRE, STACK, "swish"), "name must be one of"),
        (lambda: a.gradient_norms("swish", 1.0), "name must be one of"),
        (lambda: a.gradient_norms("relu", 0), "scale must be a finite number above 0"),
        (lambda: a.gradient_norms("relu", 1.0, 2.5), "depth must be a whole number from 1"),
        (lambda: a.gradient_norms("relu", 1.0, 2, 0), "width must be a whole number from 1"),
        (lambda: a.gradient_gain("swish", 1.0), "name must be one of"),
        (lambda: a.gradient_gain("relu", 1e200), "scale must be a finite number above 0"),
        (lambda: a.gradient_gain("relu", 1.0, 0), "depth must be a whole number from 1"),
        (lambda: a.xavier_normal(0, 3, np.random.default_rng(0)), "fan_in must be"),
        (lambda: a.xavier_normal(3, 3, 0), "rng must be"),
        (lambda: a.he_normal(3, 2.0, np.random.default_rng(0)), "fan_out must be"),
        (lambda: a.he_normal(3, 3, 0), "rng must be"),
        (lambda: a.softmax_jacobian(1.0), "logits .* scalar"),
        (lambda: a.softmax_jacobian([np.nan, 1]), "logits holds NaN"),
    ],
)
def test_stacks_and_initialisations_name_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_gradient_norms_follow_the_gain():
    for name in ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu"):
        for scale in (0.5, 3.0):
            norms = a.gradient_norms(name, scale, depth=20)
            assert norms.shape == (21,) and norms[0] == 1
            gain = (norms[15] / norms[5]) ** (1 / 10)  # clear of the ends
            assert gain == pytest.approx(a.gradient_gain(name, scale, 15), rel=0.1), (name, scale)


def test_gains_known_exactly():
    for scale in (0.1, 1.0, 30.0):
        assert a.gradient_gain("relu", scale) == pytest.approx(scale / np.sqrt(2), rel=1e-9)
        leaky = scale * np.sqrt((1 + 0.01**2) / 2)
        assert a.gradient_gain("leaky_relu", scale) == pytest.approx(leaky, rel=1e-9)
    assert a.gradient_gain("tanh", 0.5) == pytest.approx(0.5)
    assert a.gradient_gain("gelu", 2.0, 2000) == pytest.approx(np.sqrt(2), rel=1e-3)


def test_the_articles_claims():
    assert a.relu(1 - 1) != a.relu(1) + a.relu(-1)  # ReLU is not linear
    assert a.gradient_norms("sigmoid", 16.0)[-1] > 1e3  # the sigmoid's gradients explode
    assert a.gradient_norms("sigmoid", 1.0)[-1] < 1e-30  # or vanish
    assert a.gradient_norms("relu", 1.0)[-1] < 1e-6  # and so do ReLU's
    assert 0.1 < a.gradient_norms("relu", np.sqrt(2))[-1] < 10  # but not with He's scale


@pytest.mark.parametrize(
    ("function", "variance"),
    [(a.xavier_normal, 2 / (300 + 500)), (a.he_normal, 2 / 300)],
)
def test_initialisation(function, variance):
    weights = function(300, 500, np.random.default_rng(1))
    assert weights.shape == (300, 500)
    assert weights.var() == pytest.approx(variance, rel=0.02)
    assert abs(weights.mean()) < 4 * np.sqrt(variance / weights.size)
    np.testing.assert_array_equal(weights, function(300, 500, np.random.default_rng(1)))


WRONG = {
    "check_silu_derivative": lambda x: (lambda e: 1 / (1 + e) + x * e / (1 + e) ** 2)(np.exp(-x)),
    "check_softmax_backward": lambda p, g: p * (g - np.sum(g * p)),
    "check_local_map": lambda x, weights: np.linalg.multi_dot([np.eye(len(x)), *weights]),
}


@pytest.mark.parametrize("name", [n for n in dir(a) if isinstance(getattr(a, n), Exercise)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_exercises_refuse_the_obvious_mistake(name):
    assert not getattr(a, name)(WRONG[name])
