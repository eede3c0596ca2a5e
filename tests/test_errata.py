"""Errata: every row has its evidence, every check supports its row, every link leads somewhere."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from sentiment_course import algorithms, formulas
from sentiment_course import errata as module
from sentiment_course.algorithms import verdict
from sentiment_course.article import PRINTED, defects
from sentiment_course.errata import ROWS, SECTIONS, cards, coverage, errata, how_known
from sentiment_course.glossary import course_table

NBS = Path(__file__).parent.parent / "nbs"
PACKAGE = Path(module.__file__).parent
HEADINGS = Path(__file__).parent / "article_headings.txt"
CITED = {"verified", "cited wrongly", "not found"}
SAID = {"right", "imprecise", "wrong"}
INFINITE = float("inf")
WILSON = [0.7672, 0.9069]  # 85 of 100, as statsmodels gives it
UNDEFINED = "`learning_rate` and `num_iterations`"

# What each check must measure, by hand or by what the chapters found: the verdict, and a condition.
SUPPORTS = {
    "ten_parts": ("right", lambda m: m["parts"] == 10 and m["below"] == 51),
    "work_per_token": ("imprecise", lambda m: 7.9 < m["times"] < 8.1 and 84 < m["base"] < 86),
    # 109.5 million, as Hugging Face's BertModel counts for bert-base-uncased
    "bert_parameters": ("imprecise", lambda m: m["total"] == 109_482_240 and m["in_layers"] > 0.7),
    "map_of_resources": (
        "imprecise",
        lambda m: (m["nodes"], m["arrows"], m["loops"], m["on_loops"]) == (12, 19, 8, 12),
    ),
    "centre_of_the_map": ("imprecise", lambda m: m["centre"] == "大模型技术"),
    "tools_in_their_own_words": ("imprecise", lambda m: "framework" in m["tensorflow"]),
    "pseudo_codes_compile": ("imprecise", lambda m: m["failed"] == 3 and m["message"]),
    "unused_and_undefined": (
        "imprecise",
        lambda m: (m["unused"], m["undefined"]) == ("`loss`", UNDEFINED),
    ),
    "loop_finds_the_line": ("right", lambda m: m["apart"] < 1e-9 and 1.5 < m["slope"] < 2.5),
    "first_layer_never_learns": (
        "imprecise",
        lambda m: m["never"] == "`W1` and `b1`" and m["loss"] > 2 * m["loss_of_all"],
    ),
    "zero_start": (
        "imprecise",
        lambda m: abs(m["stuck"] - m["coin"]) < 1e-3 and abs(m["random"] - 0.113) < 5e-3,
    ),
    "slope_along_the_output": ("imprecise", lambda m: m["turned"] > 0.2 and m["longer"] > 2),
    "sum_or_mean": ("imprecise", lambda m: abs(m["longer"] - 10) < 1e-9),
    "word_vectors_times_weights": (
        "wrong",
        lambda m: "broadcast" in m["message"] and m["rows"] == 4 and m["pooled"] == (2,),
    ),
    "weights_from_the_whole_table": ("wrong", lambda m: m["mended"] == (3, 2)),
    "table_never_learns": ("imprecise", lambda m: m["trained"] > m["left"] + 0.03),
    "language_without_a_network": (
        "wrong",
        lambda m: m["counts"] > m["lexicon"] > m["majority"] and abs(m["counts"] - 0.809) < 5e-3,
    ),
    "loss_measures_a_gap": ("right", lambda m: m["perfect"] == 0 and 2.30 < m["worst"] < 2.31),
    "cross_entropy_formula": ("imprecise", lambda m: abs(m["batch"] - 4) < 1e-9),
    "half_a_sum": ("imprecise", lambda m: m["printed"] == 2.5 and abs(m["times"] - 1.5) < 1e-9),
    "cross_entropy_example": (
        "wrong",
        lambda m: (
            [round(m[k], 4) for k in ("natural", "binary", "decimal")] == [0.3285, 0.4739, 0.1427]
        ),
    ),
    "negatives_cost_nothing": (
        "wrong",
        lambda m: m["always"] == 0 and round(m["both"], 4) == 0.6570 and m["honest"] == INFINITE,
    ),
    "along_the_gradient": ("wrong", lambda m: m["after"] > m["before"]),
    "update_formula": ("right", lambda m: m["after"] < m["before"]),
    "step_too_long": ("imprecise", lambda m: m["below"] < m["start"] < m["above"]),
    "first_order": ("imprecise", lambda m: m["plain"] == m["momentum"] == 1),
    "momentum_formula": ("right", lambda m: m["apart"] < 1e-12 < 1e-3 < m["outside"]),
    "momentum_speed": ("right", lambda m: 4 * m["momentum"] < m["plain"]),
    "layers_without_a_bend": ("right", lambda m: m["bent"] == [0, 1, 1, 0]),
    "sigmoid_formula": ("right", lambda m: m["asked"] == INFINITE and m["safe"] == 0),
    "relu_is_linear": ("wrong", lambda m: (m["together"], m["apart"]) == (0, 1)),
    "relu_formula": ("right", lambda m: m["apart"] == 0),
    "gradients_vanish_and_explode": ("right", lambda m: m["small"] < 1e-7 and m["large"] > 1e20),
    "relu_cures_vanishing": ("imprecise", lambda m: m["xavier"] < 1e-7 < 0.1 < m["he"] < 10),
    "sigmoid_cures_exploding": (
        "wrong",
        lambda m: m["factor"] == 25 and 10 < m["scale"] < 10.3 and m["exploded"] > 1e4,
    ),
    "missing_from_the_list": ("wrong", lambda m: m["missing"] == "`sklearn` and `tensorflow_hub`"),
    "two_kinds_of_keras": ("imprecise", lambda m: m["keras"].startswith("3.")),
    "missing_import": ("wrong", lambda m: m["error"] == "NameError" and "'re'" in m["says"]),
    "model_names_two_things": (
        "wrong",
        lambda m: m["error"] == "UnboundLocalError" and m["after"] == "nothing",
    ),
    "flattened_vectors": ("wrong", lambda m: (m["short"], m["long"]) == (8 * 768, 16 * 768)),
    "leaked_texts": ("imprecise", lambda m: m["plain"] > m["distinct"] == 0),
    "what_cleaning_keeps": (
        "wrong",
        lambda m: (m["stars"], m["negation"], m["chinese_left"]) == ("2 stars", "don t", 0),
    ),
    "unknown_label": ("imprecise", lambda m: (m["becomes"], m["type"]) == ("nan", "float64")),
    "text_read_as_missing": ("imprecise", lambda m: (m["lost"], m["said"]) == (3, 4)),
    "cleaning_helps": ("imprecise", lambda m: m["space"] > 1 and m["marks"] < -0.5),
    "shuffled_test_set": ("imprecise", lambda m: 0.4 < m["agreement"] < 0.6),
    "chosen_on_the_test_set": (
        "imprecise",
        lambda m: m["chosen"] > 0.53 and abs(m["elsewhere"] - 0.5) < 0.01,
    ),
    "accuracy_alone": (
        "imprecise",
        lambda m: m["silent"] > 0.65 and [round(m[k], 4) for k in ("low", "high")] == WILSON,
    ),
    "seeds": ("imprecise", lambda m: m["free"] == "weights and shuffle"),
    "described_settings": (
        "right",
        lambda m: (
            (m["epochs"], m["loss"], m["optimizer"])
            == (3, "sparse_categorical_crossentropy", "adam")
        ),
    ),
    "shuffling_helps": ("right", lambda m: m["shuffled"] > m["sorted"] + 0.1),
    "films_to_tweets": ("imprecise", lambda m: m["score"] < m["silent"]),
    "one_pixel": ("imprecise", lambda m: m["placed"] > 0.9 > 0.6 > m["moved"]),
    "lucky_backtests": ("imprecise", lambda m: m["chosen"] > 0.9 and abs(m["later"]) < 0.4),
    "advice_for_each_student": ("imprecise", lambda m: m["low"] < 0 < m["high"]),
    # of 100,000 orders 99 true alarms and 999 false ones
    "fraud_is_rare": ("imprecise", lambda m: abs(m["found"] - 99 / 1098) < 1e-12),
    "fields_to_come": ("imprecise", lambda m: (m["coming"], m["there"]) == (4, 3)),
    "frameworks_in_their_own_words": ("right", lambda m: "machine learning" in m["sklearn"]),
    "newest_reference": ("imprecise", lambda m: (m["oldest"], m["newest"]) == (2009, 2018)),
}


@pytest.fixture(scope="module")
def table():
    return errata()


def anchors(notebook):
    "The identifiers that Pandoc, and the site, make of a notebook's headings."
    cells = nbformat.read(NBS / notebook, as_version=4).cells
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    found = set()
    for heading in re.findall(r"^#{1,4} (.+)$", text, re.M):
        kept = "".join(c.lower() for c in heading if c.isalnum() or c.isspace() or c in "_-.")
        found.add(re.sub(r"^[^a-z]+", "", "-".join(kept.split())))
    return found


def test_every_column_is_filled(table):
    assert list(table.columns) == module.COLUMNS
    for column in ("section", "quotation", "found", "verdict", "evidence", "chapter"):
        assert table[column].map(lambda text: isinstance(text, str) and text.strip() != "").all()
    assert table.verdict.isin(SAID | CITED).all()
    left_over = table[["found", "instead"]].map(lambda text: bool(re.search(r"\{[a-z_]+", text)))
    assert not left_over.any().any(), "a number was not filled in"


def test_every_row_says_how_it_is_known(table):
    kinds = table.evidence.str.partition(": ")
    assert kinds[0].isin({"run", "chapter", "read", "known"}).all()
    assert (kinds[2].str.len() > 3).all()


def test_how_many_are_run_is_said_as_it_is(table):
    kinds = table.evidence.str.partition(": ")[0].value_counts()
    said = how_known()
    sources = kinds["read"] + kinds["known"]
    counts = [len(table), kinds["run"], kinds["chapter"], sources]
    assert [int(n) for n in re.findall(r"\d+", said)] == counts
    for path in NBS.glob("*.ipynb"):  # a page may say it too, with these counts and no others
        text = " ".join(path.read_text(encoding="utf-8").replace('\\n",', " ").split())
        repeated = re.findall(
            r"Of the \d+ statements of the article[^.]*\.", text.replace('" ', "")
        )
        assert set(map(squeezed, repeated)) <= {squeezed(said)}, path.name


def squeezed(sentence):
    "Without the marks that a notebook's file has between its lines."
    return re.sub(r'[\s"]+', "", sentence)


def test_part_8_to_9_and_the_thin_sections_are_judged(table):
    judged = set(table.section)
    assert {"1.2", "2.2", "2.4", "6.4", "8.1", "8.2", "9.1", "9.2", "9.3", "9.4"} <= judged
    assert len(table[table.section == "5.3"]) == len(set(table.quotation[table.section == "5.3"]))


def test_a_field_to_come_is_one_that_the_article_names(table):
    (row,) = table[table.evidence == "run: fields_to_come"].itertuples()
    assert all(field in row.quotation for field in ("金融", "医疗", "教育", "电子商务"))


def test_what_is_not_right_says_what_to_say_instead(table):
    assert (table.instead[~table.verdict.isin({"right", "verified"})] != "").all()


def test_chinese_is_translated_and_code_is_not(table):
    chinese = table.quotation.str.contains(r"[\u4e00-\u9fff]")
    assert (table.translation[chinese] != "").all()
    assert not table.translation.str.contains(r"[\u4e00-\u9fff]").any()


def test_only_citations_get_the_verdicts_of_citations(table):
    cited = table[table.verdict.isin(CITED)]
    assert cited.section.str.match(r"7|10|1\.4\.3").all()
    assert not cited.evidence.str.startswith("run").any()


def test_rows_stand_in_the_order_of_the_article(table):
    assert table.section.map(list(SECTIONS.number).index).is_monotonic_increasing
    in_program = table.quotation[table.section == "5.2"].map(PRINTED.index)
    assert in_program.is_monotonic_increasing


def test_every_check_is_used_and_every_use_is_supported(table):
    used = set(table.evidence[table.evidence.str.startswith("run: ")].str.removeprefix("run: "))
    assert used == set(SUPPORTS)
    for name in used:
        check = module.check_named(name)
        assert inspect.getdoc(check) and not inspect.signature(check).parameters


@pytest.mark.parametrize("name", SUPPORTS)
def test_check_supports_its_rows(table, name):
    expected, holds = SUPPORTS[name]
    measured = algorithms.measured(module.check_named(name))
    assert measured["verdict"] == expected and holds(measured), measured
    rows = table[table.evidence == f"run: {name}"]
    assert len(rows) and (rows.verdict == expected).all()


def test_numbers_of_checked_rows_come_from_the_check():
    for row in ROWS:
        if row["evidence"].startswith("run: "):
            assert not row["verdict"], f"{row['quotation']}: the check gives the verdict"
        else:
            assert row["verdict"] in SAID | CITED


def test_the_program_is_judged_by_the_defects_of_chapter_10(table):
    judged = defects_file()[lambda t: t.evidence != ""]
    rows = table[table.section == "5.2"].set_index(["quotation", "instead"])
    for defect in judged.itertuples():
        assert rows.found[(defect.line, defect.cure)].startswith(defect.effect)
    assert len(rows) == len(judged) + 1  # and the address that has moved
    told = defects()
    assert len(told) == len(defects_file()) and not told.effect.str.contains("`").any()


def defects_file():
    return course_table("defects.tsv")


def test_quoted_code_is_the_code_that_is_run():
    code = PRINTED + "".join(algorithms.PSEUDO_CODES.values())
    for row in ROWS:
        is_code = not re.search(r"[\u4e00-\u9fff]", row["quotation"])
        if is_code and row["section"] in ("3.1", "3.2", "3.3", "5.2"):
            assert row["quotation"] in code


@pytest.mark.parametrize("part", range(1, 11))
def test_one_part_is_the_table_cut(table, part):
    of_part = table[table.section.str.split(".").str[0] == str(part)]
    assert errata(part).to_dict("records") == of_part.to_dict("records")


@pytest.mark.parametrize("part", [0, 11, "4.1", 2.5])
def test_other_parts_are_refused(part):
    with pytest.raises(ValueError, match="from 1 to 10"):
        errata(part)


def test_files_have_every_column():
    for name, columns in (("errata.tsv", 8), ("sections.tsv", 4), ("defects.tsv", 9)):
        lines = (PACKAGE / name).read_text(encoding="utf-8").splitlines()
        assert {line.count("\t") + 1 for line in lines} == {columns}, name
        fields = [field for line in lines for field in line.split("\t")]
        assert [field for field in fields if field != field.strip()] == [], name


def test_verdict():
    assert [verdict(True), verdict(False), verdict(False, partly=False)] == [
        "right",
        "imprecise",
        "wrong",
    ]


def test_sections_are_the_article_s_headings():
    headings = HEADINGS.read_text(encoding="utf-8").splitlines()
    assert (SECTIONS.number + " " + SECTIONS.chinese).tolist() == headings
    assert (SECTIONS[["english", "chapters"]] != "").all(axis=None)


def test_every_link_leads_to_a_heading(table):
    links = set(table.chapter) | set(" ".join(SECTIONS.chapters).split())
    for link in sorted(links):
        notebook, _, anchor = link.partition("#")
        assert (NBS / notebook).is_file(), f"{link}: no such notebook"
        assert not anchor or anchor in anchors(notebook), f"{link}: no such heading"


def test_cards_and_coverage_show_every_row(table):
    shown = cards(table)
    assert shown.count("\n\n***\n\n") == len(table) - 1
    for row in table.itertuples():
        assert row.quotation in shown and row.found in shown and f"]({row.chapter})" in shown
    assert coverage().count("\n| ") == len(SECTIONS)


def test_report_names_verdict_and_numbers(capsys):
    algorithms.report(formulas.cross_entropy_example)
    told = capsys.readouterr().out
    assert told.startswith("cross_entropy_example: wrong\n") and "natural = 0.3285" in told


def test_running_the_program_loads_no_tensorflow():
    code = "import sys; from sentiment_course.practice import missing_import as check; check();"
    code += "print(*({'tensorflow', 'tensorflow_hub', 'keras'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
