"""The article's program: what stops it, how that is told, and the program as it should be."""

import contextlib
import hashlib
import sys

import numpy as np
import pandas as pd
import pytest

from sentiment_course import article
from sentiment_course.article import (
    PRINTED,
    Outcome,
    attempt,
    build_classifier,
    check_head_sizes,
    check_shadowed,
    check_without_id,
    defects,
    how_unknown_label_shows,
    mend,
    mended,
    sentence,
    token_ids,
    train_classifier,
)
from sentiment_course.baselines import wilson_interval
from sentiment_course.doctor import quiet

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "film", "was", "good", "bad", "fine", "dull",
         "very", "not", ".", *"abcdefgh"]  # fmt: skip
TINY = {
    "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 64, "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}  # fmt: skip
HANDLE = "https://tfhub.dev/google/bert_uncased_L-12_H-768_A-12/4"


def some_reviews(count):
    """Short texts, no two alike, whose label is the word in them."""
    kinds = [("positive", "good"), ("negative", "bad"), ("positive", "fine"), ("negative", "dull")]
    rows = [(f"the film was {kinds[i % 4][1]} {' '.join(f'{i:04b}'.translate(LETTERS))}",
             kinds[i % 4][0]) for i in range(count)]  # fmt: skip
    return pd.DataFrame(rows, columns=["text", "label"])


LETTERS = str.maketrans("01", "ab")


@pytest.fixture(autouse=True, scope="module")
def unseeded():
    """The mended program seeds TensorFlow for the whole process: take that back for other tests."""
    yield
    import tensorflow as tf

    tf.random.set_seed(None)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def encoder(vocabulary):
    """A new small encoder with random weights, the same each time."""
    with quiet():
        from sentiment_course.encoders import Encoder, build_encoder, read_vocabulary
    words = read_vocabulary(vocabulary, True, len(WORDS))
    return Encoder(build_encoder(TINY), words, TINY, True)


# ------------------------------------------------------------------ attempt, mend, sentence


def test_attempt_tells_error_sentence_and_line(tmp_path):
    program = "x = 1\ndef halve(y):\n    return y / 0\nhalve(x)\n"
    outcome = attempt(program, tmp_path)
    assert (outcome.error, outcome.message) == ("ZeroDivisionError", "division by zero")
    assert outcome.line == "return y / 0" and outcome.names["x"] == 1
    assert repr(outcome) == "ZeroDivisionError: division by zero\n    at   return y / 0"


def test_attempt_of_what_runs_is_silent_and_in_its_folder(tmp_path, capfd):
    (tmp_path / "data.csv").write_text("text\n")
    program = "import os, sys\nprint('said')\nprint('loud', file=sys.stderr)\nx = os.listdir()"
    outcome = attempt(program, tmp_path)
    assert not outcome.error and outcome.names["x"] == ["data.csv"]
    assert repr(outcome) == "It runs to its end."
    assert capfd.readouterr() == ("", "")


def test_each_attempt_starts_afresh(tmp_path):
    attempt("x = 1", tmp_path)
    assert attempt("x", tmp_path).error == "NameError"


def test_attempt_of_what_is_no_python(tmp_path):
    outcome = attempt("x =\n", tmp_path)
    assert (outcome.error, outcome.line) == ("SyntaxError", "")


def test_an_interrupt_is_no_outcome(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        attempt("raise KeyboardInterrupt", tmp_path)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("plain", "plain"),
        ("First. Second.", "First"),
        ("", ""),
        ("Exception encountered when calling X.call().\n\n\x1b[1mCould not infer. Error "
         "encountered:\n\nNo match. Got:\n  two\x1b[0m\n", "No match"),
        ("Graph execution error:\n\nDetected at node a defined at:\n  File x\n\nBad label -1.\n",
         "Bad label -1"),
        ("  only indented", "only indented"),
    ],
)  # fmt: skip
def test_sentence(said, told):
    assert sentence(ValueError(said)) == told


def test_mend_changes_what_is_there_once():
    assert mend("a b", "b", "c") == "a c"
    for old, count in [("x", 0), ("a", 2)]:
        with pytest.raises(ValueError, match=f"{old!r} stands in the program {count} times"):
            mend("a a", old, "c")


# ------------------------------------------------------------------ the program


def test_printed_program_is_python_and_names_the_handle():
    compile(PRINTED, "printed", "exec")
    assert PRINTED.count("\n# ") == 9  # its comments, all of them in Chinese
    assert HANDLE in PRINTED and "import re" not in PRINTED


LAYER = (
    "class HubLayer(tf.keras.layers.Layer):\n    def call(self, x):\n        return encoder(x)\n"
)
IDS = """
from tokenizers import BertWordPieceTokenizer
tokenizer = BertWordPieceTokenizer(encoder.vocab_file.asset_path.numpy().decode())
tokenizer.enable_padding(length=16)
PARTS = ["input_word_ids", "input_mask", "input_type_ids"]
def to_ids(texts):
    encoded = tokenizer.encode_batch(list(texts))
    ids = np.array([e.ids for e in encoded], "int32")
    mask = np.array([e.attention_mask for e in encoded], "int32")
    return dict(zip(PARTS, [ids, mask, 0 * ids]))
"""
STRINGS = "tf.keras.layers.Input(shape=(None,), dtype=tf.string)"
INTEGERS = STRINGS.replace("tf.string", "tf.int32, name=part")
MENDS = [
    ("ModuleNotFoundError", []),
    ("URLError", [(HANDLE, HANDLE.replace("google/bert", "tensorflow/bert_en"))]),
    ("NameError", [("import numpy", "import re\nimport numpy")]),
    ("UnboundLocalError", [("model = hub.load", "encoder = hub.load"),
                           ("= model(inputs)", "= encoder(inputs)")]),
    ("ValueError", [("encoder(inputs)", "HubLayer()(inputs)"),
                    ("def create_model", LAYER + "def create_model")]),
    ("ValueError", [("def create_dataset", IDS + "def create_dataset"),
                    ("slices((X, y))", "slices((to_ids(X), y))"),
                    (STRINGS, "{part: " + INTEGERS + " for part in PARTS}")]),
    ("ValueError", [("HubLayer()(inputs)", 'HubLayer()(inputs)["pooled_output"]')]),
]  # fmt: skip


@pytest.fixture
def hub_cache(encoder, tmp_path, monkeypatch):
    """The small encoder as a module under the handle that the article means."""
    from sentiment_course.hub import save_hub_encoder

    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://localhost:1")  # nobody answers
    monkeypatch.setenv("HTTPS_PROXY", "http://localhost:1")
    handle = HANDLE.replace("google/bert", "tensorflow/bert_en")
    folder = tmp_path / hashlib.sha1(handle.encode()).hexdigest()
    save_hub_encoder(encoder, folder)
    return folder


@contextlib.contextmanager
def without(module):
    """A machine that lacks `module`."""
    kept = {n: sys.modules.pop(n) for n in list(sys.modules) if n.split(".")[0] == module}
    sys.modules[module] = None
    try:
        yield
    finally:
        del sys.modules[module]
        sys.modules.update(kept)


def test_every_mend_meets_the_next_error_until_it_runs(hub_cache, tmp_path):
    some_reviews(40).to_csv(tmp_path / "data.csv", index=False)
    program, told = PRINTED, set(defects().error)
    for error, mends in MENDS:
        with without("tensorflow_hub") if not mends else contextlib.nullcontext():
            outcome = attempt(program, tmp_path)
        assert outcome.error == error, outcome
        assert error in told or error == "URLError"
        for old, new in mends:
            program = mend(program, old, new)
    done = attempt(program, tmp_path)
    assert not done.error, done
    trained = sum(np.prod(v.shape) for v in done.names["model"].trainable_variables)
    assert trained == 16 * 64 + 64 + 64 * 2 + 2  # the head alone: the encoder does not learn
    before = [v.numpy() for v in done.names["encoder"].trainable_variables]
    assert sum(v.size for v in before) > 2 * trained

    lost = some_reviews(40)
    lost.loc[3, "text"] = "N/A"
    lost.to_csv(tmp_path / "data.csv", index=False)
    assert attempt(program, tmp_path).error == "AttributeError"
    some_reviews(40).assign(label="neutral").to_csv(tmp_path / "data.csv", index=False)
    outcome = attempt(program, tmp_path)
    assert how_unknown_label_shows(outcome)  # whichever the device
    if outcome.error:
        assert "outside the valid range of [0, 2)" in outcome.message


def test_keras_2_takes_the_module_and_trains_it(hub_cache):
    with article.silence():
        import tensorflow as tf
        import tensorflow_hub as hub
        import tf_keras

        parts = ["input_word_ids", "input_mask", "input_type_ids"]
        inputs = {part: tf_keras.Input((None,), dtype=tf.int32, name=part) for part in parts}
        vector = hub.KerasLayer(str(hub_cache), trainable=True)(inputs)["pooled_output"]
        model = tf_keras.Model(inputs, tf_keras.layers.Dense(2)(vector))
    assert len(model.trainable_variables) > 20


# ------------------------------------------------------------------ the table


def test_defects_are_lines_of_the_program():
    table = defects()
    assert list(table.columns) == ["kind", "line", "error", "effect", "cure"]
    assert list(table.kind.unique()) == ["stops", "harms silently", "looks wrong"]
    assert all(line in PRINTED for line in table.line)
    assert ((table.error != "") == (table.kind == "stops")).all()
    assert (table[["line", "effect", "cure"]] != "").all(axis=None)


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome("InvalidArgumentError", "Received a label value", "fit", {}), "refuses the label"),
        (Outcome("", "", "", {"test_loss": float("nan")}), "the loss is NaN"),
    ],
    ids=["on a CPU", "on a GPU"],
)
def test_an_unknown_label_shows_on_either_device(outcome, told):
    assert told in how_unknown_label_shows(outcome)


@pytest.mark.parametrize(
    "outcome",
    [Outcome("ValueError", "something else", "", {}), Outcome("", "", "", {"test_loss": 0.7})],
    ids=["another error", "a loss like any other"],
)
def test_an_unknown_label_that_does_not_show_is_no_proof(outcome):
    with pytest.raises(AssertionError, match="neither an error of the loss"):
        how_unknown_label_shows(outcome)


# ------------------------------------------------------------------ as it should be


def test_token_ids_are_padded_and_masked(encoder):
    ids, mask = token_ids(encoder, pd.Series(["the film", "good"], index=[7, 3]))
    cls, sep = WORDS.index("[CLS]"), WORDS.index("[SEP]")
    the, film, good = map(WORDS.index, ["the", "film", "good"])
    assert ids.tolist() == [[cls, the, film, sep], [cls, good, sep, 0]]
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert token_ids(encoder, ["good " * 50], max_length=10)[0].shape == (1, 10)


def test_padding_changes_no_answer(encoder):
    network = build_classifier(encoder, 2, 1e-3, seed=0)
    texts = ["the film was good", "bad"]
    both = network.predict(token_ids(encoder, texts), verbose=0)
    alone = np.vstack([network.predict(token_ids(encoder, [t]), verbose=0) for t in texts])
    assert np.allclose(both, alone, atol=1e-5)


def test_the_encoder_learns_and_a_seed_decides_how(encoder):
    from sentiment_course.encoders import build_encoder

    start = [np.array(w) for w in encoder.model.get_weights()]
    answers = []
    for seed in (1, 0, 0):
        encoder.model = build_encoder(TINY)  # anew: dropout's generators remember what they drew
        network, classes = train_classifier(encoder, some_reviews(80), epochs=1, seed=seed)
        answers.append(network.predict(token_ids(encoder, ["the film was good"]), verbose=0))
    assert list(classes) == ["negative", "positive"] and answers[0].shape == (1, 2)
    ends = encoder.model.get_weights()
    moved = [not np.array_equal(a, b) for a, b in zip(start, ends, strict=True)]
    assert sum(moved) > len(moved) / 2
    assert np.allclose(answers[1], answers[2], atol=1e-5)
    assert not np.allclose(answers[0], answers[1], atol=1e-3)


def test_mended_learns(encoder):
    table = mended(some_reviews(200), encoder, epochs=10, learning_rate=3e-3)
    assert list(table.index) == ["commonest label", "TF-IDF", "fine-tuned encoder"]
    assert table.low["fine-tuned encoder"] > table.high["commonest label"]
    for row in table.itertuples():
        assert (row.low, row.high) == wilson_interval(round(40 * row.accuracy), 40)


def test_mended_refuses_other_tables(encoder):
    with pytest.raises(ValueError, match="no column 'label'"):
        mended(pd.DataFrame({"text": ["a"]}), encoder)


# ------------------------------------------------------------------ exercises


def test_checkers_refuse_near_misses():
    assert not check_shadowed(lambda source, outside: sorted(set(outside)))
    assert not check_without_id(lambda labels, ids: [x for x in labels if x not in ids])
    assert not check_head_sizes(lambda n, hidden, units: (n * hidden * units, hidden * units))
