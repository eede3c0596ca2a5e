"""Each fault that was seen on other people's files, and each case kept of them, has its tests.

The numbers are those of the list of faults; what is right is said beside each.
"""

import ast
from pathlib import Path

import numpy as np
import pytest

from sentiment_course.baselines import compound_scores
from sentiment_course.pieces import ends_of, head_and_tail, ragged_ends
from sentiment_course.tables import read_labelled, read_table

TESTS = Path(__file__).parent
CASES = TESTS / "cases"

# number: what is right, and where that is tested
FAULTS = {
    1: ("a TSV with bare quotation marks keeps its rows", [
        "test_tables.py::test_a_quotation_mark_in_a_tsv_is_a_character",
        "test_faults.py::test_a_tsv_of_glue_keeps_its_rows"]),
    2: ("a blank line of one column is a row", [
        "test_tables.py::test_a_blank_line_of_one_column_is_a_row",
        "test_faults.py::test_blank_lines_are_rows"]),
    3: ("quotation marks behind a backslash are quotation marks", [
        "test_tables.py::test_quotation_marks_behind_a_backslash"]),
    4: ("columns of one name: used, they are refused; else they come back", [
        "test_tables.py::test_a_column_that_is_used_must_be_there_once",
        "test_tables.py::test_columns_without_a_name_or_with_the_same_come_back"]),
    5: ("of long texts both ends are read, and that is said", [
        "test_cli.py::test_texts_that_are_cut_are_said",
        "test_faults.py::test_a_verdict_at_either_end_of_a_long_text_is_read"]),
    6: ("an encoder that reads the texts is chosen, the best rung kept", [
        "test_cli.py::test_fit_takes_the_encoder_that_reads_the_texts_or_the_one_it_is_given",
        "test_cli.py::test_what_the_encoder_cannot_read_is_said",
        "test_cli.py::test_fit_and_predict_refuse_a_column_that_is_almost_all_unreadable",
        "test_fitting.py::test_the_cheapest_that_is_not_clearly_worse_than_the_best_is_kept"]),
    7: ("a NUL gets the same answer wherever it stands", [
        "test_tables.py::test_a_zero_byte_gets_the_same_answer_wherever_it_stands"]),
    8: ("a typographic apostrophe is an apostrophe", [
        "test_faults.py::test_vader_reads_what_means_the_same_the_same"]),
    9: ("an emoji is the same with its variation selector", [
        "test_faults.py::test_vader_reads_what_means_the_same_the_same"]),
    10: ("half an emoji is read as U+FFFD", [
        "test_tables.py::test_half_a_character_is_read_as_such"]),
    11: ("a list is no label", [
        "test_tables.py::test_what_cannot_be_a_label_is_refused_with_its_row"]),
    12: ("a terminal that cannot show a label does not stop the work", [
        "test_cli.py::test_a_terminal_that_cannot_show_a_label_does_not_stop_the_training"]),
    13: ("texts alike, and texts with two labels, are trained on and named", [
        "test_fitting.py::test_tables_of_which_nothing_can_be_held_out_are_trained_on",
        "test_fitting.py::test_a_text_with_two_labels_is_noted_and_the_rest_held_out"]),
    14: ("a fitted BERT is pickled whole", [
        "test_bert.py::test_pickled_classifier_works_in_another_process"]),
    15: ("what is saved comes back equal, or is refused", [
        "test_training.py::test_parameter_comes_back_equal"]),
    16: ("a text in the index of Parquet is read", [
        "test_tables.py::test_a_named_index_of_parquet_is_a_column"]),
    17: ("a newer model is called newer", [
        "test_ladder.py::test_a_folder_that_holds_no_such_classifier"]),
    18: ("a reader who leaves early does not stop the training", [
        "test_cli.py::test_fit_goes_on_where_the_reader_of_what_it_prints_has_left"]),
    19: ("other encodings are read and named", [
        "test_tables.py::test_other_encodings_are_read_and_said"]),
    20: ("the header says the separator", [
        "test_tables.py::test_the_header_says_the_separator",
        "test_tables.py::test_excel_says_the_separator_in_a_line_of_its_own",
        "test_tables.py::test_commas_at_the_end_of_every_row",
        "test_faults.py::test_semicolons_are_found_and_said"]),
    21: ("names of columns are taken without blanks, and shown in quotes", [
        "test_tables.py::test_names_are_taken_without_outer_blanks_and_shown_in_quotes"]),
    22: ("a file without a header is told so", ["test_tables.py::test_a_refusal_is_one_line"]),
    23: ("JSON in any form, gzip, zip and Excel are read", [
        "test_tables.py::test_json_in_lines_in_a_list_or_indented",
        "test_tables.py::test_gzip_is_unpacked",
        "test_tables.py::test_one_file_in_a_zip_is_unpacked",
        "test_tables.py::test_excel_is_read_as_it_is"]),
    24: ("a number is one label however it is written", [
        "test_tables.py::test_a_number_is_one_label_however_it_is_written",
        "test_tables.py::test_a_gap_does_not_change_the_numbers",
        "test_cli.py::test_evaluate_takes_numbers_written_as_text"]),
    25: ("labels that differ only in case are named", [
        "test_tables.py::test_labels_that_differ_only_in_case_are_named"]),
    26: ("half stars are numbers", ["test_tables.py::test_half_stars_are_numbers"]),
}  # fmt: skip


def exists(test):
    """Whether there is a test that is called so: file::function."""
    name, function = test.split("::")
    tree = ast.parse((TESTS / name).read_text(encoding="utf-8"))
    return function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("number", range(1, 27))
def test_each_fault_has_tests_that_exist(number):
    right, tests = FAULTS[number]
    assert right and tests
    for test in tests:
        assert exists(test), test


def silent(sentence):
    raise AssertionError(f"there was nothing to say, but: {sentence}")


def test_a_tsv_of_glue_keeps_its_rows():
    table = read_table(CASES / "tsv-quotes.tsv", ["sentence", "label"], silent)
    assert len(table) == 27 and set(table["label"]) == {"0", "1"}
    assert table["sentence"][0] == '" never again " is what my wife said'
    assert '"superb , says the sleeve' in set(table["sentence"])


def test_blank_lines_are_rows():
    table = read_table(CASES / "blank-line.csv", ["text"], silent)
    assert table["text"].tolist() == ["Good kettle.", "", "Bad kettle.", "", "Fine."]


@pytest.mark.parametrize("name, columns", [("semicolons", 2), ("semicolons-quoted", 3)])
def test_semicolons_are_found_and_said(name, columns):
    said = []
    table = read_table(CASES / f"{name}.csv", ["text", "label"], said.append)
    assert table.shape == (24, columns) and said == [f"{name}.csv is divided by semicolons"]
    assert read_labelled(CASES / f"{name}.csv", note=said.append)["label"].nunique() == 2
    assert table["text"][2] == "Lovely staff and a spotless room, we will be back."


@pytest.mark.parametrize(
    "text, same, score",
    [("The food isn’t good.", "The food isn't good.", -0.3412), ("I ❤\ufe0f it", "I ❤ it", 0.6369)],
)
def test_vader_reads_what_means_the_same_the_same(text, same, score):
    assert compound_scores([text, same, f"{text} " * 600]).round(4).tolist()[:2] == [score, score]


@pytest.mark.parametrize("longest", [3, 8, 9])
@pytest.mark.parametrize("length", [3, 8, 9, 10, 500])
def test_a_verdict_at_either_end_of_a_long_text_is_read(length, longest):
    ids = np.arange(length)
    kept = head_and_tail(ids, longest).tolist()
    assert len(kept) == min(length, longest) and kept == sorted(set(kept))
    assert kept[0] == 0 and kept[-1] == length - 1
    if length > longest:
        skipped = sorted(set(ids.tolist()) - set(kept))
        assert len(skipped) == skipped[-1] - skipped[0] + 1  # one gap, in the middle
        assert abs(kept.index(skipped[0] - 1) + 1 - longest / 2) <= 0.5


def test_of_a_huge_text_both_ends_are_cut_into_tokens_and_no_more():
    text = "awful " + "so so " * 10_000_000 + "good"
    ends = ends_of(text, 128)
    assert ends.startswith("awful ") and ends.endswith(" good") and len(ends) < 15_000
    assert ends_of("short", 128) == "short"


def test_in_tensorflow_the_same_tokens_are_kept():
    import tensorflow as tf

    inner = [np.arange(1, n + 1) for n in (0, 3, 6, 7, 20)]
    for longest in (3, 8, 9):
        ours = [head_and_tail(np.array([0, *ids, 99]), longest)[1:-1].tolist() for ids in inner]
        assert ragged_ends(tf, tf.ragged.constant(inner), longest).to_list() == ours
