"""The command line: its answers, its errors, and that nothing is ever lost.

Most tests use a quick stand-in for BERT, which is tested in chapter 10. The last ones use the
real one, in processes of their own, as a founder would.
"""

import csv
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentiment_course import __version__, cli, fitting
from sentiment_course import files as files_room
from sentiment_course import formats as format_room
from sentiment_course import ladder as ladder_room
from sentiment_course import runtime as runtime_room
from sentiment_course import scoring as scoring_room
from sentiment_course import tables as table_room
from sentiment_course.baselines import TfidfClassifier

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # Keras's own

RUNGS = ["TF-IDF", "frozen encoder", "fine-tuned encoder"]
LABELS = ["negative", "positive"]
GOOD = ["lovely film", "a great joy", "wonderful acting", "great fun", "I loved it", "so good"]
BAD = ["dull film", "an awful bore", "terrible acting", "no fun", "I hated it", "so bad"]


class StandIn:
    """Says "positive" of a text with one of a few words in it; has what the commands need."""

    def __init__(self, epochs=3, max_length=128, checkpoint_dir=None, trainable="all", **more):
        self.checkpoint_dir, self.max_length = checkpoint_dir, max_length
        self.trainable, self.more = trainable, more

    def fit(self, texts, labels):
        self.classes_ = np.unique(np.asarray(labels))
        return self

    def predict_proba(self, texts):
        assert len(texts) and all(isinstance(t, str) and t.strip() for t in texts)
        p = np.array(
            [0.9 if any(w in t for w in ("love", "great", "good")) else 0.2 for t in texts]
        )
        rest = np.zeros((len(p), len(self.classes_) - 2))
        return np.column_stack([1 - p, p, rest])

    def predict(self, texts):
        return self.classes_[self.predict_proba(texts).argmax(axis=1)]

    def save(self, path):
        path.mkdir(parents=True, exist_ok=True)
        (path / "classifier.json").write_text(json.dumps({"classes": self.classes_.tolist()}))

    @classmethod
    def load(cls, path):
        if not (path / "classifier.json").is_file():
            raise ValueError(f"{path} is no saved classifier")
        return cls().fit([], json.loads((path / "classifier.json").read_text())["classes"])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, and the stand-in for BERT."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ladder_room, "bert_class", lambda: StandIn)
    # In a process as full as that of the tests, each time would take a second.
    monkeypatch.setattr("sentiment_course.fitting.free_memory", lambda: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    return tmp_path


@pytest.fixture
def run(here, capsys):
    """Run the command line in this process: (exit code, standard output, standard error)."""

    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return call


@pytest.fixture
def fails(run, here):
    """Run the command line; it must fail in one line that has all `parts`, and change nothing."""

    def call(arguments, *parts, code=1):
        before = contents(here)
        got, out, err = run(*arguments)
        told = [line for line in err.splitlines() if not line.startswith("note: ")]
        assert got == code and len(told) == 1 and told[0].startswith("error: "), (got, err)
        assert "Traceback" not in err
        for part in parts:
            assert part in told[0] or part in told[0].lower(), told[0]
        assert contents(here) == before
        return out

    return call


def contents(folder):
    """Every file and folder under `folder`, with the bytes of the files."""
    return {str(p): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def notes(err):
    """What was noted, the progress left out."""
    return [line.removeprefix("note: ") for line in err.splitlines() if line.startswith("note: ")]


def write_csv(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


def reviews(path="reviews.csv", labels=("negative", "positive"), copies=1):
    """Write labelled reviews to `path`."""
    rows = [[f"{t} {i}" if i else t, labels[k]] for i in range(copies)
            for k, texts in enumerate([BAD, GOOD]) for t in texts]  # fmt: skip
    write_csv(path, ["text", "label"], rows)
    return path


def a_model(path="model", classes=("negative", "positive")):
    StandIn().fit([], classes).save(Path(path))
    return path


def classes_in(model):
    return json.loads(Path(model, "classifier.json").read_text())["classes"]


COMMANDS = {
    "fit": ["fit", "--model", "new", "--data"],
    "predict": ["predict", "--model", "model", "--out", "new.csv"],
    "evaluate": ["evaluate", "--model", "model"],
}
each_command = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


# Usage


def test_help_of_everything_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys; from sentiment_course.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'tensorflow', 'keras', 'pandas', 'numpy', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    for arguments in (["--help"], [], ["fit", "--help"], ["--version"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True)
        assert done.returncode == 0 and not done.stderr, done.stderr.decode()
        assert b"sentiment-course" in done.stdout


def test_every_command_explains_itself(run):
    for command in ("assets", "doctor", "fit", "predict", "evaluate", "ladder"):
        code, out, err = run(command, "--help")
        assert code == 0 and f"Usage: sentiment-course {command}" in out and not err


def test_version(run):
    assert run("--version") == (0, f"sentiment-course {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (["nonsense"], ["nonsense", "sentiment-course --help"]),
        (["fit"], ["--data", "sentiment-course fit --help"]),
        (["fit", "--data", "x.csv"], ["--model"]),
        (["fit", "--data", "x.csv", "--model", "m", "--epochs", "0"], ["--epochs"]),
        (["fit", "--data", "x.csv", "--model", "m", "--epochs", "many"], ["--epochs", "integer"]),
        (["fit", "--data", "x.csv", "--model", "m", "--max-length", "513"], ["--max-length"]),
        (["predict", "--model", "m"], ["reviews"]),
        (["predict", "--model", "m", "x.csv", "--colour"], ["--colour"]),
        (["evaluate", "--model", "m"], ["reviews"]),
    ],
)
def test_a_command_typed_wrongly(fails, arguments, parts):
    fails(arguments, *parts, code=2)


# Bad input, the same for every command that reads a table


@each_command
@pytest.mark.parametrize(
    "name, data, parts",
    [
        ("r.csv", None, ["no file", "r.csv"]),
        ("r.csv", b"", ["r.csv", "empty"]),
        ("r.csv", b"\n \n", ["r.csv", "empty"]),
        ("r.csv", b"text,label\n", ["r.csv", "no rows"]),
        ("r.csv", b"review,label\ngood,positive\n", ["'text'", "'review', 'label'"]),
        ("r.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ["r.csv", "not a text file"]),
        ("r.csv", b"text,label\ngood, but long,positive\nbad, too,negative\n", ["quotes"]),
        ("r.csv", b"text,label\nbad,negative\ngood, but long,x,y,positive\n", ["r.csv", "line 3"]),
        ("r.csv", b'text,label\n"good,positive\n', ["r.csv"]),
        ("r.xls", b"\xd0\xcf", [".parquet or .xlsx", "save it as .xlsx or CSV"]),
        ("r.xlsx", b"PK\3\4", ["r.xlsx", "not an Excel file"]),
        ("r.jsonl", b'{"text": "good", "label": ', ["r.jsonl"]),
        ("r.jsonl", b'{"text": 5, "label": "positive"}\n', ["row 1", "5 (int)", "not text"]),
        ("r.jsonl", b'{"text": "a"}\n{"text": ["b"]}\n', ["row 2", "list"]),
        ("r.parquet", b"PAR1 not really", ["r.parquet"]),
    ],
)
def test_a_bad_table(fails, here, command, name, data, parts):
    a_model()
    if data is not None:
        (here / name).write_bytes(data)
    if command[0] != "predict" and name == "r.jsonl" and b"label" not in data:
        parts = ["'label'"]
    fails([*command, name], *parts)


@each_command
def test_a_folder_in_place_of_a_table(fails, here, command):
    a_model()
    (here / "r.csv").mkdir()
    fails([*command, "r.csv"], "no file", "r.csv")


@each_command
def test_a_column_that_is_not_there(fails, command):
    a_model()
    fails([*command, reviews(), "--text-column", "comment"], "'comment'", "'text', 'label'")
    if command[0] != "predict":
        fails([*command, "reviews.csv", "--label-column", "stars"], "'stars'", "'text', 'label'")


@pytest.mark.parametrize("command", ["fit", "evaluate"])
def test_no_row_with_text_and_label(fails, command):
    a_model()
    write_csv("r.csv", ["text", "label"], [["", "positive"], ["good", " "], [" \t", ""]])
    fails([*COMMANDS[command], "r.csv"], "no row with both a text and a label")


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_no_model(fails, here, command):
    a_model("damaged")
    (here / "damaged" / "classifier.json").unlink()
    (here / "file").write_text("mine")
    end = [reviews()] + (["--out", "new.csv"] if command == "predict" else [])
    fails([command, "--model", "nowhere", *end], "no model nowhere", "sentiment-course fit")
    fails([command, "--model", "file", *end], "no model file")
    fails([command, "--model", "damaged", *end], "damaged")


# fit


def test_fit_judges_beside_cheap_classifiers_and_saves(run, here):
    code, out, err = run("fit", "--data", reviews(copies=5), "--model", "deep/model")
    assert code == 0 and not notes(err)
    assert "60 reviews: negative 30, positive 30" in out and "each fifth is held out" in out
    for word in ("majority", *RUNGS, "true", "predict --model deep/model"):
        assert word in out, out
    told = ["[1/3] TF-IDF", "[2/3] frozen encoder", "[3/3] fine-tuned encoder: about 1 min",
            "TF-IDF: learning from all 60 reviews"]  # fmt: skip
    assert err.splitlines() == told
    assert json.loads((here / "deep/model/classifier.json").read_text())["classes"] == LABELS
    assert [p.name for p in here.rglob("*.partial*")] == []


def test_fit_of_many_reviews_holds_out_one_fifth(run, here):
    code, out, err = run("fit", "--data", reviews(copies=50), "--model", "model")
    assert code == 0 and not notes(err) and "480 to train on, 120 held out to judge on" in out


RUNG_OPTIONS = {"tfidf": "TF-IDF", "frozen": "frozen encoder", "fine-tuned": "fine-tuned encoder"}
learn = StandIn.fit


@pytest.mark.parametrize("rung", RUNG_OPTIONS)
def test_fit_trains_the_rung_that_is_chosen_by_hand(run, here, monkeypatch, rung):
    if rung == "tfidf":
        monkeypatch.setattr(ladder_room, "bert_class", lambda: pytest.fail("BERT was loaded"))
    made = []

    def fit(self, texts, labels):
        made.append(self.trainable)
        return learn(self, texts, labels)

    monkeypatch.setattr(StandIn, "fit", fit)
    code, out, err = run("fit", "--data", reviews(copies=5), "--model", "m", "--rung", rung)
    assert code == 0 and f"{RUNG_OPTIONS[rung]} is kept" in out and "the only one" in out
    assert not any(name in out for name in RUNGS if name != RUNG_OPTIONS[rung])
    assert set(made) == {"tfidf": set(), "frozen": {"head"}, "fine-tuned": {"all"}}[rung]


def test_fit_learns_again_from_all_rows_by_the_recipe_that_was_judged(run, here, monkeypatch):
    learned = []

    def fit(self, texts, labels):
        learned.append((len(texts), self.more))
        return learn(self, texts, labels)

    monkeypatch.setattr(StandIn, "fit", fit)
    code, out, _ = run("fit", "--data", reviews(copies=5), "--model", "m", "--rung", "fine-tuned")
    assert code == 0 and [n for n, _ in learned] == [48] * 5 + [60]
    recipe = {"encoder": "minilm", "validation_split": 0, "perturbation": 0.0}
    assert all(more == recipe for _, more in learned)
    known = json.loads((here / "m/classifier.json").read_text())["held_out"]
    share = float(re.search(r"right on ([\d.]+)% of 60 held out", out)[1]) / 100
    assert known["accuracy"] == pytest.approx(share, abs=5e-4) and known["learned_from"] == 60
    assert known["rung"] == "fine-tuned encoder" and set(known["rungs"]) == {"majority", RUNGS[2]}
    code, out, _ = run("evaluate", "--model", "m", "reviews.csv")
    assert code == 0 and f"right on {share:.1%} of 60 held out when it was trained" in out


CHINESE = [[f"{w}{i}号酒店", "差" if w in "烂脏" else "好"] for i in range(10) for w in "烂脏棒美"]


@pytest.mark.parametrize(
    "option, rows, encoder",
    [
        ([], None, "minilm"), ([], CHINESE, "multilingual"),
        (["--encoder", "a/folder"], CHINESE, "a/folder"),
    ],
)  # fmt: skip
def test_fit_takes_the_encoder_that_reads_the_texts_or_the_one_it_is_given(
    run, here, monkeypatch, option, rows, encoder
):
    made = []
    monkeypatch.setattr(
        StandIn, "fit", lambda self, *told: made.append(self.more) or learn(self, *told)
    )
    write_csv("r.csv", ["text", "label"], rows or [[t, k] for k in "ab" for t in GOOD])
    code, out, _ = run("fit", "--data", "r.csv", "--model", "m", "--rung", "fine-tuned", *option)
    assert code == 0 and {more["encoder"] for more in made} == {encoder}
    assert ("reads these texts" in out) == (not option)
    assert {more.get("learning_rate") for more in made} == {
        1e-4 if encoder == "multilingual" else None
    }


def test_fit_and_predict_refuse_a_column_that_is_almost_all_unreadable(fails, run, monkeypatch):
    monkeypatch.setattr(ladder_room, "bert_class", lambda: Reads)
    write_csv("r.csv", ["text", "label"], [[c * n, c] for c in "😍😡" for n in range(1, 9)])
    part = "cannot read 100% of the tokens of these texts"
    fails(["fit", "--data", "r.csv", "--model", "m", "--encoder", "minilm"], part, "--encoder auto")
    a_model("bert", classes=["😍", "😡"])
    fails(["predict", "r.csv", "--model", "bert", "--out", "o.csv"], part, "--encoder auto")
    assert run("fit", "--data", "r.csv", "--model", "m", "--rung", "tfidf")[0] == 0


def test_fit_lists_labels_that_look_wrong_beside_the_model(run, here):
    rows = [[f"{w} thing {i}", label] for i in range(40)
            for w, label in [("bad", "negative"), ("good", "positive")]]  # fmt: skip
    rows[10][1], rows[33][1] = "positive", "negative"  # rows 11 and 34
    rows.insert(5, ["", "positive"])  # a gap: rows count as they stand in the file
    write_csv("r.csv", ["text", "label"], rows)
    code, out, _ = run("fit", "--data", "r.csv", "--model", "model", "--rung", "tfidf")
    assert (
        code == 0 and "labels that may be wrong: 2 of 80, " in out and "model.doubtful.csv" in out
    )
    header, found = read_csv("model.doubtful.csv")
    assert header == ["row", "label", "suggested", "probability", "text"]
    assert sorted(row[0] for row in found) == ["12", "35"]
    for row, label, suggested, probability, text in found:
        assert [text, label] == rows[int(row) - 1] and suggested != label
        assert float(probability) < 0.5
    shutil.rmtree("model")
    code, _, err = run("fit", "--data", "r.csv", "--model", "model", "--rung", "tfidf")
    assert code == 1 and "model.doubtful.csv exists" in err and not (here / "model").exists()
    again = ["fit", "--data", reviews(copies=5), "--model", "model", "--rung", "tfidf", "--force"]
    assert run(*again)[0] == 0 and not (here / "model.doubtful.csv").exists()  # of another table


def test_fit_reads_other_columns_and_formats(run, here):
    rows = [{"stars": k, "comment": t} for k, texts in enumerate([BAD, GOOD]) for t in texts * 2]
    pd.DataFrame(rows).to_json("r.jsonl", orient="records", lines=True)
    pd.DataFrame(rows).to_parquet("r.parquet")
    for name in ("r.jsonl", "r.parquet"):
        columns = ["--text-column", "comment", "--label-column", "stars"]
        code, out, err = run("fit", "--data", name, "--model", f"m-{name}", *columns)
        [told] = notes(err)
        assert code == 0 and "24 reviews" in out and told.startswith("24 rows hold only 12")
        assert classes_in(f"m-{name}") == [0, 1]


def test_fit_with_three_classes(run, here):
    classes = {"a": BAD, "b": GOOD, "c": ["so-so", "fine", "meh", "ok", "eh"]}
    rows = [[text, label] for label, texts in classes.items() for text in texts]
    write_csv("r.csv", ["text", "label"], rows)
    code, out, err = run("fit", "--data", "r.csv", "--model", "model")
    assert code == 0 and not notes(err) and "a 6, b 6, c 5" in out


def test_fit_leaves_out_rows_with_gaps_and_says_so(run):
    reviews(copies=2)
    with open("reviews.csv", "a", encoding="utf-8") as file:
        file.write(',positive\n" ",negative\ngood thing,\n, \n')
    code, out, err = run("fit", "--data", "reviews.csv", "--model", "model")
    assert code == 0 and "24 reviews" in out
    assert notes(err) == ["rows of reviews.csv left out: 1 without a label, 3 without a text"]


def test_fit_with_too_few_rows_to_judge_says_so(run, here):
    write_csv("r.csv", ["text", "label"], [[t, "a"] for t in BAD] + [[t, "b"] for t in GOOD[:4]])
    code, out, err = run("fit", "--data", "r.csv", "--model", "model")
    assert code == 0 and (here / "model").is_dir()
    [told] = notes(err)
    assert "no held-out test" in told and "'b'" in told and "4" in told
    assert "frozen encoder: learning from all 10 reviews" in err


@pytest.mark.parametrize(
    "labels, parts",
    [
        (["a"] * 12, ["only 'a'", "two classes"]),
        (["a"] * 11 + ["b"], ["'b'", "one example"]),
        (["a"] * 6 + [1] * 6, ["int and str"]),
        (["a"] * 6 + [["b"]] * 6, ["row 7", "a single value"]),
    ],
)
def test_fit_with_bad_labels(fails, labels, parts):
    rows = [{"text": t, "label": v} for t, v in zip(BAD + GOOD, labels, strict=True)]
    with open("r.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    fails(["fit", "--data", "r.jsonl", "--model", "model"], *parts)


def test_fit_overwrites_a_model_only_when_forced(fails, run, here):
    a_model(classes=["old", "older"])
    data = reviews(copies=2)
    fails(["fit", "--data", data, "--model", "model"], "model exists", "--force")
    code, _, err = run("fit", "--data", data, "--model", "model", "--force")
    assert code == 0 and not notes(err)
    assert classes_in("model") == ["negative", "positive"]


def test_fit_never_replaces_what_is_no_model(fails, here):
    (here / "photos").mkdir()
    (here / "photos" / "1.jpg").write_bytes(b"mine")
    (here / "file").write_bytes(b"mine")
    data = reviews()
    for force in ([], ["--force"]):
        fails(["fit", "--data", data, "--model", "photos", *force], "photos")
        fails(["fit", "--data", data, "--model", "file", *force], "file is a file")
        fails(["fit", "--data", data, "--model", ".", *force], "name a folder")
        fails(["fit", "--data", data, "--model", "photos/..", *force], "name a folder")
        fails(["fit", "--data", data, "--model", "file/model", *force], "file")


def test_fit_goes_on_with_the_same_training_and_no_other(run, here, monkeypatch):
    seen = []

    class Interrupted(StandIn):
        def fit(self, texts, labels):
            seen.append(self.checkpoint_dir.parent)
            self.checkpoint_dir.mkdir(parents=True, exist_ok=True)
            raise KeyboardInterrupt

    monkeypatch.setattr(ladder_room, "bert_class", lambda: Interrupted)
    fit = ["fit", "--model", "model", "--data", reviews(copies=2)]
    code, _, err = run(*fit)
    assert code == 1 and err.splitlines()[-1].startswith("error: stopped")
    code, _, err = run(*fit)
    assert "going on from model.partial-" in err
    run(*fit, "--epochs", "1")
    reviews(copies=3)
    run(*fit)
    assert seen[0] == seen[1] and len(set(seen)) == 3
    monkeypatch.setattr(ladder_room, "bert_class", lambda: StandIn)
    assert run(*fit)[0] == 0 and not seen[-1].exists() and seen[0].exists()


class Guesses(StandIn):
    """Always says the first class, whatever it was trained on."""

    def predict_proba(self, texts):
        return np.tile(np.eye(len(self.classes_))[0], (len(texts), 1))


def test_fit_saves_tfidf_where_it_is_better_and_predict_and_evaluate_take_it(
    run, here, monkeypatch
):
    monkeypatch.setattr(ladder_room, "bert_class", lambda: Guesses)
    code, out, err = run("fit", "--data", reviews(copies=5), "--model", "model")
    assert (
        code == 0 and "TF-IDF is kept: right on 100.0% of 60 held out; none is right on more" in out
    )
    assert "what TF-IDF says of each label" in out
    note = json.loads((here / "model/classifier.json").read_text())
    assert note["kind"] == "TfidfClassifier" and note["version"] == __version__
    monkeypatch.setattr(ladder_room, "bert_class", lambda: pytest.fail("BERT was loaded"))
    code, out, _ = run("evaluate", "--model", "model", "reviews.csv")
    assert code == 0 and "accuracy  100.0%" in out
    code, out, _ = run("evaluate", "--model", "model", "reviews.csv", "--report", "r.html")
    assert code == 0 and "TfidfClassifier on 60 texts" in (here / "r.html").read_text("utf-8")
    code, out, err = run("predict", "--model", "model", "reviews.csv", "--out", "o.csv")
    assert code == 0 and [r[1] for r in read_csv("o.csv")[1]] == [
        r[2] for r in read_csv("o.csv")[1]
    ]
    code, out, err = run("fit", "--data", "reviews.csv", "--model", "model", "--force")
    assert code == 1 and json.loads((here / "model/classifier.json").read_text()) == note


def test_fit_saves_bert_where_it_is_clearly_better(run, here, monkeypatch):
    class Knows(StandIn):
        def predict_proba(self, texts):
            p = np.array([float((t in self.praise) == (self.trainable == "all")) for t in texts])
            return np.column_stack([1 - p, p])

    rows = [[f"{w}{i}", label] for i in range(30)
            for w, label in [("x", "negative"), ("y", "positive")]]  # fmt: skip
    Knows.praise = {text for text, label in rows if label == "positive"}
    write_csv("r.csv", ["text", "label"], rows)
    monkeypatch.setattr(ladder_room, "bert_class", lambda: Knows)
    code, out, err = run("fit", "--data", "r.csv", "--model", "model")
    assert code == 0 and "fine-tuned encoder is kept: right on 100.0% of 60 held out" in out
    assert "none is right on more (frozen encoder " in out
    assert "kind" not in json.loads((here / "model/classifier.json").read_text())


def test_fit_says_where_no_rung_is_better_than_not_reading(run, here, monkeypatch):
    monkeypatch.setattr(ladder_room, "bert_class", lambda: Guesses)
    rng = np.random.default_rng(0)
    rows = [[f"thing {i}", "ab"[rng.integers(2)]] for i in range(100)]
    write_csv("r.csv", ["text", "label"], rows)
    code, _, err = run("fit", "--data", "r.csv", "--model", "model")
    [told] = notes(err)
    assert code == 0 and "is not clearly better than always giving the commonest label" in told


def test_a_second_fit_to_the_same_model_refuses_and_the_first_is_saved(run, here):
    data = reviews(copies=5)
    with files_room.replacing(here / "model") as ready:
        code, _, err = run("fit", "--data", data, "--model", "model")
        assert code == 1 and err.startswith("error: another process is at work on model: wait")
        assert run("fit", "--data", data, "--model", "model2")[0] == 0
        StandIn().fit([], ["first", "of two"]).save(ready)
    assert classes_in("model") == ["first", "of two"]


@pytest.mark.parametrize("place", ["file/model", "x" * 250])
def test_fit_tries_the_place_before_it_trains(fails, here, monkeypatch, place):
    (here / "file").write_bytes(b"mine")
    monkeypatch.setattr(StandIn, "fit", lambda *told: pytest.fail("the training began"))
    fails(["fit", "--data", reviews(copies=5), "--model", place])


def test_fit_refuses_a_place_where_a_disk_is_mounted(fails, here, monkeypatch):
    a_model()
    monkeypatch.setattr(Path, "is_mount", lambda self: self.name == "model")
    arguments = ["fit", "--data", reviews(copies=5), "--model", "model", "--force"]
    fails(arguments, "where a disk is mounted")


def test_fit_follows_a_link_and_keeps_it(run, here):
    a_model("real", classes=["old", "older"])
    (here / "link").symlink_to("real")
    assert run("fit", "--data", reviews(copies=5), "--model", "link", "--force")[0] == 0
    assert (here / "link").is_symlink() and classes_in("real") == ["negative", "positive"]


def test_fit_goes_on_where_the_reader_of_what_it_prints_has_left(here):
    reviews(copies=5)
    script = SWALLOWED.replace("StandIn.predict_proba = swallow\n", "")
    with subprocess.Popen(
        [sys.executable, "-c", script, os.path.dirname(__file__),
         "fit", "--data", "reviews.csv", "--model", "model"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"NUMBER": "2"},
    ) as process:  # fmt: skip
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 0 and (here / "model").is_dir(), err
    assert not notes(err.decode())


class Reads(StandIn):
    """Has the tokenizer of the course's encoder."""

    encoder, max_length = "minilm", 128


def test_what_the_encoder_cannot_read_is_said(run, here, monkeypatch):
    monkeypatch.setattr(ladder_room, "bert_class", lambda: Reads)
    rows = [[f"{a}{b}", "差" if a in "坏烂" else "好"] for a in "坏烂好棒" for b in "一二三四五六"]
    write_csv("r.csv", ["text", "label"], rows)
    told = "note: the encoder cannot read"
    code, _, err = run("fit", "--data", "r.csv", "--model", "model")
    assert code == 0 and err.startswith(told) and err.count(told) == 1
    a_model("bert", classes=["好", "差"])
    for command in ("predict", "evaluate"):
        code, _, err = run(command, "r.csv", "--model", "bert")
        assert code == 0 and err.count(told) == 1
    code, _, err = run("predict", reviews(), "--model", "bert")
    assert code == 0 and told not in err


class Words:
    """Stands in for a tokenizer: a token a word, and the marks for start and end."""

    def no_truncation(self): ...

    def enable_truncation(self, most): ...

    def token_to_id(self, token):
        return -1

    def encode_batch(self, texts):
        return [SimpleNamespace(ids=[0, *range(len(t.split())), 0]) for t in texts]


def test_texts_that_are_cut_are_said(run, monkeypatch):
    monkeypatch.setattr(runtime_room, "tokenizer_of", lambda classifier: Words())
    rows = [[f"great {i}", "positive"] for i in range(10)]
    rows += [["bad " * 198 + str(i), "negative"] for i in range(10)]
    write_csv("r.csv", ["text", "label"], rows)
    a_model()
    for command in (
        ["fit", "--data", "r.csv", "--model", "m"],
        ["evaluate", "--model", "model", "r.csv"],
        ["predict", "--model", "model", "r.csv", "--out", "o.csv"],
    ):
        code, _, err = run(*command)
        [told] = [line for line in err.splitlines() if "longer" in line]
        count = "10 of 20"
        assert code == 0 and told.startswith(f"note: {count} texts are longer than the 128 tokens")
        assert (
            "36% of what they say is left out in the middle" in told
            and "`fit --max-length`" in told
        )
    code, _, err = run("fit", "--data", "r.csv", "--model", "n", "--max-length", "201")
    assert code == 0 and "longer" not in err


# predict


def test_predict_adds_two_columns(run):
    a_model()
    write_csv("r.csv", ["id", "text"], [["07", "great, really"], ["", "dull"], ["x", "good\nfun"]])
    assert run("predict", "--model", "model", "r.csv", "--out", "o.csv") == (
        0,
        "",
        "o.csv: 3 rows\n",
    )
    assert read_csv("o.csv") == (
        ["id", "text", "label", "probability"],
        [["07", "great, really", "positive", "0.9"], ["", "dull", "negative", "0.8"],
         ["x", "good\nfun", "positive", "0.9"]],
    )  # fmt: skip


def test_predict_leaves_cells_empty_where_there_is_no_text(run):
    a_model()
    write_csv("r.csv", ["text", "n"], [["great", "1"], ["", "2"], [" \t", "3"], ["bad", "4"]])
    code, _, err = run("predict", "--model", "model", "r.csv", "--out", "o.csv")
    assert code == 0 and err.splitlines()[0].startswith("note: rows of r.csv without a text: 2")
    assert read_csv("o.csv")[1] == [
        ["great", "1", "positive", "0.9"], ["", "2", "", ""], [" \t", "3", "", ""],
        ["bad", "4", "negative", "0.8"],
    ]  # fmt: skip
    write_csv("r.csv", ["text", "n"], [["", "1"], ["", "2"]])
    code, _, _ = run("predict", "--model", "model", "r.csv", "--out", "empty.csv")
    assert code == 0 and read_csv("empty.csv")[1] == [["", "1", "", ""], ["", "2", "", ""]]


def test_predict_keeps_a_column_that_is_called_label(run):
    a_model()
    code, _, err = run("predict", "--model", "model", reviews(), "--out", "o.csv")
    header, rows = read_csv("o.csv")
    assert code == 0 and "predicted_label and predicted_probability" in err
    assert header == ["text", "label", "predicted_label", "predicted_probability"]
    assert [row[:2] for row in rows] == read_csv("reviews.csv")[1]
    code, _, err = run("predict", "--model", "model", "o.csv", "--out", "again.csv")
    assert code == 0 and read_csv("again.csv")[0][2:] == [
        "predicted_label", "predicted_probability", "predicted_label_", "predicted_probability_"
    ]  # fmt: skip


def test_predict_prints_csv_without_out(run):
    a_model()
    write_csv("r.csv", ["text"], [["great 很好"]])
    assert run("predict", "--model", "model", "r.csv") == (
        0, "text,label,probability\ngreat 很好,positive,0.9\n", ""
    )  # fmt: skip


def test_predict_reads_lines_from_standard_input(run, monkeypatch):
    a_model()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("great, 好\r\n\nbad\n".encode())))
    code, out, err = run("predict", "--model", "model", "-", "--text-column", "ignored")
    assert code == 0 and "standard input without a text: 1" in err
    assert out == 'text,label,probability\n"great, 好",positive,0.9\n,,\nbad,negative,0.8\n'
    for data, part in [(b"", "empty"), (b"\n\n", "empty"), (b"\x89\0\0\r\n", "not a text file")]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        code, out, err = run("predict", "--model", "model", "-")
        assert code == 1 and part in err and err.count("\n") == 1 and not out


def test_predict_overwrites_only_when_forced(fails, run, here):
    a_model()
    data = reviews()
    (here / "o.csv").write_text("mine")
    fails(["predict", "--model", "model", data, "--out", "o.csv"], "o.csv exists", "--force")
    fails(["predict", "--model", "model", data, "--out", data], "reviews.csv exists")
    assert run("predict", "--model", "model", data, "--out", "o.csv", "--force")[0] == 0
    assert len(read_csv("o.csv")[1]) == 12
    assert run("predict", "--model", "model", data, "--out", data, "--force")[0] == 0
    assert len(read_csv(data)[0]) == 4


def test_predict_follows_a_link_and_keeps_it(run, here):
    a_model()
    (here / "real.csv").write_text("old")
    (here / "link.csv").symlink_to("real.csv")
    run("predict", "--model", "model", reviews(), "--out", "link.csv", "--force")
    assert (here / "link.csv").is_symlink() and len(read_csv("real.csv")[1]) == 12


@pytest.mark.parametrize(
    "out, parts",
    [
        ("o.xlsx", ["o.xlsx", ".csv"]),
        ("o", [".csv"]),
        ("/dev/null", [".csv"]),
        ("folder.csv", ["folder.csv is a folder"]),
        ("nowhere/o.csv", ["no folder nowhere"]),
        ("reviews.csv/o.csv", ["no folder reviews.csv"]),
    ],
)
def test_predict_refuses_a_bad_output_before_it_starts(fails, here, monkeypatch, out, parts):
    a_model()
    (here / "folder.csv").mkdir()
    monkeypatch.setattr(cli, "_load", lambda model: pytest.fail("the model was loaded"))
    for force in ([], ["--force"]):
        fails(["predict", "--model", "model", reviews(), "--out", out, *force], *parts)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_predict_where_writing_fails(fails, here, monkeypatch, number):
    a_model()
    (here / "o.csv").write_text("mine")

    def half(table, path, kind):
        path.write_text("half")
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(table_room, "_write", half)
    fails(["predict", "--model", "model", reviews(), "--out", "o.csv", "--force"], "o.csv")


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("given", [".csv", ".jsonl"])
def test_predict_keeps_all_rows_in_order_over_many_blocks(run, monkeypatch, given, ending):
    a_model(classes=[0, 1])
    for room in (table_room, format_room, scoring_room):
        monkeypatch.setattr(room, "BLOCK", 7)
    rows = [{"n": str(i), "text": ("great" if i % 3 else "bad") if i % 5 else ""}
            for i in range(50)]  # fmt: skip
    rows[20] |= {"text": 'great\t"1"\n2\r3', "more": "x"}  # a name that is new in the third block
    table_room.write_table(pd.DataFrame(rows).fillna(""), Path(f"r{given}"))
    if given == ".jsonl":
        Path("r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = run("predict", "--model", "model", f"r{given}", "--out", f"o{ending}")
    assert code == 0 and "rows of" in notes(err)[0] and ": 9;" in notes(err)[0]
    back = table_room.read_table(Path(f"o{ending}"), ["n", "text", "more", "label"])
    assert [int(n) for n in back["n"]] == list(range(50))
    assert back["text"].fillna("").tolist() == [row["text"] for row in rows]
    labels = ["" if v is None or v != v else str(table_room.same_label(v)) for v in back["label"]]
    assert labels == ["" if not r["text"] else str(int("great" in r["text"])) for r in rows]
    assert [i for i, v in enumerate(back["more"]) if v == "x"] == [20]


def test_predict_prints_one_header_over_many_blocks(run, monkeypatch):
    a_model()
    monkeypatch.setattr(format_room, "BLOCK", 2)
    write_csv("r.csv", ["text"], [["great"]] * 5)
    code, out, _ = run("predict", "--model", "model", "r.csv")
    assert code == 0 and out == "text,label,probability\n" + "great,positive,0.9\n" * 5


def test_predict_finds_what_is_wrong_with_the_last_row_before_it_scores(fails, here, monkeypatch):
    a_model()
    monkeypatch.setattr(cli, "_load", lambda model: pytest.fail("the model was loaded"))
    monkeypatch.setattr(format_room, "BLOCK", 2)
    (here / "r.jsonl").write_text('{"text": "good"}\n' * 6 + '{"text": 5}\n')
    fails(["predict", "--model", "model", "r.jsonl"], "row 7 of r.jsonl: text is 5 (int)")


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_predict_writes_what_the_ending_says(run, ending):
    a_model()
    table = pd.DataFrame({"text": ["great", None, 'so "bad"\t,'], "n": ["1", "2", "3"]})
    table.to_parquet("r.parquet")
    assert run("predict", "--model", "model", "r.parquet", "--out", f"o{ending}")[0] == 0
    read = {
        ".csv": lambda p: pd.read_csv(p, dtype={"n": str}),
        ".tsv": lambda p: pd.read_csv(p, dtype={"n": str}, sep="\t"),
        ".jsonl": lambda p: pd.read_json(p, lines=True, dtype=False),
        ".parquet": pd.read_parquet,
    }
    back = read[ending](f"o{ending}")
    assert back["n"].tolist() == ["1", "2", "3"]
    assert back["text"].fillna("").tolist() == ["great", "", 'so "bad"\t,']
    assert back["label"].fillna("").tolist() == ["positive", "", "negative"]
    assert back["probability"].fillna(0).tolist() == [0.9, 0, 0.8]


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
NAMES = st.text("abc ,\"'\n;é好", min_size=1, max_size=5).filter(lambda s: s.strip() == s)


@st.composite
def tables(draw):
    """A header with a `text` column among others, and rows of any strings."""
    others = draw(st.lists(NAMES, max_size=3, unique=True))
    header = draw(st.permutations([*others, "text"]))
    cells = st.sampled_from(["NA", "nan", "007", "1e5", "", " x ", "#", "=1+1"]) | TEXTS
    rows = draw(st.lists(st.lists(cells, min_size=len(header), max_size=len(header)), min_size=1,
                         max_size=5))  # fmt: skip
    return header, [r if any(map(str.strip, r)) else [*r[:-1], "x"] for r in rows]


@settings(deadline=None, max_examples=100, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(tables(), st.sampled_from([".csv", ".tsv"]))
def test_predict_keeps_every_row_and_column(run, table, ending):
    header, rows = table
    a_model()
    separator = "\t" if ending == ".tsv" else ","
    with open(f"r{ending}", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    code, _, err = run("predict", "--model", "model", f"r{ending}", "--out", "o.csv", "--force")
    assert code == 0, err
    after, scored = read_csv("o.csv")
    assert after == [*header, "label", "probability"]
    assert [row[:-2] for row in scored] == rows
    text = header.index("text")
    for row in scored:
        assert (row[-2] in ("negative", "positive")) == bool(row[text].strip())


VALUES = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | TEXTS | st.lists(st.integers())
)
VALUES |= st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=100, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.lists(st.fixed_dictionaries({"text": TEXTS, "date": VALUES, "n": VALUES}), min_size=1,
                max_size=4))  # fmt: skip
def test_predict_keeps_every_value_of_jsonl(run, records):
    a_model()
    with open("r.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
    code, _, err = run("predict", "--model", "model", "r.jsonl", "--out", "o.jsonl", "--force")
    assert code == 0, err
    with open("o.jsonl", encoding="utf-8", newline="\n") as file:
        back = [json.loads(line, parse_constant=pytest.fail) for line in file]  # NaN is not JSON
    assert [{k: b[k] for k in r} for r, b in zip(records, back, strict=True)] == records
    assert [b["label"] is None for b in back] == [not r["text"].strip() for r in records]


# evaluate


def test_evaluate(run):
    a_model()
    code, out, err = run("evaluate", "--model", "model", reviews())
    assert (code, err) == (0, "") and "12 reviews" in out
    right = 6 + sum(any(w in t for w in ("love", "great", "good")) for t in GOOD)
    assert f"accuracy  {right / 12:.1%} (95 % interval" in out
    assert "majority  50.0%" in out and "always saying 'negative'" in out
    negative = next(line for line in out.splitlines() if line.startswith("negative"))
    assert [float(x) for x in negative.split()[1:]] == [round(6 / (18 - right), 3), 1.0, 6]


def test_evaluate_names_labels_that_the_model_does_not_know(fails):
    a_model()
    fails(["evaluate", "--model", "model", reviews(labels=("bad", "positive"))],
          "does not know: 'bad'", "'negative', 'positive'")  # fmt: skip


def test_evaluate_takes_numbers_written_as_text(run):
    a_model(classes=[0, 1])
    code, out, _ = run("evaluate", "--model", "model", reviews(labels=("0", "1")))
    assert code == 0 and "12 reviews" in out


def test_evaluate_a_class_that_never_appears(run):
    a_model()
    write_csv("r.csv", ["text", "label"], [["great", "positive"], ["", "positive"]])
    code, out, err = run("evaluate", "--model", "model", "r.csv")
    assert code == 0 and "1 without a text" in err and "never" in out


REPORT = ["evaluate", "reviews.csv", "--model", "model", "--report"]
SCRIPT = "<script>document.title = 'run'</script>"


def test_evaluate_writes_a_report(run, here):
    a_model("shop")
    figures = run("evaluate", "--model", "shop", reviews())[1]
    code, out, err = run("evaluate", "--model", "shop", "reviews.csv", "--report", "r.HTML")
    assert code == 0 and out == figures
    assert err.splitlines()[0].startswith("making the report r.HTML")
    page = (here / "r.HTML").read_text(encoding="utf-8")
    assert "<h1>shop on reviews.csv</h1>" in page and "StandIn on 12 texts" in page
    assert "Worst mistakes" in page and not re.search(r"https?:|//\w|<script|<link|<img", page)
    assert sorted(p.name for p in here.iterdir()) == ["r.HTML", "reviews.csv", "shop"]


def test_evaluate_with_a_report_scores_the_reviews_once(run, here, monkeypatch):
    scored, score = [], StandIn.predict_proba
    monkeypatch.setattr(
        StandIn, "predict_proba", lambda self, texts: scored.append(texts) or score(self, texts)
    )
    a_model()
    texts = pd.read_csv(reviews()).text.tolist()
    assert run(*REPORT, "r.html")[0] == 0
    assert scored.count(texts) == 1


def test_evaluate_replaces_a_report_only_when_forced(fails, run, here):
    a_model()
    reviews()
    (here / "r.html").write_text("mine")
    fails([*REPORT, "r.html"], "r.html exists", "--force")
    assert run(*REPORT, "r.html", "--force")[0] == 0
    assert (here / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    "out, parts",
    [
        ("r.txt", ["r.txt should end in .html"]),
        ("reviews.csv", ["reviews.csv should end in .html"]),
        ("folder.html", ["folder.html is a folder"]),
        ("nowhere/r.html", ["no folder nowhere"]),
    ],
)
def test_evaluate_refuses_a_bad_place_for_the_report_before_it_starts(
    fails, here, monkeypatch, out, parts
):
    a_model()
    reviews()
    (here / "folder.html").mkdir()
    monkeypatch.setattr(
        table_room, "read_labelled", lambda *told: pytest.fail("the table was read")
    )
    for force in ([], ["--force"]):
        fails([*REPORT, out, *force], *parts)


def test_evaluate_where_the_report_cannot_be_finished(fails, here, monkeypatch):
    from sentiment_course import reports

    def half(path, text, encoding=None):
        with open(path, "w") as file:
            file.write(text[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    a_model()
    reviews()
    (here / "old.html").write_text("mine")
    monkeypatch.setattr(cli, "_announce", lambda text: None)
    with monkeypatch.context() as patch:
        patch.setattr(cli.Path, "write_text", half)
        fails([*REPORT, "r.html"], "free some space")
        fails([*REPORT, "old.html", "--force"], "free some space")
    monkeypatch.setattr(reports, "report", lambda *a, **k: 1 / 0)
    fails([*REPORT, "r.html"], "ZeroDivisionError")
    fails([*REPORT, "old.html", "--force"], "ZeroDivisionError")


def test_the_report_opens_without_a_network_and_shows_a_script_as_text(run, here, browser):
    a_model()
    rows = [[t, "negative"] for t in BAD] + [[t, "positive"] for t in GOOD]
    rows += [
        [f"很好 {SCRIPT}", "positive"],
        [f"so great <img src=x onerror=alert(1)> {SCRIPT}", "negative"],
    ]
    write_csv("reviews.csv", ["text", "label"], rows)
    assert run(*REPORT, "r.html")[0] == 0
    met = []
    page = browser.new_context(offline=True).new_page()
    page.on("request", lambda request: met.append(request.url))
    page.on("dialog", lambda dialog: met.append("dialog"))
    page.on("pageerror", lambda error: met.append(str(error)))
    page.goto((here / "r.html").as_uri())
    shown = " ".join(page.inner_text("body").split())
    title, charts = page.title(), page.locator("svg").count()
    page.context.close()
    assert met == [(here / "r.html").as_uri()] and title == "model on reviews.csv"
    assert shown.count(SCRIPT) == 2 and "<img src=x" in shown and "很好" in shown and charts == 3


# ladder


@pytest.fixture
def climbed(monkeypatch):
    """Two quick rungs in place of six; the list of those that were made."""
    made = []

    def rungs(out):
        def maker(name):
            def make():
                made.append(name)
                return StandIn(checkpoint_dir=out / "partial")

            return make

        return {name: maker(name) for name in ("low", ladder_room.TOP)}

    monkeypatch.setattr(ladder_room, "rungs", rungs)
    return made


def test_without_a_model_the_general_one_answers_and_it_is_said(run, fails, here):
    write_csv("r.csv", ["text", "label"], [["good", "positive"], ["bad", "negative"]])
    fails(["predict", "r.csv"], "no --model", "models/reviews", "sentiment-course general")
    fails(["evaluate", "r.csv"], "no --model", "sentiment-course general")
    TfidfClassifier().fit(["good", "bad"] * 2, ["positive", "negative"] * 2).save(
        here / "models/reviews"
    )
    code, out, err = run("predict", "r.csv")
    assert code == 0 and "good,positive,positive" in out
    assert "note: no --model: it is the model in models/reviews that answers" in err
    fitting.keep_figures(here / "models/reviews", {"sources": {}, "accuracy": 1, "test_size": 2})
    code, out, err = run("evaluate", "r.csv")
    assert code == 0 and "the general classifier in models/reviews" in err


def test_general_trains_once_and_again_where_it_is_damaged(run, fails, here, monkeypatch):
    trained = []

    def train(folder):
        trained.append(folder)
        TfidfClassifier().fit(["good", "bad"] * 2, ["positive", "negative"] * 2).save(folder)
        fitting.keep_figures(folder, {"sources": {}, "accuracy": 0.9, "test_size": 10})
        return pd.DataFrame({"source": ["movies"], "texts": [10], "accuracy": [0.9]})

    monkeypatch.setattr("sentiment_course.general.train_general", train)
    code, out, err = run("general")
    assert code == 0 and "movies   90.0% of 10 held out" in out and len(trained) == 1
    code, out, err = run("general")
    assert code == 0 and "holds the general classifier" in out and len(trained) == 1
    (here / "models/reviews/state.json").write_text("{")
    code, out, err = run("general")
    assert code == 0 and "note: training again" in err and len(trained) == 2
    TfidfClassifier().fit(["good", "bad"] * 2, [0, 1] * 2).save(here / "mine")
    fails(["general", "--out", "mine"], "mine holds something else", "--force")
    assert len(trained) == 2


@pytest.fixture
def general_there(here):
    """A folder that says of itself to be the general classifier."""
    texts = ["good", "bad"] * 2, ["positive", "negative"] * 2
    TfidfClassifier().fit(*texts).save(here / "models/reviews")
    fitting.keep_figures(here / "models/reviews", {"sources": {}, "accuracy": 1, "test_size": 2})
    return here / "models/reviews"


def test_with_few_labels_fit_takes_the_general_encoder_and_does_not_tune(run, here, general_there):
    code, out, err = run("fit", "--data", reviews(copies=5), "--model", "model")
    assert code == 0 and "general encoder" in out and "fine-tuning is left out" in out
    assert "fine-tuned encoder  " not in out
    code, out, err = run("fit", "--data", "reviews.csv", "--model", "m2", "--rung", "general")
    assert code == 0 and "general encoder is kept" in out
    write_csv("few.csv", ["text", "label"], [["good", "a"], ["bad", "b"], ["ok", "a"], ["no", "b"]])
    code, out, err = run("fit", "--data", "few.csv", "--model", "m3")
    assert code == 0 and "general encoder: learning from all 4 reviews" in err


def test_for_three_labels_or_a_damaged_one_the_general_encoder_is_left_out(run, general_there):
    rows = [[f"{word} {i}", label] for i in range(6) for word, label in ["xa", "yb", "zc"]]
    write_csv("r.csv", ["text", "label"], rows)
    code, out, err = run("fit", "--data", "r.csv", "--model", "m1")
    assert code == 0 and "general encoder" not in out.replace("general classifier's", "")
    (general_there / "state.json").write_text("{")
    code, out, err = run("fit", "--data", reviews(copies=5), "--model", "m2")
    assert code == 0 and "note: the general classifier is left out: " in err


def test_fit_by_the_general_encoder_needs_it(run, fails, here):
    data = reviews(copies=5)
    fails(["fit", "--data", data, "--model", "m", "--rung", "general"], "sentiment-course general")


def test_ladder_climbs_once_and_redoes_only_what_is_missing(run, here, climbed):
    code, out, err = run("ladder")
    assert code == 0 and "low" in out and ladder_room.TOP in out and "models/films" in out
    assert "[1/2] low" in err and climbed == ["low", ladder_room.TOP]
    table = pd.read_csv("models/ladder.csv")
    assert table["rung"].tolist() == ["low", ladder_room.TOP] and set(table["version"]) == {
        __version__
    }
    assert "<svg" in (here / "models/ladder.svg").read_text()
    assert sorted(p.name for p in (here / "models").iterdir()) == [
        "films", "ladder.csv", "ladder.svg", "predictions.csv", "steps.csv"
    ]  # fmt: skip
    said, steps = pd.read_csv("models/predictions.csv"), pd.read_csv("models/steps.csv")
    assert set(said["low"]) <= {"negative", "positive"} and len(said) == table["test_size"][0]
    assert (
        steps["step"].tolist() == [f"low → {ladder_room.TOP}"] and f"low → {ladder_room.TOP}" in out
    )
    assert "may be chance" in out  # the same classifier twice
    climbed.clear()
    again = run("ladder")
    assert climbed == [] and again == (0, out, "")
    (here / "models/films/classifier.json").unlink()
    code, _, err = run("ladder")
    assert code == 0 and climbed == [ladder_room.TOP] and "note: training" in err
    climbed.clear()
    table[1:].assign(version=__version__).to_csv("models/ladder.csv", index=False)
    run("ladder")
    assert climbed == ["low"]
    climbed.clear()
    table.assign(version="0.0.1").to_csv("models/ladder.csv", index=False)
    run("ladder")
    assert climbed == ["low", ladder_room.TOP]


@pytest.mark.parametrize("data", [b"", b"\0\1\2", b"rung,accuracy\nlow,1\n", b"a,b\n1\n"])
def test_ladder_with_damaged_results_climbs_again(run, here, climbed, data):
    (here / "models").mkdir()
    (here / "models/ladder.csv").write_bytes(data)
    code, _, err = run("ladder")
    assert code == 0 and climbed == ["low", ladder_room.TOP] and "cannot be read" in err


def test_ladder_without_its_predictions_climbs_again(run, here, climbed):
    run("ladder")
    (here / "models/predictions.csv").unlink()
    shutil.rmtree(here / "models/films")
    climbed.clear()
    code, _, err = run("ladder")
    assert code == 0 and climbed == ["low", ladder_room.TOP] and "cannot be read" in err


def test_films_come_with_their_certainty():
    train, test = ladder_room.film_reviews()
    assert train["certainty"].between(0.5, 1).all() and "certainty" not in test


def test_ladder_leaves_a_model_that_is_not_its_own(fails, here, climbed):
    a_model("models/films")
    fails(["ladder"], "models/films", "--out")
    (here / "file").write_text("mine")
    fails(["ladder", "--out", "file"], "file")


def test_ladder_that_is_stopped_keeps_the_rungs_it_has(run, here, climbed, monkeypatch):
    def stop(self, texts):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ladder_room, "TOP", "never")
        patch.setattr(StandIn, "predict", lambda self, t: stop(self, t) if len(climbed) > 1
                      else self.classes_[self.predict_proba(t).argmax(axis=1)])  # fmt: skip
        code, _, err = run("ladder")
    assert code == 1 and "error: stopped" in err
    assert pd.read_csv("models/ladder.csv")["rung"].tolist() == ["low"]


# assets, doctor


def test_assets(run):
    code, out, err = run("assets", "reviews")
    assert (code, err) == (0, "") and out.startswith("reviews") and "verified" in out


def test_assets_that_do_not_exist(fails):
    fails(["assets", "reviews", "revews"], "no asset 'revews'", "minilm")


def test_assets_that_cannot_be_had(fails, here, monkeypatch):
    (here / "file").write_text("mine")
    monkeypatch.setenv("SENTIMENT_COURSE_HOME", str(here / "file"))
    fails(["assets"], "SENTIMENT_COURSE_HOME")


def test_doctor(run, monkeypatch):
    from sentiment_course import doctor

    good = doctor.Finding("memory", "8 GB")
    bad = doctor.Finding("pip", "not installed", False, "python -m ensurepip")
    monkeypatch.setattr(doctor, "check_environment", lambda load: [good])
    assert run("doctor") == (0, "ok   memory               8 GB\n", "")
    monkeypatch.setattr(doctor, "check_environment", lambda load: [good, bad])
    code, out, err = run("doctor")
    assert code == 1 and "BAD  pip" in out and "mend it: python -m ensurepip" in out
    assert err == "error: 1 thing to mend, marked BAD above\n"
    code, out, _ = run("doctor", "--json")
    assert code == 1 and [f["ok"] for f in json.loads(out)] == [True, False]


# Errors that nobody foresaw, and stops


@pytest.mark.parametrize(
    "error, part",
    [
        (KeyboardInterrupt(), "stopped"),
        (MemoryError(), "out of memory"),
        (ModuleNotFoundError("No module named 'tensorflow'"), "sentiment-course doctor"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "x: No space left on device"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "its permissions keep you out"),
        (ZeroDivisionError("a\nb"), "ZeroDivisionError: a b. This is a fault of the course"),
    ],
)
def test_any_exception_is_one_line(fails, monkeypatch, error, part):
    def go_wrong(model):
        raise error

    monkeypatch.setattr(cli, "_load", go_wrong)
    fails(["predict", "--model", "model", reviews(), "--out", "new.csv"], part)
    monkeypatch.setenv("SENTIMENT_COURSE_TRACEBACK", "1")
    if not isinstance(error, KeyboardInterrupt):
        with pytest.raises(type(error)):
            cli.main(["predict", "--model", "model", "reviews.csv"])


STOPPED_IN_THE_MIDDLE = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_cli import StandIn, cli, ladder_room, table_room
ladder_room.bert_class = lambda: StandIn
def stay(*args):
    print("in the middle", flush=True)
    time.sleep(60)
def half(table, path, kind):
    path.write_bytes(b"half")
    stay()
if sys.argv[2] == "predict":
    table_room._write = half
elif sys.argv[2] == "evaluate":
    Path.write_text = lambda self, text, encoding: half(None, self, None)
else:
    StandIn.fit = stay
cli.main(sys.argv[2:])
"""


@pytest.mark.parametrize(
    "command, number",
    [("fit", signal.SIGKILL), ("fit", signal.SIGINT), ("predict", signal.SIGKILL),
     ("predict", signal.SIGTERM), ("evaluate", signal.SIGKILL), ("evaluate", signal.SIGTERM)],
)  # fmt: skip
def test_a_stop_in_the_middle_loses_nothing(here, command, number):
    a_model()
    for name in ("o.csv", "o.html"):
        (here / name).write_text("mine")
    reviews()
    arguments = {
        "fit": ["fit", "--data", "reviews.csv", "--model", "model", "--force"],
        "predict": ["predict", "reviews.csv", "--model", "model", "--out", "o.csv", "--force"],
        "evaluate": [*REPORT, "o.html", "--force"],
    }[command]
    before = contents(here)
    script = [sys.executable, "-c", STOPPED_IN_THE_MIDDLE, os.path.dirname(__file__), *arguments]
    with subprocess.Popen(
        script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # What runs in the background of a shell is born deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        while "in the middle" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
        time.sleep(0.1)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    after = contents(here)
    assert {k: after[k] for k in before} == before
    if number != signal.SIGKILL:
        assert process.returncode == 1 and err.splitlines()[-1].startswith("error: stopped"), err
        assert "Traceback" not in err and after == before


SWALLOWED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from test_cli import StandIn, cli, ladder_room, predict_proba
ladder_room.bert_class = lambda: StandIn
def swallow(self, texts):
    try:
        os.kill(os.getpid(), int(os.environ["NUMBER"]))
    except KeyboardInterrupt:
        pass
    return predict_proba(self, texts)
StandIn.predict_proba = swallow
cli.main(sys.argv[2:])
"""
predict_proba = StandIn.predict_proba


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["fit", "predict", "evaluate", "report"])
def test_a_stop_that_a_library_swallows_replaces_nothing(here, monkeypatch, command, number):
    a_model(classes=["old", "older"] if command == "fit" else ["negative", "positive"])
    reviews(copies=2)
    for name in ("o.csv", "o.html"):
        (here / name).write_text("mine")
    arguments = {
        "fit": ["fit", "--data", "reviews.csv", "--model", "model", "--force"],
        "predict": ["predict", "reviews.csv", "--model", "model", "--out", "o.csv", "--force"],
        "evaluate": ["evaluate", "reviews.csv", "--model", "model"],
        "report": [*REPORT, "o.html", "--force"],
    }[command]
    before = contents(here)
    monkeypatch.setenv("NUMBER", str(int(number)))
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWED, os.path.dirname(__file__), *arguments],
        capture_output=True, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("error: stopped")
    assert contents(here) == before


def test_a_terminal_that_cannot_show_a_label_does_not_stop_the_training(here):
    reviews(labels=("差", "好"), copies=2)
    script = SWALLOWED.replace("StandIn.predict_proba = swallow\n", "")
    done = subprocess.run(
        [sys.executable, "-c", script, os.path.dirname(__file__),
         "fit", "--data", "reviews.csv", "--model", "model"],
        capture_output=True, env=os.environ | {"PYTHONIOENCODING": "cp1252", "NUMBER": "2"},
    )  # fmt: skip
    assert done.returncode == 0 and (here / "model").is_dir(), done.stderr
    assert b"\\u5dee 12" in done.stdout


@pytest.mark.parametrize(
    "closed, arguments, part",
    [
        ("stdin", ["predict", "-", "--model", "model"], "standard input is closed"),
        ("stdout", ["predict", "r.csv", "--model", "model"], "standard output is closed"),
    ],
)
def test_a_closed_stream_is_said(here, capsys, monkeypatch, closed, arguments, part):
    a_model()
    write_csv("r.csv", ["text"], [["great"]])
    monkeypatch.setattr(sys, closed, None)
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 1 and part in capsys.readouterr().err


def test_a_reader_who_leaves_early_is_no_error(here):
    a_model()
    write_csv("r.csv", ["text"], [["great " * 50]] * 2000)
    script = [sys.executable, "-c", STOPPED_IN_THE_MIDDLE, os.path.dirname(__file__)]
    with subprocess.Popen([*script, "predict", "r.csv", "--model", "model"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # fmt: skip
        process.stdout.readline()
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


# The real thing


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with reviews.csv and a real model trained on it."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [[t, label] for texts, label in [(BAD, "negative"), (GOOD, "positive")]
            for t in texts[:4]]  # fmt: skip
    rows.append(["good " * 20_000, "positive"])
    write_csv(folder / "reviews.csv", ["text", "label"], rows)
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit", "--data", str(folder / "reviews.csv"), "--model", str(folder / "model"),
                  "--epochs", "1", "--rung", "fine-tuned"])  # fmt: skip
    assert not stop.value.code
    assert sorted(p.name for p in folder.iterdir()) == ["model", "reviews.csv"]
    assert {p.name for p in (folder / "model").iterdir()} <= ladder_room.MODEL_FILES
    return folder


@pytest.fixture
def run_real(trained, tmp_path, monkeypatch, capsys):
    """Run the command line, with the real BERT, in a folder that holds a copy of `trained`."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main([*arguments, "--model", "model"])
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return call


def test_a_founder_predicts_and_evaluates(run_real):
    code, _, err = run_real("predict", "reviews.csv", "--out", "scored.csv")
    header, rows = read_csv("scored.csv")
    assert code == 0 and header[2:] == ["predicted_label", "predicted_probability"], err
    assert [row[:2] for row in rows] == read_csv("reviews.csv")[1]
    assert {row[2] for row in rows} <= {"negative", "positive"}
    assert all(0.5 <= float(row[3]) <= 1 for row in rows)
    right = sum(row[1] == row[2] for row in rows)
    code, out, err = run_real("evaluate", "reviews.csv", "--report", "report.html")
    assert code == 0 and f"accuracy  {right / 9:.1%}" in out
    assert "report.html: 9 reviews" in err and "<svg" in Path("report.html").read_text("utf-8")


def test_a_founder_with_a_damaged_model(run_real, tmp_path):
    (tmp_path / "model" / "scorer.onnx").unlink()  # what it would score with, and no more
    for name in ("head.safetensors", "model.safetensors", "classifier.json"):
        (tmp_path / "model" / name).write_bytes(b"damaged")
        code, out, err = run_real("predict", "reviews.csv")
        assert code == 1 and not out and err.count("\n") == 1, err
        assert err.startswith("error: ") and "damaged" in err


def test_a_founder_in_a_terminal_meets_no_noise(trained):
    code = "from sentiment_course.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", "--model", "model", "-"],
        cwd=trained, capture_output=True, input="fun\n很好\n".encode(),
    )  # fmt: skip
    told = [line for line in done.stderr.decode().splitlines() if line and "%|" not in line]
    assert done.returncode == 0, told
    assert len(told) == 1 and told[0].startswith("note: the encoder cannot read"), told
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert [row["text"] for row in rows] == ["fun", "很好"]
