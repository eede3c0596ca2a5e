"""Examples, checkpoints and saved models: what the classifier is made of."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from sentiment_course import files
from sentiment_course.doctor import quiet
from sentiment_course.files import write_saved

with quiet():
    from sentiment_course import training
    from sentiment_course.bert import build_network
    from sentiment_course.encoders import keras, load_encoder, pad
    from sentiment_course.steps import compile_network
    from sentiment_course.training import (
        FILES,
        Checkpoint,
        Curves,
        Examples,
        as_data,
        fingerprint,
        from_data,
        hold_out,
        logits_of,
        note_of,
        read_model,
        stopped,
        to_keep,
        train_epoch,
        validate,
        weights_of,
    )


@pytest.fixture
def examples():
    """Forty texts of three to eleven tokens, two classes, one text of each length first."""
    rng = np.random.default_rng(0)
    tokens = [rng.integers(1000, 30000, 3 + i % 9, dtype="int32") for i in range(40)]
    ids = np.arange(40) % 2
    return Examples(tokens, ids, np.eye(2)[ids], np.ones(40))


def test_batches_hold_every_example_once_with_all_that_belongs_to_it(examples):
    examples.weights = np.arange(40) + 1.0
    batches = examples.batches(8, seed=[0, 3])
    assert [len(b.ids) for b in batches] == [8] * 5
    seen = np.concatenate([b.weights for b in batches])
    assert sorted(seen) == list(range(1, 41)) and sorted(seen) != list(seen)
    for batch in batches:
        for tokens, target, number in zip(batch.tokens, batch.targets, batch.weights, strict=True):
            assert tokens is examples.tokens[int(number) - 1]
            assert target.argmax() == (number - 1) % 2


def test_order_of_batches_depends_on_the_seed_alone(examples):
    first, again, other = (
        [b.tokens[0].tolist() for b in examples.batches(8, seed)]
        for seed in ([0, 1], [0, 1], [0, 2])
    )
    assert first == again != other


def test_logits_come_back_in_the_order_of_the_texts(small_encoder, examples):
    network = build_network(load_encoder(small_encoder).model, 2)
    together = logits_of(network, examples.tokens)
    alone = np.vstack([network.predict_on_batch(pad([t])) for t in examples.tokens])
    assert np.allclose(together, alone, atol=1e-5)


def test_hold_out_takes_a_share_of_each_class():
    ids = np.array([0] * 50 + [1] * 20 + [2] * 2)
    train, aside = hold_out(ids, 0.1, seed=3)
    assert sorted([*train, *aside]) == list(range(72))
    assert np.bincount(ids[aside], minlength=3).tolist() == [5, 2, 0]
    assert len(hold_out(ids, 0)[1]) == 0


def test_nothing_left_of_a_class_is_refused():
    with pytest.raises(ValueError, match="validation_split=0.9 leaves no text"):
        hold_out(np.array([0] * 50 + [1] * 2), 0.9)


def test_best_epoch_and_early_stop():
    def history(*pairs):
        return [
            {"epoch": i, "validation_loss": loss, "validation_accuracy": accuracy}
            for i, (loss, accuracy) in enumerate(pairs, start=1)
        ]

    better, worse = history((0.5, 0.8), (0.6, 0.9)), history((0.5, 0.9), (0.4, 0.8))
    assert to_keep(better, 400) and not to_keep(worse, 400)
    assert to_keep(history((0.5, 0.8), (0.6, 0.7), (0.4, 0.9)), 400)
    assert to_keep(worse, 8)  # a tenth of eight texts is less than chance
    assert to_keep(history((0.5, 0.9), (0.6, 0.9)), 400)
    assert not to_keep(history((0.5, 0.9), (0.4, 0.88), (0.4, 0.86)), 400)  # the best, not the last
    assert stopped(history((0.4, 1), (0.5, 1), (0.6, 1)))
    assert not stopped(history((0.4, 1), (0.6, 1), (0.5, 1))) and not stopped(history((0.4, 1)))
    assert to_keep([{"epoch": 1}, {"epoch": 2}], 0)


def test_validation_by_hand(monkeypatch, examples):
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    monkeypatch.setattr(training, "logits_of", lambda network, tokens: logits)
    aside = examples.at([0, 1, 3])  # of the classes 0, 1, 1
    found = validate(None, aside)
    assert found["validation_accuracy"] == 2 / 3
    surprises = np.log1p(np.exp([-2, -1, 1]))
    assert np.isclose(found["validation_loss"], surprises.mean())
    assert validate(None, examples.at([])) == {}


class Written:
    """What a writer of TensorBoard was told."""

    def __init__(self):
        self.points, self.flushed = [], False

    def add_scalar(self, *point):
        self.points.append(point)

    def flush(self):
        self.flushed = True


def test_curves_go_by_group_name_and_step():
    curves = Curves(None)
    curves.writer = Written()
    curves.add_epoch({"epoch": 2, "seconds": 1.5, "loss": 0.25})
    assert curves.writer.points == [("epoch/loss", 0.25, 2)] and curves.writer.flushed


def test_an_epoch_tells_its_loss_and_is_silent_unless_asked(
    small_encoder, examples, eagerly, capsys
):
    step, curves = fresh(small_encoder), Curves(None)
    curves.writer = Written()
    batches = examples.batches(20, [0, 0])
    row = train_epoch(step.network, step, batches, curves, "epoch 1")
    assert set(row) == {"loss", "seconds"} and capsys.readouterr().err == ""
    names = ["step/loss", "step/learning_rate"]
    assert [(name, at) for name, _, at in curves.writer.points] == [
        (name, count) for count in (1, 2) for name in names
    ]
    assert np.isclose(
        row["loss"], np.mean([v for n, v, _ in curves.writer.points if n == names[0]])
    )
    train_epoch(step.network, step, batches, Curves(None), "epoch 2", verbose=True)
    assert "epoch 2" in capsys.readouterr().err


def train(step, examples, checkpoint, epochs):
    """Train from where `checkpoint` was on, and save after each epoch."""
    best, history = checkpoint.load()
    while len(history) < epochs:
        epoch = len(history)
        row = train_epoch(step.network, step, examples.batches(8, [0, epoch]), Curves(None))
        history.append({"epoch": epoch + 1} | row)
        best = weights_of(step.network)
        checkpoint.save(best, history)
    return best, history


def fresh(small_encoder, steps=10):
    network = build_network(load_encoder(small_encoder).model, 2)
    return compile_network(network, steps, 1e-2, "float32")


def test_resumed_training_ends_where_it_would_have_ended(
    small_encoder, examples, tmp_path, eagerly
):
    step = fresh(small_encoder)
    whole, _ = train(step, examples, Checkpoint(step.network, None, "x"), 2)
    step = fresh(small_encoder)
    train(step, examples, Checkpoint(step.network, tmp_path, "x"), 1)
    step = fresh(small_encoder)
    resumed, history = train(step, examples, Checkpoint(step.network, tmp_path, "x"), 2)
    assert [row["epoch"] for row in history] == [1, 2]
    for ours, theirs in zip(resumed, whole, strict=True):
        assert np.abs(ours - theirs).max() < 1e-5


def test_checkpoint_of_another_fingerprint_is_refused(small_encoder, examples, tmp_path):
    network = fresh(small_encoder).network
    Checkpoint(network, tmp_path, "one").save([], [])
    with pytest.raises(ValueError, match="other texts or settings"):
        Checkpoint(network, tmp_path, "other").load()


def test_checkpoint_that_would_not_fit_is_refused(small_encoder, tmp_path):
    two, three = (build_network(load_encoder(small_encoder).model, n) for n in (2, 3))
    for network in (two, three):
        compile_network(network, 10, 1e-2, "float32")
    Checkpoint(two, tmp_path, "x").save([], [])
    with pytest.raises(ValueError, match="other texts or settings"):
        Checkpoint(three, tmp_path, "x").load()


def test_failed_checkpoint_leaves_the_one_before(small_encoder, tmp_path, monkeypatch):
    network = fresh(small_encoder).network
    checkpoint = Checkpoint(network, tmp_path, "x")
    checkpoint.save([], [{"epoch": 1}])

    def fail(path, tensors, told):
        Path(path).write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(training, "write_tensors", fail)
    with pytest.raises(OSError, match="full"):
        checkpoint.save([], [{"epoch": 1}, {"epoch": 2}])
    assert checkpoint.load() == ([], [{"epoch": 1}])
    assert [path.name for path in tmp_path.iterdir()] == ["training.safetensors"]


def test_fingerprint_tells_trainings_apart_and_not_where_they_are_kept(examples):
    first = fingerprint({"seed": 0, "log_dir": "a"}, examples)
    assert first == fingerprint({"seed": 0, "log_dir": "b"}, examples)
    assert first != fingerprint({"seed": 1, "log_dir": "a"}, examples)
    examples.targets = examples.targets * 0.9 + 0.05
    assert first != fingerprint({"seed": 0, "log_dir": "a"}, examples)


@pytest.mark.parametrize(
    "value",
    [None, True, 3, np.int64(3), np.float32(0.5), "x", Path("a/b"), {}, {"a": 2, "b": 0.5},
     {1: 2.0, 0: 3}, {True: 1, False: np.float64(2)}, {"a": {"b": Path("c")}}],
    ids=repr,
)  # fmt: skip
def test_parameter_comes_back_equal(value):
    kept = from_data(json.loads(json.dumps(as_data(value, "it"))))
    assert kept == value and type(kept) is type(value.item() if hasattr(value, "item") else value)


@pytest.mark.parametrize("value", [[1], (1, 2), {"a": object()}, b"x", np.zeros(2), {1, 2}])
def test_parameter_that_cannot_be_kept_is_named(value):
    with pytest.raises(ValueError, match="rate cannot be saved"):
        as_data(value, "rate")


def test_label_that_cannot_be_kept_is_named():
    with pytest.raises(ValueError, match="a label cannot be saved"):
        note_of("A", ["good", b"bad"], {})


OLD, NEW = ({name: f"{kind} {name}".encode() for name in FILES} for kind in ("old", "new"))


@pytest.fixture
def saved(tmp_path):
    write_saved(tmp_path / "model", OLD, note_of("A", ["bad", "good"], {"epochs": 3}))
    return tmp_path / "model"


def test_saved_model_comes_back(saved):
    assert read_model(saved, "A") == (["bad", "good"], {"epochs": 3}, OLD)
    write_saved(saved, NEW, note_of("A", [1, 2], {"epochs": 4}))
    assert read_model(saved, "A") == ([1, 2], {"epochs": 4}, NEW)
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def change(saved, **told):
    note = json.loads((saved / "classifier.json").read_text())
    (saved / "classifier.json").write_text(json.dumps(note | told))


def test_what_is_in_the_folder_and_not_in_the_note_is_refused(saved):
    (saved / "saved_model.pb").write_bytes(b"a program")
    with pytest.raises(ValueError, match="holds saved_model.pb, which no such classifier has"):
        read_model(saved, "A")


@pytest.mark.parametrize(
    "name", ["../secret.txt", "/etc/hostname", "deep/vocab.txt", "new.txt", "saved_model.pb"]
)
def test_note_that_lists_other_files_is_damaged(saved, name):
    (saved.parent / "secret.txt").write_bytes(b"secret")
    hashes = json.loads((saved / "classifier.json").read_text())["sha256"]
    change(saved, sha256=hashes | {name: hashlib.sha256(b"secret").hexdigest()})
    with pytest.raises(ValueError, match=r"damaged \(classifier.json\)"):
        read_model(saved, "A")


@pytest.mark.parametrize(
    "told",
    [{"sha256": {}}, {"sha256": None}, {"classes": []}, {"classes": ["a"]}, {"classes": ["a", "a"]},
     {"classes": ["a", None]}, {"classes": [["a"], ["b"]]}, {"classes": ["a", 1]},
     {"parameters": []}, {"version": 2}],
    ids=repr,
)  # fmt: skip
def test_note_that_makes_no_sense_is_damaged(saved, told):
    change(saved, **told)
    with pytest.raises(ValueError, match=r"model is damaged \(classifier.json\)"):
        read_model(saved, "A")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_note_that_is_none_is_damaged(saved, text):
    (saved / "classifier.json").write_text(text)
    with pytest.raises(ValueError, match=r"damaged \(classifier.json\)"):
        read_model(saved, "A")


@pytest.mark.parametrize("name", sorted(FILES))
def test_changed_or_missing_file_is_named(saved, name):
    (saved / name).write_bytes(b"old other bytes")
    with pytest.raises(ValueError, match=f"damaged .{name}"):
        read_model(saved, "A")
    (saved / name).unlink()
    with pytest.raises(ValueError, match=f"damaged .{name}"):
        read_model(saved, "A")


def test_model_of_a_newer_version_says_which_reads_it(saved):
    change(saved, version="9.9", sha256={"weights.bin": "0"})
    with pytest.raises(ValueError, match="was saved by version 9.9 of the course"):
        read_model(saved, "A")


def test_model_of_another_kind_is_named(saved):
    with pytest.raises(ValueError, match="holds a A, not a B: load it as such"):
        read_model(saved, "B")


def test_no_model_at_all(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="is no saved classifier"):
            read_model(path, "A")


def test_model_replaced_while_it_is_read_is_read_whole(saved, monkeypatch):
    """Whichever file was read last when another process saves: never a mixture, never an error."""
    read, order = files._bytes, sorted(FILES)
    for stop in order:
        write_saved(saved, OLD, note_of("A", ["bad", "good"], {}))
        seen = []

        def read_and_replace(path, stop=stop, seen=seen):
            data = read(path)
            if path.name == stop and not seen:
                seen.append(write_saved(saved, NEW, note_of("A", [1, 2], {})))
            return data

        monkeypatch.setattr(files, "_bytes", read_and_replace)
        answer = read_model(saved, "A")
        last = stop == order[-1]  # then all of the old one had been read
        assert answer == ((["bad", "good"], {}, OLD) if last else ([1, 2], {}, NEW)) and seen


def test_moment_between_two_renames_is_waited_for(saved, monkeypatch):
    """Where another process has taken the old model away and not yet put the new one there."""
    away = saved.with_name(".saving-model")
    saved.rename(away)
    monkeypatch.setattr(files, "put_back", lambda path: None)  # it is at work, not dead
    monkeypatch.setattr(files.time, "sleep", lambda seconds: away.rename(saved))
    assert read_model(saved, "A")[2] == OLD


def test_tensors_are_written_as_safetensors_reads_them(tmp_path):
    """Of every kind that a training keeps: no dimension, none of a length, not in C's order."""
    rng = np.random.default_rng(0)
    arrays = {
        "b": rng.normal(size=(3, 5)).astype("float32").T,
        "a": np.arange(6, dtype="uint32").reshape(2, 3),
        "none": np.zeros((0, 4), "float16"),
        "scalar": np.float32(0.5),
        "variable": keras.Variable(rng.normal(size=(2, 2))),
    }
    training.write_tensors(tmp_path / "x", arrays, {"history": "[]", "评论": "好"})
    read = load_file(tmp_path / "x")
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        array = np.asarray(keras.ops.convert_to_numpy(array))
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype and read[name].shape == array.shape
    with safe_open(tmp_path / "x", "numpy") as file:
        assert file.metadata() == {"history": "[]", "评论": "好"}
