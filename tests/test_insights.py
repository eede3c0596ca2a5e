"""A file of reviews becomes tables, figures and one page, whatever stands in the file."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sentiment_course import insights as room
from sentiment_course.insights import insights
from sentiment_course.market import Rates, word_vectors

for library in ("phonenumbers", "stdnum"):
    pytest.importorskip(library)

GOOD, BAD = "lovely fine superb", "awful broken dreadful"
THINGS = {"battery": "battery charger hours", "screen": "screen display pixels",
          "seller": "seller parcel courier"}  # fmt: skip


@pytest.fixture(autouse=True)
def cheap_judge(monkeypatch):
    """Judge by six words, so that no test waits for an encoder; rates as of a real classifier."""

    def praise(texts, vectors):
        signs = [sum(t.count(w) for w in GOOD.split()) - sum(t.count(w) for w in BAD.split())
                 for t in texts]  # fmt: skip
        return np.array(signs, float) + 0.1

    judge = room._Judge(praise, word_vectors, Rates(400, 360, 400, 360), "on invented clauses")
    monkeypatch.setattr(room, "_english", lambda model: judge)


def reviews(count=120, seed=0):
    """Reviews of three clauses; the battery is blamed, the screen praised, the seller either."""
    rng, rows = np.random.default_rng(seed), []
    chance = {"battery": 0.15, "screen": 0.9, "seller": 0.5}
    for i in range(count):
        parts = []
        for thing, words in THINGS.items():
            side = GOOD if rng.random() < chance[thing] else BAD
            said = " ".join(
                [*rng.choice(words.split(), 2, replace=False), rng.choice(side.split())]
            )
            parts.append(f"{said} for me {i}.")
        rows.append(" ".join(parts))
    return rows


def written(tmp_path, table, **options):
    """What `insights` finds in `table`, the notes, and the folder it wrote."""
    path, out, notes = tmp_path / "reviews.csv", tmp_path / "out", []
    table.to_csv(path, index=False)
    found = insights(path, out, note=notes.append, **options)
    return found, " ".join(notes), out


def test_the_page_says_what_is_good_what_is_bad_how_sure_and_what_next(tmp_path):
    found, _, out = written(tmp_path, pd.DataFrame({"text": reviews()}))
    page = (out / "index.html").read_text(encoding="utf-8")
    boxes = dict(re.findall(r'<div class="card"><h2>(.+?)</h2>(.*?)</div>', page, re.S))
    assert list(boxes) == ["What is good", "What is bad", "How sure", "What next"]
    words = lambda text: re.findall("battery|charger|hours|screen|display|pixels", text)  # noqa: E731
    assert words(boxes["What is good"]) and not set(words(boxes["What is good"])) & {"battery"}
    assert set(words(boxes["What is bad"])) <= {"battery", "charger", "hours"}
    assert words(boxes["What is bad"]) and words(boxes["What next"])
    assert "90% of the praise" in boxes["How sure"] and "%" in boxes["How sure"]
    assert found.plan.after.sum() == pytest.approx(30)


def test_all_files_are_there_and_agree(tmp_path):
    dates = pd.date_range("2024-01-01", periods=120, freq="4D").strftime("%Y-%m-%d")
    table = pd.DataFrame({"text": reviews(), "date": dates, "product": ["a", "b"] * 60})
    found, _, out = written(tmp_path, table)
    names = {p.name for p in out.iterdir()}
    assert names >= {"index.html", "insights.json", "aspects.csv", "quotes.csv", "plan.csv",
                     "praise.svg", "trend.csv", "trend.svg", "groups.csv"}  # fmt: skip
    told = json.loads((out / "insights.json").read_text(encoding="utf-8"))
    aspects = pd.read_csv(out / "aspects.csv")
    assert [a["aspect"] for a in told["aspects"]] == aspects.aspect.tolist()
    assert told["reviews"] == 120 and told["overall"]["value"] == pytest.approx(found.overall.value)
    assert "<svg" in (out / "trend.svg").read_text(encoding="utf-8")


def test_no_planted_secret_reaches_any_file(tmp_path):
    file = Path(__file__).parent / "planted.tsv"
    with open(file, encoding="utf-8", newline="") as lines:
        planted = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    texts = reviews() + [row["text"].replace("⏎", "\n") for row in planted]
    found, notes, out = written(tmp_path, pd.DataFrame({"text": texts}))
    everything = notes + "".join(p.read_text(encoding="utf-8") for p in out.iterdir())
    assert [row["secret"] for row in planted if row["secret"] in everything] == []
    assert sum(found.masked["kinds"].values()) >= 300


def test_a_script_in_a_review_is_shown_and_never_a_tag(tmp_path):
    texts = [t.replace("battery", "battery <script>alert(1)</script>") for t in reviews()]
    _, _, out = written(
        tmp_path, pd.DataFrame({"text": texts, "product": ["<img src=x>", "b"] * 60})
    )
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page and "<img" not in page and "&lt;script&gt;" in page
    assert "default-src 'none'" in page and "http" not in page.replace("http-equiv", "").replace(
        "http://www.w3.org/2000/svg", ""
    )


def test_a_cell_that_a_spreadsheet_would_run_is_made_text(tmp_path):
    starts = ["=1+1 ", "+1 ", "-1+1 ", "@x ", "＝1+1 "]
    texts = [starts[i % 5] + text for i, text in enumerate(reviews())]
    _, _, out = written(tmp_path, pd.DataFrame({"text": texts}))
    for path in out.glob("*.csv"):
        for row in csv.reader(path.read_text(encoding="utf-8").splitlines()):
            for cell in row:
                is_number = re.fullmatch(r"-?[\d.]+(e-?\d+)?", cell)
                assert is_number or cell.strip()[:1] not in set("=+-@＝＋－＠"), path.name


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"text": ["The battery is awful for me."]}, "too few reviews"),
        ({"text": ["The battery is awful."] * 1000}, "counted once: 999"),
        ({"comment": reviews(30)}, "taken from 'comment'"),
        ({"text": [*reviews(30), " "]}, "without a text, left out: 1"),
        (
            {
                "text": [
                    *reviews(30),
                    *["电池很差，屏幕很好。"] * 1,
                    "屏幕不错",
                    "物流太慢",
                    "客服好",
                ]
            },
            "in Chinese",
        ),
        (
            {"text": [f"Батарея плохая {i}, экран отличный." for i in range(30)]},
            "neither in English",
        ),
        ({"text": ["word " * 10_000, *reviews(20)]}, ""),
        ({"text": ["<p>Good <b>battery</b>,<br/>awful screen for me.</p>", *reviews(20)]}, ""),
        ({"text": reviews(30), "group": ["a"] * 27 + ["b"] * 3}, ""),
        ({"text": reviews(30), "date": ["nonsense"] * 29 + ["2024-01-05"]}, "cannot be read"),
        ({"text": reviews(30), "stars": ["five"] * 30}, ""),
    ],
)
def test_whatever_stands_in_the_file_there_is_a_page_and_what_was_left_out_is_said(
    tmp_path, table, said
):
    found, notes, out = written(tmp_path, pd.DataFrame(table))
    assert said in notes and (out / "index.html").stat().st_size > 3000
    if said:
        page = (out / "index.html").read_text(encoding="utf-8")
        assert said.replace("'", "&#x27;") in page
    assert len(found.reviews) >= 1


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"n": [1, 2]}, "no column of texts"),
        ({"text": [" ", " "]}, "no text in the column"),
        ({"text": ["!!!", "..."]}, "no review has a word"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence_and_nothing_written(tmp_path, table, why):
    with pytest.raises(ValueError, match=why):
        written(tmp_path, pd.DataFrame(table))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_kept_unless_forced(tmp_path):
    table = pd.DataFrame({"text": reviews(20)})
    written(tmp_path, table)
    with pytest.raises(ValueError, match="--force"):
        written(tmp_path, table)
    written(tmp_path, table, force=True)


@pytest.mark.parametrize(
    "written_as",
    ["2024-03-05", "05.03.2024", "March 5, 2024", "2024年3月5日", "20240305", "2024-03-05T10:00Z"],
)
def test_dates_are_read_in_every_form(written_as):
    dates = room._dates([written_as, "25.12.2023", "soon", "12", None])
    assert dates.dt.strftime("%Y-%m-%d").fillna("").tolist() == [
        "2024-03-05", "2023-12-25", "", "", "",
    ]  # fmt: skip


def test_stars_are_what_blame_costs_where_there_are_stars(tmp_path):
    texts = reviews(200)
    stars = [2 if any(w in t.split(".")[0] for w in BAD.split()) else 5 for t in texts]
    found, _, out = written(tmp_path, pd.DataFrame({"text": texts, "stars": stars}))
    dearest = found.aspects.sort_values("cost", ascending=False).iloc[0]
    assert found.outcome == "stars" and re.search("battery|charger|hours", dearest.aspect)
    assert dearest.cost_low > 0.3 and dearest.cost > 5 * found.aspects.cost.median()


def test_a_large_file_is_drawn_from_by_lot_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "LARGE", 1000)
    monkeypatch.setattr(room, "ROWS", 50)
    found, notes, _ = written(tmp_path, pd.DataFrame({"text": reviews(300)}))
    assert len(found.reviews) == 50 and "300 reviews: 50 of them were drawn by lot" in notes
    ids = [int(re.findall(r"\d+", text)[0]) for text in found.reviews.text]
    assert min(ids) < 100 and max(ids) > 200


def test_more_clauses_than_are_looked_at_are_sampled_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "CLAUSES", 100)
    found, notes, _ = written(tmp_path, pd.DataFrame({"text": reviews(200)}))
    assert len(found.clauses) <= 110 and "drawn by lot" in notes


def test_a_model_with_other_labels_is_refused_before_any_work(tmp_path):
    class Stars:
        classes_ = np.array([1, 2, 3, 4, 5])

    with pytest.raises(ValueError, match="one of them called positive"):
        written(tmp_path, pd.DataFrame({"text": reviews(20)}), model=Stars())


def test_the_command_writes_the_page_and_says_where(tmp_path, capsys, monkeypatch):
    from sentiment_course.cli import main

    monkeypatch.chdir(tmp_path)  # where there is no general classifier
    pd.DataFrame({"text": reviews(40)}).to_csv(tmp_path / "r.csv", index=False)
    command = ["insights", str(tmp_path / "r.csv"), "--out", str(tmp_path / "out")]
    for code, said in [(0, "40 reviews"), (1, "add --force")]:
        with pytest.raises(SystemExit) as stopped:
            main(command)
        assert (stopped.value.code or 0) == code
        printed = capsys.readouterr()
        assert said in printed.out + printed.err and "Traceback" not in printed.err
    assert (tmp_path / "out" / "index.html").is_file()
