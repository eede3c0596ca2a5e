"""The runtime: the graph agrees with NumPy, 8 bits keep the answers, and no file does harm."""

import hashlib
import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from safetensors.numpy import save

from sentiment_course import runtime
from sentiment_course.ladder import load_classifier
from sentiment_course.losses import softmax
from sentiment_course.runtime import SCORER, OnnxClassifier, as_onnx, for_scoring, load_scorer
from sentiment_course.transformer import encode, mean_pool, weight_shapes

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "a", "the", "not", "very"]
CONFIG = {"vocab_size": len(WORDS), "hidden_size": 24, "num_hidden_layers": 2,
          "num_attention_heads": 3, "intermediate_size": 40, "max_position_embeddings": 40,
          "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu"}  # fmt: skip
CLASSES = ["bad", "good", "so-so"]


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    shapes = weight_shapes(CONFIG)
    arrays = {name: rng.normal(size=s).astype(np.float32) / 3 for name, s in shapes.items()}
    return {n: a + (n.endswith("LayerNorm.weight")) for n, a in arrays.items()}


@pytest.fixture(scope="module")
def head():
    rng = np.random.default_rng(1)
    return {"kernel": rng.normal(size=(24, 3)).astype(np.float32), "bias": np.ones(3, np.float32)}


@pytest.fixture(scope="module")
def files(arrays, head):
    return {"config.json": json.dumps(CONFIG).encode(), "vocab.txt": "\n".join(WORDS).encode(),
            "tokenizer_config.json": b'{"do_lower_case": true}',
            "model.safetensors": save(arrays), "head.safetensors": save(head)}  # fmt: skip


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(2)
    return [" ".join(rng.choice(WORDS[4:], rng.integers(1, 30))) for _ in range(120)]


@pytest.fixture(scope="module")
def exact(files):
    return OnnxClassifier(as_onnx(files, CLASSES, 32))


@pytest.fixture(scope="module")
def data(files, texts):
    return for_scoring(files, CLASSES, 32, texts[:60])


@pytest.fixture(scope="module")
def small(data):
    return OnnxClassifier(data)


@pytest.mark.parametrize("lengths", [[1], [5, 5], [1, 7, 3], [40], list(range(2, 30))])
def test_graph_computes_what_numpy_does(lengths, exact, arrays, head):
    rng = np.random.default_rng(3)
    batch = runtime.padded([rng.integers(0, len(WORDS), n) for n in lengths])
    (found,) = exact.session_.run(None, batch)
    vectors = mean_pool(encode(arrays, CONFIG, *batch.values()), batch["mask"])
    there = softmax(vectors @ head["kernel"] + head["bias"])
    np.testing.assert_allclose(found, there, atol=2e-5)


def test_eight_bits_keep_the_answers(small, exact, texts):
    there, here = (c.predict_proba(texts[60:]) for c in (exact, small))
    assert (exact.bits, small.bits) == (32, 8)
    assert (
        np.ptp(there, axis=0).max() > 0.3
    )  # the answers differ, so that there is something to keep
    assert np.abs(here - there).mean() < 0.01


def test_where_eight_bits_are_too_few_the_file_is_in_32(files, texts, monkeypatch):
    monkeypatch.setattr(runtime, "OFF", 0.0)
    assert OnnxClassifier(for_scoring(files, CLASSES, 32, texts[:20])).bits == 32


def test_a_large_channel_costs_the_others_nothing():
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(200, 16)), rng.normal(size=(16, 6))
    x[:, 3] *= 100
    weight[3] /= 100  # so that the error of the others shows
    q = runtime.in_whole_numbers(weight, x.min(axis=0), x.max(axis=0))
    whole = np.rint(x * q["smooth"] / q["step"] + q["zero"]).clip(0, 255) - q["zero"]
    again = whole @ q["weight"].astype(float) * q["step"] * q["scale"]
    assert np.abs(again - x @ weight).max() < 0.5  # without it: above 5
    assert q["weight"].dtype == np.int8 and np.abs(q["weight"]).max() == 127


def test_an_answer_does_not_depend_on_the_other_texts(small, texts):
    together = small.predict_proba(texts)
    alone = np.concatenate([small.predict_proba([text]) for text in texts[:20]])
    np.testing.assert_allclose(together[:20], alone, atol=1e-5)


def test_answers_come_in_the_order_of_the_texts_however_they_are_cut(small, texts, monkeypatch):
    there = small.predict_proba(texts)
    monkeypatch.setattr(runtime, "WINDOW", 25)
    monkeypatch.setattr(runtime, "TOKENS", 33)
    np.testing.assert_allclose(small.predict_proba(texts), there, atol=1e-5)


def test_batches_hold_every_text_once_and_few_tokens():
    lengths = np.random.default_rng(0).integers(1, 90, 300)
    lengths[7] = 1000  # longer than a batch: alone
    batches = list(runtime.batches_of(lengths))
    assert sorted(np.concatenate(batches)) == list(range(300))
    full = [len(b) * lengths[b].max() for b in batches]
    assert batches[0].tolist() == [7] and max(full[1:]) <= runtime.TOKENS
    assert len(batches) < 2 + 1.3 * sum(lengths[lengths < 1000]) / runtime.TOKENS


def test_has_the_interface_of_a_classifier(small, texts):
    p = small.predict_proba(texts)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    assert small.classes_.tolist() == CLASSES
    assert small.predict(texts).tolist() == [CLASSES[i] for i in p.argmax(axis=1)]
    assert small.score(texts, small.predict(texts)) == 1
    assert small.predict_proba([]).shape == (0, 3)
    with pytest.raises(ValueError, match="single text"):
        small.predict("good")


def test_cuts_texts_as_the_encoder_does(small, exact):
    marks = small.tokenize(["[SEP] good [CLS]", "", "good " * 100])
    assert marks[0].tolist() == [2, 1, 1, 1, 4, 1, 1, 1, 3]  # no mark but at the ends
    assert marks[1].tolist() == [2, 3]
    assert len(marks[2]) == 32


def edited(data, change):
    model = onnx.load_from_string(data)
    change(model)
    return model.SerializeToString()


def swap_a_node(model):
    model.graph.node[5].op_type = "Sub"


def add_a_node(model):
    model.graph.node.append(onnx.helper.make_node("Identity", ["ids"], ["more"]))


def read_another_file(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def widen_a_weight(model):
    next(t for t in model.graph.initializer if t.name == "0.expand.weight").dims[1] = 10**9


def cut_a_weight(model):
    tensor = model.graph.initializer[0]
    tensor.raw_data = tensor.raw_data[:-2]


def tell(**changes):
    def change(model):
        told = json.loads(model.metadata_props[0].value)
        told["sizes"] |= {k: v for k, v in changes.items() if k in told["sizes"]}
        told |= {k: v for k, v in changes.items() if k not in told["sizes"]}
        model.metadata_props[0].value = json.dumps(told)

    return change


def break_the_tokenizer(model):
    model.metadata_props[1].value = "{}"


@pytest.mark.parametrize(
    "change",
    [swap_a_node, add_a_node, read_another_file, widen_a_weight, cut_a_weight,
     break_the_tokenizer,
     tell(layers=10**9), tell(layers=1), tell(heads=2), tell(words=10**9), tell(exact=False),
     tell(classes=["a", "b"]), tell(bits=32), tell(epsilon="x"), tell(max_length=41),
     lambda model: model.metadata_props.pop(), lambda model: model.functions.add(name="f")],
)  # fmt: skip
def test_only_what_this_room_writes_is_run(data, change):
    with pytest.raises(ValueError, match="this is no classifier in ONNX"):
        OnnxClassifier(edited(data, change))


@pytest.mark.parametrize("data", [b"", b"no protobuf at all", b"\x08" * 100])
def test_what_is_no_model_is_refused(data):
    with pytest.raises(ValueError, match="this is no classifier in ONNX"):
        OnnxClassifier(data)


@pytest.fixture
def folder(tmp_path, files, data):
    """The part of a saved classifier that the runtime reads."""
    note = {"kind": "BertClassifier", "version": "0.1.0", "parameters": {"verbose": False},
            "sha256": {SCORER: hashlib.sha256(data).hexdigest()}}  # fmt: skip
    (tmp_path / "classifier.json").write_text(json.dumps(note), encoding="utf-8")
    (tmp_path / SCORER).write_bytes(data)
    (tmp_path / "model.safetensors").write_bytes(files["model.safetensors"])
    return tmp_path


def test_loads_the_file_of_a_saved_classifier(folder, small, texts):
    loaded = load_scorer(folder)
    assert not loaded.verbose
    np.testing.assert_array_equal(loaded.predict_proba(texts), small.predict_proba(texts))


def test_a_classifier_saved_without_the_file_has_none(folder):
    note = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
    note["sha256"] = {}
    (folder / "classifier.json").write_text(json.dumps(note), encoding="utf-8")
    assert load_scorer(folder) is None


def test_without_onnx_runtime_keras_scores(folder, monkeypatch):
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)
    assert load_scorer(folder) is None


def change_a_number(path):
    def change(model):
        tensor = next(t for t in model.graph.initializer if t.name == "0.expand.weight")
        tensor.raw_data = bytes([tensor.raw_data[0] ^ 1]) + tensor.raw_data[1:]

    path.write_bytes(edited(path.read_bytes(), change))


def make_it_long(path):
    with path.open("ab") as file:
        file.truncate(10**11)  # of zeros that take no room on the disk


@pytest.mark.parametrize("harm", [change_a_number, make_it_long, lambda path: path.unlink()])
def test_a_damaged_file_is_refused_in_one_sentence(folder, harm):
    harm(folder / SCORER)
    with pytest.raises(ValueError, match=rf"damaged \({SCORER}\): train it again"):
        load_scorer(folder)


SCORES = """
import sys
from pathlib import Path
import sentiment_course
from sentiment_course.runtime import load_scorer
print(load_scorer(Path(sys.argv[1])).predict(["a good film", "bad"]).tolist())
print(*({"tensorflow", "keras", "torch", "jax", "sklearn", "pandas"} & set(sys.modules)))
"""


def test_scores_without_tensorflow(folder, small):
    told = [sys.executable, "-c", SCORES, folder]
    done = subprocess.run(told, capture_output=True, text=True, check=True)
    said, loaded = done.stdout.split("\n")[:2]
    assert said == str(small.predict(["a good film", "bad"]).tolist())
    assert loaded == "" and done.stderr == ""


@pytest.fixture(scope="module")
def saved(tmp_path_factory, files, texts):
    """A BertClassifier of Keras, and the folder that it was saved in."""
    from sentiment_course.bert import BertClassifier

    encoder, folder = tmp_path_factory.mktemp("encoder"), tmp_path_factory.mktemp("out") / "model"
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        (encoder / name).write_bytes(files[name])
    labels = ["good" if text.count("good") > text.count("bad") else "bad" for text in texts]
    settings = {"encoder": str(encoder), "epochs": 1, "max_length": 32, "precision": "float32"}
    classifier = BertClassifier(**settings, verbose=False).fit(texts, labels)
    classifier.save(folder)
    return classifier, folder


def test_a_saved_classifier_is_scored_by_the_runtime_and_says_the_same(saved, texts):
    classifier, folder = saved
    scorer = load_classifier(folder)
    assert isinstance(scorer, OnnxClassifier)
    assert scorer.classes_.tolist() == classifier.classes_.tolist()
    there, here = classifier.predict_proba(texts), scorer.predict_proba(texts)
    assert np.abs(here - there).mean() < 0.01


def test_the_graph_in_32_bits_says_what_keras_says(saved, texts):
    classifier, folder = saved
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    exact = OnnxClassifier(as_onnx(files, classifier.classes_.tolist(), 32))
    there, here = classifier.predict_proba(texts), exact.predict_proba(texts)
    np.testing.assert_allclose(here, there, atol=2e-5)


def test_the_file_travels_with_the_classifier(saved, tmp_path):
    classifier, folder = saved
    for copy in (type(classifier).load(folder), pickle.loads(pickle.dumps(classifier))):
        copy.save(tmp_path / "again")
        assert (tmp_path / "again" / SCORER).read_bytes() == (folder / SCORER).read_bytes()


def test_a_classifier_saved_without_the_file_still_loads(saved, tmp_path, texts):
    classifier, folder = saved
    old = shutil.copytree(folder, tmp_path / "old")
    (old / SCORER).unlink()
    note = json.loads((old / "classifier.json").read_text(encoding="utf-8"))
    del note["sha256"][SCORER]
    (old / "classifier.json").write_text(json.dumps(note), encoding="utf-8")
    loaded = load_classifier(old)
    assert type(loaded) is type(classifier)
    loaded.save(tmp_path / "again")
    assert not (tmp_path / "again" / SCORER).exists()


def test_another_network_has_no_such_file(saved, texts):
    classifier, _ = saved
    another = type("Another", (type(classifier),), {})(**classifier.get_params())
    assert another.fit(texts, ["a", "b"] * (len(texts) // 2)).scorer_ is None


PREDICTS = """
import sys
from sentiment_course.cli import main
try:
    main(sys.argv[1:])
finally:
    heavy = {"tensorflow", "keras", "torch", "jax", "sklearn", "scipy", "matplotlib"}
    print(*(heavy & set(sys.modules)), file=sys.stderr)
"""


def test_the_command_predict_loads_no_tensorflow(saved, tmp_path):
    classifier, folder = saved
    (tmp_path / "r.csv").write_text("text\ngood film\nbad film\n", encoding="utf-8")
    told = ["predict", "--model", folder, tmp_path / "r.csv"]
    command = [sys.executable, "-c", PREDICTS, *told]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = [line.rsplit(",", 2)[1] for line in done.stdout.strip().split("\n")[1:]]
    assert said == classifier.predict(["good film", "bad film"]).tolist()
    assert done.stderr.strip() == ""
