"""TensorFlow, JAX and PyTorch: the same weights, the same probabilities; each trains alone."""

import inspect
import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from sentiment_course.doctor import quiet
from sentiment_course.losses import softmax
from sentiment_course.reviews import SOURCES, load_ratings, load_reviews

with quiet():
    from sentiment_course.bert import BertClassifier, build_network, compile_network
    from sentiment_course.encoders import keras, load_encoder, pad
    from sentiment_course.hub import save_hub_encoder

OTHERS = [
    pytest.param(
        backend,
        marks=pytest.mark.skipif(not find_spec(backend), reason=f"needs `pip install {backend}`"),
    )
    for backend in ("jax", "torch")
]

# What each backend does in a process of its own, and writes into the folder it starts in.
PROGRAM = """
import json
import os
import sys
from pathlib import Path

import numpy as np

from sentiment_course.bert import BertClassifier, build_network, compile_network
from sentiment_course.encoders import keras, load_encoder

ADVERSARIAL_STEPS
folder = Path(sys.argv[1])
batch = list(np.load(folder / "batch.npy"))
given = json.loads((folder / "given.json").read_text())

classifier = BertClassifier.load(folder / "classifier")
network, encoder = classifier.network_, classifier.encoder_.model
both = keras.Model(network.inputs, [encoder.output, network.output])
answers = [both.predict_on_batch([part[i : i + 50] for part in batch]) for i in range(0, 200, 50)]
for name, arrays in zip(("vectors", "logits"), zip(*answers)):
    np.save(name, np.concatenate(arrays))

def fit(checkpoint_dir=None):
    made = BertClassifier(str(folder / "small"), epochs=3, batch_size=8, max_length=8,
                          learning_rate=1e-2, precision="float32", validation_split=0,
                          perturbation=0.1,  # two words decide here: more makes each the other
                          verbose=False, checkpoint_dir=checkpoint_dir)
    return made.fit(given["texts"], given["labels"])

small = fit()
small.save("trained")
np.save("trained", small.predict_proba(given["texts"]))

put = os.replace
def put_and_stop(*paths):
    put(*paths)
    raise KeyboardInterrupt
os.replace = put_and_stop  # stop once the first checkpoint is in its place
try:
    fit("checkpoint")
except KeyboardInterrupt:
    os.replace = put
np.save("resumed", fit("checkpoint").predict_proba(given["texts"]))

np.save("steps", adversarial_steps(folder / "small", batch))

told = {"backend": keras.backend.backend(), "losses": small.history_.loss.tolist(),
        "modules": sorted({m.split(".")[0] for m in sys.modules})}
Path("told.json").write_text(json.dumps(told))

module = load_encoder(folder / "module").model  # this one needs TensorFlow
np.save("module", keras.ops.convert_to_numpy(module([part[:4] for part in batch])))
"""
GIVEN = {
    "texts": ["a good film", "a bad film", "good, I say", "bad, I say"] * 10,
    "labels": ["good", "bad"] * 20,
}


def adversarial_steps(small, batch):
    """The losses of ten steps on the same texts, without dropout, and the weights after them."""
    network = build_network(load_encoder(small, dropout=0.0).model, 2)
    kernel = np.random.default_rng(0).normal(scale=0.02, size=(16, 2))  # the same on each backend
    network.get_layer("head").set_weights([kernel, np.zeros(2)])
    step = compile_network(network, 10, 1e-2, "float32", perturbation=1.0)
    targets = np.eye(2, dtype="float32")[np.arange(16) % 2]
    inputs, weights = [part[:16] for part in batch], np.ones(16, dtype="float32")
    losses = [float(step(inputs, targets, weights)) for _ in range(10)]
    return np.concatenate([losses, *(w.ravel() for w in network.get_weights())])


@pytest.fixture(scope="module")
def classifier():
    """A classifier on the real weights, made by TensorFlow."""
    made = BertClassifier(trainable="head", max_length=16, precision="float32", verbose=False)
    reviews = load_reviews("movies").sample(64, random_state=0)
    return made.fit(reviews.text, reviews.label)


@pytest.fixture(scope="module")
def batch(classifier):
    """Token ids and mask of two hundred real sentences, fifty a source, (2, 200, 48)."""
    sentences = [t for s in SOURCES for t in load_ratings(s).text.sample(50, random_state=0)]
    return np.array(pad(classifier.encoder_.tokenize(sentences, 48)))


@pytest.fixture(scope="module")
def folder(classifier, batch, small_encoder, tmp_path_factory):
    """What the other backends start from."""
    assert keras.backend.backend() == "tensorflow", "run this test without KERAS_BACKEND"
    folder = tmp_path_factory.mktemp("given")
    classifier.save(folder / "classifier")
    (folder / "small").symlink_to(small_encoder)
    save_hub_encoder(load_encoder(small_encoder), folder / "module")
    np.save(folder / "batch", batch)
    (folder / "given.json").write_text(json.dumps(GIVEN))
    return folder


@pytest.fixture(scope="module", params=OTHERS)
def other(request, folder, tmp_path_factory):
    """The folder in which another backend left its results."""
    results = tmp_path_factory.mktemp(request.param)
    environment = os.environ | {
        "KERAS_BACKEND": request.param,
        "JAX_COMPILATION_CACHE_DIR": str(results / "compiled"),  # compile the same step once
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    program = PROGRAM.replace("ADVERSARIAL_STEPS", inspect.getsource(adversarial_steps))
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        cwd=results, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert told(results)["backend"] == request.param
    return results


def told(results):
    return json.loads((results / "told.json").read_text())


@pytest.fixture(scope="module")
def answers(classifier, batch):
    """What TensorFlow makes of the sentences: vectors and logits."""
    network, encoder = classifier.network_, classifier.encoder_.model
    both = keras.Model(network.inputs, [encoder.output, network.output])
    return both.predict_on_batch(list(batch))


def test_same_vectors_and_probabilities_of_real_sentences(other, answers, batch):
    vectors, logits = answers
    assert vectors.shape == (200, 48, 384)
    assert np.abs(np.load(other / "vectors.npy") - vectors)[batch[1] == 1].max() < 1e-4
    ours, theirs = softmax(logits), softmax(np.load(other / "logits.npy"))
    assert np.abs(ours - theirs).max() < 1e-4
    assert np.ptp(ours[:, 0]) > 0.5, "the same answer to every text would show nothing"


def test_fine_tuning_learns(other):
    first, _, third = told(other)["losses"]
    assert third < 0.8 * first


def test_adversarial_steps_are_the_same(other, folder, batch):
    ours, theirs = adversarial_steps(folder / "small", list(batch)), np.load(other / "steps.npy")
    assert ours[9] < 0.9 * ours[0]
    assert np.abs(ours - theirs).max() < 1e-3


def test_stopped_training_ends_where_it_would_have_ended(other):
    whole, resumed = np.load(other / "trained.npy"), np.load(other / "resumed.npy")
    assert (other / "checkpoint" / "training.safetensors").is_file()
    assert np.abs(whole - resumed).max() < 1e-5


def test_no_tensorflow_is_loaded(other):
    assert not {"tensorflow", "tensorflow_hub", "tf_keras"} & set(told(other)["modules"])


def test_what_one_trained_another_reads(other):
    again = BertClassifier.load(other / "trained")
    theirs = np.load(other / "trained.npy")
    assert np.abs(again.predict_proba(GIVEN["texts"]) - theirs).max() < 1e-4
    assert again.score(GIVEN["texts"], GIVEN["labels"]) == 1


def test_hub_module_loads_on_it(other, folder, batch):
    module = load_encoder(folder / "module").model
    ours = keras.ops.convert_to_numpy(module(list(batch[:, :4])))
    assert np.abs(ours - np.load(other / "module.npy")).max() < 1e-4
