"""The classifier: trains, chooses its epoch, resumes, saves, and refuses bad input."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from sentiment_course.doctor import quiet
from sentiment_course.reviews import load_reviews, split_reviews

with quiet():
    import sentiment_course.bert
    from sentiment_course.bert import (
        AdversarialAdamW,
        BertClassifier,
        WarmupDecay,
        average_momentum,
        build_network,
        compile_network,
        hold_out,
        logits_of,
        soft_targets,
        stopped,
        to_keep,
    )
    from sentiment_course.encoders import (
        Encoder,
        build_encoder,
        keras,
        load_encoder,
        pad,
        save_encoder,
        save_hub_encoder,
    )
    from sentiment_course.hub import string_tokenizer

QUICK = {"epochs": 1, "max_length": 16, "precision": "float32", "verbose": False}


@pytest.fixture(scope="module")
def reviews():
    train, _ = split_reviews(load_reviews("movies"))
    return train.sample(64, random_state=0)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """QUICK with a small random encoder, for what does not depend on what an encoder knows."""
    folder, minilm = tmp_path_factory.mktemp("small"), load_encoder("minilm")
    config = minilm.config | {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                              "intermediate_size": 32}  # fmt: skip
    save_encoder(Encoder(build_encoder(config), minilm.tokenizer, config, True), folder)
    return QUICK | {"encoder": str(folder)}


@pytest.fixture(scope="module")
def fitted(reviews):
    return BertClassifier(**QUICK).fit(reviews.text, reviews.label)


def test_head_only_learns_and_leaves_the_encoder(reviews):
    classifier = BertClassifier(trainable="head", **QUICK).fit(reviews.text, reviews.label)
    before = load_encoder("minilm").model.get_weights()
    after = classifier.encoder_.model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert classifier.score(reviews.text, reviews.label) > 0.7


def test_head_equals_logistic_regression(reviews):
    from sklearn.linear_model import LogisticRegression

    classifier = BertClassifier(trainable="head", **QUICK).fit(reviews.text, reviews.label)
    pooled = keras.Model(classifier.network_.inputs, classifier.network_.get_layer("head").input)
    tokens = classifier.encoder_.tokenize(list(reviews.text), 16)
    vectors = logits_of(pooled, tokens)
    peer = LogisticRegression(max_iter=1000).fit(vectors, reviews.label)
    assert np.allclose(
        classifier.predict_proba(reviews.text), peer.predict_proba(vectors), atol=1e-4
    )


def test_fine_tuning_learns(reviews):
    classifier = BertClassifier(**QUICK | {"epochs": 4, "batch_size": 8, "validation_split": 0})
    classifier.fit(reviews.text, reviews.label)
    assert classifier.history_.loss.iloc[-1] < 0.8 * classifier.history_.loss.iloc[0]
    assert classifier.score(reviews.text, reviews.label) > 0.8


def test_same_seed_same_result(reviews, fitted):
    again = BertClassifier(**QUICK).fit(reviews.text, reviews.label)
    other = BertClassifier(**QUICK | {"seed": 1}).fit(reviews.text, reviews.label)
    ours = fitted.predict_proba(reviews.text)
    assert np.allclose(ours, again.predict_proba(reviews.text), atol=1e-5)
    assert not np.allclose(ours, other.predict_proba(reviews.text), atol=1e-5)


def test_probabilities_do_not_depend_on_neighbours_or_order(fitted, reviews):
    texts = list(reviews.text[:9]) + ["Good."]
    together = fitted.predict_proba(texts)
    assert np.allclose(together.sum(axis=1), 1)
    assert np.allclose(together[::-1], fitted.predict_proba(texts[::-1]), atol=1e-5)
    alone = np.vstack([fitted.predict_proba([t]) for t in texts])
    assert np.allclose(together, alone, atol=1e-5)


def test_nothing_to_predict(fitted):
    assert fitted.predict_proba([]).shape == (0, 2)
    assert len(fitted.predict([])) == 0


def test_long_and_blank_texts_are_predicted(fitted):
    assert fitted.predict_proba(["word " * 20_000, "", "好看"]).shape == (3, 2)


def test_save_and_load(fitted, reviews, tmp_path):
    fitted.save(tmp_path / "deep" / "model")
    again = BertClassifier.load(tmp_path / "deep" / "model")
    ours, theirs = fitted.predict_proba(reviews.text), again.predict_proba(reviews.text)
    assert np.allclose(ours, theirs, atol=1e-5)
    assert list(again.classes_) == ["negative", "positive"]
    assert again.get_params()["max_length"] == 16
    fitted.save(tmp_path / "deep" / "model")  # an earlier classifier is replaced
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["model"]


def test_other_folders_are_not_replaced(fitted, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="is no classifier"):
        fitted.save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.fixture(scope="module")
def two(reviews, small):
    """Two small classifiers with different encoders and heads."""
    return [BertClassifier(**small | {"seed": s}).fit(reviews.text, reviews.label) for s in (0, 1)]


def same_weights(ours, theirs):
    pairs = zip(ours.network_.get_weights(), theirs.network_.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_a_program_put_into_a_saved_model_is_not_run(two, tmp_path):
    path = tmp_path / "model"
    two[0].save(path)
    save_hub_encoder(two[1].encoder_, tmp_path / "module")
    shutil.copytree(tmp_path / "module", path, dirs_exist_ok=True)
    with pytest.raises(ValueError, match="holds .*, which no saved classifier has"):
        BertClassifier.load(path)
    note = json.loads((path / "classifier.json").read_text())  # as who made it could list it
    program = (path / "saved_model.pb").read_bytes()
    note["sha256"]["saved_model.pb"] = hashlib.sha256(program).hexdigest()
    (path / "classifier.json").write_text(json.dumps(note))
    with pytest.raises(ValueError, match="no saved classifier has"):
        BertClassifier.load(path)


def test_what_a_saved_model_is_read_from_is_never_a_program(two, tmp_path, monkeypatch):
    """Even where the strange file goes unnoticed, what is loaded are the weights."""
    path = tmp_path / "model"
    two[0].save(path)
    save_hub_encoder(two[1].encoder_, tmp_path / "module")
    shutil.copytree(tmp_path / "module", path, dirs_exist_ok=True)
    monkeypatch.setattr("sentiment_course.bert.os.listdir", lambda folder: [])
    assert same_weights(BertClassifier.load(path), two[0])


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname", "deep/vocab.txt", "new.txt"])
def test_a_note_that_lists_other_files_is_damaged(two, tmp_path, name):
    two[0].save(tmp_path / "model")
    (tmp_path / "secret.txt").write_text("secret")
    path = tmp_path / "model" / "classifier.json"
    note = json.loads(path.read_text())
    note["sha256"][name] = hashlib.sha256(b"secret").hexdigest()
    path.write_text(json.dumps(note))
    with pytest.raises(ValueError, match=r"damaged \(classifier.json\)"):
        BertClassifier.load(tmp_path / "model")


def test_a_note_that_vouches_for_nothing_is_damaged(two, tmp_path):
    two[0].save(tmp_path / "model")
    path = tmp_path / "model" / "classifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": {}}))
    with pytest.raises(ValueError, match=r"damaged \(classifier.json\)"):
        BertClassifier.load(tmp_path / "model")


@pytest.mark.parametrize("name", ["classifier.json", "config.json", "head.safetensors"])
def test_a_model_replaced_while_it_is_read_is_loaded_whole(two, tmp_path, monkeypatch, name):
    """Another process saves right after this one has read `name`: no mixture, and no error."""
    two[0].save(tmp_path / "model")
    read, times = sentiment_course.bert._bytes, []

    def read_and_replace(path):
        data = read(path)
        if path.name == name and not times:
            times.append(two[1].save(tmp_path / "model"))
        return data

    monkeypatch.setattr("sentiment_course.bert._bytes", read_and_replace)
    assert same_weights(BertClassifier.load(tmp_path / "model"), two[1]) and times


def test_what_was_checked_is_what_is_loaded(two, tmp_path, monkeypatch):
    """Another process saves between the check and the use: what was checked is used."""
    two[0].save(tmp_path / "model")
    check = sentiment_course.bert._checked

    def check_and_replace(*args):
        answer = check(*args)
        two[1].save(tmp_path / "model")
        return answer

    monkeypatch.setattr("sentiment_course.bert._checked", check_and_replace)
    assert same_weights(BertClassifier.load(tmp_path / "model"), two[0])


def test_unusable_models_are_refused(fitted, tmp_path):
    with pytest.raises(ValueError, match="no saved classifier"):
        BertClassifier.load(tmp_path / "nowhere")
    fitted.save(tmp_path / "model")
    head = tmp_path / "model" / "head.safetensors"
    good = head.read_bytes()
    head.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"damaged \(head.safetensors\)"):
        BertClassifier.load(tmp_path / "model")
    head.write_bytes(good)
    (tmp_path / "model" / "vocab.txt").unlink()
    with pytest.raises(ValueError, match=r"damaged \(vocab.txt\)"):
        BertClassifier.load(tmp_path / "model")
    (tmp_path / "model" / "classifier.json").write_text('{"classes": []}')
    with pytest.raises(ValueError, match="damaged"):
        BertClassifier.load(tmp_path / "model")


@pytest.mark.parametrize("labels", [[0, 1, 2], [True, False, True], [1.5, 2.5, 1.5]])
def test_labels_of_any_type_survive(reviews, tmp_path, labels):
    labels = (labels * 22)[:64]
    classifier = BertClassifier(trainable="head", **QUICK).fit(reviews.text, labels)
    classifier.save(tmp_path / "model")
    again = BertClassifier.load(tmp_path / "model")
    assert again.classes_.tolist() == sorted(set(labels))
    assert set(again.predict(reviews.text).tolist()) <= set(labels)


def test_three_classes_fine_tuned(reviews):
    labels = (["bad", "fine", "good"] * 22)[:64]
    classifier = BertClassifier(**QUICK).fit(reviews.text, labels)
    assert classifier.predict_proba(reviews.text[:5]).shape == (5, 3)


@pytest.mark.parametrize("trainable", ["head", "all"])
def test_class_weights_raise_the_rare_class(reviews, small, trainable):
    labels = ["rare" if i < 8 else "common" for i in range(len(reviews))]

    def mean_probability(weight):
        classifier = BertClassifier(trainable=trainable, class_weight=weight, **small)
        answers = classifier.fit(reviews.text, labels).predict_proba(reviews.text)
        return answers[:, list(classifier.classes_).index("rare")].mean()

    even = mean_probability(None)
    assert mean_probability("balanced") > even
    assert mean_probability({"rare": 1, "common": 20}) < even


def test_soft_targets_by_hand():
    assert np.allclose(soft_targets(np.array([1, 0]), 2), [[0.05, 0.95], [0.95, 0.05]])
    three = soft_targets(np.array([2]), 3, certainty=[0.8])
    assert three == pytest.approx(np.array([[0.1, 0.1, 0.8]]))
    assert soft_targets(np.array([1]), 2, smoothing=0.0).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("certainty", "said"),
    [([0.9], "64 numbers"), ([0.0] * 64, "above 0"), ([1.1] * 64, "at most 1"),
     ([float("nan")] * 64, "above 0")],
)  # fmt: skip
def test_certainty_that_is_none(reviews, certainty, said):
    with pytest.raises(ValueError, match=said):
        BertClassifier(**QUICK).fit(reviews.text, reviews.label, certainty)


@pytest.mark.parametrize("trainable", ["head", "all"])
def test_doubtful_labels_are_believed_less(reviews, trainable):
    """Told that every other label is as good as a coin toss, the classifier is less sure of it."""
    settings = QUICK | {"epochs": 4, "batch_size": 8, "validation_split": 0, "trainable": trainable}
    doubtful = np.arange(len(reviews)) % 2 == 0
    classifier = BertClassifier(**settings)
    classifier.fit(reviews.text, reviews.label, np.where(doubtful, 0.5, 0.99))
    sure = np.abs(classifier.predict_proba(reviews.text)[:, 0] - 0.5)
    assert sure[~doubtful].mean() > sure[doubtful].mean() + 0.02


def test_curves_are_written_where_tensorboard_reads_them(reviews, small, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = small | {"epochs": 2, "batch_size": 16, "validation_split": 0.25}
    classifier = BertClassifier(**settings, log_dir=tmp_path).fit(reviews.text, reviews.label)
    written = EventAccumulator(str(tmp_path)).Reload()
    told = {
        tag: [written_value(e) for e in written.Tensors(tag)] for tag in written.Tags()["tensors"]
    }
    history = classifier.history_
    assert len(told["step/loss"]) == len(told["step/learning_rate"]) == 2 * 3
    assert told["epoch/loss"] == pytest.approx(history.loss)
    assert told["epoch/validation_accuracy"] == pytest.approx(history.validation_accuracy)
    assert max(told["step/learning_rate"]) <= 2e-4 * 1.000001


def written_value(event):
    from tensorboard.util.tensor_util import make_ndarray

    return float(make_ndarray(event.tensor_proto))


def test_curves_without_tensorboard(reviews, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        BertClassifier(**QUICK, log_dir=tmp_path).fit(reviews.text, reviews.label)


SERVE = """
import json
import sys
sys.modules["sentiment_course"] = None  # importing it fails
import numpy as np
import tensorflow as tf
import tensorflow_hub
import tensorflow_text
folder, texts = sys.argv[1], json.load(open(sys.argv[2], encoding="utf-8"))
plain, hub = tf.saved_model.load(folder), tensorflow_hub.load(folder)
answer, other = plain(tf.constant(texts)), hub(tf.constant(texts))
signed = plain.signatures["serving_default"](texts=tf.constant(texts))
for one in (other, signed):
    assert np.allclose(one["probabilities"], answer["probabilities"], atol=1e-6)
assert plain(tf.constant([], tf.string))["probabilities"].shape == (0, 2)
np.save(sys.argv[3], answer["probabilities"])
print(json.dumps([label.decode() for label in answer["labels"].numpy()]))
"""


def test_exported_program_takes_strings_without_this_package(fitted, reviews, tmp_path):
    texts = [
        *reviews.text,
        "",
        " ",
        "a\tb\n\u200bc",
        "Naïve? ½ of it — 好看!",
        "x" * 300,
        "long " * 99,
    ]
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    for _ in range(2):  # an earlier one is replaced
        fitted.export(tmp_path / "out" / "served")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["served"]
    files = [tmp_path / "out" / "served", tmp_path / "texts.json", tmp_path / "answer.npy"]
    command = [sys.executable, "-I", "-c", SERVE, *map(str, files)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == fitted.predict(texts).tolist()
    ours = fitted.predict_proba(texts)
    assert np.abs(np.load(tmp_path / "answer.npy") - ours).max() < 1e-4


def test_exported_tokenizer_cuts_real_texts_like_ours(fitted):
    import tensorflow as tf
    import tensorflow_text

    texts = list(load_reviews("tweets").text[:300]) + list(load_reviews("nyt").text[:300])
    tokenize, _ = string_tokenizer(tf, tensorflow_text, fitted.encoder_, 64)
    ours = [ids.tolist() for ids in fitted.encoder_.tokenize(texts, 64)]
    assert tokenize(tf.constant(texts)).to_list() == ours


def test_export_says_what_is_missing_and_replaces_nothing_else(fitted, tmp_path, monkeypatch):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="is no SavedModel"):
        fitted.export(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    with pytest.raises(ValueError, match="pip install tensorflow-text"):
        fitted.export(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_scikit_learn_can_clone_and_validate(reviews):
    classifier = BertClassifier(trainable="head", **QUICK)
    assert clone(classifier).get_params() == classifier.get_params()
    scores = cross_val_score(classifier, reviews.text, reviews.label, cv=2)
    assert scores.shape == (2,) and not np.isnan(scores).any()


@pytest.mark.parametrize(
    ("texts", "labels", "said"),
    [
        (["a", "b"], ["x", "x"], "only 'x'"),
        (["a", "b", "c"], ["x", "x", "y"], "one example"),
        (["a", "b"], ["x", 1], "mix"),
        (["a", None], ["x", "y"], r"texts\[1\]"),
        (["a", float("nan")], ["x", "y"], r"texts\[1\]"),
        ("a text", ["x"], "not a single text"),
        (["a"], ["x", "y"], "1 texts but 2 labels"),
        ([], [], "no label"),
    ],
)
def test_bad_training_data(texts, labels, said):
    with pytest.raises(ValueError, match=said):
        BertClassifier(**QUICK).fit(texts, labels)


@pytest.mark.parametrize(
    ("name", "value"),
    [("trainable", "some"), ("epochs", 0), ("epochs", 1.5), ("batch_size", 0), ("max_length", 2),
     ("learning_rate", 0), ("validation_split", 1), ("perturbation", -1), ("precision", "int8"),
     ("class_weight", "heavy"), ("class_weight", {"positive": 1}),
     ("class_weight", {"positive": 1, "negative": 0})],
)  # fmt: skip
def test_bad_parameters_are_named(reviews, name, value):
    with pytest.raises(ValueError, match=name):
        BertClassifier(**{name: value}).fit(reviews.text, reviews.label)


def test_encoder_that_is_none(reviews, tmp_path):
    with pytest.raises(ValueError, match="is no encoder"):
        BertClassifier(encoder=str(tmp_path)).fit(reviews.text, reviews.label)


def test_hold_out_takes_a_share_of_each_class():
    ids = np.array([0] * 50 + [1] * 20 + [2] * 2)
    train, aside = hold_out(ids, 0.1, seed=3)
    assert sorted([*train, *aside]) == list(range(72))
    assert np.bincount(ids[aside], minlength=3).tolist() == [5, 2, 0]
    assert len(hold_out(ids, 0)[1]) == 0


def test_best_epoch_and_early_stop():
    def history(*pairs):
        return [
            {"epoch": i, "validation_loss": loss, "validation_accuracy": accuracy}
            for i, (loss, accuracy) in enumerate(pairs, start=1)
        ]

    better, worse = history((0.5, 0.8), (0.6, 0.9)), history((0.5, 0.9), (0.4, 0.8))
    assert to_keep(better, 400) and not to_keep(worse, 400)
    assert to_keep(worse, 8)  # a tenth of eight texts is less than chance
    assert to_keep(history((0.5, 0.9), (0.6, 0.9)), 400)
    assert not to_keep(history((0.5, 0.9), (0.4, 0.88), (0.4, 0.86)), 400)  # the best, not the last
    assert stopped(history((0.4, 1), (0.5, 1), (0.6, 1)))
    assert not stopped(history((0.4, 1), (0.6, 1), (0.5, 1))) and not stopped(history((0.4, 1)))
    assert to_keep([{"epoch": 1}, {"epoch": 2}], 0)


def test_epoch_that_was_clearly_better_is_kept(reviews, small, monkeypatch):
    """After the second of three epochs falls far behind, what is kept is still the first."""
    shares, seen = iter([0.9, 0.5, 0.5]), []

    def validate(network, aside):
        assert len(aside.ids) == 16
        seen.append([np.array(w) for w in network.get_weights()])
        return {"validation_loss": 0.5, "validation_accuracy": next(shares)}

    monkeypatch.setattr("sentiment_course.bert.validate", validate)
    settings = small | {"epochs": 3, "validation_split": 0.25}
    classifier = BertClassifier(**settings).fit(reviews.text, reviews.label)
    assert len(seen) == len(classifier.history_) == 3
    for kept, first in zip(classifier.network_.get_weights(), seen[0], strict=True):
        assert np.array_equal(kept, first)
    assert not np.array_equal(seen[0][-2], seen[1][-2])


def test_average_remembers_a_tenth_of_the_training():
    assert average_momentum(5) == 0 and average_momentum(100) == pytest.approx(0.9)
    assert average_momentum(10_000) == 0.99


def test_what_is_kept_is_the_moving_average(reviews, small):
    settings = small | {"batch_size": 2, "validation_split": 0}
    classifier = BertClassifier(**settings).fit(reviews.text, reviews.label)
    kept = classifier.network_.get_weights()
    averages = classifier.network_.optimizer._model_variables_moving_average
    variables = classifier.network_.trainable_variables
    assert len(kept) == len(averages)
    for variable, average in zip(variables, averages, strict=True):
        assert np.allclose(keras.ops.convert_to_numpy(variable), average, atol=1e-6)


def test_warmup_then_decay():
    rates = np.array([float(WarmupDecay(1.0, 50)(s)) for s in range(50)])
    assert rates.argmax() in (4, 5) and 0 < rates[-1] < 0.05 and rates[0] == pytest.approx(0.2)
    assert float(WarmupDecay(1.0, 1)(0)) == pytest.approx(1.0)


@pytest.fixture
def still(small):
    """A small network without dropout, and a batch: inputs, targets, weights."""
    network = build_network(load_encoder(small["encoder"], dropout=0.0).model, 2)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 30000, (8, 6), dtype="int32")
    targets = np.eye(2, dtype="float32")[rng.integers(0, 2, 8)]
    return network, [[ids, np.ones_like(ids)], targets, np.ones(8, dtype="float32")]


def test_ascent_moves_the_words_to_where_the_loss_is_higher(still):
    network, batch = still
    words = network.get_layer("embeddings").word.get_weights()[0]
    adversary, _ = compile_network(network, 10, 1e-2, "float32", perturbation=0.5).args
    loss = adversary.train_on_batch(*batch)
    moved = network.get_layer("embeddings").word.get_weights()[0] - words
    read = np.unique(batch[0][0])
    length = np.linalg.norm(words, axis=1).mean()
    assert np.linalg.norm(moved) == pytest.approx(0.5 * length, rel=1e-4)
    assert (np.abs(moved[read]).max(axis=1) > 0).all()
    assert not np.delete(moved, read, axis=0).any()
    assert network.test_on_batch(*batch) > loss


def test_step_is_by_the_sum_of_both_gradients(still):
    import tensorflow as tf

    network, batch = still
    twin = keras.models.clone_model(network)
    twin.set_weights(network.get_weights())
    step = compile_network(network, 10, 1e-2, "float32", perturbation=0.5)
    compile_network(twin, 10, 1e-2, "float32")
    variables = [v.value for v in twin.trainable_variables]

    def gradients():
        with tf.GradientTape() as tape:
            loss = twin.loss(batch[1], twin(batch[0]))
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]

    at_words, words = gradients(), twin.get_layer("embeddings").word.embeddings.value
    place = [v is words for v in variables].index(True)
    length = 0.5 * np.linalg.norm(words.numpy(), axis=1).mean()
    r = length * at_words[place] / tf.norm(at_words[place])
    words.assign_add(r)
    both = [a + b for a, b in zip(at_words, gradients(), strict=True)]
    words.assign_sub(r)
    twin.optimizer.apply(both, twin.trainable_variables)

    step(*batch)
    for ours, theirs in zip(network.get_weights(), twin.get_weights(), strict=True):
        assert np.allclose(ours, theirs, atol=1e-5)
    used = [network.optimizer.moved, *network.optimizer.first]
    assert not any(keras.ops.convert_to_numpy(v).any() for v in used)


def test_move_that_no_step_used_is_taken_back(still):
    network, batch = still
    words = network.get_layer("embeddings").word.get_weights()[0]
    adversary, _ = compile_network(network, 10, 1e-2, "float32", perturbation=0.5).args
    adversary.train_on_batch(*batch)
    once = network.get_layer("embeddings").word.get_weights()[0]
    adversary.train_on_batch(*batch)  # as when float16 skipped the step between
    twice = network.get_layer("embeddings").word.get_weights()[0] - words
    length = np.linalg.norm(words, axis=1).mean()
    assert np.linalg.norm(once - words) == pytest.approx(0.5 * length, rel=1e-4)
    assert np.linalg.norm(twice) == pytest.approx(0.5 * length, rel=1e-3)


def test_perturbation_changes_the_training_and_none_is_plain(reviews, small):
    def losses(perturbation):
        settings = small | {"perturbation": perturbation, "batch_size": 16}
        classifier = BertClassifier(**settings).fit(reviews.text, reviews.label)
        return type(classifier.network_.optimizer), classifier.predict_proba(reviews.text)

    (plain, none), (adversarial, some) = losses(0), losses(1.0)
    assert plain is keras.optimizers.AdamW and adversarial is AdversarialAdamW
    assert np.abs(none - some).max() > 1e-6


def test_no_decay_on_biases_and_norms():
    network = build_network(load_encoder("minilm").model, 2)
    compile_network(network, 10, 1e-4, "float32")
    decayed = {
        v.path.rsplit("/", 1)[-1]
        for v in network.trainable_variables
        if network.optimizer._use_weight_decay(v)
    }
    assert decayed == {"kernel", "embeddings"}


def test_float16_scales_its_loss(reviews):
    classifier = BertClassifier(**QUICK | {"precision": "float16"})
    classifier.fit(reviews.text, reviews.label)
    assert isinstance(classifier.network_.optimizer, keras.optimizers.LossScaleOptimizer)
    assert np.isfinite(classifier.predict_proba(reviews.text)).all()


def test_precisions_agree(fitted, reviews, tmp_path):
    fitted.save(tmp_path / "model")
    note = json.loads((tmp_path / "model" / "classifier.json").read_text())
    note["parameters"]["precision"] = "bfloat16"
    (tmp_path / "model" / "classifier.json").write_text(json.dumps(note))
    half = BertClassifier.load(tmp_path / "model")
    assert np.allclose(
        fitted.predict_proba(reviews.text), half.predict_proba(reviews.text), atol=3e-2
    )


def test_checkpoint_of_another_training_is_refused(reviews, small, tmp_path):
    settings = small | {"checkpoint_dir": str(tmp_path)}
    BertClassifier(**settings).fit(reviews.text, reviews.label)
    with pytest.raises(ValueError, match="other texts or settings"):
        BertClassifier(**settings | {"seed": 5}).fit(reviews.text, reviews.label)


TRAIN = """
import sys
from sentiment_course.bert import BertClassifier
from sentiment_course.encoders import keras
from sentiment_course.reviews import load_reviews
import numpy as np
reviews = load_reviews("movies").sample(96, random_state=0)
classifier = BertClassifier(epochs=3, batch_size=8, max_length=16, precision="float32",
                            checkpoint_dir=sys.argv[1], verbose=False)
classifier.fit(reviews.text, reviews.label)
np.save(sys.argv[2], np.concatenate([w.ravel() for w in classifier.network_.get_weights()]))
"""


def test_killed_training_ends_where_it_would_have_ended(tmp_path):
    def start(folder, result):
        command = [sys.executable, "-c", TRAIN, str(tmp_path / folder), str(tmp_path / result)]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    killed = start("killed", "never.npy")
    checkpoint = tmp_path / "killed" / "training.safetensors"
    while not checkpoint.is_file():
        assert killed.poll() is None, "the training ended before its first checkpoint"
        time.sleep(0.05)
    time.sleep(0.3)  # into the second epoch
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "never.npy").exists()
    assert start("killed", "resumed.npy").wait() == 0
    assert start("whole", "whole.npy").wait() == 0
    resumed, whole = np.load(tmp_path / "resumed.npy"), np.load(tmp_path / "whole.npy")
    assert np.abs(resumed - whole).max() <= 1e-5


def test_pad_keeps_the_order_of_a_batch(fitted):
    tokens = fitted.encoder_.tokenize(["one two three", "one"], 16)
    ids, mask = pad(tokens)
    assert ids[1, : len(tokens[1])].tolist() == tokens[1].tolist()
    assert mask.sum(axis=1).tolist() == [len(t) for t in tokens]
