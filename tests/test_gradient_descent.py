"""Gradient descent: what holds for all inputs, and agreement with Keras, PyTorch, scikit-learn."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from sklearn.linear_model import LinearRegression, LogisticRegression

from sentiment_course.gradient_descent import (
    Adam,
    GradientDescent,
    Momentum,
    Nesterov,
    best_momentum,
    check_clip_gradients,
    cosine_decay,
    descend,
    linear,
    linear_regression_gradient,
    linear_regression_loss,
    logistic_curvature,
    logistic_regression_gradient,
    logistic_regression_loss,
    minibatches,
    project_to_simplex,
    train,
)
from sentiment_course.losses import numerical_gradient

examples = settings(deadline=None, max_examples=50, derandomize=True)
seeds = st.integers(0, 10_000)
finite = st.floats(-1e6, 1e6)
OPTIMIZERS = {"plain": GradientDescent, "momentum": Momentum, "nesterov": Nesterov, "adam": Adam}


def problem(seed, count=12, columns=3):
    """Random features, a number and a 0/1 label for each row, and random parameters."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(count, columns))
    labels = (rng.permutation(count) < count // 2).astype(float)
    parameters = {"weights": rng.normal(size=columns), "bias": rng.normal()}
    return X, rng.normal(size=count), labels, parameters


def gradients(seed, steps=20):
    """Random gradients of two parameters, some of them huge, some tiny, some zero."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-4, 4, size=(steps, 1)) * rng.integers(0, 2, size=(steps, 1))
    return [{"W": g[:6].reshape(2, 3), "b": g[6:]} for g in scale * rng.normal(size=(steps, 8))]


def follow(optimizer, slopes):
    """The parameters after each of our updates, from zero."""
    path = [{"W": np.zeros((2, 3)), "b": np.zeros(2)}]
    for slope in slopes:
        path.append(optimizer.update(path[-1], slope))
    return path


def follow_keras(optimizer, slopes):
    variables = {n: keras.Variable(np.zeros_like(g), dtype="float64") for n, g in slopes[0].items()}
    path = [{name: v.numpy() for name, v in variables.items()}]
    for slope in slopes:
        pairs = [(keras.ops.convert_to_tensor(slope[n], "float64"), variables[n]) for n in slope]
        optimizer.apply_gradients(pairs)
        path.append({name: v.numpy() for name, v in variables.items()})
    return path


def follow_torch(make, slopes):
    variables = {n: torch.zeros(g.shape, dtype=torch.float64) for n, g in slopes[0].items()}
    optimizer = make(list(variables.values()))
    path = [{name: v.numpy().copy() for name, v in variables.items()}]
    for slope in slopes:
        for name, variable in variables.items():
            variable.grad = torch.tensor(slope[name])
        optimizer.step()
        path.append({name: v.numpy().copy() for name, v in variables.items()})
    return path


def assert_same_path(ours, theirs, tolerance):
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        for name in a:
            np.testing.assert_allclose(
                a[name], b[name], rtol=tolerance, atol=tolerance, err_msg=f"{name}, step {step}"
            )


KERAS = {  # numbers that single precision holds exactly: Keras rounds its settings to it
    "plain": lambda rate: (keras.optimizers.SGD(rate), GradientDescent(rate)),
    "momentum": lambda rate: (keras.optimizers.SGD(rate, momentum=0.75), Momentum(rate, 0.75)),
    "nesterov": lambda rate: (
        keras.optimizers.SGD(rate, momentum=0.75, nesterov=True),
        Nesterov(rate, 0.75),
    ),
    "adam": lambda rate: (
        keras.optimizers.Adam(rate, 0.75, 0.9375, epsilon=1e-3),
        Adam(rate, 0.75, 0.9375, epsilon=1e-3),
    ),
}


@pytest.mark.parametrize("name", KERAS)
@pytest.mark.parametrize("seed", range(3))
def test_same_steps_as_keras(name, seed):
    theirs, ours = KERAS[name](2**-5)
    slopes = gradients(seed)
    assert_same_path(follow(ours, slopes), follow_keras(theirs, slopes), 1e-9)


@pytest.mark.parametrize("name", KERAS)
def test_same_steps_as_keras_under_a_schedule(name):
    slopes, pieces = (
        gradients(7),
        keras.optimizers.schedules.PiecewiseConstantDecay([5], [0.5, 0.125]),
    )
    theirs, ours = KERAS[name](pieces)[0], KERAS[name](lambda step: 0.5 if step <= 5 else 0.125)[1]
    assert_same_path(follow(ours, slopes), follow_keras(theirs, slopes), 1e-9)


def test_default_settings_are_keras_s():
    ours, theirs = Adam(), keras.optimizers.Adam()
    assert np.isclose(ours.learning_rate, float(theirs.learning_rate))
    assert (ours.beta_1, ours.beta_2, ours.epsilon) == (
        theirs.beta_1,
        theirs.beta_2,
        theirs.epsilon,
    )


@settings(examples, max_examples=10)
@given(seeds)
def test_same_steps_as_pytorch(seed):
    slopes, sgd = gradients(seed), torch.optim.SGD
    pairs = [
        (GradientDescent(0.1), lambda p: sgd(p, 0.1)),
        (Momentum(0.1, 0.8), lambda p: sgd(p, 0.1, momentum=0.8)),
        (Nesterov(0.1, 0.8), lambda p: sgd(p, 0.1, momentum=0.8, nesterov=True)),
        (Adam(0.1, epsilon=1e-15), lambda p: torch.optim.Adam(p, 0.1, eps=1e-15)),
    ]
    for ours, theirs in pairs:
        assert_same_path(follow(ours, slopes), follow_torch(theirs, slopes), 1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_update_is_pure_and_ordered_by_name(name):
    parameters = {"a": np.array([1.0, 2.0]), "b": np.array(3.0)}
    slope = {"b": np.array(-1.0), "a": np.array([0.5, 0.0])}
    new = OPTIMIZERS[name](0.1).update(parameters, slope)
    assert list(new) == ["a", "b"] and new["a"].shape == (2,) and np.shape(new["b"]) == ()
    assert parameters["a"].tolist() == [1, 2] and parameters["b"] == 3
    assert new["a"][0] < 1 and new["a"][1] == 2 and new["b"] > 3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_do_not_mix(name):
    """Two parameters stepped together go where each goes alone."""
    slopes = gradients(3)
    together = follow(OPTIMIZERS[name](0.01), slopes)
    alone = OPTIMIZERS[name](0.01)
    W = np.zeros((2, 3))
    for step, slope in enumerate(slopes):
        W = alone.update({"W": W}, {"W": slope["W"]})["W"]
        np.testing.assert_array_equal(W, together[step + 1]["W"])


@examples
@given(st.floats(0.01, 10), st.floats(1.0, 1000), st.floats(0.05, 0.95))
def test_descent_inside_the_limit_and_not_beyond(mu, kappa, share):
    L = mu * kappa
    inside = descend(lambda w: w * [mu, L], [1.0, 1.0], GradientDescent(share * 2 / L), 30)
    beyond = descend(lambda w: w * [mu, L], [1.0, 1.0], GradientDescent((1 + share) * 2 / L), 30)
    assert (np.diff(np.abs(inside), axis=0) <= 0).all()
    assert (np.diff(np.abs(beyond[:, 1])) > 0).all()
    np.testing.assert_allclose(inside[:, 1], (1 - 2 * share) ** np.arange(31), atol=1e-9)


@examples
@given(st.floats(1e-3, 10), st.floats(1.0, 1e4))
def test_best_momentum_is_best(mu, kappa):
    L = mu * kappa
    rate, gamma = best_momentum(mu, L)

    def share_left(rate, gamma):
        steps = [np.array([[1 + gamma - rate * c, -gamma], [1, 0]]) for c in (mu, L)]
        return max(abs(np.linalg.eigvals(step)).max() for step in steps)

    best = (np.sqrt(L / mu) - 1) / (np.sqrt(L / mu) + 1)
    assert np.isclose(share_left(rate, gamma), best, atol=1e-6)
    for change in (0.9, 1.1):
        assert share_left(rate * change, gamma) >= best - 1e-6
        assert share_left(rate, min(gamma * change, 1)) >= best - 1e-6


@examples
@given(st.integers(1, 200), st.integers(1, 50), seeds)
def test_minibatches_hold_each_example_once(count, batch_size, seed):
    batches = list(minibatches(count, batch_size, np.random.default_rng(seed)))
    assert sorted(np.concatenate(batches)) == list(range(count))
    assert [len(b) for b in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert 1 <= len(batches[-1]) <= batch_size


def test_minibatches_differ_from_epoch_to_epoch():
    rng = np.random.default_rng(0)
    first, second = (np.concatenate(list(minibatches(50, 8, rng))) for _ in range(2))
    assert (first != second).any() and (first != np.arange(50)).any()


@examples
@given(st.floats(1e-6, 1e3), st.integers(1, 1000))
def test_cosine_decay_falls_from_the_rate_to_zero(rate, steps):
    schedule = cosine_decay(rate, steps)
    values = np.array([schedule(t) for t in range(0, steps + 3)])
    assert values[0] == rate and (values[steps:] == 0).all() and (np.diff(values) <= 0).all()
    reference = keras.optimizers.schedules.CosineDecay(rate, steps)
    assert np.isclose(values[steps // 3], float(reference(steps // 3)), rtol=1e-4, atol=1e-6 * rate)


@examples
@given(seeds)
def test_gradients_agree_with_finite_differences(seed):
    X, y, labels, parameters = problem(seed)
    models = [
        (linear_regression_loss, linear_regression_gradient, (y,)),
        (logistic_regression_loss, logistic_regression_gradient, (labels, 0.3)),
    ]
    for loss, gradient, rest in models:
        exact = gradient(parameters, X, *rest)
        assert set(exact) == {"weights", "bias"}
        for name in exact:
            slope = numerical_gradient(
                lambda p, name=name, loss=loss, rest=rest: loss({**parameters, name: p}, X, *rest),
                parameters[name],
            )
            np.testing.assert_allclose(exact[name], slope, rtol=1e-6, atol=1e-7)


@examples
@given(seeds, st.sampled_from(["csr", "csc", "coo", "lil"]))
def test_sparse_features_are_dense_features(seed, form):
    X, y, labels, parameters = problem(seed)
    X = np.where(X > 0.5, X, 0)
    compressed = sparse.csr_matrix(X).asformat(form)
    assert np.allclose(linear(parameters, X), linear(parameters, compressed))
    assert np.isclose(
        logistic_regression_loss(parameters, X, labels, 0.1),
        logistic_regression_loss(parameters, compressed, labels, 0.1),
    )
    for gradient, targets in [
        (linear_regression_gradient, y),
        (logistic_regression_gradient, labels),
    ]:
        a, b = gradient(parameters, X, targets), gradient(parameters, compressed, targets)
        assert np.allclose(a["weights"], b["weights"]) and np.isclose(a["bias"], b["bias"])
    assert np.isclose(logistic_curvature(X, 0.1), logistic_curvature(compressed, 0.1))


@examples
@given(seeds)
def test_logistic_curvature_bounds_the_hessian(seed):
    X, _, labels, parameters = problem(seed)

    def slopes(w):
        at = {"weights": w[:-1], "bias": w[-1]}
        gradient = logistic_regression_gradient(at, X, labels, 0.2)
        return np.append(gradient["weights"], gradient["bias"])

    here = np.append(parameters["weights"], parameters["bias"])
    rows = [(slopes(here + e) - slopes(here - e)) / 2e-5 for e in 1e-5 * np.eye(4)]
    assert np.linalg.eigvalsh(rows)[-1] <= logistic_curvature(X, 0.2) + 1e-6


def test_logistic_curvature_of_one_sparse_row():
    assert np.isclose(logistic_curvature(sparse.csr_matrix([[2.0]])), 1.25)


def test_extreme_logits_stay_finite():
    parameters = {"weights": np.array([1000.0]), "bias": 0.0}
    X, labels = np.array([[1.0], [-1.0], [1.0]]), np.array([1.0, 0.0, 0.0])
    assert np.isclose(logistic_regression_loss(parameters, X, labels), 1000 / 3)
    gradient = logistic_regression_gradient(parameters, X, labels)
    assert np.allclose(gradient["weights"], 1 / 3) and np.isclose(gradient["bias"], 1 / 3)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_solves_linear_regression(name):
    X, y, _, start = problem(1, count=40)
    path = descend(
        lambda p: linear_regression_gradient(p, X, y), start, OPTIMIZERS[name](0.05), 1500
    )
    reference = LinearRegression().fit(X, y)
    assert path["weights"].shape == (1501, 3) and path["bias"].shape == (1501,)
    np.testing.assert_allclose(path["weights"][-1], reference.coef_, atol=1e-6)
    np.testing.assert_allclose(path["bias"][-1], reference.intercept_, atol=1e-6)


@pytest.mark.parametrize("l2", [0.01, 0.5])
def test_momentum_reaches_scikit_learn_s_logistic_regression(l2):
    X, _, labels, start = problem(2, count=60, columns=5)
    optimizer = Momentum(*best_momentum(l2, logistic_curvature(X, l2)))
    path = descend(lambda p: logistic_regression_gradient(p, X, labels, l2), start, optimizer, 1500)
    reference = LogisticRegression(C=1 / (l2 * 60), tol=1e-12, max_iter=10_000).fit(X, labels)
    np.testing.assert_allclose(path["weights"][-1], reference.coef_[0], atol=1e-5)
    np.testing.assert_allclose(path["bias"][-1], reference.intercept_[0], atol=1e-5)


def test_training_on_full_batches_is_descending():
    X, y, _, start = problem(3)
    rng = np.random.default_rng(0)
    trained = train(linear_regression_gradient, start, Momentum(0.1), X, y, 25, len(y), rng)
    path = descend(lambda p: linear_regression_gradient(p, X, y), start, Momentum(0.1), 25)
    assert trained["weights"].shape == (26, 3)
    for name in path:
        np.testing.assert_allclose(trained[name], path[name], atol=1e-12)


def test_training_is_repeatable_and_takes_sparse_features():
    X, _, labels, start = problem(4)
    ends = [
        train(
            logistic_regression_gradient,
            start,
            Adam(0.05),
            features,
            labels,
            epochs=5,
            batch_size=5,
            rng=np.random.default_rng(1),
        )["weights"][-1]
        for features in (X, X, sparse.coo_matrix(X))
    ]
    np.testing.assert_array_equal(ends[0], ends[1])
    np.testing.assert_allclose(ends[0], ends[2])


points = arrays(float, st.integers(1, 8), elements=finite)


@examples
@given(points, st.floats(1e-3, 1e6), seeds)
def test_projection_is_the_nearest_point_of_the_simplex(point, total, seed):
    projected = project_to_simplex(point, total)
    scale = max(total, np.abs(point).max())
    assert (projected >= 0).all() and np.isclose(projected.sum(), total, atol=1e-9 * scale)
    others = total * np.random.default_rng(seed).dirichlet(np.ones(len(point)), size=20)
    # Nearest: every other point of the set lies on the far side of the tangent there.
    assert ((others - projected) @ (point - projected) <= 1e-6 * scale**2).all()
    np.testing.assert_allclose(project_to_simplex(projected, total), projected, atol=1e-9 * scale)


@examples
@given(seeds)
def test_projection_leaves_the_simplex_alone(seed):
    inside = np.random.default_rng(seed).dirichlet(np.ones(5))
    np.testing.assert_allclose(project_to_simplex(inside), inside, atol=1e-12)


ONE = {"w": np.zeros(2)}
FIT = {"weights": np.zeros(2), "bias": 0.0}
X2, Y2 = np.ones((3, 2)), np.array([0.0, 1.0, 1.0])
NAN = float("nan")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: GradientDescent(0), "learning_rate must be a finite number above 0"),
        (lambda: GradientDescent(NAN), "learning_rate must be a finite number"),
        (
            lambda: GradientDescent(lambda t: -1).update(ONE, ONE),
            "learning_rate must be a finite number from 0",
        ),
        (lambda: GradientDescent(lambda t: NAN).update(ONE, ONE), "learning_rate must be a finite"),
        (lambda: Momentum(0.1, 1), "gamma must be a finite number from 0 and below 1"),
        (lambda: Nesterov(0.1, -0.1), "gamma must be a finite number from 0"),
        (lambda: Adam(beta_1=1.0), "beta_1 must be a finite number"),
        (lambda: Adam(beta_2=-1.0), "beta_2 must be a finite number"),
        (lambda: Adam(epsilon=0), "epsilon must be a finite number above 0"),
        (lambda: Adam().update(ONE, {"v": np.zeros(2)}), "names of parameters"),
        (lambda: Adam().update(ONE, {}), "names of parameters"),
        (lambda: Adam().update(ONE, {"w": np.zeros(3)}), r"gradients\['w'\] has the shape"),
        (lambda: Adam().update(ONE, {"w": [0, NAN]}), r"gradients\['w'\] holds NaN"),
        (lambda: descend(lambda w: w, [1.0], Adam(), 0), "steps must be a whole number"),
        (lambda: descend(lambda w: w[:1], [1.0, 2.0], Adam(), 1), "has the shape"),
        (lambda: minibatches(0, 4, np.random.default_rng(0)), "count must be"),
        (lambda: minibatches(4, 0, np.random.default_rng(0)), "batch_size must be"),
        (lambda: cosine_decay(0, 10), "learning_rate must be a finite number above 0"),
        (lambda: cosine_decay(0.1, 0), "steps must be a whole number"),
        (lambda: best_momentum(0, 1), "mu must be a finite number above 0"),
        (lambda: best_momentum(2, 1), "L must be a finite number from 2"),
        (lambda: linear(FIT, np.ones((3, 4))), "features has 4 columns, weights has 2"),
        (lambda: linear(FIT, np.ones(3)), "features must have 2 axes"),
        (lambda: linear(FIT, np.ones((0, 2))), "features is empty"),
        (lambda: linear(FIT, sparse.csr_matrix([[1.0, NAN]])), "features must be finite"),
        (lambda: linear(FIT, sparse.csr_matrix((0, 2))), "features must be finite"),
        (lambda: linear({"weights": [NAN, 0], "bias": 0.0}, X2), "weights holds NaN"),
        (lambda: linear({"weights": [[0, 0]], "bias": 0.0}, X2), "weights must have 1 axes"),
        (lambda: linear({"weights": [0, 0], "bias": [0.0]}, X2), "bias must have 0 axes"),
        (lambda: linear_regression_loss(FIT, X2, Y2[:2]), "y has the shape"),
        (lambda: linear_regression_gradient(FIT, X2, [0, NAN, 1]), "y holds NaN"),
        (lambda: logistic_regression_loss(FIT, X2, [0, 1, 2]), "labels must lie in"),
        (lambda: logistic_regression_loss(FIT, X2, Y2, -1), "l2 must be a finite number from 0"),
        (lambda: logistic_regression_gradient(FIT, X2, [0, 1]), "labels has the shape"),
        (lambda: logistic_regression_gradient(FIT, X2, Y2, NAN), "l2 must be a finite"),
        (lambda: logistic_regression_gradient(FIT, X2, Y2, -1), "l2 must be a finite"),
        (lambda: logistic_curvature(X2, -1), "l2 must be a finite number from 0"),
        (lambda: logistic_curvature([[NAN]]), "features holds NaN"),
        (lambda: project_to_simplex([1.0], 0), "total must be a finite number above 0"),
        (lambda: project_to_simplex([1.0, NAN]), "point holds NaN"),
        (lambda: project_to_simplex([[1.0]]), "point must have 1 axes"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"targets": Y2[:2]}, "features has 3 rows, targets has 2"),
        ({"targets": [0, NAN, 1]}, "targets holds NaN"),
        ({"epochs": 0}, "epochs must be a whole number"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"features": np.ones((3, 1))}, "features has 1 columns"),
    ],
)
def test_bad_input_to_train_is_named(change, says):
    arguments = {"features": X2, "targets": Y2, "epochs": 1, "batch_size": 2} | change
    with pytest.raises(ValueError, match=says):
        train(linear_regression_gradient, FIT, Adam(), **arguments, rng=np.random.default_rng(0))


def test_a_refused_step_leaves_the_optimizer_as_it_was():
    optimizer = Momentum(0.1)
    with pytest.raises(ValueError):
        optimizer.update(ONE, {"w": [0, NAN]})
    assert optimizer.step == 0 and optimizer.slots == {}


def test_module_imports_no_tensorflow():
    code = "import sys, sentiment_course.gradient_descent; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_clipping_each_array_by_itself_is_refused():
    def each_alone(gradients, limit):
        return {k: g * limit / max(np.linalg.norm(g), limit) for k, g in gradients.items()}

    assert not check_clip_gradients(each_alone)
