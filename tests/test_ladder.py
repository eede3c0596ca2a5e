"""The ladder: any saved classifier is loaded, what no encoder reads is said, memory given back."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sentiment_course import ladder
from sentiment_course.assets import asset_path, sha256
from sentiment_course.baselines import LexiconClassifier, MajorityClassifier, TfidfClassifier
from sentiment_course.embeddings import EmbeddingClassifier

GOOD = ["lovely film", "a great joy", "wonderful acting", "great fun", "I loved it", "so good"]
BAD = ["dull film", "an awful bore", "terrible acting", "no fun", "I hated it", "so bad"]
TEXTS, LABELS = GOOD + BAD, ["good"] * 6 + ["bad"] * 6


# Loading


@pytest.mark.parametrize(
    "rung",
    [MajorityClassifier(), LexiconClassifier(), TfidfClassifier(C=7),
     EmbeddingClassifier("char", ngrams=3, dimension=5, epochs=2, verbose=False)],
    ids=lambda rung: type(rung).__name__,
)  # fmt: skip
def test_any_cheap_classifier_is_loaded_as_what_it_is(tmp_path, rung):
    trained = rung.fit(TEXTS, LABELS)
    trained.save(tmp_path / "model")
    loaded = ladder.load_classifier(str(tmp_path / "model"))
    assert type(loaded) is type(rung) and loaded.get_params() == rung.get_params()
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


def test_texts_that_are_almost_all_unreadable_are_refused_with_the_remedy():
    assert "cannot read 90% of the tokens" in ladder.unread_note(0.9)
    with pytest.raises(ValueError, match="cannot read 91% of the tokens .* `fit --encoder auto`"):
        ladder.unread_note(0.91)


def test_the_vocabulary_of_an_encoder_in_a_folder_is_found(tmp_path):
    class Untrained:
        encoder = tmp_path

    assert ladder.tokenizer_of(Untrained()) is None
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    share = ladder.unread_share(ladder.tokenizer_of(Untrained()), ["good bad"])
    assert share == 0.5
    assert ladder.tokenizer_of(TfidfClassifier()) is None


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
    code = (  # in a process of its own, where it does not take as much again as all tests before
        "import numpy as np\n"
        "from sentiment_course.ladder import peak_memory\n"
        "before = peak_memory()\n"
        "held = np.ones(int(before * 1e9 / 8) + 20_000_000)\n"
        "print(peak_memory() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.1 < float(done.stdout) < 2
