"""A training step: its rate, its optimizer, its adversary."""

import numpy as np
import pytest

from sentiment_course.doctor import quiet

with quiet():
    from sentiment_course.bert import build_network
    from sentiment_course.encoders import keras, load_encoder
    from sentiment_course.steps import WORDS, AdamW, WarmupDecay, average_momentum, compile_network


def test_average_remembers_a_tenth_of_the_training():
    assert average_momentum(5) == 0 and average_momentum(100) == pytest.approx(0.9)
    assert average_momentum(10_000) == 0.99


def test_warmup_then_decay():
    rates = np.array([float(WarmupDecay(1.0, 50)(s)) for s in range(50)])
    assert rates.argmax() in (4, 5) and 0 < rates[-1] < 0.05 and rates[0] == pytest.approx(0.2)
    assert float(WarmupDecay(1.0, 1)(0)) == pytest.approx(1.0)


@pytest.fixture
def still(small_encoder):
    """A small network without dropout, and a batch: inputs, targets, weights."""
    network = build_network(load_encoder(small_encoder, dropout=0.0).model, 2)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 30000, (8, 6), dtype="int32")
    targets = np.eye(2, dtype="float32")[rng.integers(0, 2, 8)]
    return network, [[ids, np.ones_like(ids)], targets, np.ones(8, dtype="float32")]


def looked_at(step):
    """What `step` meets at each of its two passes: weights by path, and the loss. By no graph."""
    seen, whole = [], step.gradients

    def gradients(*asked):
        loss, found = whole(*asked)
        weights = {v.path: np.array(v) for v in step.network.weights}
        seen.append((weights, float(loss)))
        return loss, found

    step.gradients = gradients
    return seen


def test_the_adversary_moves_the_words_to_where_the_loss_is_higher(still, eagerly):
    network, batch = still
    words = network.get_layer("embeddings").word.get_weights()[0]
    step = compile_network(network, 10, 1e-2, "float32", perturbation=0.5)
    seen = looked_at(step)
    answered = float(step(*batch))
    (first, loss), (second, higher) = [(weights[WORDS], loss) for weights, loss in seen]
    assert np.array_equal(first, words) and answered == loss < higher
    moved, read = second - words, np.unique(batch[0][0])
    length = np.linalg.norm(words, axis=1).mean()
    assert np.linalg.norm(moved) == pytest.approx(0.5 * length, rel=1e-4)
    assert (np.abs(moved[read]).max(axis=1) > 0).all()
    assert not np.delete(moved, read, axis=0).any()


@pytest.mark.parametrize("trained", [False, True])
def test_step_is_by_the_sum_of_both_gradients(still, trained):
    import tensorflow as tf

    network, batch = still
    twin = keras.models.clone_model(network)
    twin.set_weights(network.get_weights())
    for each in (network, twin):
        each.get_layer("embeddings").word.trainable = trained
    step = compile_network(network, 10, 1e-2, "float32", perturbation=0.5)
    compile_network(twin, 10, 1e-2, "float32")
    words = twin.get_layer("embeddings").word.embeddings.value
    variables = [v.value for v in twin.trainable_variables]
    entropy = keras.losses.CategoricalCrossentropy(from_logits=True)

    def gradients(by):
        with tf.GradientTape() as tape:
            tape.watch(words)
            loss = entropy(batch[1], twin(batch[0]))
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, by)]

    loss = float(entropy(batch[1], twin(batch[0])))
    *at_words, g = gradients([*variables, words])
    r = 0.5 * np.linalg.norm(words.numpy(), axis=1).mean() * g / tf.norm(g)
    words.assign_add(r)
    both = [a + b for a, b in zip(at_words, gradients(variables), strict=True)]
    words.assign_sub(r)
    twin.optimizer.apply(both, twin.trainable_variables)

    assert float(step(*batch)) == pytest.approx(loss, rel=1e-5)
    for ours, theirs in zip(network.get_weights(), twin.get_weights(), strict=True):
        assert np.allclose(ours, theirs, atol=1e-5)


def test_a_step_whose_gradients_overflow_changes_no_weight(still):
    """By a graph: what float16's optimizer decides is part of it."""
    network, batch = still
    before = network.get_weights()
    step = compile_network(network, 10, 1e-2, "float16", perturbation=0.5)
    step.gradients, whole = lambda *b: (whole(*b)[0], [g / 0 for g in whole(*b)[1]]), step.gradients
    step(*batch)
    for ours, theirs in zip(network.get_weights(), before, strict=True):
        assert np.array_equal(ours, theirs)


def test_adamw_is_that_of_keras():
    rng, found = np.random.default_rng(0), []
    start, *gradients = rng.normal(size=(6, 4, 3)).astype("float32")
    for kind in (AdamW, keras.optimizers.AdamW):
        variable = keras.Variable(start, name="kernel")
        rate = WarmupDecay(0.1, 5)
        optimizer = kind(rate, weight_decay=0.3, global_clipnorm=1.0, use_ema=True)
        states = []
        for gradient in gradients:
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
            states += [np.array(v) for v in [variable, *optimizer.variables]]
        found.append(states)
    for ours, theirs in zip(*found, strict=True):
        assert np.allclose(ours, theirs, atol=1e-5)
    assert np.abs(found[0][-1] - start).max() > 0.1


def test_no_decay_on_biases_and_norms(small_encoder):
    network = build_network(load_encoder(small_encoder).model, 2)
    compile_network(network, 10, 1e-4, "float32")
    decayed = {
        v.path.rsplit("/", 1)[-1]
        for v in network.trainable_variables
        if network.optimizer._use_weight_decay(v)
    }
    assert decayed == {"kernel", "embeddings"}
