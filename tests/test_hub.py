"""TF Hub modules: genuine ones load, ours load everywhere, and anything else is refused."""

import hashlib
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sentiment_course.assets import asset_path, home
from sentiment_course.doctor import quiet
from sentiment_course.reviews import SOURCES, load_ratings

with quiet():
    import tensorflow as tf

    from sentiment_course import hub
    from sentiment_course.encoders import (
        Encoder,
        build_encoder,
        keras,
        load_encoder,
        pad,
        read_vocabulary,
        save_encoder,
        write_vocabulary,
    )
    from sentiment_course.hub import make_module, module_names, save_hub_encoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "The", "film", "Film", "was", "good", "bad",
         "##s", ".", ",", "!", "ünïc", "une", "no"]  # fmt: skip
TINY = {
    "vocab_size": len(WORDS), "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
    "intermediate_size": 20, "max_position_embeddings": 32, "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}  # fmt: skip
TEXTS = ["The film was good.", "no", "Films, films, films! The films was bad, ünïc! " * 2]


def randomized(model, seed=0):
    """Random weights everywhere, so that no two can be taken for one another."""
    rng = np.random.default_rng(seed)
    for v in model.weights:
        v.assign(v.path.endswith("gamma") + 0.3 * rng.normal(size=v.shape))
    return model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A small encoder with random weights that keeps case."""
    path = tmp_path_factory.mktemp("tiny") / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    model = randomized(build_encoder(TINY, dropout=0))
    return Encoder(model, read_vocabulary(path, False, len(WORDS)), TINY, False)


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """The module that our own writer makes of it."""
    folder = tmp_path_factory.mktemp("hub") / "deep" / "module"
    save_hub_encoder(tiny, folder)
    return folder


def answer(module, ids, mask):
    inputs = {"input_word_ids": ids, "input_mask": mask, "input_type_ids": np.zeros_like(ids)}
    return module(inputs)


def vectors(model, ids, mask):
    return keras.ops.convert_to_numpy(model([ids, mask], training=False))


# Genuine modules, made by the Model Garden itself


@pytest.fixture(scope="module")
def garden():
    """Two modules of the Model Garden's own export, kept beside the assets."""
    script = Path(__file__).with_name("make_model_garden_encoder.py")
    folder = home() / f"model-garden-{hashlib.sha256(script.read_bytes()).hexdigest()[:8]}"
    vocabulary = asset_path("minilm") / "vocab.txt"
    command = [sys.executable, str(script), str(folder), str(vocabulary)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def sentences():
    """Twenty real texts of mixed length, five from each source."""
    return [t for s in SOURCES for t in load_ratings(s).text.sample(5, random_state=1)]


@pytest.mark.parametrize(
    ("name", "depth", "hidden", "heads", "lowercase"),
    [("6x384", 6, 384, 12, True), ("2x128", 2, 128, 2, False)],
)
def test_model_garden_module(garden, sentences, tmp_path, name, depth, hidden, heads, lowercase):
    encoder = load_encoder(str(garden / name), dropout=0)
    config = encoder.config
    assert (config["num_hidden_layers"], config["hidden_size"]) == (depth, hidden)
    assert (config["num_attention_heads"], config["hidden_act"]) == (heads, "gelu_new")
    assert encoder.lowercase is lowercase
    (upper,), (lower,) = encoder.tokenize(["Film"]), encoder.tokenize(["film"])
    assert (upper.tolist() == lower.tolist()) is lowercase

    module = tf.saved_model.load(str(garden / name))
    ids, mask = pad(encoder.tokenize(sentences))
    assert 0 in mask
    theirs, ours = answer(module, ids, mask), vectors(encoder.model, ids, mask)
    assert np.abs(ours - theirs["sequence_output"]).max() < 1e-4
    kernel, bias = encoder.pooler
    assert np.abs(np.tanh(ours[:, 0] @ kernel + bias) - theirs["pooled_output"]).max() < 1e-4

    if depth > 2:  # the other way too, where it is cheap
        return
    save_hub_encoder(encoder, tmp_path / "again")
    again = tf.saved_model.load(str(tmp_path / "again"))
    assert shapes(again) == shapes(module)
    for key, wanted in theirs.items():
        assert np.abs(np.subtract(answer(again, ids, mask)[key], wanted)).max() < 1e-4, key


def shapes(module):
    return {v.name: tuple(v.shape) for v in module.trainable_variables}


# Modules of our own writer


@pytest.mark.parametrize("gelu", ["gelu", "gelu_new"])
def test_round_trip(tiny, tmp_path, gelu):
    config = tiny.config | {"hidden_act": gelu}
    model = build_encoder(config)
    model.set_weights(tiny.model.get_weights())
    save_hub_encoder(Encoder(model, tiny.tokenizer, config, False), tmp_path)
    again = load_encoder(tmp_path)
    assert {k: again.config[k] for k in config} == config and again.lowercase is False
    for before, after in zip(model.get_weights(), again.model.get_weights(), strict=True):
        assert np.array_equal(before, after)
    for before, after in zip(tiny.tokenize(TEXTS), again.tokenize(TEXTS), strict=True):
        assert before.tolist() == after.tolist()
    ids, mask = pad(again.tokenize(TEXTS))
    assert np.abs(vectors(model, ids, mask) - vectors(again.model, ids, mask)).max() < 1e-6


def test_the_two_gelus_are_told_apart(tiny, folder):
    """What the round trip shows would show nothing if both gave the same."""
    again = load_encoder(folder)
    ids, mask = pad(again.tokenize(TEXTS))
    right = vectors(again.model, ids, mask)
    hub.use_gelu(again.model, "gelu_new")
    assert np.abs(vectors(again.model, ids, mask) - right).max() > 1e-4


def test_pooler_is_the_identity_where_none_is_known(tiny, folder):
    module = tf.saved_model.load(str(folder))
    out = answer(module, *pad(tiny.tokenize(TEXTS)))
    assert np.allclose(out["pooled_output"], np.tanh(out["sequence_output"][:, 0]), atol=1e-6)
    assert np.array_equal(out["default"], out["pooled_output"])
    assert np.array_equal(out["encoder_outputs"][-1], out["sequence_output"])


def test_pooler_and_gelu_survive_a_plain_folder(tiny, tmp_path):
    rng = np.random.default_rng(0)
    pooler = rng.normal(size=(12, 12)).astype("float32"), rng.normal(size=12).astype("float32")
    config = tiny.config | {"hidden_act": "gelu_new"}
    save_encoder(Encoder(tiny.model, tiny.tokenizer, config, False, pooler), tmp_path)
    again = load_encoder(tmp_path)
    assert all(np.array_equal(a, b) for a, b in zip(again.pooler, pooler, strict=True))
    assert again.model.get_layer("layer_0").approximate


def test_segments_count(tiny, folder):
    module = tf.saved_model.load(str(folder))
    ids, mask = pad(tiny.tokenize(TEXTS))
    inputs = {"input_word_ids": ids, "input_mask": mask, "input_type_ids": np.ones_like(ids)}
    other = module(inputs)["sequence_output"]
    assert np.abs(other - answer(module, ids, mask)["sequence_output"]).max() > 0.01


def test_precision_is_that_of_the_work(folder, tiny):
    half = load_encoder(folder, precision="bfloat16")
    assert half.model.output.dtype == "bfloat16"
    for before, after in zip(tiny.model.get_weights(), half.model.get_weights(), strict=True):
        assert np.array_equal(before, after)


def test_hub_layer_trains_it(folder, tiny):
    """TensorFlow Hub's own layer: every variable gets a gradient, and training drops out."""
    with quiet():
        import tensorflow_hub

    layer = tensorflow_hub.KerasLayer(str(folder), trainable=True)
    ids, mask = pad(tiny.tokenize(TEXTS))
    inputs = {"input_word_ids": ids, "input_mask": mask, "input_type_ids": np.zeros_like(ids)}
    inputs = {name: tf.constant(array) for name, array in inputs.items()}
    with tf.GradientTape() as tape:
        pooled = layer(inputs, training=True)["pooled_output"]
        loss = tf.reduce_sum(pooled**2)
    gradients = tape.gradient(loss, layer.trainable_weights)
    assert len(gradients) == 2 * 16 + 7 and not any(g is None for g in gradients)
    assert not np.allclose(pooled, layer(inputs, training=True)["pooled_output"])
    still = layer(inputs, training=False)["sequence_output"]
    assert np.abs(still - vectors(tiny.model, ids, mask)).max() < 1e-5


def test_classifier_takes_a_module(folder, tmp_path):
    from sentiment_course.bert import BertClassifier

    classifier = BertClassifier(
        str(folder), trainable="head", max_length=16, precision="float32", verbose=False
    )
    texts, labels = ["The film was good.", "The film was bad."] * 4, ["good", "bad"] * 4
    classifier.fit(texts, labels).save(tmp_path / "model")
    again = BertClassifier.load(tmp_path / "model")
    assert np.array_equal(classifier.predict_proba(texts), again.predict_proba(texts))
    save_hub_encoder(again.encoder_, tmp_path / "module")
    assert load_encoder(tmp_path / "module").tokenize(["Film"])[0][1] == WORDS.index("Film")


def test_earlier_module_is_replaced_and_nothing_else(tiny, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="is no module"):
        save_hub_encoder(tiny, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    save_hub_encoder(tiny, tmp_path / "module")
    save_hub_encoder(tiny, tmp_path / "module")
    load_encoder(tmp_path / "module")


def test_vocabulary_with_a_word_twice_keeps_its_lines(tiny, tmp_path):
    words = [w.replace("une", "good") for w in WORDS]  # "good" now stands in two lines
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    tokenizer = read_vocabulary(path, False, len(WORDS))
    write_vocabulary(tokenizer, path)
    again = read_vocabulary(path, False, len(WORDS))
    for text in ["good no", "bad"]:
        assert again.encode(text).ids == tokenizer.encode(text).ids


# Addresses


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for this machine alone, with its key in the same file."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    path = tmp_path_factory.mktemp("certificate") / "localhost.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    command += f" -addext subjectAltName=DNS:localhost -keyout {path}.key -out {path}"
    subprocess.run(command.split(), check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.key").read_text())
    return path


@pytest.fixture
def server(folder, tmp_path, certificate, monkeypatch):
    """An address that serves the module as tfhub.dev does, and the requests it got."""
    import tensorflow_hub.registry

    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    trusting = ssl.create_default_context(cafile=certificate)
    for resolver in tensorflow_hub.registry.resolver._impls:  # made when hub was imported
        if hasattr(resolver, "_context"):
            monkeypatch.setattr(resolver, "_context", trusting)
    monkeypatch.setenv("no_proxy", "*")
    requests = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            requests.append(self.path)

    (tmp_path / "served").mkdir()
    with tarfile.open(tmp_path / "served" / "4", "w:gz") as archive:
        archive.add(folder, ".")
    handler = partial(Handler, directory=tmp_path / "served")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ThreadingHTTPServer(("localhost", 0), handler) as running:
        running.socket = context.wrap_socket(running.socket, server_side=True)
        threading.Thread(target=running.serve_forever, daemon=True).start()
        url = f"https://localhost:{running.server_port}/4"
        yield SimpleNamespace(url=url, requests=requests)
        running.shutdown()


def test_address_is_downloaded_once_and_kept(server, tiny, tmp_path):
    for _ in range(2):
        again = load_encoder(server.url)
        assert np.array_equal(again.model.get_weights()[0], tiny.model.get_weights()[0])
    assert len(server.requests) == 1 and "tf-hub-format=compressed" in server.requests[0]
    assert any((tmp_path / "cache").iterdir())


def test_offline_error_says_where_a_module_goes(folder, tmp_path, monkeypatch):
    """The sentence is followed to the letter: the module is put there, and found."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    url = "https://localhost:1/tensorflow/bert/4"
    with pytest.raises(ValueError) as caught:
        load_encoder(url)
    said = str(caught.value)
    assert url in said and "check the address and the connection" in said and "\n" not in said
    name = re.search(r"\$TFHUB_CACHE_DIR/(\w+)", said)[1]
    (tmp_path / name).symlink_to(folder)
    assert load_encoder(url).config["hidden_size"] == 12


def test_an_address_without_https_is_never_asked(tmp_path, monkeypatch):
    """A SavedModel is a program: what comes over plain http could be anybody's."""
    import tensorflow_hub

    monkeypatch.setattr(tensorflow_hub, "resolve", lambda address: pytest.fail("it is asked"))
    with pytest.raises(ValueError, match="does not begin with https.* is a program"):
        load_encoder("http://localhost/bert/4")


def test_archive_that_is_none(server, tmp_path):
    (tmp_path / "served" / "4").write_text("<html>Please sign in</html>")
    with pytest.raises(ValueError, match="cannot be had"):
        load_encoder(server.url)


# Refusals, each in one sentence


def refused(path, said):
    with pytest.raises(ValueError, match=said) as caught:
        load_encoder(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_text_embedding_module_is_refused(tmp_path):
    """A genuine SavedModel of the kind that TF Hub has most of: strings to vectors."""
    module = tf.Module()
    module.embeddings = tf.Variable(tf.zeros([7, 4]), name="embeddings")
    module.variables_ = [module.embeddings]
    module.__call__ = tf.function(
        lambda texts: tf.gather(module.embeddings, tf.strings.length(texts) % 7),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path))
    refused(tmp_path, "no BERT encoder: it has no variable word_embeddings/embeddings")


def test_damaged_module_is_refused(folder, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"never a protocol buffer")
    refused(tmp_path, "TensorFlow cannot load it")
    (tmp_path / "saved_model.pb").write_bytes((folder / "saved_model.pb").read_bytes())
    refused(tmp_path, "TensorFlow cannot load it")  # its variables are not there


def test_module_for_tensorflow_1_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "tfhub_module.pb").touch()
    refused(tmp_path, "for TensorFlow 1.*https://tfhub.dev/tensorflow/bert_en_uncased_L-12_H-768")


def test_folder_of_neither_kind_names_both(tmp_path):
    refused(tmp_path, "it has no config.json, nor a saved_model.pb")


@pytest.fixture(scope="module")
def made(tiny):
    """A module that was never written to disk."""
    return make_module(tf, tiny)


@pytest.fixture
def spoiled(made, tmp_path, monkeypatch):
    """Load a module as if from a folder, after `spoil` changed it."""

    def load(spoil, said):
        path = tmp_path / "vocab.txt"
        path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
        parts = SimpleNamespace(
            variables={v.name: v for v in made.variables}, do_lower_case=made.do_lower_case,
            vocab_file=SimpleNamespace(asset_path=tf.constant(str(path))), call=made.__call__,
        )  # fmt: skip
        spoil(parts)
        parts.variables = list(parts.variables.values())
        (tmp_path / "saved_model.pb").touch()
        monkeypatch.setattr(hub, "open_module", lambda _: Callable(parts))
        refused(tmp_path, said)

    return load


class Callable:
    def __init__(self, parts):
        self.__dict__ |= vars(parts)

    def __call__(self, inputs):
        return self.call(inputs)


def replace(module, name, array):
    module.variables[name + ":0"] = tf.Variable(array, name=name)


def test_missing_parts_are_named(spoiled):
    spoiled(lambda m: m.variables.clear(), "it has no variable word_embeddings/embeddings")
    for name in module_names(2).values():
        spoiled(lambda m, gone=f"{name}:0": m.variables.pop(gone), f"it has no variable {name}")
    spoiled(lambda m: delattr(m, "vocab_file"), "it has no vocab_file")
    spoiled(lambda m: delattr(m, "do_lower_case"), "it has no do_lower_case")


def test_other_shapes_are_refused(spoiled):
    query, output = (f"transformer/layer_1/{n}/kernel" for n in ("self_attention/query", "output"))
    spoiled(lambda m: replace(m, query, tf.zeros([12, 3, 5])), "has the shape .12, 3, 5., not")
    spoiled(lambda m: replace(m, output, tf.zeros([21, 12])), "has the shape .21, 12., not")
    first = query.replace("layer_1", "layer_0")
    for shape in ([12, 12], [12, 5, 2], [12, 3, 5]):
        spoiled(lambda m, s=shape: replace(m, first, tf.zeros(s)), "shapes of another kind")
    words = "word_embeddings/embeddings"
    spoiled(lambda m: replace(m, words, tf.zeros([9, 12])), "18 words, .* vectors for 9")


def test_vocabulary_that_is_none_is_refused(spoiled, tmp_path):
    other = tmp_path / "other.txt"
    asset = SimpleNamespace(asset_path=tf.constant(str(other)))
    for content, said in [
        (b"\xff\xfe", "utf-8"),
        (b"[UNK]\nfilm\n", "not found in the vocabulary"),
        (b"[CLS]\n[SEP]\nfilm\n", r"lacks \[UNK\]"),
    ]:
        other.write_bytes(content)
        spoiled(lambda m: setattr(m, "vocab_file", asset), said)


def test_other_programs_are_refused(spoiled):
    def then(change):
        def spoil(module):
            program = module.call
            module.call = lambda inputs: change(dict(program(inputs)))

        return spoil

    spoiled(
        then(lambda out: out | {"sequence_output": out["sequence_output"] * 1.001}),
        "its vectors are .* from what a BERT makes of its weights",
    )
    spoiled(
        then(lambda out: out | {"sequence_output": out["sequence_output"] * np.nan}),
        "its vectors are nan",
    )
    spoiled(
        then(lambda out: out | {"sequence_output": out["pooled_output"]}),
        "its sequence_output has the shape",
    )
    spoiled(then(lambda out: {"vectors": out["default"]}), "no sequence_output out of it")
    spoiled(lambda m: delattr(m, "call"), "no sequence_output out of it")
