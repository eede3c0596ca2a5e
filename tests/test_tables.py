"""`sentiment_course.tables`: every row and value comes out as it went in, or one line says why."""

import csv
import datetime
import decimal
import gzip
import io
import json
import os
import re
import stat
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sentiment_course import formats, tables
from sentiment_course.tables import (
    check_fits,
    check_out,
    csv_text,
    read_labelled,
    read_lines,
    read_table,
    same_label,
    text_cells,
    write_table,
    write_tables,
)

pytestmark = pytest.mark.filterwarnings("error")
thorough = settings(
    deadline=None, max_examples=60, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


@pytest.fixture
def said():
    """What the reader notes; pass `said.append` as `note`."""
    return []


def write(folder, name, data):
    """A file in `folder`, from text or bytes."""
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def zipped(files):
    """The bytes of a zip archive of `files`, a dictionary."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return data.getvalue()


def workbook(folder, sheets, name="t.xlsx"):
    """An Excel file of sheets: title -> rows."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(folder / name)
    return folder / name


def values(table):
    return table.to_numpy().tolist()


def silent(sentence):
    raise AssertionError(f"there was nothing to say, but: {sentence}")


# ------------------------------------------------------------------ any table, and back

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=15)
CELL |= st.sampled_from(
    ["NA", "null", "007", "1.0", "", " x ", "=1+1", '\\"', "\\", '"', '""', "\r"]
)
CELL |= st.text("\",;|\t\n\r\\' a\ufeff", max_size=6)
NAME = st.text("abc ,;|\"'é好:", max_size=5).filter(lambda s: s.strip() == s)


@st.composite
def frames(draw):
    """A table of texts, numbers that stay numbers where the format can, and awkward names."""
    names = draw(st.lists(NAME, min_size=1, max_size=4, unique=True))
    row = st.lists(CELL, min_size=len(names), max_size=len(names))
    rows = draw(st.lists(row, min_size=1, max_size=5))
    return pd.DataFrame(rows, columns=names, dtype=str)


@pytest.mark.parametrize("ending", tables.ENDINGS)
def test_what_is_written_is_read_back_the_same(tmp_path, ending):
    @thorough
    @given(frames())
    @example(pd.DataFrame({"text": ['"a', 'b "']}))
    @example(pd.DataFrame({"text": ["", "", ""]}))
    @example(pd.DataFrame({"a": ["", "x", ""], "b": ["", "", ""]}))
    @example(pd.DataFrame({"a": ['x\\"', "1"], "b": ['",\\"', "2"]}))
    @example(pd.DataFrame({"a;b": ["x;y"]}))
    def check(table):
        path = tmp_path / f"t{ending}"
        write_table(table, path, force=True)
        back = read_table(path, list(table.columns), silent)
        assert list(back.columns) == list(table.columns) and values(back) == values(table)

    check()


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_numbers_and_gaps_stay_what_they_are(tmp_path, ending):
    table = pd.DataFrame(
        {"text": ["a", None], "n": [1, -(2**60)], "x": [0.1, 2.0], "b": [True, False]}
    )
    write_table(table, tmp_path / f"t{ending}")
    back = read_table(tmp_path / f"t{ending}")
    assert back.n.tolist() == table.n.tolist() and back.x.tolist() == table.x.tolist()
    assert back.b.tolist() == [True, False] and back.text.isna().tolist() == [False, True]


@pytest.mark.parametrize("size", [tables.BLOCK - 1, tables.BLOCK, 2 * tables.BLOCK + 1])
def test_no_row_is_lost_between_two_blocks(tmp_path, size):
    table = pd.DataFrame({"n": np.arange(size).astype(str), "text": "a"})
    write_table(table, tmp_path / "t.csv")
    assert read_table(tmp_path / "t.csv").n.tolist() == table.n.tolist()


@pytest.mark.parametrize(("ending", "separator"), [("csv", ","), ("tsv", "\t")])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_what_others_quote_is_read(tmp_path, ending, separator, mark, line_end):
    @thorough
    @given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6))
    def check(rows):
        out = io.StringIO()
        writer = csv.writer(
            out, delimiter=separator, lineterminator=line_end, quoting=csv.QUOTE_ALL
        )
        writer.writerows([("text", "label"), *rows])
        path = write(tmp_path, f"t.{ending}", mark + out.getvalue())
        assert values(read_table(path, ["text", "label"], silent)) == [list(r) for r in rows]

    check()


def test_values_stay_what_they_were(tmp_path):
    path = write(tmp_path, "t.csv", "text,stars,when\nNA,007,2020-01-01\n,1.50,null\n")
    assert values(read_table(path)) == [["NA", "007", "2020-01-01"], ["", "1.50", "null"]]
    lines = '{"text": "NA", "created_at": "1577836800", "stars": 5}\n\n{"text": "1", "stars": null}'
    table = read_table(write(tmp_path, "t.jsonl", lines))
    assert table.text.tolist() == ["NA", "1"] and table.created_at[0] == "1577836800"
    assert table.stars[0] == 5 and isinstance(table.stars[0], int)


def test_a_text_of_200_000_characters(tmp_path):
    usual = csv.field_size_limit()
    long = "good, " * 33_333
    table = read_table(write(tmp_path, "t.csv", f'text,label\n"{long}",x\nshort,y\n'))
    assert table.text[0] == long and len(table) == 2
    assert csv.field_size_limit() == usual < len(long)  # other readers keep their limit


# ------------------------------------------------------------------ quotation marks

SST = """\
sentence\tlabel
" never again " is what my wife said\t0
The kettle boils fast.\t1
"superb , says the sleeve\t0
ends with a mark "\t1
"Worst blender ever "\t0
"a" and "b"\t1
"""


def test_a_quotation_mark_in_a_tsv_is_a_character(tmp_path):
    table = read_table(write(tmp_path, "t.tsv", SST), ["sentence", "label"], silent)
    assert values(table) == [line.split("\t") for line in SST.splitlines()[1:]]


@thorough
@given(
    st.lists(st.tuples(st.text('"a ', max_size=5), st.sampled_from("01")), min_size=1, max_size=8)
)
def test_a_tsv_keeps_as_many_rows_as_it_has_lines(tmp_path, rows):
    lines = [f"{text}\t{label}" for text, label in rows]
    path = write(tmp_path, "t.tsv", "\n".join(["text\tlabel", *lines]))
    assert len(read_table(path, [], silent)) == len(rows)


def test_a_text_is_closed_where_a_reading_of_it_fails():
    opened = []

    def again():
        opened.append(io.StringIO('text\tlabel\n"a"b\t1\nc\t2\n', newline=""))
        return opened[-1]

    reading = formats.Reading(formats.Source(again), "\t", formats.QUOTED)
    assert "quotation mark" in reading.error and opened
    assert all(stream.closed for stream in opened)


def test_cells_of_a_tsv_that_are_quoted_as_a_whole(tmp_path):
    path = write(
        tmp_path,
        "t.tsv",
        'text\tlabel\n"Good ""old"" film"\t1\nBad\t0\n"two\tor\tmore\nlines"\t1\n',
    )
    assert values(read_table(path)) == [
        ['Good "old" film', "1"],
        ["Bad", "0"],
        ["two\tor\tmore\nlines", "1"],
    ]
    path = write(tmp_path, "t.tsv", '"text"\t"label"\n"a\n1\t"\t"x"\n')
    assert values(read_table(path)) == [["a\n1\t", "x"]]


@pytest.mark.parametrize("kind", [".csv", ".tsv"])
def test_a_mark_that_opens_a_cell_swallows_no_rows(tmp_path, kind):
    """In a CSV it is refused, and the line named; in a TSV it is read."""
    separator = "\t" if kind == ".tsv" else ","
    rows = [["Fine.", "1"], ['"superb', "0"], ["Good.", "1"], ['"so', "1"], ["Bad.", "0"]]
    lines = "\n".join(map(separator.join, [["text", "label"], *rows])) + "\n"
    path = write(tmp_path, f"t{kind}", lines)
    if kind == ".tsv":
        assert values(read_table(path)) == rows
    else:
        with pytest.raises(ValueError, match="^t.csv, line 3 opens a cell with a quotation mark"):
            read_table(path)


def test_quotation_marks_behind_a_backslash(tmp_path, said):
    data = (
        'text,label\n"They called it \\"a gem\\" and meant it",1\n"C:\\dir\\\\",0\n"a, \\"b\\"",1\n'
    )
    table = read_table(write(tmp_path, "t.csv", data), [], said.append)
    assert table.text.tolist() == ['They called it "a gem" and meant it', "C:\\dir\\\\", 'a, "b"']
    assert said == ['t.csv: quotation marks written \\" were read as "']


def test_a_backslash_at_the_end_of_a_cell_is_a_backslash(tmp_path):
    path = write(tmp_path, "t.csv", 'text,label\n"C:\\dir\\",0\n"a ""b""",1\n')
    assert read_table(path, [], silent).text.tolist() == ["C:\\dir\\", 'a "b"']


# ------------------------------------------------------------------ blank lines, short rows


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_blank_line_of_one_column_is_a_row(tmp_path, ending, line_end):
    lines = ["text", "Good kettle.", "", "Bad kettle.", "", "Fine."]
    path = write(tmp_path, f"t{ending}", line_end.join(lines) + line_end)
    assert read_table(path, ["text"], silent).text.tolist() == lines[1:]


def test_blank_lines_of_several_columns(tmp_path):
    path = write(tmp_path, "t.csv", "\n\ntext,label\nGood,1\n\n  \nBad,0\n\n\n")
    assert values(read_table(path, [], silent)) == [
        ["Good", "1"],
        ["", ""],
        ["  ", ""],
        ["Bad", "0"],
    ]


def test_short_rows_are_filled_and_said(tmp_path, said):
    path = write(tmp_path, "t.csv", "text,label\nGood\nbut late,1\n")
    assert values(read_table(path, [], said.append)) == [["Good", ""], ["but late", "1"]]
    assert said == ["rows of t.csv with fewer values than columns, the rest empty: 1"]


def test_commas_at_the_end_of_every_row(tmp_path):
    path = write(tmp_path, "t.csv", "text,label\nGood,1,\nBad,0,,\n")
    assert values(read_table(path, [], silent)) == [["Good", "1"], ["Bad", "0"]]
    path = write(tmp_path, "t.csv", "text,label,\nGood,1,\n")
    assert list(read_table(path, [], silent).columns) == ["text", "label", ""]


# ------------------------------------------------------------------ names of columns


def test_columns_without_a_name_or_with_the_same_come_back(tmp_path):
    data = "text,note,,note\nGood,a,b,c\n"
    table = read_table(write(tmp_path, "t.csv", data), ["text"], silent)
    assert csv_text(table) == data
    assert text_cells(table, "text", "t.csv") == ["Good"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.csv", "text,text\na,b\n"),
        ("t.csv", "text, text \na,b\n"),
        ("t.tsv", "text\ttext\na\tb\n"),
    ],
)
def test_a_column_that_is_used_must_be_there_once(tmp_path, name, data):
    with pytest.raises(ValueError, match="has 2 columns 'text': rename all but one"):
        read_table(write(tmp_path, name, data), ["text"])


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_what_cannot_hold_a_name_twice_is_not_written(tmp_path, ending):
    table = pd.DataFrame([["a", "b", "c"]], columns=["text", "note", "note"])
    with pytest.raises(ValueError, match=f"^{ending} cannot hold two columns 'note': write .csv"):
        write_table(table, tmp_path / f"t{ending}")
    assert list(tmp_path.iterdir()) == []


def test_names_are_taken_without_outer_blanks_and_shown_in_quotes(tmp_path):
    path = write(tmp_path, "t.csv", " text ,label\x1b[31m\na,b\n")
    assert read_table(path, ["text"]).text.tolist() == ["a"]
    with pytest.raises(ValueError, match=r"its columns are: 'text', 'label\\x1b\[31m'$"):
        read_table(path, ["stars"])


# ------------------------------------------------------------------ separators

ROWS = [["Good, but late; really | or not", "1"], ["Bad, late", "0"]]


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
@pytest.mark.parametrize("separator", list(tables.SEPARATORS))
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("columns", [[], ["text"]])
def test_the_header_says_the_separator(tmp_path, said, ending, separator, quoting, columns):
    out = io.StringIO()
    csv.writer(out, delimiter=separator, quoting=quoting).writerows([["text", "label"], *ROWS])
    table = read_table(write(tmp_path, f"t{ending}", out.getvalue()), columns, said.append)
    assert values(table) == ROWS
    usual = separator == ("," if ending == ".csv" else "\t")
    assert said == ([] if usual else [f"t{ending} is divided by {tables.SEPARATORS[separator]}"])


@pytest.mark.parametrize("first", ["sep=;\r\n", '"sep=;"\n', "SEP=;\n"])
def test_excel_says_the_separator_in_a_line_of_its_own(tmp_path, said, first):
    path = write(tmp_path, "t.csv", f"{first}text;label\nGood, but late;1\n")
    assert values(read_table(path, ["text"], said.append)) == [["Good, but late", "1"]]
    assert said == ["t.csv is divided by semicolons"]
    path = write(tmp_path, "t.csv", f"{first}text;label\nGood;late;1\n")
    with pytest.raises(ValueError, match="line 3 has 3 values for 2 columns"):
        read_table(path, [], said.append)


def test_semicolons_in_a_header_of_one_column_are_no_separator(tmp_path):
    path = write(tmp_path, "t.csv", "what; and why\nGood\nBad; late\n")
    assert read_table(path, ["what; and why"], silent).iloc[:, 0].tolist() == ["Good", "Bad; late"]


# ------------------------------------------------------------------ encodings

TEXTS = {
    "cp1252": ["I can’t fault it", "“Great” – really", "5€ wasted", "Très bon hôtel", "so bad"],
    "gb18030": ["这部电影真的很好看，演员也不错", "太难看了，浪费时间", "书的质量很好，物流很快"],
    "big5": ["這部電影真的很好看，演員也不錯", "太難看了，浪費時間", "書的品質很好，物流很快"],
    "cp1251": ["Очень хороший фильм", "Ужасно, деньги на ветер", "Номер чистый и уютный"],
    "cp932": ["とても面白い映画でした", "最悪です、二度と買いません", "部屋がきれいで良かった"],
    "cp949": ["정말 재미있는 영화였다", "최악이다, 다시는 안 산다", "방이 깨끗하고 좋았다"],
    "cp1250": ["Žluťoučký kůň příliš dobrý", "Špatné zboží, nedoporučuji", "Źle, nie kupujcie"],
    "utf-16": ["很好看", "good"],
    "utf-16-le": ["good ’ film", "很好看"],
    "utf-16-be": ["good ’ film", "很好看"],
    "utf-32": ["很好看", "good"],
}


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("encoding", TEXTS)
def test_other_encodings_are_read_and_said(tmp_path, said, encoding, ending):
    table = pd.DataFrame({"text": TEXTS[encoding], "label": "a"})
    write_table(table, tmp_path / f"u{ending}")
    data = (tmp_path / f"u{ending}").read_text(encoding="utf-8").encode(encoding)
    back = read_table(write(tmp_path, f"t{ending}", data), ["text"], said.append)
    assert back.text.tolist() == TEXTS[encoding]
    assert len(said) == 1 and said[0].startswith(
        f"t{ending} is not in UTF-8 and was read as {encoding}"
    )
    assert TEXTS[encoding][0] in said[0] or encoding.startswith("utf")


def test_the_only_odd_byte_may_stand_far_down(tmp_path, said):
    data = "text\n" + "all is well with this one\n" * 5000 + "I can’t fault it\n"
    table = read_table(write(tmp_path, "t.csv", data.encode("cp1252")), ["text"], said.append)
    assert table.text.iloc[-1] == "I can’t fault it"
    assert "as cp1252, line 5002 as 'I can’t fault it'" in said[0]


def test_one_bad_byte_does_not_make_another_encoding_of_it(tmp_path):
    data = ("text\n" + "很好看\n" * 20).encode() + b"caf\xe9\n" + "不好\n".encode()
    with pytest.raises(ValueError, match="^t.csv, line 22 is not in UTF-8, as the rest is"):
        read_table(write(tmp_path, "t.csv", data), [], silent)
    data = "text\n很好\n".encode("utf-16")[:-1]
    with pytest.raises(ValueError, match="^t.csv, line 2 is not in UTF-16, as the rest is"):
        read_table(write(tmp_path, "t.csv", data), [], silent)


@pytest.mark.parametrize("before", [0, 100_000])
def test_a_zero_byte_gets_the_same_answer_wherever_it_stands(tmp_path, before):
    data = "text,label\n" + "good,1\n" * before + "a\0b,0\n"
    path = write(tmp_path, "t.csv", data)
    table = read_table(path, [], silent)
    assert table.text.iloc[-1] == "a\0b" and len(table) == before + 1
    write_table(table, tmp_path / "o.csv")
    assert (tmp_path / "o.csv").read_bytes() == data.encode()


# ------------------------------------------------------------------ JSON

ROW = {"text": "Good", "stars": 5, "more": {"a": [1, None]}}


@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t.ndjson", "T.JSON", "t.jsonl.gz"])
@pytest.mark.parametrize(
    "data",
    [
        json.dumps(ROW) + "\n\n" + json.dumps(ROW) + "\n",
        json.dumps([ROW, ROW], indent=2),
        json.dumps([ROW, ROW]),
        json.dumps(ROW, indent=2) + "\n" + json.dumps(ROW, indent=2),
        "\ufeff" + json.dumps(ROW) + "\r\n" + json.dumps(ROW),
    ],
)
def test_json_in_lines_in_a_list_or_indented(tmp_path, name, data):
    data = data.encode()
    path = write(tmp_path, name, gzip.compress(data) if name.endswith("gz") else data)
    assert read_table(path, ["text"], silent).to_dict("records") == [ROW, ROW]


def test_half_a_character_is_read_as_such(tmp_path, said):
    lines = '{"text": "\\ud83d\\ude0d"}\n{"text": "a\\uD800", "\\udc00": ["\\ud83d", 1]}\n'
    table = read_table(write(tmp_path, "t.jsonl", lines), [], said.append)
    assert table.text.tolist() == ["😍", "a\ufffd"] and table["\ufffd"][1] == ["\ufffd", 1]
    assert said == ["rows of t.jsonl with half a character, read as \ufffd: 1, from row 2 on"]


def test_json_that_is_written_is_valid_json(tmp_path):
    inf = float("inf")
    table = pd.DataFrame(
        {"x": [inf, -inf, np.nan, 1.5], "y": [[inf, 2, "z"], {"a": -inf}, None, "Infinity"]}
    )
    write_table(table, tmp_path / "t.jsonl")
    lines = (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line, parse_constant=silent) for line in lines] == [
        {"x": "Infinity", "y": ["Infinity", 2, "z"]}, {"x": "-Infinity", "y": {"a": "-Infinity"}},
        {"x": None, "y": None}, {"x": 1.5, "y": "Infinity"},
    ]  # fmt: skip


# ------------------------------------------------------------------ Parquet, gzip


def test_a_named_index_of_parquet_is_a_column(tmp_path):
    table = pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"], "n": [1, 2]})
    path = tmp_path / "t.parquet"
    for index in (["text"], ["text", "label"]):
        table.set_index(index).to_parquet(path)
        back = read_table(path, ["text", "label"])
        assert back[["text", "label", "n"]].equals(table) and back.index.equals(pd.RangeIndex(2))
    table[table.n > 1].to_parquet(path)
    assert read_table(path).to_dict("records") == [{"text": "b", "label": "y", "n": 2}]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".json"])
def test_gzip_is_unpacked(tmp_path, ending):
    table = pd.DataFrame({"text": ["a, b", "c"], "label": ["1", "0"]})
    write_table(table, tmp_path / (f"u{ending}" if ending != ".json" else "u.jsonl"))
    data = next(tmp_path.glob("u.*")).read_bytes()
    assert values(
        read_table(write(tmp_path, f"T{ending.upper()}.GZ", gzip.compress(data)))
    ) == values(table)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("extra", [{}, {"__MACOSX/._t": "x", "folder/": ""}])
def test_one_file_in_a_zip_is_unpacked(tmp_path, ending, extra):
    table = pd.DataFrame({"text": ["a, b", "c"], "label": ["1", "0"]})
    write_table(table, tmp_path / f"u{ending}")
    data = zipped({f"folder/u{ending}": (tmp_path / f"u{ending}").read_bytes()} | extra)
    assert values(read_table(write(tmp_path, "t.ZIP", data), ["text"], silent)) == values(table)


# ------------------------------------------------------------------ Excel


def test_excel_is_read_as_it_is(tmp_path):
    when = datetime.datetime(2020, 1, 2)
    rows = [[], [None, " text ", "n", "when", None, 2020], [None, "Good", 1, when, None, True],
            [], [None, None, 2.5, None, None, None], [None, "NA"], [], []]  # fmt: skip
    table = read_table(workbook(tmp_path, {"one": rows}), ["text"], silent)
    assert list(table.columns) == ["", "text", "n", "when", "", "2020"]
    assert text_cells(table, "text", "t") == ["Good", None, None, "NA"]
    assert table["n"].tolist() == [1, None, 2.5, None] and table["when"][0] == when
    assert table["2020"][0] is True


def test_a_review_that_excel_took_for_a_number_is_a_text(tmp_path):
    rows = [["text", "label"], ["Good", 1], [10, 0], [4.5, 1], [None, 0]]
    table = read_labelled(workbook(tmp_path, {"one": rows}), note=lambda sentence: None)
    assert values(table) == [["Good", 1], ["10", 0], ["4.5", 1]]


def test_of_several_sheets_the_first_that_holds_anything_is_read_and_said(tmp_path, said):
    path = workbook(tmp_path, {"empty": [], "good": [["text"], ["a"]], "more": [["x"], ["b"]]})
    assert values(read_table(path, ["text"], said.append)) == [["a"]]
    assert said == ["t.xlsx has 2 sheets: the first, 'good', is read"]
    with pytest.raises(ValueError, match="^e.xlsx is empty"):
        read_table(workbook(tmp_path, {"empty": []}, "e.xlsx"))


def test_excel_without_openpyxl_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ValueError, match="t.xlsx, type `pip install openpyxl`, or save it as CSV"):
        read_table(write(tmp_path, "t.xlsx", "any"))


# ------------------------------------------------------------------ block by block


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_blocks_are_the_whole_table_however_it_is_cut(tmp_path, monkeypatch, ending):
    rows = [{"text": f"a {i}", "n": str(i)} if i % 4 else {"text": "", "n": ""} for i in range(30)]
    table = pd.DataFrame(rows)
    path = tmp_path / f"t{ending}"
    if ending == ".json":
        path.write_text(json.dumps(rows))
    elif ending in (".csv", ".tsv"):  # blank lines, some over a border, some at the end
        sep = "," if ending == ".csv" else "\t"
        lines = [
            f"{r['text']}{sep}{r['n']}" if r["n"] else ""
            for r in [{"text": "text", "n": "n"}, *rows]
        ]
        path.write_text("\n".join([*lines, "", "", "", "", ""]))
    else:
        write_table(table, path)
    for size in (1, 2, 7, 100):
        monkeypatch.setattr(formats, "BLOCK", size)
        monkeypatch.setattr(tables, "BLOCK", size)
        blocks = tables.read_blocks(path, ["text"], silent)
        for _ in range(2):  # as often as needed
            assert values(tables.whole_table(blocks)) == values(table) and blocks.rows == 30
        assert all(list(b.columns) == ["text", "n"] for b in blocks)
        assert len(list(blocks)) > 1 or size == 100


def test_a_line_is_named_right_in_any_block(tmp_path, monkeypatch):
    for size in (1, 2, 3, 50):
        monkeypatch.setattr(formats, "BLOCK", size)
        for bad, message in [("a,b,c", "line 9 has 3 values"), ('"a"b,c', "line 9 opens a cell")]:
            path = write(
                tmp_path, "t.csv", 'text,label\na,b\n\n\n"a\n",b\n\nc,d\n' + f"{bad}\nx,y\n"
            )
            with pytest.raises(ValueError, match=message):
                read_table(path)


def test_an_unreadable_file_is_not_called_damaged(tmp_path, monkeypatch):
    def refuse(path, mode):
        raise PermissionError(13, "Permission denied", str(path))

    for name in ("t.csv", "t.parquet"):
        monkeypatch.setattr(formats, "open", refuse, raising=False)
        with pytest.raises(ValueError, match=f"^{name} cannot be read: Permission denied$"):
            read_table(write(tmp_path, name, "x"))


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.csv", "", "t.csv is empty"),
        ("t.csv", " \n\n", "t.csv is empty"),
        ("t.csv", "\ufeff", "t.csv is empty"),
        ("t.csv", b"\xff\xfe", "t.csv is empty"),
        ("t.jsonl", "", "t.jsonl is empty"),
        ("t.parquet", "", "t.parquet is not a Parquet file, or it is damaged"),
        ("t.csv", "text,label\n", "t.csv has a header but no rows"),
        ("t.csv", "text,label\n\n\n", "t.csv has a header but no rows"),
        ("t.json", "[]", "no column 'text'"),
        ("t.jsonl", "{}\n", "no column 'text'"),
        ("t.csv", "review,stars\na,b\n", "no column 'text'; its columns are: 'review', 'stars'$"),
        ("t.csv", "Text,Label\na,b\n", "its columns are: 'Text', 'Label'; do you mean 'Text'?"),
        ("t.csv", "Great film,1\nBad,0\n", "'text', and its first line looks like data: put"),
        ("t.csv", "Good,pos\nBad,pos\n", "its first line looks like data"),
        ("t.csv", f"{'long ' * 100},pos\nBad,pos\n", "its first line looks like data"),
        ("t.csv", "text,label\nGood, but late,x\nBad, late,y\n", "line 2 has 3 values for 2 c"),
        ("t.csv", "text,label\nGood,x\nBad, late,y\n", "line 3 has 3 .* holds ',' in quotes"),
        ("t.csv", 'text,label\n"two\nlines",x\nBad, late,y\n', "line 4 has 3 values"),
        ("t.csv", 'text,label\nGood,x\n"Bad,y\n', "t.csv, line 3 opens a cell with a quotation"),
        ("t.csv", 'text,label\n"Good" film,x\n', "t.csv, line 2 opens a cell with a quotation"),
        ("t.tsv", "text\tlabel\na\tb\tc\n", r"line 2 has 3 values .* holds '\\t' in quotes"),
        ("t.csv", bytes(range(256)) * 4, "t.csv is not a text file"),
        ("t.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "t.csv is not a text file"),
        ("t.jsonl", "{'text': 'a'}", "t.jsonl, line 1 is not JSON"),
        ("t.jsonl", '{"text": "a"}\n\n{"text":\n', "t.jsonl, line 3 is not JSON"),
        ("t.jsonl", '"text"', "line 1 is not an object in braces"),
        ("t.jsonl", '{"text": "a"}\n[{"text": "b"}]', "line 2 is not an object in braces"),
        ("t.json", '[{"text": "a"}, 5]', "line 1 is not an object in braces"),
        ("t.jsonl", '{"text": "a"}\n{"text": "b", "text": "c"}', "line 2 holds 'text' twice"),
        ("t.jsonl", '{"a":' * 100_000, "t.jsonl, line 1 is nested too deeply"),
        ("t.jsonl", '{"text": ' + "1" * 5000 + "}", "t.jsonl, line 1 "),
        ("t.parquet", "PAR1 no more", "t.parquet is not a Parquet file, or it is damaged"),
        ("t.csv.gz", "text\na\n", "t.csv.gz is not a gzip file, or it is damaged"),
        ("t.csv.gz", gzip.compress(b"text\na\n", mtime=0)[:-6], "t.csv.gz is not a gzip"),
        ("t.csv", "sep=;\n", "t.csv is empty"),
        ("t.csv", 'text,"la"bel\na,b\n', "t.csv, line 1 opens a cell with a quotation mark"),
        ("t.xls", "text", r"t.xls should end in .csv, .* or .xlsx: save it as .xlsx or CSV"),
        ("t.xlsx", "text", "t.xlsx is not an Excel file, or it is damaged or kept by a password"),
        ("t.zip", "text", "t.zip is not a zip file, or it is damaged"),
        ("t.zip", zipped({"a.csv": "text\na\n"})[:-9], "t.zip is not a zip file, or it is"),
        ("t.zip", zipped({"a.csv": "x", "b.csv": "y"}), "t.zip holds 2 files: pack one alone"),
        ("t.zip", zipped({}), "t.zip holds 0 files: pack one alone"),
        ("t.zip", zipped({"a.doc": "x"}), "t.zip should end in .csv, "),
        ("text", "text", r"should end in .csv, .tsv, .json, .jsonl, .ndjson, .parquet or .xlsx$"),
        ("t.gz", "text", "should end in"),
    ],
)  # fmt: skip
def test_a_refusal_is_one_line(tmp_path, name, data, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_table(write(tmp_path, name, data), ["text"])
    assert name in str(caught.value) and "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value) and len(str(caught.value)) < 300


def test_columns_of_several_levels_are_refused(tmp_path):
    table = pd.DataFrame([["a", 1]], columns=pd.MultiIndex.from_tuples([("text", "x"), ("n", "y")]))
    table.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="columns of several levels: give each one name"):
        read_table(tmp_path / "t.parquet")


def test_no_such_file(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"there is no file {re.escape(str(path))}"):
            read_table(path)


# ------------------------------------------------------------------ texts and labels


def test_lines_are_rows():
    assert read_lines(b"a\r\n\n b \nc", "x").text.tolist() == ["a", "", " b ", "c"]
    with pytest.raises(ValueError, match="x is empty"):
        read_lines(" \n", "x")


def test_lines_in_another_encoding(said):
    table = read_lines("这部电影真的很好看\n".encode("gb18030"), "standard input", said.append)
    assert table.text.tolist() == ["这部电影真的很好看"] and "gb18030" in said[0]


@pytest.mark.parametrize("value", [5, 1.5, ["b"], b"a", datetime.date(2020, 1, 1)])
def test_a_cell_that_is_no_text(value):
    table = pd.DataFrame({"text": ["a", None, value]}, dtype=object)
    with pytest.raises(
        ValueError, match=rf"^row 3 of t: text is .*\({type(value).__name__}\), not text"
    ):
        text_cells(table, "text", "t")


def labelled(folder, labels, note=silent):
    """The labels of `labels` after a trip through Parquet or JSON Lines."""
    table = pd.DataFrame({"text": [f"t{i}" for i in range(len(labels))], "label": labels})
    table.to_parquet(folder / "t.parquet")
    return read_labelled(folder / "t.parquet", note=note).label.tolist()


@pytest.mark.parametrize(
    ("labels", "same"),
    [
        ([1, 0, 1], [1, 0, 1]),
        ([1.0, 0.0, 1.0], [1, 0, 1]),
        ([4.0, 4.5, 5.0], [4.0, 4.5, 5.0]),
        (["1", "1.0", "0.00", "-1.0"], ["1", "1", "0", "-1"]),
        (["4.5", "v1.0", "1.05", " a "], ["4.5", "v1.0", "1.05", "a"]),
        ([True, False], [True, False]),
    ],
)
def test_a_number_is_one_label_however_it_is_written(tmp_path, labels, same):
    got = labelled(tmp_path, labels)
    assert got == same and list(map(type, got)) == list(map(type, same))


def test_a_gap_does_not_change_the_numbers(tmp_path, said):
    assert labelled(tmp_path, [1, None, 0], said.append) == [1, 0]
    assert said == ["rows of t.parquet left out: 1 without a label"]


def test_half_stars_are_numbers(tmp_path):
    path = write(tmp_path, "t.jsonl", '{"text":"a","label":4}\n{"text":"b","label":4.5}\n')
    assert read_labelled(path).label.tolist() == [4.0, 4.5]


@pytest.mark.parametrize("value", [np.float64(2), np.int64(2), np.str_(" 2.0")])
def test_numbers_of_numpy_are_numbers(value):
    assert same_label(value) == (2 if not isinstance(value, str) else "2")


@pytest.mark.parametrize(
    "value",
    [["b"], ["b", "c"], datetime.date(2020, 1, 1), decimal.Decimal("1.5"), b"a",
     pd.Timestamp("2020-01-01")],
)  # fmt: skip
def test_what_cannot_be_a_label_is_refused_with_its_row(tmp_path, value):
    with pytest.raises(ValueError, match=r"^row 2 of t.parquet: label is .*a text has one label"):
        labelled(tmp_path, [None, value], lambda sentence: None)


def test_labels_that_differ_only_in_case_are_named(tmp_path, said):
    labels = ["Positive", "negative", "positive", "POSITIVE"]
    assert labelled(tmp_path, labels, said.append) == labels
    assert said == ["labels of t.parquet differ only in case and count as 3: "
                    "'POSITIVE', 'Positive', 'positive'; write them alike"]  # fmt: skip


def test_rows_with_gaps_are_counted(tmp_path, said):
    path = write(tmp_path, "t.csv", 'text,label\na,x\n,y\n" ",\nb, \n')
    assert values(read_labelled(path, note=said.append)) == [["a", "x"]]
    assert said == ["rows of t.csv left out: 1 without a label, 2 without a text"]
    with pytest.raises(ValueError, match="t.csv has no row with both a text and a label"):
        read_labelled(write(tmp_path, "t.csv", "text,label\n,x\n"), note=said.append)


# ------------------------------------------------------------------ writing


def test_the_permissions_of_a_file_stay(tmp_path):
    path, table = tmp_path / "t.csv", pd.DataFrame({"text": ["a"]})
    for mode in (0o600, 0o640):
        write_table(table, path, force=True)
        path.chmod(mode)
        write_table(table, path, force=True)
        assert stat.S_IMODE(path.stat().st_mode) == mode
    with pytest.raises(ValueError, match="force"):
        write_table(table, path)
    before = os.umask(0o027)
    try:
        write_table(table, tmp_path / "new.csv")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.csv").stat().st_mode) == 0o640


def test_a_name_that_is_too_long_is_refused_before_the_work(tmp_path):
    for length in (237, 500):
        with pytest.raises(ValueError, match="^the name nnn.*… is too long: choose a shorter one"):
            check_out(tmp_path / ("n" * length + ".csv"), force=False)
    path = tmp_path / ("n" * 236 + ".csv")
    check_out(path, force=False)
    write_table(pd.DataFrame({"text": ["a"]}), path)
    assert path.read_text() == "text\na\n"


def test_a_bad_place_is_refused_before_the_work(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "dangling.csv").symlink_to(tmp_path / "nowhere" / "o.csv")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    (tmp_path / "new.csv").symlink_to(tmp_path / "target.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    for name, part in [("dangling.csv", "there is no folder .*nowhere"), ("pipe.csv", "not a file"),
                       ("loop.csv", "link to itself"), ("o.xlsx", "should end in"),
                       ("folder.csv", "is a folder: name a file in it")]:  # fmt: skip
        with pytest.raises(ValueError, match=part):
            check_out(tmp_path / name, force=True)
    check_out(tmp_path / "new.csv", force=False)
    write_table(pd.DataFrame({"text": ["a"]}), tmp_path / "new.csv")
    assert (tmp_path / "new.csv").is_symlink() and (tmp_path / "target.csv").is_file()


def test_a_column_of_several_kinds_does_not_fit_parquet(tmp_path):
    table = pd.DataFrame({"text": ["a", "b"], "n": [1, "x"]}, dtype=object)
    for kind in (".csv", ".jsonl"):
        check_fits(table, tmp_path / f"o{kind}")
    with pytest.raises(ValueError, match=r"^\.parquet cannot hold this table: .*; write .jsonl$"):
        check_fits(table, tmp_path / "o.parquet")


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_a_name_that_holds_another_separator_is_not_divided(tmp_path, ending):
    table = pd.DataFrame({"a;b|c": ["x;y|z", "1;2|3"]})
    write_table(table, tmp_path / f"t{ending}")
    back = read_table(tmp_path / f"t{ending}", [], silent)
    assert list(back.columns) == ["a;b|c"] and values(back) == values(table)


def test_blocks_of_a_tsv_are_quoted_alike(tmp_path):
    first, second = pd.DataFrame({"a": ["plain"]}), pd.DataFrame({"a": ['a "mark"\nand a line']})
    write_tables([first, second], tmp_path / "t.tsv", force=False)
    back = read_table(tmp_path / "t.tsv", [], silent)
    assert values(back) == values(first) + values(second)
