"""The Keras encoder: equal to an independent BERT, harmless padding, clear refusals."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from sentiment_course.assets import asset_path
from sentiment_course.doctor import quiet
from sentiment_course.reviews import SOURCES, load_ratings

with quiet():
    from sentiment_course import encoders, hub
    from sentiment_course.encoders import (
        Dropout,
        build_encoder,
        fill,
        gelu,
        load_encoder,
        load_tensorflow,
        pad,
        published_names,
        save_encoder,
        seeded,
    )

TINY = {
    "vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 16, "max_position_embeddings": 16, "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}  # fmt: skip


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("minilm", dropout=0)


@pytest.fixture(scope="module")
def sentences():
    """Two hundred real texts of mixed length, fifty from each source."""
    return [t for s in SOURCES for t in load_ratings(s).text.sample(50, random_state=0)]


def test_equals_an_independent_bert(encoder, sentences):
    torch = pytest.importorskip("torch", reason="the peer needs `pip install torch`")
    from transformers import BertModel

    peer = BertModel.from_pretrained(asset_path("minilm"), add_pooling_layer=False).eval()
    tokens = encoder.tokenize(sentences)
    for start in range(0, len(tokens), 50):
        ids, mask = pad(tokens[start : start + 50])
        ours = encoder.model.predict_on_batch([ids, mask])
        with torch.no_grad():
            theirs = peer(torch.tensor(ids), torch.tensor(mask)).last_hidden_state.numpy()
        assert np.abs(ours - theirs)[mask == 1].max() < 1e-4


def test_tokens_equal_an_independent_tokenizer(encoder, sentences):
    from transformers import BertTokenizer

    vocabulary = (asset_path("minilm") / "vocab.txt").read_text(encoding="utf-8").split("\n")
    peer = BertTokenizer({word: i for i, word in enumerate(vocabulary) if word}, do_lower_case=True)
    for text, ids in zip(sentences, encoder.tokenize(sentences), strict=True):
        assert ids.tolist() == peer.encode(text, truncation=True, max_length=128)


def test_padding_changes_nothing(encoder, sentences):
    tokens = encoder.tokenize(sentences[:8])
    together = encoder.model.predict_on_batch(pad(tokens))
    for row, token in zip(together, tokens, strict=True):
        alone = encoder.model.predict_on_batch(pad([token]))[0]
        assert np.abs(alone - row[: len(alone)])[: len(token)].max() < 1e-4


def test_pad_makes_a_multiple_of_eight():
    ids, mask = pad([np.array([5, 6, 7]), np.arange(1, 10)])
    assert ids.shape == mask.shape == (2, 16)
    assert ids[0].tolist() == [5, 6, 7] + [0] * 13
    assert mask.sum(axis=1).tolist() == [3, 9]


def test_long_text_is_cut(encoder):
    (ids,) = encoder.tokenize(["word " * 100_000], max_length=128)
    assert len(ids) == 128 and ids[-1] == encoder.tokenizer.token_to_id("[SEP]")
    (ids,) = encoder.tokenize(["x" * 100_000], max_length=1000)
    assert len(ids) <= 512


def test_blank_and_strange_texts_have_tokens(encoder):
    for ids in encoder.tokenize(["", "   ", "好看", "\U0001f600", "a\u0301"]):
        assert ids[0] == encoder.tokenizer.token_to_id("[CLS]") and len(ids) >= 2


def test_saved_encoder_loads_the_same(encoder, tmp_path, sentences):
    save_encoder(encoder, tmp_path)
    again = load_encoder(tmp_path, dropout=0)
    batch = pad(encoder.tokenize(sentences[:4]))
    for ours, theirs in zip(encoder.model.get_weights(), again.model.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    assert np.allclose(
        encoder.model.predict_on_batch(batch), again.model.predict_on_batch(batch), atol=1e-5
    )
    assert [t.tolist() for t in again.tokenize(sentences)] == [
        t.tolist() for t in encoder.tokenize(sentences)
    ]


def test_cased_vocabulary_keeps_case(tmp_path):
    for name in ("config.json", "vocab.txt", "model.safetensors"):
        shutil.copy(asset_path("minilm") / name, tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    cased = load_encoder(tmp_path)
    (upper,), (lower,) = cased.tokenize(["Film"]), cased.tokenize(["film"])
    assert not cased.lowercase and upper.tolist() != lower.tolist()


def test_seed_decides_the_weights_and_leaves_python_alone():
    import random

    random.seed(7)
    state = random.getstate()
    first, second, other = (build_encoder(TINY, seed=s).get_weights() for s in (1, 1, 2))
    assert random.getstate() == state
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], other[0])
    with pytest.raises(KeyError), seeded(1):
        raise KeyError
    assert random.getstate() == state


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "model.safetensors"])
def test_missing_file_is_named(tmp_path, name):
    for other in {"config.json", "vocab.txt", "model.safetensors"} - {name}:
        (tmp_path / other).write_text("{}")
    with pytest.raises(ValueError, match=f"it has no {name}"):
        load_encoder(tmp_path)


def folder_with(tmp_path, config):
    for name in ("vocab.txt", "model.safetensors"):
        (tmp_path / name).write_bytes((asset_path("minilm") / name).read_bytes())
    text = config if isinstance(config, str) else json.dumps(config)
    (tmp_path / "config.json").write_text(text)
    return tmp_path


def test_configs_that_are_no_bert_are_refused(tmp_path):
    told = json.loads((asset_path("minilm") / "config.json").read_text())
    for config, said in [
        ("{", "not in JSON"),
        ("[]", "must be a dict, not list"),
        ({"hidden_size": 4}, "lacks 'vocab_size'"),
        (told | {"hidden_act": "relu"}, "'relu'"),
        (told | {"num_attention_heads": 7}, "cannot be split into 7 heads"),
        (told | {"hidden_size": 192}, "has the shape .* but config.json asks for"),
        (told | {"num_hidden_layers": 7}, "lack 'encoder.layer.6"),
    ]:
        with pytest.raises(ValueError, match=said):
            load_encoder(folder_with(tmp_path, config))


@pytest.mark.parametrize(
    ("told", "said"),
    [({"hidden_size": 12 * 10**9}, "has the shape"), ({"num_hidden_layers": 10**9}, "lack"),
     ({"num_attention_heads": 0}, "num_attention_heads must be a whole number from 1"),
     ({"num_hidden_layers": -1}, "num_hidden_layers must be"), ({"vocab_size": True}, "vocab_size"),
     ({"layer_norm_eps": "tiny"}, "layer_norm_eps must be a finite number above 0"),
     ({"max_position_embeddings": 10**12}, "has the shape")],
)  # fmt: skip
def test_senseless_numbers_are_refused_before_memory_is_taken(tmp_path, monkeypatch, told, said):
    def build(*_):
        raise AssertionError("it was built")

    monkeypatch.setattr("sentiment_course.encoders.build_encoder", build)
    config = json.loads((asset_path("minilm") / "config.json").read_text())
    with pytest.raises(ValueError, match=said):
        load_encoder(folder_with(tmp_path, config | told))


def test_marks_typed_into_a_text_are_cut_like_an_independent_tokenizer_cuts_them(encoder):
    from transformers import BertTokenizer

    peer = BertTokenizer.from_pretrained(asset_path("minilm"), do_lower_case=True)
    for text in ["[SEP]", "a [PAD] b", "[CLS] [MASK] [UNK]", "so[SEP]close", "[sep]"]:
        (ours,) = encoder.tokenize([text])
        assert ours.tolist() == peer.encode(text, split_special_tokens=True)
        assert len(ours) > len(text.split()) + 2  # cut at the brackets, not read as one mark


class Cards:
    """What TensorFlow answers about a machine with two GPUs, the second at work already."""

    def __init__(self):
        self.grows, self.config, self.experimental = [], self, self

    def list_physical_devices(self, kind):
        return ["first", "second"] if kind == "GPU" else ["processor"]

    def set_memory_growth(self, card, grow):
        if card == "second":
            raise RuntimeError("Physical devices cannot be modified after being initialized")
        self.grows.append((card, grow))


def test_a_card_is_told_to_leave_memory_to_others(monkeypatch):
    cards = Cards()
    monkeypatch.setitem(sys.modules, "tensorflow", cards)
    assert load_tensorflow() is cards
    assert cards.grows == [("first", True)]


def test_cards_are_told_before_anything_is_put_on_them():
    """In a process of its own: importing the encoders is enough."""
    code = """
import tensorflow as tf
told = []
tf.config.list_physical_devices = lambda kind=None: ["card"] if kind == "GPU" else []
tf.config.experimental.set_memory_growth = lambda card, grow: told.append((card, grow))
import sentiment_course.encoders
print(told)"""
    environment = os.environ | {"KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[('card', True)]"


def test_names_of_special_tokens_are_ordinary_text(encoder):
    words = encoder.tokenizer
    (ids,) = encoder.tokenize(["[SEP] is [PAD], [CLS] or [MASK]"])
    special = {words.token_to_id(t) for t in ("[SEP]", "[PAD]", "[CLS]", "[MASK]", "[UNK]")}
    assert not special & set(ids[1:-1].tolist())
    assert words.id_to_token(ids[0]) == "[CLS]" and words.id_to_token(ids[-1]) == "[SEP]"


def test_damaged_weights_are_refused(tmp_path):
    folder_with(tmp_path, (asset_path("minilm") / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ValueError, match="cannot be read"):
        load_encoder(tmp_path)


def test_fill_uses_every_published_array():
    from safetensors.numpy import load_file

    arrays = load_file(asset_path("minilm") / "model.safetensors")
    unused = set(arrays) - set(published_names(6).values())
    assert unused == {
        "embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"
    } & set(arrays)  # fmt: skip
    with pytest.raises(ValueError, match="lack 'embeddings.word"):
        fill(build_encoder(TINY), {}, 2)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_gelu_and_its_gradient_are_those_of_keras(precision):
    import tensorflow as tf

    x = tf.cast(tf.linspace(-6.0, 6.0, 241), precision)
    found = []
    for training in (True, False):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = gelu(x, training=training)
        found.append([tf.cast(part, "float32") for part in (y, tape.gradient(y, x))])
    assert found[0][0].dtype == "float32"
    for ours, theirs in zip(*found, strict=True):
        assert np.allclose(ours, theirs, atol=1e-5 if precision == "float32" else 0.03)


def test_dropout_drops_a_tenth_others_each_time_and_keeps_the_mean():
    layer, ones = Dropout(0.1, seed=0), np.ones((7, 11, 1301), "float32")
    assert np.array_equal(layer(ones), ones)  # outside training
    first, second = (np.array(layer(ones, training=True)) for _ in range(2))
    for array in (first, second):
        assert len(np.unique(array)) == 2 and array.min() == 0
        assert abs((array == 0).mean() - 26 / 256) < 0.005 and abs(array.mean() - 1) < 0.005
    assert not np.array_equal(first, second)
    again = Dropout(0.1, seed=0)
    again(ones)
    assert np.array_equal(again(ones, training=True), first)
    assert np.array_equal(Dropout(0.0)(ones, training=True), ones)


@pytest.mark.parametrize("name", ["minilm", "multilingual"])
def test_a_program_that_lies_about_under_the_name_of_the_courses_own_is_not_run(
    tmp_path, monkeypatch, name
):
    (tmp_path / name).mkdir()
    (tmp_path / name / "saved_model.pb").write_bytes(b"a program")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "load_module", lambda *told: pytest.fail("it was run"))
    monkeypatch.setattr(encoders, "read_published", lambda folder, *told: folder)
    monkeypatch.setattr(encoders, "_folder_of", lambda handle: f"the course's {handle}")
    assert load_encoder(name) == f"the course's {name}"
