"""The general classifier: what it learns from and what not, that it is saved, judged and found."""

import os
import subprocess
import sys
import time
from string import ascii_lowercase

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file
from test_languages import small_file

from sentiment_course import fitting, general, ladder, languages
from sentiment_course.doctor import quiet
from sentiment_course.glossary import course_table
from sentiment_course.market import clause_key
from sentiment_course.reviews import text_key

with quiet():
    from sentiment_course.bert import BertClassifier

FIFTY = course_table("fifty.tsv")


@pytest.mark.parametrize("source", general.ALL)
def test_nothing_is_learned_from_and_judged_on(source):
    learn, test = general.parts(source)
    assert not {*map(text_key, learn.text)} & {*map(text_key, test.text)}
    learned = {*map(fitting.near_key, general.to_learn(general.ALL).text)}
    assert not learned & {*map(fitting.near_key, test.text)}
    for part in (learn, test):
        assert part.certainty.between(0.5, 1).all() and set(part.label) == {"negative", "positive"}
        assert part.groupby("text").label.nunique().max() == 1


def test_the_clauses_marked_by_hand_are_of_reviews_it_has_not_learned_from():
    learned = general.parts("amazon")[0].id.str.split("_").str[0].astype(int)
    assert not {*learned} & {*clause_key().review} and len(learned) > 2_000


def test_of_a_large_source_it_learns_from_a_part():
    learned = general.to_learn(general.ALL)
    most = sum(min(len(general.parts(s)[0]), general.MOST) for s in general.ALL)
    assert 0.99 * most < len(learned) < most  # without what is held out elsewhere
    assert set(general.to_learn(["amazon"]).text) <= set(general.parts("amazon")[0].text)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The general classifier with a small random encoder, and few texts, in this process."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *ascii_lowercase, "很", "好"]
    folder, whole = tmp_path / "encoder", general.parts
    languages.write_unpacked(languages.read_packed(small_file(pieces)[0]), folder)
    for module in (languages, general):
        monkeypatch.setattr(module, "unpacked", lambda: folder)
    monkeypatch.setattr(
        general, "parts", lambda s: tuple(part.groupby("label").head(4) for part in whole(s))
    )
    monkeypatch.setattr(general, "in_own_process", lambda work, *given: work(*given))
    return tmp_path / "models/reviews"


def test_it_is_trained_saved_and_judged(small):
    table = general.train_general(small)
    assert table.source.tolist() == general.ALL and (table.texts == 8).all()
    assert [p.name for p in small.parent.iterdir()] == ["reviews"]  # nothing unfinished is left
    held_out = fitting.kept_figures(small)
    assert fitting.is_general(small) and held_out["test_size"] == 40
    assert held_out["accuracy"] == pytest.approx(table.accuracy.mean())
    assert held_out["sources"] == dict(zip(table.source, table.accuracy, strict=True))


def test_it_has_every_word_vector_and_answers_as_the_network_does(small):
    general.train_general(small)
    published = load_file(languages.unpacked() / "model.safetensors")[general.WORDS]
    saved = load_file(small / "model.safetensors")[general.WORDS]
    assert saved.dtype == np.float16 and np.array_equal(saved, published)
    network = BertClassifier.load(small)
    assert network.max_length == general.READS and network.limits == ""
    texts = ["zyx qj", "很好", "good"]
    quick = ladder.load_classifier(small)
    assert np.allclose(quick.predict_proba(texts), network.predict_proba(texts), atol=0.05)


@pytest.mark.parametrize("stopped_in", ["widen", "judged"])
def test_what_was_learned_is_not_learned_again_after_a_kill(small, monkeypatch, stopped_in):
    def killed(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(general, stopped_in, killed)
        with pytest.raises(KeyboardInterrupt):
            general.train_general(small)
    assert not small.exists()
    with monkeypatch.context() as patch:
        patch.setattr(general, "learn", lambda *given: pytest.fail("it learned again"))
        general.train_general(small)
    assert fitting.is_general(small) and [p.name for p in small.parent.iterdir()] == ["reviews"]


def test_what_was_learned_and_is_damaged_is_learned_again_the_next_time(small, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(general, "widen", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            general.train_general(small)
    [partial] = [p for p in small.parent.iterdir() if ".partial" in p.name]
    (partial / "head.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="damaged"):
        general.train_general(small)
    general.train_general(small)
    assert fitting.is_general(small)


def test_an_error_in_the_other_process_is_one_here():
    with pytest.raises(ValueError, match="invalid literal"):
        general.in_own_process(int, "x")
    with pytest.raises(RuntimeError, match="ended with 7"):
        general.in_own_process(os._exit, 7)
    with pytest.raises(MemoryError):  # as where the system kills it
        general.in_own_process(kill_me)


def kill_me():
    os.kill(os.getpid(), 9)


def test_the_other_process_ends_with_this_one_even_where_it_is_killed(tmp_path):
    code = "import time\nfrom sentiment_course.general import in_own_process\n"
    code += "if __name__ == '__main__':\n    in_own_process(time.sleep, 600)\n"
    (tmp_path / "x.py").write_text(code)
    parent = subprocess.Popen([sys.executable, tmp_path / "x.py"])
    child, tries = [], 0
    while not child and (tries := tries + 1) < 600:
        time.sleep(0.1)
        child = [
            p for p in psutil.Process(parent.pid).children() if "spawn_main" in str(p.cmdline())
        ]
    time.sleep(5)  # until it listens
    parent.kill()
    parent.wait()
    psutil.wait_procs(child, timeout=30)
    assert child and not child[0].is_running()


def test_another_model_is_not_the_general_one(tmp_path):
    assert not fitting.is_general(tmp_path)
    ladder.MajorityClassifier().fit(["a", "b"] * 2, [0, 1] * 2).save(tmp_path / "model")
    assert not fitting.is_general(tmp_path / "model")


def test_a_folder_with_a_program_in_it_is_not_the_general_one(small):
    general.train_general(small)
    (small / "saved_model.pb").write_bytes(b"")
    assert not fitting.is_general(small)


def test_fifty_sentences_written_beforehand_are_fifty():
    assert len(FIFTY) == 50 and FIFTY.text.is_unique
    assert (FIFTY.groupby("language").label.value_counts().unstack().nunique(axis=1) == 1).all()
    learned = {text_key(t) for s in general.ALL for t in general.parts(s)[0].text}
    assert not learned & {*map(text_key, FIFTY.text)}
