"""The ladder: any saved classifier is loaded, the better of two kept, memory given back."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sentiment_course import ladder
from sentiment_course.assets import asset_path, sha256
from sentiment_course.baselines import LexiconClassifier, MajorityClassifier, TfidfClassifier

GOOD = ["lovely film", "a great joy", "wonderful acting", "great fun", "I loved it", "so good"]
BAD = ["dull film", "an awful bore", "terrible acting", "no fun", "I hated it", "so bad"]
TEXTS, LABELS = GOOD + BAD, ["good"] * 6 + ["bad"] * 6


def table(texts=TEXTS, labels=LABELS):
    return pd.DataFrame({"text": texts, "label": labels})


# Loading


@pytest.mark.parametrize("rung", [MajorityClassifier, LexiconClassifier, TfidfClassifier])
def test_any_cheap_classifier_is_loaded_as_what_it_is(tmp_path, rung):
    trained = rung().fit(TEXTS, LABELS)
    trained.save(tmp_path / "model")
    loaded = ladder.load_classifier(str(tmp_path / "model"))
    assert type(loaded) is rung
    np.testing.assert_array_equal(loaded.predict_proba(TEXTS), trained.predict_proba(TEXTS))


@pytest.fixture(scope="module")
def bert_of_version_0_1(tmp_path_factory):
    """A folder as `BertClassifier.save` of version 0.1.0 wrote it: no version, no kind."""
    from safetensors.numpy import save_file

    folder, minilm = tmp_path_factory.mktemp("old") / "model", asset_path("minilm")
    folder.mkdir()
    for name in ("config.json", "vocab.txt", "model.safetensors"):
        shutil.copy(minilm / name, folder)
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    rng = np.random.default_rng(0)
    head = {"kernel": rng.normal(size=(384, 2)).astype("float32"), "bias": np.zeros(2, "float32")}
    save_file(head, folder / "head.safetensors")
    parameters = {
        "batch_size": 32, "checkpoint_dir": None, "class_weight": None, "encoder": "minilm",
        "epochs": 3, "learning_rate": 0.0002, "log_dir": None, "max_length": 128,
        "perturbation": 1.0, "precision": "float32", "seed": 0, "trainable": "all",
        "validation_split": 0.05, "verbose": False,
    }  # fmt: skip
    note = {"classes": ["bad", "good"], "parameters": parameters,
            "sha256": {p.name: sha256(p) for p in sorted(folder.iterdir())}}  # fmt: skip
    (folder / "classifier.json").write_text(json.dumps(note, indent=2))
    return folder, head


def test_a_model_that_version_0_1_saved_still_loads(bert_of_version_0_1):
    folder, head = bert_of_version_0_1
    loaded = ladder.load_classifier(folder)
    assert type(loaded).__name__ == "BertClassifier"
    assert loaded.classes_.tolist() == ["bad", "good"] and loaded.epochs == 3
    kernel, bias = loaded.network_.get_layer("head").get_weights()
    np.testing.assert_array_equal(kernel, head["kernel"])
    p = loaded.predict_proba(["a great joy"])
    assert p.shape == (1, 2) and np.isclose(p.sum(), 1)


@pytest.mark.parametrize(
    "note, parts",
    [
        ({"kind": "BertClassifier", "version": "99.1.0"}, ["version 99.1.0", "newer"]),
        ({"kind": "Unheard", "version": "99.1.0"}, ["version 99.1.0", "newer"]),
        ({"kind": "Unheard"}, ["damaged (classifier.json)"]),
        ({"kind": ["TfidfClassifier"]}, ["damaged (classifier.json)"]),
        ("kind", ["damaged (classifier.json)"]),
        (None, ["no saved classifier", "classifier.json"]),
    ],
)
def test_a_folder_that_holds_no_such_classifier(tmp_path, note, parts):
    (tmp_path / "model").mkdir()
    if note is not None:
        (tmp_path / "model" / "classifier.json").write_text(json.dumps(note))
    with pytest.raises(ValueError) as caught:
        ladder.load_classifier(tmp_path / "model")
    assert all(part in str(caught.value) for part in parts), caught.value
    assert "\n" not in str(caught.value)


# The better of two


@pytest.mark.parametrize(
    "tfidf, bert, kept, words",
    [
        (0.889, 0.655, "TF-IDF", ["88.9%", "65.5%"]),
        (0.8, 0.81, "BERT", ["81.0%", "80.0%"]),
        (0.8, 0.8, "TF-IDF", ["80.0%", "cheaper"]),
    ],
)
@pytest.mark.parametrize("majority", [0.5, 1.0])
def test_the_more_accurate_is_kept_and_of_equals_the_cheaper(majority, tfidf, bert, kept, words):
    rows = [("majority", majority), ("TF-IDF", tfidf), ("BERT", bert)]
    rung, why = ladder.better(pd.DataFrame(rows, columns=["rung", "accuracy"]))
    assert rung == kept and why.startswith(f"{kept} is kept") and all(w in why for w in words)


def held_out(texts, labels):
    """What `hold_out` answers of the texts, and its notes."""
    notes = []
    train, test = ladder.hold_out(table(texts, labels), lambda text: None, notes.append)
    return train, test, notes


def test_texts_that_differ_only_in_case_are_not_held_out_as_if_they_were_distinct():
    texts = [*GOOD, "So Bad", "so bad", "SO BAD", "so  bad", "so bad "]
    train, test, notes = held_out(texts, ["good"] * 6 + ["bad"] * 5)
    assert test is None and len(train) == 11
    assert len(notes) == 1 and "'bad' has 1 distinct texts" in notes[0]


def test_a_label_whose_texts_all_have_another_label_too_is_trained_on_and_noted():
    texts = TEXTS + GOOD
    train, test, notes = held_out(texts, LABELS + ["neutral"] * 6)
    assert test is None and len(train) == 18
    assert "6 texts have more than one label, as 'lovely film'" in notes[0]
    assert "'neutral' has 0 distinct texts" in notes[1]


def test_a_text_with_two_labels_is_noted_and_the_rest_held_out():
    texts = [*TEXTS, "Lovely  film"]
    train, test, notes = held_out(texts, [*LABELS, "bad"])
    assert len(train) + len(test) == 13 and set(test["label"]) == {"good", "bad"}
    assert notes == [
        "1 text has more than one label, as 'lovely film': no answer is right for all its rows"
    ]


# What the encoder cannot read


@pytest.fixture(scope="module")
def tokenizer():
    from sentiment_course.encoders import read_vocabulary

    return read_vocabulary(asset_path("minilm") / "vocab.txt", True, 30522)


@pytest.mark.parametrize(
    "texts, share",
    [(["good film"], 0), (["😍 😡"], 1), (["good film 😍 😡"], 0.5), ([], 0), ([""], 0)],
)
def test_the_share_that_the_encoder_cannot_read_is_counted(tokenizer, texts, share):
    assert ladder.unread_share(tokenizer, texts) == share


def test_what_is_cut_off_does_not_count(tokenizer):
    assert ladder.unread_share(tokenizer, ["good " * 6 + "😍 " * 50], max_length=8) == 0


def test_more_than_one_token_in_twenty_is_said():
    assert ladder.unread_note(0.05) == ""
    assert "cannot read 6% of the tokens" in ladder.unread_note(0.06)


def test_how_much_is_cut_is_counted(tokenizer):
    texts = ["good", "good " * 126, "good " * 127, "good " * 254]
    count, share = ladder.cut_texts(tokenizer, texts, 128)
    assert count == 2 and share == pytest.approx(1 - 256 / (129 + 256))
    assert ladder.cut_texts(tokenizer, texts, 256) == (0, 0)
    assert ladder.cut_texts(tokenizer, [], 128) == (0, 0)


def test_a_huge_text_is_estimated(tokenizer):
    count, share = ladder.cut_texts(tokenizer, ["good " * 100_000], 128)
    assert count == 1 and share == pytest.approx(1 - 128 / 100_000, abs=1e-5)


def test_what_is_cut_is_said_in_one_sentence():
    assert ladder.cut_note(0, 0, 5, 128) == ""
    told = ladder.cut_note(1200, 0.25, 5000, 128)
    assert "1,200 of 5,000 texts are longer than the 128 tokens" in told and "25%" in told


# Memory


def test_what_a_rung_leaves_is_given_back():
    class Cycle:
        def __init__(self):
            self.me, self.data = self, np.ones(40_000_000)

    def held():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    before = held()
    Cycle()
    assert held() > before + 300
    ladder.free_memory()
    assert held() < before + 30


def test_the_peak_of_memory_is_that_of_this_process():
    before = ladder.peak_memory()
    held = np.ones(int(before * 1e9 / 8) + 20_000_000)
    assert ladder.peak_memory() > before + 0.1
    del held
