"""The classifier: trains, chooses its epoch, resumes, saves, and refuses bad input."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from copy import deepcopy
from datetime import date
from pathlib import Path

import joblib
import numpy as np
import pytest
from safetensors.numpy import load_file, save, save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.utils import get_tags

from sentiment_course.assets import asset_path
from sentiment_course.doctor import quiet
from sentiment_course.reviews import load_reviews, split_reviews

with quiet():
    import tensorflow

    import sentiment_course.bert
    from sentiment_course.bert import BertClassifier, mean_pool, soft_targets
    from sentiment_course.encoders import keras, load_encoder, read_vocabulary
    from sentiment_course.hub import save_hub_encoder, string_tokenizer
    from sentiment_course.training import logits_of

THREE = ["awful:", "average:", "superb:"]
QUICK = {"epochs": 1, "max_length": 16, "precision": "float32", "verbose": False}


@pytest.fixture(scope="module")
def reviews():
    train, _ = split_reviews(load_reviews("movies"))
    return train.sample(64, random_state=0)


@pytest.fixture
def small(small_encoder, eagerly):
    """QUICK with a small random encoder, for what does not depend on what an encoder knows."""
    return QUICK | {"encoder": str(small_encoder)}


@pytest.fixture(scope="module")
def fitted(reviews):
    """The real encoder, fine-tuned until it has learned."""
    settings = QUICK | {"epochs": 3, "batch_size": 16, "learning_rate": 4e-4}
    return BertClassifier(**settings).fit(reviews.text, reviews.label)


@pytest.fixture(scope="module")
def shallow(reviews, tmp_path_factory):
    """QUICK with the first layer of the real encoder and the words of the texts: quick to teach."""
    folder, minilm = tmp_path_factory.mktemp("shallow"), asset_path("minilm")
    config = json.loads((minilm / "config.json").read_text(encoding="utf-8"))
    tokenizer = read_vocabulary(minilm / "vocab.txt", True, config["vocab_size"])
    special = [tokenizer.token_to_id(f"[{name}]") for name in ("PAD", "UNK", "CLS", "SEP")]
    texts = tokenizer.encode_batch([*THREE, *reviews.text])
    kept = sorted({*special, *(i for text in texts for i in text.ids)})
    arrays = load_file(minilm / "model.safetensors")
    arrays["embeddings.word_embeddings.weight"] = arrays["embeddings.word_embeddings.weight"][kept]
    save_file(arrays, folder / "model.safetensors")
    words = [tokenizer.id_to_token(i) for i in kept]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    config |= {"num_hidden_layers": 1, "vocab_size": len(kept)}
    (folder / "config.json").write_text(json.dumps(config))
    return QUICK | {"encoder": str(folder)}


@pytest.fixture(scope="module")
def headed(reviews):
    """The real encoder as it is, and a head fitted to its vectors."""
    return BertClassifier(trainable="head", **QUICK).fit(reviews.text, reviews.label)


def test_head_only_learns_and_leaves_the_encoder(headed, reviews):
    before = load_encoder("minilm").model.get_weights()
    after = headed.encoder_.model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert headed.score(reviews.text, reviews.label) > 0.7


def test_head_equals_logistic_regression(headed, reviews):
    from sklearn.linear_model import LogisticRegression

    pooled = keras.Model(headed.network_.inputs, headed.network_.get_layer("head").input)
    vectors = logits_of(pooled, headed.encoder_.tokenize(list(reviews.text), 16))
    peer = LogisticRegression(max_iter=1000).fit(vectors, reviews.label)
    assert np.allclose(headed.predict_proba(reviews.text), peer.predict_proba(vectors), atol=1e-4)


def test_fine_tuning_learns(fitted, reviews):
    assert fitted.history_.loss.iloc[-1] < 0.8 * fitted.history_.loss.iloc[0]
    assert fitted.score(reviews.text, reviews.label) > 0.8


def test_same_seed_same_result(two, reviews, small):
    again = BertClassifier(**small | {"seed": 0}).fit(reviews.text, reviews.label)
    ours, other = (one.predict_proba(reviews.text) for one in two)
    assert np.allclose(ours, again.predict_proba(reviews.text), atol=1e-5)
    assert not np.allclose(ours, other, atol=1e-3)


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


def test_long_text_is_cut_and_blank_and_strange_ones_are_read(fitted):
    """Of a long text the beginning counts, of blank ones nothing: their answers are the same."""
    texts = ["word " * 20_000, "word " * 14, "", " \t\n ", "好看", "a fine film"]
    long, cut, blank, spaces, strange, film = fitted.predict_proba(texts)
    assert np.allclose(long, cut, atol=1e-5) and np.allclose(blank, spaces, atol=1e-5)
    assert not any(np.allclose(film, other, atol=1e-4) for other in (cut, blank, strange))


def test_save_and_load(two, reviews, tmp_path):
    two[1].save(tmp_path / "deep" / "model")
    again = BertClassifier.load(tmp_path / "deep" / "model")
    ours, theirs = (one.predict_proba(reviews.text) for one in (two[1], again))
    assert np.allclose(ours, theirs, atol=1e-5)
    assert list(again.classes_) == ["negative", "positive"]
    assert again.get_params()["max_length"] == 16
    two[0].save(tmp_path / "deep" / "model")  # an earlier classifier is replaced
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["model"]
    assert same_weights(BertClassifier.load(tmp_path / "deep" / "model"), two[0])


def test_other_folders_are_not_replaced(fitted, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="is no classifier"):
        fitted.save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.fixture(scope="module")
def two(reviews, small_encoder):
    """Two small classifiers with different encoders and heads."""
    both = [BertClassifier(str(small_encoder), seed=seed, **QUICK) for seed in (0, 1)]
    tensorflow.config.run_functions_eagerly(True)
    for one in both:
        one.fit(reviews.text, reviews.label)
    tensorflow.config.run_functions_eagerly(False)
    return both


def same_weights(ours, theirs):
    pairs = zip(ours.network_.get_weights(), theirs.network_.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_a_program_put_into_a_saved_model_is_not_run(two, tmp_path):
    path = tmp_path / "model"
    two[0].save(path)
    save_hub_encoder(two[1].encoder_, tmp_path / "module")
    shutil.copytree(tmp_path / "module", path, dirs_exist_ok=True)
    with pytest.raises(ValueError, match="holds .*, which no such classifier has"):
        BertClassifier.load(path)
    note = json.loads((path / "classifier.json").read_text())  # as who made it could list it
    program = (path / "saved_model.pb").read_bytes()
    note["sha256"]["saved_model.pb"] = hashlib.sha256(program).hexdigest()
    (path / "classifier.json").write_text(json.dumps(note))
    with pytest.raises(ValueError, match="no such classifier has"):
        BertClassifier.load(path)


def test_what_a_saved_model_is_read_from_is_never_a_program(two, tmp_path, monkeypatch):
    """Even where the strange file goes unnoticed, what is loaded are the weights."""
    path = tmp_path / "model"
    two[0].save(path)
    save_hub_encoder(two[1].encoder_, tmp_path / "module")
    shutil.copytree(tmp_path / "module", path, dirs_exist_ok=True)
    monkeypatch.setattr("sentiment_course.files._listed", lambda folder: set())
    assert same_weights(BertClassifier.load(path), two[0])


def test_what_was_checked_is_what_is_loaded(two, tmp_path, monkeypatch):
    """Another process saves between the check and the use: what was checked is used."""
    two[0].save(tmp_path / "model")
    read = sentiment_course.bert.read_model

    def read_and_replace(path, kind):
        answer = read(path, kind)
        two[1].save(path)
        return answer

    monkeypatch.setattr("sentiment_course.bert.read_model", read_and_replace)
    assert same_weights(BertClassifier.load(tmp_path / "model"), two[0])


def test_unusable_models_are_refused(two, tmp_path):
    with pytest.raises(ValueError, match="no saved classifier"):
        BertClassifier.load(tmp_path / "nowhere")
    two[0].save(tmp_path / "model")
    head = tmp_path / "model" / "head.safetensors"
    good = head.read_bytes()
    head.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"damaged \(head.safetensors\)"):
        BertClassifier.load(tmp_path / "model")


def vouched(path, name, data):
    """Put a file into a saved model, and into its note, as who tampers with it would."""
    note = json.loads((path / "classifier.json").read_text())
    (path / name).write_bytes(data)
    note["sha256"][name] = hashlib.sha256(data).hexdigest()
    (path / "classifier.json").write_text(json.dumps(note))


@pytest.mark.parametrize(
    "head",
    [{"kernel": np.zeros((16, 3), "f4"), "bias": np.zeros(3, "f4")},
     {"kernel": np.full((16, 2), np.nan, "f4"), "bias": np.zeros(2, "f4")},
     {"kernel": np.zeros((16, 2), "f4")}, None],
    ids=["three classes", "NaN", "no bias", "no arrays"],
)  # fmt: skip
def test_head_that_makes_no_sense_is_refused(two, tmp_path, head):
    path = tmp_path / "model"
    two[0].save(path)
    vouched(path, "head.safetensors", save(head) if head else b"x" * 99)
    with pytest.raises(ValueError, match=r"damaged \(head.safetensors\)"):
        BertClassifier.load(path)


@pytest.mark.parametrize(
    ("name", "value"), [("max_length", -5), ("precision", "int8"), ("colour", "red"), ("seed", {})]
)
def test_parameters_that_make_no_sense_are_refused(two, tmp_path, name, value):
    path = tmp_path / "model"
    two[0].save(path)
    note = json.loads((path / "classifier.json").read_text())
    note["parameters"][name] = value
    (path / "classifier.json").write_text(json.dumps(note))
    with pytest.raises(ValueError, match=r"damaged \(classifier.json"):
        BertClassifier.load(path)


def test_parameters_come_back_equal(reviews, small, tmp_path):
    labels = [i % 2 for i in range(len(reviews))]
    settings = small | {
        "encoder": Path(small["encoder"]),
        "epochs": np.int8(1),
        "batch_size": np.int64(8),
        "learning_rate": np.float64(1e-3),
        "seed": np.int64(3),
        "class_weight": {0: np.float32(2), 1: 1},
        "checkpoint_dir": tmp_path / "checkpoints",
    }
    classifier = BertClassifier(**settings).fit(reviews.text, labels)
    classifier.save(tmp_path / "model")
    again = BertClassifier.load(tmp_path / "model")
    assert again.get_params() == classifier.get_params()
    assert again.classes_.tolist() == [0, 1] and same_weights(again, classifier)
    plain = BertClassifier(**settings | {"seed": 3, "epochs": 1, "checkpoint_dir": None})
    assert same_weights(plain.fit(reviews.text, labels), classifier)


def test_model_of_the_first_version_still_loads(two, tmp_path):
    """As saved then: no kind, no version, and what was not kept is None, and means the default."""
    path = tmp_path / "model"
    two[0].save(path)
    note = json.loads((path / "classifier.json").read_text())
    del note["kind"], note["version"]
    note["parameters"] |= {"epochs": None, "class_weight": None}
    (path / "classifier.json").write_text(json.dumps(note))
    again = BertClassifier.load(path)
    assert same_weights(again, two[0]) and again.epochs == 3


def test_subclass_whose_parameters_cannot_be_kept_says_so(two, tmp_path):
    class Odd(BertClassifier):
        def __init__(self, recipe=(1, 2)):
            super().__init__()
            self.recipe = recipe

    odd = Odd()
    odd.__dict__ |= {k: v for k, v in vars(two[0]).items() if k.endswith("_")}
    with pytest.raises(ValueError, match="recipe cannot be saved"):
        odd.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


READ = """
import sys
import joblib
classifier = joblib.load(sys.argv[1])
print(classifier.predict_proba(["a fine film"]).tolist())
"""


def test_pickled_classifier_works_in_another_process(two, tmp_path):
    joblib.dump(two[0], tmp_path / "classifier.joblib")
    command = [sys.executable, "-c", READ, str(tmp_path / "classifier.joblib")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ours = two[0].predict_proba(["a fine film"])
    assert np.allclose(json.loads(done.stdout), ours, atol=1e-6)


def test_copies_stand_alone(two):
    copy = deepcopy(two[0])
    assert same_weights(copy, two[0]) and copy.get_params() == two[0].get_params()
    assert copy.history_.equals(two[0].history_)
    copy.network_.set_weights([w * 0 for w in copy.network_.get_weights()])
    assert not same_weights(copy, two[0])
    assert deepcopy(BertClassifier(epochs=2)).epochs == 2


@pytest.mark.parametrize("method", ["predict", "predict_proba", "save", "export"])
def test_classifier_that_is_not_trained_says_so(tmp_path, method):
    with pytest.raises(NotFittedError):
        getattr(BertClassifier(), method)(["a"] if "predict" in method else tmp_path / "model")


def test_scikit_learn_knows_that_it_takes_texts():
    tags = get_tags(BertClassifier())
    assert tags.input_tags.string and not tags.input_tags.two_d_array


@pytest.mark.parametrize("labels", [[0, 1, 2], [True, False, True], [1.5, 2.5, 1.5]])
def test_labels_of_any_type_survive(reviews, small, tmp_path, labels):
    labels = (labels * 22)[:64]
    classifier = BertClassifier(trainable="head", **small).fit(reviews.text, labels)
    classifier.save(tmp_path / "model")
    again = BertClassifier.load(tmp_path / "model")
    assert again.classes_.tolist() == sorted(set(labels))
    answers = again.predict(reviews.text)
    assert answers.dtype == classifier.classes_.dtype
    assert answers.tolist() == classifier.predict(reviews.text).tolist()


def test_three_classes_are_learned(reviews, shallow, eagerly):
    """Which of three words a text begins with decides, and new texts are told apart by it."""
    texts = [f"{THREE[i % 3]} {text}" for i, text in enumerate(reviews.text)]
    labels = [("bad", "fine", "good")[i % 3] for i in range(len(texts))]
    settings = shallow | {"epochs": 4, "batch_size": 16, "learning_rate": 1e-3}
    classifier = BertClassifier(**settings).fit(texts[:54], labels[:54])
    assert classifier.score(texts[54:], labels[54:]) >= 0.8


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


@pytest.mark.parametrize("trainable", ["head", "all"])
def test_doubtful_labels_are_believed_less(reviews, shallow, eagerly, trainable):
    """Told that every other label is as good as a coin toss, the classifier is less sure of it."""
    settings = shallow | {"epochs": 4, "batch_size": 8, "learning_rate": 1e-3}
    doubtful = np.arange(len(reviews)) % 2 == 0
    classifier = BertClassifier(**settings, trainable=trainable)
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


def test_curves_without_tensorboard(reviews, small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        BertClassifier(**small, log_dir=tmp_path).fit(reviews.text, reviews.label)


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
    (tmp_path / "out" / "served").mkdir(parents=True)
    (tmp_path / "out" / "served" / "saved_model.pb").touch()  # an earlier one is replaced
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


def test_scikit_learn_can_clone_and_validate(reviews, small):
    classifier = BertClassifier(trainable="head", **small)
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
        (["a", "b"] * 2, [date(2026, 1, 1), date(2026, 1, 2)] * 2, "labels must be"),
    ],
)
def test_bad_training_data(texts, labels, said):
    with pytest.raises(ValueError, match=said):
        BertClassifier(**QUICK).fit(texts, labels)


@pytest.mark.parametrize(
    ("name", "value"),
    [("trainable", "some"), ("encoder", 3), ("epochs", 0), ("epochs", 1.5), ("epochs", True),
     ("batch_size", 0), ("max_length", 2), ("max_length", "16"), ("learning_rate", 0),
     ("learning_rate", "1e-4"), ("learning_rate", float("nan")), ("perturbation", -1),
     ("validation_split", 1), ("validation_split", 0.999), ("precision", "int8"), ("seed", -1),
     ("seed", None), ("seed", 1.5), ("class_weight", "heavy"), ("class_weight", {"positive": 1}),
     ("class_weight", {"positive": 1, "negative": 0}),
     ("class_weight", {"positive": 1, "negative": "much"})],
)  # fmt: skip
def test_bad_parameters_are_named(reviews, small, name, value):
    with pytest.raises(ValueError, match=name):
        BertClassifier(**small | {name: value}).fit(reviews.text, reviews.label)


@pytest.mark.parametrize(
    ("certainty", "said"),
    [([0.9], "64 numbers"), ([0.0] * 64, "above 0"), ([1.1] * 64, "at most 1"),
     ([float("nan")] * 64, "above 0")],
)  # fmt: skip
def test_certainty_that_is_none(reviews, certainty, said):
    with pytest.raises(ValueError, match=said):
        BertClassifier(**QUICK).fit(reviews.text, reviews.label, certainty)


def test_encoder_that_is_none(reviews, tmp_path):
    with pytest.raises(ValueError, match="is no encoder"):
        BertClassifier(encoder=str(tmp_path)).fit(reviews.text, reviews.label)


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


def optimizer_of(classifier, reviews):
    """The optimizer that trains `classifier`; a trained one has none any more."""
    made, build = [], classifier._compile
    classifier._compile = lambda *a: made.append(build(*a)) or made[0]
    classifier.fit(reviews.text, reviews.label)
    assert getattr(classifier.network_, "optimizer", None) is None
    return made[0].network.optimizer


def test_what_is_kept_is_the_moving_average(reviews, small):
    settings = small | {"batch_size": 4, "validation_split": 0}
    classifier = BertClassifier(**settings)
    optimizer = optimizer_of(classifier, reviews)
    averages = optimizer._model_variables_moving_average
    variables = classifier.network_.trainable_variables
    for variable, average in zip(variables, averages, strict=True):
        assert np.allclose(keras.ops.convert_to_numpy(variable), average, atol=1e-6)


def test_perturbation_changes_the_training_and_none_is_plain(reviews, small):
    def losses(perturbation):
        settings = small | {"perturbation": perturbation, "batch_size": 16}
        classifier = BertClassifier(**settings).fit(reviews.text, reviews.label)
        return classifier.predict_proba(reviews.text)

    assert np.abs(losses(0) - losses(1.0)).max() > 1e-6


def test_float16_scales_its_loss(reviews, small_encoder):
    """By a graph: what it decides at each step is part of it."""
    classifier = BertClassifier(str(small_encoder), **QUICK | {"precision": "float16"})
    optimizer = optimizer_of(classifier, reviews)
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
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


KILLED = """
import json
import os
import signal
import sys
import tensorflow
from sentiment_course import bert
tensorflow.config.run_functions_eagerly(True)
settings, texts, labels = json.loads(sys.argv[1])
train_epoch, epochs = bert.train_epoch, []
def killed_in_the_second(network, step, batches, *rest):
    epochs.append(train_epoch(network, step, batches[: 3 if epochs else None], *rest))
    if len(epochs) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return epochs[-1]
bert.train_epoch = killed_in_the_second
bert.BertClassifier(**settings).fit(texts, labels)
"""


def test_killed_training_ends_where_it_would_have_ended(reviews, small, tmp_path, monkeypatch):
    whole = small | {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2}
    kept = whole | {"checkpoint_dir": str(tmp_path)}
    data = list(reviews.text[:40]), list(reviews.label[:40])
    command = [sys.executable, "-c", KILLED, json.dumps([kept, *data])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["training.safetensors"]
    train_epoch, steps = sentiment_course.bert.train_epoch, []

    def counted(network, step, batches, *rest):
        steps.append(len(batches))
        return train_epoch(network, step, batches, *rest)

    monkeypatch.setattr("sentiment_course.bert.train_epoch", counted)
    weights = [BertClassifier(**s).fit(*data).network_.get_weights() for s in (kept, whole)]
    assert len(steps) == 1 + 2  # the first epoch was not trained again
    for ours, theirs in zip(*weights, strict=True):
        assert np.abs(ours - theirs).max() <= 1e-5


def test_mean_pool_counts_no_padding():
    x = np.arange(24.0).reshape(2, 4, 3)
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], dtype=float)[:, :, None]
    pooled = keras.ops.convert_to_numpy(mean_pool(x, mask))
    assert np.allclose(pooled, [x[0].mean(axis=0), x[1, :2].mean(axis=0)])
