"""Encoders with a unigram vocabulary: read, cut down to the rows in use, trained, saved.

The encoder is small and random, in a folder of the same format as the published ones.
"""

import json
import pickle
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from test_steps import looked_at
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from sentiment_course.doctor import quiet
from sentiment_course.ladder import unread_share
from sentiment_course.pieces import pieces_in, pieces_spelled

with quiet():
    from sentiment_course import steps
    from sentiment_course.bert import BertClassifier, build_network
    from sentiment_course.encoders import (
        Encoder,
        build_encoder,
        keras,
        load_encoder,
        pad,
        save_encoder,
    )
    from sentiment_course.hub import export_classifier, save_hub_encoder

CHARACTERS = "abcdefgh很好不坏看"
CONFIG = {
    "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "max_position_embeddings": 24, "type_vocab_size": 1,
    "layer_norm_eps": 1e-5, "hidden_act": "gelu", "model_type": "bert",
}  # fmt: skip
TEXTS = ["abc 很好", "bad 不好", "很好看 abc", "不好看 de"] * 4
LABELS = ["positive", "negative"] * 8
QUICK = {"epochs": 1, "max_length": 16, "precision": "float32", "verbose": False,
         "validation_split": 0}  # fmt: skip


def make_tokenizer():
    """A unigram tokenizer: marks, each character, and every pair of them."""
    pairs = [a + b for a in CHARACTERS for b in CHARACTERS]
    pieces = ["▁", *CHARACTERS, *pairs, *("▁" + c for c in CHARACTERS)]
    scores = -np.random.default_rng(0).uniform(2, 9, len(pieces))
    vocabulary = [(mark, 0.0) for mark in ("<s>", "<pad>", "</s>", "<unk>")]
    vocabulary += zip(pieces, scores.tolist(), strict=True)
    tokenizer = Tokenizer(models.Unigram([*vocabulary, ("<mask>", 0.0)], 3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, ends)
    return tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tokenizer, folder = make_tokenizer(), tmp_path_factory.mktemp("pieces")
    config = CONFIG | {"vocab_size": tokenizer.get_vocab_size()}
    save_encoder(Encoder(build_encoder(config), tokenizer, config, False), folder)
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    return load_encoder(folder, dropout=0)


@pytest.fixture(scope="module")
def fitted(folder):
    return BertClassifier(str(folder), **QUICK).fit(TEXTS, LABELS)


def copy(folder, to, **changes):
    """The encoder in `folder`, copied to `to`, with other bytes in some of its files."""
    to.mkdir(exist_ok=True)
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    for name, data in changes.items():
        (to / name.replace("_", ".", 1)).write_bytes(data)
    return to


# ------------------------------------------------------------------ reading


def test_saved_and_loaded_it_is_the_same(whole, tmp_path):
    save_encoder(whole, tmp_path)
    again = load_encoder(tmp_path, dropout=0)
    for ours, theirs in zip(whole.model.get_weights(), again.model.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    assert [t.tolist() for t in again.tokenize(TEXTS)] == [
        t.tolist() for t in whole.tokenize(TEXTS)
    ]


def test_its_word_vectors_rest_and_all_else_is_trained(whole):
    resting = [v.path for v in whole.model.non_trainable_variables if "seed" not in v.path]
    assert resting == ["embeddings/word/embeddings"]
    assert load_encoder("minilm").model.get_layer("embeddings").word.trainable


def test_with_few_rows_the_vectors_are_the_same(folder, whole):
    few = load_encoder(folder, dropout=0, keep=partial(pieces_in, texts=TEXTS))
    batch, whole_batch = pad(few.tokenize(TEXTS)), pad(whole.tokenize(TEXTS))
    assert few.config["vocab_size"] < whole.config["vocab_size"] / 4
    assert few.model.get_layer("embeddings").word.embeddings.shape[0] == few.config["vocab_size"]
    ours, theirs = few.model.predict_on_batch(batch), whole.model.predict_on_batch(whole_batch)
    assert np.allclose(ours, theirs, atol=1e-6)


def test_pieces_spelled_in_known_characters_are_all_there(folder, whole):
    """So a text in known characters is cut as before, even by pieces never met."""
    known = set("▁很好不看")
    some = load_encoder(folder, keep=partial(pieces_spelled, characters=known))
    names, whole_names = some.tokenizer.id_to_token, whole.tokenizer.id_to_token
    rng = np.random.default_rng(1)
    for text in ("".join(rng.choice(list("很好不看 "), 12)) for _ in range(100)):
        ours, theirs = some.tokenize([text])[0], whole.tokenize([text])[0]
        assert [names(i) for i in ours] == [whole_names(i) for i in theirs]
    assert len(some.characters - known) <= 2  # those of the piece with the lowest score


def test_an_unknown_character_costs_the_same_with_few_rows(folder, whole):
    """It costs the lowest score of all pieces less ten."""
    few = load_encoder(folder, keep=partial(pieces_in, texts=["很好"]))
    scores = [
        [score for _, score in json.loads(e.tokenizer.to_str())["model"]["vocab"]]
        for e in (few, whole)
    ]
    assert len(scores[0]) < len(scores[1]) and min(scores[0]) == min(scores[1])
    assert few.unknown in [few.tokenizer.id_to_token(i) for i in few.tokenize(["很x好"])[0]]


def test_no_mark_can_be_typed(whole):
    ids = np.concatenate([t[1:-1] for t in whole.tokenize(["<s> <pad></s><mask>a"])])
    marks = [whole.tokenizer.token_to_id(m) for m in ("<s>", "<pad>", "</s>", "<mask>")]
    assert not set(marks) & set(ids.tolist())
    assert whole.tokenizer.token_to_id(whole.unknown) in ids


def test_the_share_it_cannot_read_is_counted(whole):
    assert unread_share(whole.tokenizer, ["很好"]) == 0
    assert 0 < unread_share(whole.tokenizer, ["很x好"]) < 1


def test_a_long_text_is_cut_and_keeps_its_end_mark(whole):
    (ids,) = whole.tokenize(["abc " * 500], max_length=10)
    assert len(ids) == 10 and ids[-1] == whole.tokenizer.token_to_id("</s>")


def bytes_of(tokenizer, **changes):
    told = json.loads(tokenizer.to_str())
    return json.dumps(told | changes).encode()


REFUSED = {
    "junk": (b"{", "is no tokenizer"),
    "no JSON of a tokenizer": (b'{"model": 3}', "is no tokenizer"),
    "another kind": (
        Tokenizer(models.WordLevel({"<unk>": 0}, "<unk>")).to_str().encode(), "another kind"
    ),
    "no marks at the ends": (bytes_of(make_tokenizer(), post_processor=None), "another kind"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_tokenizer_that_cannot_be_read_is_named(folder, tmp_path, case):
    data, said = REFUSED[case]
    with pytest.raises(ValueError, match=f"tokenizer.json .*{said}|{said}"):
        load_encoder(copy(folder, tmp_path, tokenizer_json=data))


def test_more_pieces_than_rows_are_refused(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    arrays = load_file(folder / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    config["vocab_size"] -= 1
    copy(folder, tmp_path, config_json=json.dumps(config).encode())
    save_file(arrays | {name: arrays[name][:-1]}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="pieces, but the encoder has vectors for"):
        load_encoder(tmp_path)


def test_old_names_of_the_arrays_are_known(folder, tmp_path, whole):
    arrays = load_file(folder / "model.safetensors")
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {}
    for name, array in arrays.items():
        for new, former in old.items():
            name = name.replace(new, former)
        renamed[f"bert.{name}"] = array
    copy(folder, tmp_path)
    save_file(renamed, tmp_path / "model.safetensors")
    again = load_encoder(tmp_path)
    for ours, theirs in zip(whole.model.get_weights(), again.model.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


def test_an_xlm_roberta_equals_an_independent_one(tmp_path):
    torch = pytest.importorskip("torch", reason="the peer needs `pip install torch`")
    from transformers import XLMRobertaConfig, XLMRobertaModel

    tokenizer = make_tokenizer()
    told = CONFIG | {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 26}
    told |= {"model_type": "xlm-roberta", "pad_token_id": 1}
    torch.manual_seed(0)
    peer = XLMRobertaModel(XLMRobertaConfig(**told), add_pooling_layer=False).eval()
    arrays = {f"roberta.{n}": p.detach().numpy().copy() for n, p in peer.named_parameters()}
    save_file(arrays, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(told))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ours = load_encoder(tmp_path, dropout=0)
    ids, mask = pad(ours.tokenize(["很好 abc", "bad"]))
    theirs_ids = torch.tensor(np.where(mask == 1, ids, 1))
    with torch.no_grad():
        theirs = peer(theirs_ids, torch.tensor(mask)).last_hidden_state.numpy()
    apart = np.abs(ours.model.predict_on_batch([ids, mask]) - theirs)[mask == 1]
    assert apart.max() < 1e-5


# ------------------------------------------------------------------ the Hugging Face Hub


def test_a_name_is_looked_for_on_the_hugging_face_hub(folder, monkeypatch):
    asked = []
    stub = SimpleNamespace(snapshot_download=lambda name, **k: asked.append((name, k)) or folder)
    monkeypatch.setitem(sys.modules, "huggingface_hub", stub)
    assert load_encoder("someone/tiny-bert").config["hidden_size"] == CONFIG["hidden_size"]
    ((name, options),) = asked
    assert name == "someone/tiny-bert"
    wanted = {"config.json", "vocab.txt", "model.safetensors", "tokenizer.json"}
    assert wanted | {"tokenizer_config.json"} == set(options["allow_patterns"])


def test_without_a_network_one_sentence_says_so(monkeypatch):
    def fail(name, **options):
        raise ConnectionError("no route to host\nand much more")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=fail))
    with pytest.raises(ValueError, match="no folder bert-base-x.*no route") as caught:
        load_encoder("bert-base-x")
    assert "\n" not in str(caught.value) and "connection" in str(caught.value)


def test_without_huggingface_hub_one_sentence_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="pip install huggingface_hub"):
        load_encoder("bert-base-x")


@pytest.mark.parametrize("handle", ["{}/none", "a/b/c", "../x", ".hidden", "a b"])
def test_what_is_no_name_is_not_looked_for(tmp_path, monkeypatch, handle):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="is no encoder: it has no config.json"):
        load_encoder(handle.format(tmp_path))


def test_a_folder_that_is_there_is_not_looked_for(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert load_encoder(folder.name).config["hidden_size"] == CONFIG["hidden_size"]


# ------------------------------------------------------------------ the classifier


def word_rows(classifier):
    return classifier.encoder_.model.get_layer("embeddings").word.get_weights()[0]


def test_while_it_trains_only_the_rows_in_use_are_held(folder, monkeypatch):
    seen = {}
    whole = steps.compile_network

    def look(network, *args, **options):
        step = whole(network, *args, **options)
        words = next(v for v in network.weights if v.path == steps.WORDS)
        seen["rows"] = words.shape[0]
        seen["trained"] = [v.path for v in network.trainable_variables]
        seen["state"] = {tuple(v.shape) for v in network.optimizer.variables}
        seen["table"] = tuple(words.shape)
        return step

    monkeypatch.setattr("sentiment_course.bert.compile_network", look)
    encoder = load_encoder(folder)
    used = pieces_in(encoder.tokenizer, TEXTS)
    BertClassifier(str(folder), **QUICK).fit(TEXTS, LABELS)
    assert seen["rows"] == len(used) < encoder.config["vocab_size"] / 4
    assert steps.WORDS not in seen["trained"] and seen["table"] not in seen["state"]


def test_training_leaves_the_word_vectors_and_moves_the_rest(fitted, whole):
    rows = {whole.tokenizer.id_to_token(i): row for i, row in enumerate(word_rows_of(whole))}
    kept = word_rows(fitted)
    for piece, i in fitted.encoder_.tokenizer.get_vocab().items():
        assert np.array_equal(kept[i], rows[piece])
    ours = fitted.encoder_.model.get_layer("layer_0").get_weights()
    theirs = whole.model.get_layer("layer_0").get_weights()
    assert not any(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def word_rows_of(encoder):
    return encoder.model.get_layer("embeddings").word.get_weights()[0]


def test_what_it_answers_does_not_hang_on_how_much_it_keeps(folder, fitted):
    everything = BertClassifier(str(folder), vocabulary="all", **QUICK).fit(TEXTS, LABELS)
    assert len(word_rows(everything)) > len(word_rows(fitted))
    new = ["好好看", "abcabc 坏", "gh"]  # made of characters met in training, but for the last
    ours, theirs = fitted.predict_proba(new), everything.predict_proba(new)
    assert np.allclose(ours[:1], theirs[:1], atol=1e-6)
    assert not np.allclose(ours[2], theirs[2], atol=1e-6)


def test_it_says_what_it_cannot_read(folder, fitted):
    assert "cannot read any other character" in fitted.limits and "\n" not in fitted.limits
    rows, characters = len(word_rows(fitted)), len(fitted.encoder_.characters)
    assert f" {rows:,} " in fitted.limits and f"{characters:,} characters" in fitted.limits
    assert "坏" not in fitted.encoder_.characters >= {"很", "好", "▁"}
    everything = BertClassifier(str(folder), vocabulary="all", **QUICK).fit(TEXTS, LABELS)
    assert everything.limits == ""


def test_saved_and_loaded_it_answers_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    names = {p.name for p in (tmp_path / "model").iterdir()}
    assert "tokenizer.json" in names and "vocab.txt" not in names
    again = BertClassifier.load(tmp_path / "model")
    assert np.allclose(again.predict_proba(TEXTS), fitted.predict_proba(TEXTS), atol=1e-6)
    assert again.limits == fitted.limits != ""
    unpickled = pickle.loads(pickle.dumps(fitted))
    assert np.allclose(unpickled.predict_proba(TEXTS), fitted.predict_proba(TEXTS), atol=1e-6)


def test_a_stray_vocabulary_beside_it_is_refused(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    (tmp_path / "model" / "vocab.txt").write_text("a\n")
    with pytest.raises(ValueError, match="vocab.txt"):
        BertClassifier.load(tmp_path / "model")


def test_resting_word_vectors_are_saved_in_half_precision_only_where_nothing_is_lost(
    folder, tmp_path, whole
):
    name = "embeddings.word_embeddings.weight"
    assert load_file(folder / "model.safetensors")[name].dtype == np.float32
    whole_half = load_encoder(folder)
    words = whole_half.model.get_layer("embeddings").word
    words.set_weights([words.get_weights()[0].astype(np.float16).astype(np.float32)])
    save_encoder(whole_half, tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert {n for n, a in saved.items() if a.dtype == np.float16} == {name}
    assert np.array_equal(saved[name].astype(np.float32), words.get_weights()[0])


def test_the_adversary_moves_the_words_though_they_rest(folder, eagerly):
    network = build_network(load_encoder(folder, dropout=0).model, 2)
    step = steps.compile_network(network, 10, 1e-3, "float32", perturbation=1.0)
    seen = looked_at(step)
    step(pad([np.array([0, 7, 2])]), np.array([[1.0, 0.0]]), np.ones(1))
    (before, _), (meanwhile, _) = seen
    moved = {path for path in before if not np.array_equal(before[path], meanwhile[path])}
    assert moved == {steps.WORDS}
    words = before[steps.WORDS]
    length = np.linalg.norm(meanwhile[steps.WORDS] - words)
    assert np.isclose(length, np.linalg.norm(words, axis=1).mean(), rtol=1e-3)
    assert np.array_equal(words, keras.ops.convert_to_numpy(step.words))


def test_head_only_works_too(folder):
    classifier = BertClassifier(str(folder), trainable="head", **QUICK).fit(TEXTS, LABELS)
    assert "cannot read" in classifier.limits
    assert classifier.score(TEXTS, LABELS) > 0.5


def test_a_module_of_tensorflow_hub_cannot_be_made_of_it(fitted, tmp_path):
    with pytest.raises(ValueError, match="WordPiece"):
        save_hub_encoder(fitted.encoder_, tmp_path / "module")
    with pytest.raises(ValueError, match="WordPiece"):
        export_classifier(fitted, tmp_path / "strings")
    assert not (tmp_path / "module").exists() and not (tmp_path / "strings").exists()


@pytest.mark.parametrize("vocabulary", ["some", None, 3])
def test_another_choice_of_vocabulary_is_refused(folder, vocabulary):
    with pytest.raises(ValueError, match="vocabulary"):
        BertClassifier(str(folder), vocabulary=vocabulary, **QUICK).fit(TEXTS, LABELS)
