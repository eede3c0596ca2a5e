"""Many files on many machines: every row once, whatever dies; and what Ray is imported by."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sentiment_course import scale
from sentiment_course.baselines import TfidfClassifier
from sentiment_course.scale import check_cores_needed, check_missing

FILES, ROWS = 60, 200


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A folder of files of reviews, and one of a saved model."""
    place = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(0)
    words = np.array(["good", "bad", "film", "plot", "warm", "cold"])
    for i in range(FILES):
        texts = [" ".join(rng.choice(words, 5)) for _ in range(ROWS)]
        table = pd.DataFrame({"id": [f"{i}-{k}" for k in range(ROWS)], "text": texts})
        folder = place / "reviews" / f"month {i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / f"{i}.csv", index=False)
    TfidfClassifier().fit(["good", "bad"] * 5, ["positive", "negative"] * 5).save(place / "model")
    return place


def answered(out):
    """All answers, by the ids of their rows."""
    return pd.concat([pd.read_parquet(path) for path in sorted(out.rglob("[!.]*.parquet"))])


def whole(given, out):
    """Whether every row has its answer, once, and the right one."""
    answers = answered(out)
    ids = {f"{i}-{k}" for i in range(FILES) for k in range(ROWS)}
    assert len(answers) == len(ids) and set(answers.id) == ids
    said = TfidfClassifier.load(given / "model").predict(answers.text.tolist())
    assert (answers.label.to_numpy() == said).all()
    kinds = {p.suffix for p in out.rglob("*") if p.is_file()}
    assert kinds <= {".parquet", ".csv", ".json", ".lock"}  # nothing half done is left


@pytest.fixture(scope="module")
def cluster():
    """Two machines of one core each; a test may take one away, and gives it back."""
    with scale.small_cluster(2) as cluster:
        yield cluster


def test_every_row_has_its_answer_and_a_second_call_has_nothing_to_do(given, cluster, tmp_path):
    table = scale.score_folder(*where(given, tmp_path), address=cluster.address, verbose=False)
    whole(given, tmp_path)
    assert len(table) == FILES and (table.rows == ROWS).all() and (table.error == "").all()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("[!.]*.parquet")}
    again = scale.score_folder(*where(given, tmp_path), address=cluster.address, verbose=False)
    assert len(again) == 0
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("[!.]*.parquet")}


def where(given, out):
    """The folders that `score_folder` is given."""
    return given / "reviews", out, given / "model"


def test_a_machine_that_dies_costs_no_row_and_doubles_none(given, cluster, tmp_path):
    def die():
        while len([*tmp_path.rglob("[!.]*.parquet")]) < 3:
            time.sleep(0.02)
        cluster.remove_node(cluster.machines.pop(), allow_graceful=False)
        left.append(FILES - len([*tmp_path.rglob("[!.]*.parquet")]))

    left, killer = [], threading.Thread(target=die)
    killer.start()
    scale.score_folder(*where(given, tmp_path), address=cluster.address, verbose=False)
    killer.join()
    cluster.machines.append(cluster.add_node(num_cpus=1))
    assert left[0] > 0  # it died in the middle
    whole(given, tmp_path)


RUN = """
import sys
from sentiment_course.scale import score_folder
score_folder(*sys.argv[1:4], address=sys.argv[4], verbose=False)
"""


def run(given, out, cluster):
    """The same in a program of its own."""
    command = [sys.executable, "-c", RUN, *map(str, where(given, out)), cluster.address]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_program_that_is_killed_and_started_again_does_what_is_left(given, cluster, tmp_path):
    for answers in (1, 15, 40):
        program = run(given, tmp_path, cluster)
        while len([*tmp_path.rglob("[!.]*.parquet")]) < answers and program.poll() is None:
            time.sleep(0.01)
        program.kill()
        program.wait()
    program = run(given, tmp_path, cluster)
    assert program.wait(120) == 0
    whole(given, tmp_path)


def test_what_is_wrong_with_a_file_is_told_and_stops_nobody(given, cluster, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("text\ngood\nbad\n")
    (tmp_path / "in/b.csv").write_text("stars\n1\n")
    (tmp_path / "in/c.csv").write_bytes(b"")
    (tmp_path / "in/d.parquet").write_bytes(b"PAR1")
    (tmp_path / "in/e.jsonl").write_text('{"text": ["a", "list"]}\n')
    (tmp_path / "in/f.jsonl").write_text('{"text": "a", "s": "four"}\n{"text": "b", "s": 5}\n')
    (tmp_path / "in/g.jsonl").write_text('{"text": "a", "n": 123456789012345678901234567890}\n')
    (tmp_path / "in/readme.md").write_text("not reviews")
    table = scale.score_folder(
        tmp_path / "in", tmp_path / "out", given / "model", address=cluster.address, verbose=False
    )
    errors = table.set_index("file").error
    assert errors["a.csv"] == "" and len(answered(tmp_path / "out")) == 2
    for name, says in (("b.csv", "no column 'text'"), ("c.csv", "empty"), ("d.parquet", "Parquet"),
                       ("e.jsonl", "row 1"), ("f.jsonl", ""), ("g.jsonl", "")):  # fmt: skip
        assert says in errors[name], errors[name]
    told = pd.read_csv(tmp_path / "out/told.csv", keep_default_na=False).set_index("file").error
    assert told.to_dict() == errors.to_dict()


def test_answers_inside_the_folder_of_reviews_are_no_reviews(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("text\ngood\n")
    (tmp_path / "scored").mkdir()
    (tmp_path / "scored/a.csv.parquet").write_bytes(b"")
    assert list(scale.units(tmp_path, tmp_path / "scored")) == [tmp_path / "a.csv"]
    monkeypatch.chdir(tmp_path)
    assert list(scale.units(Path("."), tmp_path / "x/../scored")) == [tmp_path / "a.csv"]
    (tmp_path / "in").mkdir()
    (tmp_path / "in/b.csv").write_text("text\ngood\n")
    assert list(scale.units(tmp_path / "in", tmp_path)) == [tmp_path / "in/b.csv"]


def test_answers_of_another_model_or_column_are_not_taken_for_these(given, tmp_path):
    scale.one_for_all(tmp_path, {"model": "a", "column": "text"})
    scale.one_for_all(tmp_path, {"model": "a", "column": "text"})
    with pytest.raises(ValueError, match="another model or column"):
        scale.score_folder(*where(given, tmp_path))


def test_a_model_that_was_trained_again_is_loaded_again(tmp_path):
    for label in ("good", "fine"):
        TfidfClassifier().fit(["a", "b"] * 5, [label, "bad"] * 5).save(tmp_path / "model")
        assert label in scale.loaded(tmp_path / "model").classes_


def test_what_cannot_be_done_is_said_before_any_work(given, tmp_path):
    with pytest.raises(ValueError, match="no folder"):
        scale.score_folder(tmp_path / "none", tmp_path, given / "model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no file of reviews"):
        scale.score_folder(tmp_path / "empty", tmp_path, given / "model")
    with pytest.raises(ValueError, match="another folder"):
        scale.score_folder(given / "reviews", given / "reviews", given / "model")
    with pytest.raises(ValueError, match="no classifier|no model|is no"):
        scale.score_folder(given / "reviews", tmp_path, tmp_path / "nothing")


def test_without_ray_a_sentence_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match="pip install ray"), scale.connected(None):
        pass


def test_a_bill():
    one, ten = scale.bill(3.6e6, 100, 1, 0.5), scale.bill(3.6e6, 100, 10, 0.5)
    assert one == {"hours": 10, "price": 5} and ten == {"hours": 1, "price": 5}
    for wrong in ((-1, 1, 1), (1, 0, 1), (1, 1, 0), (float("nan"), 1, 1)):
        with pytest.raises(ValueError):
            scale.bill(*wrong)


def test_what_is_lost_to_deaths_is_what_theory_says():
    with pytest.raises(ValueError, match="shorter"):
        scale.wasted(1000, 1)
    for hours in (20, 300):
        x = 1e-3 * hours
        exact = (np.exp(x) - 1 - x) / x
        assert scale.wasted(hours, 1e-3) == pytest.approx(exact, rel=0.05)


def test_the_checkers_know_right_from_wrong():
    assert check_cores_needed(lambda n, rate, hours: -int(-n // (rate * 3600 * hours)))
    assert not check_cores_needed(lambda n, rate, hours: n / (rate * 3600 * hours))
    assert check_missing(lambda units, done: [u for u in dict.fromkeys(units) if u not in done])
    assert not check_missing(lambda units, done: [*set(units) - set(done)] if units else [1])
