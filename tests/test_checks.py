"""Checks of arguments: what passes comes back as promised, the rest is refused in one sentence."""

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sentiment_course.checks import (
    as_class_ids,
    as_floats,
    number,
    one_of,
    require_probabilities,
    require_same_length,
    require_same_shape,
    whole_number,
)

NAN = float("nan")


def test_checks_import_nothing_of_the_course():
    code = "import sys, sentiment_course.checks; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = [m for m in done.stdout.split() if m.startswith("sentiment_course")]
    assert ours == ["sentiment_course", "sentiment_course.checks"]


KINDS = [int, np.int8, np.int64, np.uint16]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("value", "limits"), [(1, {}), (0, {"least": 0}), (3, {"most": 3})])
def test_any_kind_of_whole_number_comes_back_as_int(kind, value, limits):
    given = whole_number(kind(value), "n", **limits)
    assert given == value and type(given) is int


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (0, {}, "n must be a whole number from 1, not 0"),
        (np.int64(-2), {"least": 0}, "n must be a whole number from 0, not -2"),
        (7, {"most": 5}, "n must be a whole number from 1 to 5, not 7"),
        (2, {"least": 3, "most": 5}, "n must be a whole number from 3 to 5, not 2"),
        (True, {}, "n must be a whole number from 1, not True"),
        (np.True_, {}, "n must be a whole number from 1, not True"),
        (3.0, {}, "n must be a whole number from 1, not 3.0"),
        (np.float64(3), {}, "n must be a whole number from 1, not 3.0"),
        ("x", {}, "n must be a whole number from 1, not 'x'"),
        (None, {}, "n must be a whole number from 1, not None"),
        (NAN, {}, "n must be a whole number from 1, not nan"),
        ([1], {}, r"n must be a whole number from 1, not \[1\]"),
        (np.array([1, 2]), {}, r"n must be a whole number from 1, not array\(\[1, 2\]\)"),
    ],
)
def test_what_is_no_whole_number_in_range_is_refused(value, limits, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        whole_number(value, "n", **limits)


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (0, {}),
        (np.int64(3), {"above": 0}),
        (np.float32(0.5), {"least": 0, "below": 1}),
        (Fraction(1, 2), {"above": 0, "most": 0.5}),
        (0.0, {"least": 0}),
        (-1e300, {"most": 0}),
    ],
)
def test_a_number_in_range_comes_back_as_float(value, limits):
    given = number(value, "x", **limits)
    assert given == value and type(given) is float


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (0, {"above": 0}, "x must be a finite number above 0, not 0"),
        (1, {"least": 0, "below": 1}, "x must be a finite number from 0 and below 1, not 1"),
        (-0.1, {"least": 0, "most": 1}, "x must be a finite number from 0 to 1, not -0.1"),
        (1.5, {"least": 0, "most": 1}, "x must be a finite number from 0 to 1, not 1.5"),
        (2, {"most": 1}, "x must be a finite number up to 1, not 2"),
        (2, {"above": 0, "most": 1}, "x must be a finite number above 0 and up to 1, not 2"),
        (NAN, {}, "x must be a finite number, not nan"),
        (np.float32(NAN), {}, "x must be a finite number, not nan"),
        (np.inf, {"least": 0}, "x must be a finite number from 0, not inf"),
        (-np.inf, {"below": 0}, "x must be a finite number below 0, not -inf"),
        (True, {}, "x must be a finite number, not True"),
        (1j, {}, "x must be a finite number, not 1j"),
        ("1", {}, "x must be a finite number, not '1'"),
        (None, {}, "x must be a finite number, not None"),
        (np.ones(1), {}, r"x must be a finite number, not array\(\[1.\]\)"),
        (10**400, {}, "x must be a finite number, not 10+...0+"),
    ],
)
def test_what_is_no_finite_number_in_range_is_refused(value, limits, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        number(value, "x", **limits)


@given(st.text() | st.floats() | st.integers() | st.lists(st.integers()))
def test_whatever_is_refused_is_told_on_one_short_line(value):
    for check in (whole_number, number):
        try:
            check(value, "x")
        except ValueError as error:
            assert len(str(error).splitlines()) == 1 and len(str(error)) < 200


def test_one_of_gives_the_value_back():
    assert one_of("char", "analyzer", ["word", "char"]) == "char"
    assert one_of(None, "weights", [None, "balanced"]) is None


@pytest.mark.parametrize("value", ["words", "", None, 1, ["word"], np.array(["word", "char"])])
def test_what_is_unknown_is_refused_with_all_that_is_known(value):
    with pytest.raises(ValueError, match="^analyzer must be one of 'word', 'char', not "):
        one_of(value, "analyzer", {"word": 1, "char": 2})


def test_one_of_tells_1_from_true():
    with pytest.raises(ValueError, match="not True"):
        one_of(True, "degree", [1, 2])


@pytest.mark.parametrize("values", [[1, 2], (True, False), pd.Series([1.5, 2]), np.ones(2, "f2")])
def test_as_floats_takes_any_numbers(values):
    array = as_floats(values, "x", 1)
    assert array.dtype == np.float64 and array.tolist() == list(values)


def test_as_floats_gives_an_array_of_its_own():
    values = np.ones(3)
    as_floats(values, "x")[0] = 7
    assert values[0] == 1


@pytest.mark.parametrize(
    ("values", "dimensions", "message"),
    [
        ([], None, "x is empty"),
        ([[1], [1, 2]], None, "x must have one shape, its rows differ in length"),
        (["1"], None, "x must hold numbers, it holds <U1"),
        ([None], None, "x must hold numbers, it holds object"),
        ([1j], None, "x must hold numbers, it holds complex128"),
        ([NAN], None, "x holds NaN or infinity"),
        ([np.inf], None, "x holds NaN or infinity"),
        ([1.0], 2, r"x must have 2 axes, its shape is \(1,\)"),
    ],
)
def test_as_floats_refuses(values, dimensions, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        as_floats(values, "x", dimensions)


@given(arrays(int, st.tuples(st.integers(1, 3), st.integers(1, 3))))
def test_shapes_that_only_broadcast_are_refused(array):
    require_same_shape(array, array.copy(), ("y", "p"))
    message = r"y has the shape \(.*\) and p has \(.*\); they must be the same"
    with pytest.raises(ValueError, match=message):
        require_same_shape(array, array[None], ("y", "p"))


def test_lengths_must_agree():
    require_same_length("ab", [1, 2], ("texts", "labels"))
    with pytest.raises(ValueError, match="^there are 2 texts but 1 labels$"):
        require_same_length("ab", [1], ("texts", "labels"))


@pytest.mark.parametrize(
    ("values", "rows", "message"),
    [
        ([0.5, 1.1], False, r"p must lie in \[0, 1\], they reach from 0.5 to 1.1"),
        ([-0.1, 1.0], False, r"p must lie in \[0, 1\], they reach from -0.1 to 1"),
        ([[0.5, 0.5], [0.6, 0.3]], True, "each row of p must sum to 1, row 1 sums to 0.9"),
    ],
)
def test_what_are_no_probabilities_is_refused(values, rows, message):
    require_probabilities(np.array([[0.2, 0.8]], dtype=np.float16), "p", rows=True)
    with pytest.raises(ValueError, match=f"^{message}$"):
        require_probabilities(np.array(values), "p", rows)


@pytest.mark.parametrize("kind", KINDS)
def test_class_ids_of_any_whole_kind_pass(kind):
    assert as_class_ids(np.array([2, 0], dtype=kind), 3).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "labels must be integer class ids"),
        ([1.0], "got float64 numbers"),
        ([True], "got bool numbers"),
        (["1"], "labels must be integer class ids"),
        ([[1]], r"of shape \(1, 1\)"),
        ([0, 3], r"labels must lie in 0..2, got 0 to 3"),
        ([-1], r"labels must lie in 0..2, got -1 to -1"),
    ],
)
def test_what_are_no_class_ids_is_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        as_class_ids(labels, 3)
