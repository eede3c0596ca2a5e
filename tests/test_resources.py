"""Chapter 1: the map as a graph and back, the founder's table, and the best split of a budget."""

import io

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from sentiment_course.resources import (
    ARTICLE_MAP,
    KINDS,
    RESOURCE_MAP,
    VENTURE,
    VENTURE_CSV,
    as_needs,
    budget_value,
    budget_value_gradient,
    check_split_with_caps,
    draw_gaps,
    draw_resources,
    gap_table,
    loop_losses,
    loop_nodes,
    node_kinds,
    read_mermaid,
    read_needs,
    split_budget,
    venture_needs,
    write_mermaid,
)

fast = settings(deadline=None, max_examples=50, derandomize=True)


# The map ------------------------------------------------------------------------------------------

names = st.from_regex(r"[A-Za-z0-9_]{1,4}(-[a-z0-9]{1,3})?", fullmatch=True)
labels = st.text(max_size=12) | st.sampled_from(
    ["Talent", "技术资源", "the market", '"#34;"', " x "]
)


@st.composite
def graphs(draw):
    """Any directed graph with any labels, isolated nodes and self-loops included."""
    nodes = draw(st.lists(names, max_size=7, unique=True))
    graph = nx.DiGraph(header=draw(st.sampled_from(["graph TD", "flowchart LR"])))
    for node in nodes:
        graph.add_node(node, label=draw(labels))
    if nodes:
        pairs = st.tuples(st.sampled_from(nodes), st.sampled_from(nodes))
        graph.add_edges_from(draw(st.lists(pairs, max_size=12)))
    return graph


def contents(graph):
    """All that a graph holds, in order."""
    edges = [(node, list(graph.successors(node))) for node in graph]
    return graph.graph, list(graph.nodes(data="label")), edges


@fast
@given(graphs())
def test_graph_to_text_to_graph(graph):
    text = write_mermaid(graph)
    again = read_mermaid(text)
    assert contents(again) == contents(graph)
    assert dict(again.nodes(data="kind")) == node_kinds(graph)
    assert write_mermaid(again) == text


@pytest.mark.parametrize("text", [ARTICLE_MAP, RESOURCE_MAP])
def test_text_to_graph_to_text(text):
    assert write_mermaid(read_mermaid(text)) == text


def test_kinds_go_by_ancestry():
    for text in (ARTICLE_MAP, RESOURCE_MAP):
        kinds = dict(read_mermaid(text).nodes(data="kind"))
        by_kind = {k: "".join(n for n in kinds if kinds[n] == k) for k in ("core", *KINDS)}
        assert by_kind == {"core": "A", "talent": "BEFG", "technology": "CHIJ", "market": "DKL"}
    stray = read_mermaid(RESOURCE_MAP + "\nX --> A\nX --> K\nE --> Y")
    assert stray.nodes["X"]["kind"] == "other"
    assert stray.nodes["Y"]["kind"] == "talent"


def test_what_the_reader_skips_and_accepts():
    text = '\n%% a comment\n flowchart LR \r\n\nA["Say #quot;hi#quot; #35;1"]-->B-2\n  C  \n'
    graph = read_mermaid(text)
    assert list(graph.nodes(data="label")) == [("A", 'Say "hi" #1'), ("B-2", "B-2"), ("C", "C")]
    assert list(graph.edges) == [("A", "B-2")]
    assert len(read_mermaid("graph TD")) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: expected a header"),
        ("\n\nA --> B", "line 3: expected a header"),
        ("graph TD\nA --> B\nB -> C", "line 3: expected 'A\\[label\\] --> B"),
        ("graph TD\nA[x --> B", "line 2: expected"),
        ("graph TD\nA --> B --> C", "line 2: expected"),
        ("graph TD\n\nA --> B\nA --> B", "line 4: the edge A --> B is there already"),
        ("graph TD\nA[x] --> B\nB --> A[y]", "line 3: A is labelled 'y', but was 'x'"),
        ('graph TD\nA["#99999999999;"]', "line 2: no such character code"),
        (None, "text: expected a str"),
    ],
)
def test_reader_names_the_line(text, says):
    with pytest.raises(ValueError, match=says):
        read_mermaid(text)


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (nx.Graph(), "expected a networkx.DiGraph"),
        (nx.MultiDiGraph(), "expected a networkx.DiGraph"),
        (nx.DiGraph([("a b", "c")]), "'a b' cannot be a node's name"),
        (nx.DiGraph([(1, 2)]), "1 cannot be a node's name"),
    ],
)
def test_writer_refuses(graph, says):
    with pytest.raises(ValueError, match=says):
        write_mermaid(graph)
    labelled = nx.DiGraph()
    labelled.add_node("A", label=3)
    with pytest.raises(ValueError, match="label of A is 3"):
        write_mermaid(labelled)


@fast
@given(graphs())
def test_loop_nodes_are_those_on_a_cycle(graph):
    on_cycles = set().union(*nx.simple_cycles(graph))
    assert loop_nodes(graph) == on_cycles
    losses = loop_losses(graph)
    assert len(losses) == len(graph) + graph.number_of_edges()
    assert losses.lost.is_monotonic_decreasing
    if len(losses):
        assert losses.lost.min() >= 0 and losses.lost.max() <= len(on_cycles)


def test_loop_losses_of_the_article():
    lost = loop_losses(read_mermaid(RESOURCE_MAP)).set_index("removed").lost
    assert lost["Large-model technology"] == 11
    assert lost["Large-model technology → Talent resources"] == 4
    assert lost["Talent resources"] == 3
    assert lost["Customers → Large-model technology"] == 1
    assert lost["Customers"] == 0


@fast
@given(graphs().filter(len))
def test_draws_any_graph(graph):
    graph = nx.relabel_nodes(graph, dict(zip(graph, "ABCDEFG", strict=False)))
    nx.set_node_attributes(graph, {n: {"label": n, "kind": "other"} for n in graph})
    figure, ax = plain_axes()
    assert draw_resources(graph, ax) is ax
    assert {t.get_text() for t in ax.texts} - {""} == set(graph)
    assert sum(t.get_text() == "" for t in ax.texts) == graph.number_of_edges()


def plain_axes():
    from matplotlib.figure import Figure

    figure = Figure()
    return figure, figure.subplots()


def test_drawings():
    _, ax = plain_axes()
    assert draw_gaps(gap_table(VENTURE), "level", ax) is ax
    assert [t.get_text() for t in ax.texts][:3] == ["3", "8", "5"]
    with pytest.raises(ValueError, match="no node to draw"):
        draw_resources(nx.DiGraph())


# The founder's table ------------------------------------------------------------------------------

levels = st.floats(0, 1e6)
words = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
row = st.tuples(words, st.sampled_from(list(KINDS)), levels, levels, levels.filter(bool))
tables = st.lists(row, min_size=1, max_size=6, unique_by=lambda r: r[0]).map(
    lambda rows: pd.DataFrame(rows, columns=["resource", "kind", "have", "need", "cost"])
)
tables = tables.filter(lambda t: not t.resource.isin(["nan", "None"]).any())


@fast
@given(tables)
def test_table_survives_a_csv(table):
    for source in (
        io.StringIO(table.to_csv(index=False)),
        io.BytesIO(table.assign(note="x").to_csv(index=False).encode("utf-8-sig")),
    ):
        pd.testing.assert_frame_equal(read_needs(source), table, check_dtype=False)


@fast
@given(tables)
def test_gaps(table):
    gaps = gap_table(table)
    assert (gaps.gap >= 0).all()
    assert ((gaps.gap == 0) == (table.have >= table.need)).all()
    assert np.array_equal(gaps.closing_cost, gaps.gap * table.cost)
    assert list(table.columns) == ["resource", "kind", "have", "need", "cost"]


def test_path(tmp_path):
    path = tmp_path / "needs.csv"
    path.write_text(VENTURE_CSV.replace("\nTools", "\n,,,,\n\n Tools "), encoding="utf-8")
    pd.testing.assert_frame_equal(read_needs(path), VENTURE)
    pd.testing.assert_frame_equal(read_needs(str(path)), venture_needs())
    with pytest.raises(FileNotFoundError, match="missing.csv: there is no such file"):
        read_needs(tmp_path / "missing.csv")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("have,", "", "row 2: 5 values for 4 columns"),
        ("cost", "price", "expected one column 'cost', found: resource, kind, have, need, price"),
        ("need", "have", "expected one column 'have'"),
        ("need", "Need ", None),
        ("1,9,3", "1,nine,3", "row 8, column need: 'nine' is not a number"),
        ("1,9,3", "1,,3", "row 8, column need: is empty"),
        ("1,9,3", "1,-9,3", "row 8, column need: -9 is negative"),
        ("1,9,3", "nan,9,3", "row 8, column have: nan is not a finite number"),
        ("1,9,3", "1,9,inf", "row 8, column cost: inf is not a finite number"),
        ("1,9,3", "1,9,0", "row 8, column cost: must be more than 0"),
        ("1,9,3", "1,9,3,5", "row 8: 6 values for 5 columns"),
        ("1,9,3", "1,9", "row 8: 4 values for 5 columns"),
        ("market", "money", "row 8, column kind: 'money' is none of talent, technology, market"),
        ("market", " Market", None),
        ("Customers", " ", "row 8, column resource: is empty"),
        ("Customers", "Tools", "row 8: 'Tools' is there twice"),
        ("Tools", "\nTools", None),
    ],
)
def test_reader_names_row_and_column(old, new, says):
    source = io.StringIO(VENTURE_CSV.replace(old, new))
    if says is None:
        pd.testing.assert_frame_equal(read_needs(source), VENTURE)
    else:
        with pytest.raises(ValueError, match=f"^the table[:,] {says}"):
            read_needs(source)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        (" \n,\n", "is empty"),
        (VENTURE_CSV.split("\n")[0], "has no rows"),
        (VENTURE_CSV.replace(",", ";"), "expected one column 'resource'"),
        (VENTURE_CSV.replace("Tools", "工具").encode("gbk"), "byte 148 is not UTF-8"),
        (VENTURE_CSV.encode("utf-16"), "byte 0 is not UTF-8"),
        ("x" * 200_000, "is not a CSV file"),
    ],
)
def test_reader_refuses(content, says):
    buffer = io.StringIO if isinstance(content, str) else io.BytesIO
    with pytest.raises(ValueError, match=f"^the table: {says}"):
        read_needs(buffer(content))


def test_as_needs_refuses():
    with pytest.raises(ValueError, match="needs: expected a DataFrame"):
        as_needs([1, 2])
    with pytest.raises(ValueError, match="expected one column 'cost'"):
        gap_table(VENTURE.drop(columns="cost"))
    with pytest.raises(ValueError, match="row 0, column have: nan is not a finite"):
        gap_table(VENTURE.assign(have=np.nan))
    with pytest.raises(ValueError, match="row 0, column resource: is empty"):
        gap_table(VENTURE.assign(resource=None))
    with pytest.raises(ValueError, match="row 0, column need: None is not a number"):
        gap_table(VENTURE.assign(need=pd.Series([None] * 8, dtype=object)))


# The budget ---------------------------------------------------------------------------------------


@st.composite
def problems(draw):
    """A budget, weights (some of them 0, never all) and costs, over many orders of magnitude."""
    count = draw(st.integers(1, 6))
    positive = st.floats(-3, 3).map(lambda power: 10.0**power)
    weights = draw(st.lists(st.just(0.0) | positive, min_size=count, max_size=count))
    weights[draw(st.integers(0, count - 1))] = draw(positive)
    costs = draw(st.lists(positive, min_size=count, max_size=count))
    budget = draw(st.just(0.0) | positive)
    return budget, np.array(weights), np.array(costs)


@fast
@given(problems())
def test_split_meets_the_kkt_conditions(problem):
    budget, weights, costs = problem
    spending = split_budget(*problem)
    assert spending.shape == weights.shape and (spending >= 0).all()
    scale = budget + costs.sum()
    assert np.isclose(spending.sum(), budget, rtol=0, atol=1e-12 * scale)
    slopes = budget_value_gradient(spending, weights, costs)
    funded = spending > 1e-9 * scale
    if funded.any():
        price = slopes[funded].max()
        assert np.allclose(slopes[funded], price, rtol=1e-6)
        assert (slopes <= price * (1 + 1e-6)).all()
    assert (spending[weights == 0] == 0).all()


@fast
@given(problems(), st.integers(0, 2**32 - 1))
def test_no_other_split_is_better(problem, seed):
    budget, weights, costs = problem
    best = budget_value(split_budget(*problem), weights, costs)
    others = budget * np.random.default_rng(seed).dirichlet(np.full(weights.size, 0.3), 500)
    assert (budget_value(others, weights, costs) <= best + 1e-9 * (1 + weights.sum())).all()


@fast
@given(problems(), st.floats(-3, 3).map(lambda power: 10.0**power))
def test_split_ignores_the_units(problem, factor):
    budget, weights, costs = problem
    spending, atol = split_budget(*problem), 1e-12 * (budget + costs.sum())
    assert np.allclose(split_budget(budget, weights * factor, costs), spending, atol=atol)
    other = split_budget(budget * factor, weights, costs * factor)
    assert np.allclose(other / factor, spending, atol=atol)


@pytest.mark.parametrize("budget", [0.5, 3.0, 30.0, 300.0])
def test_split_agrees_with_scipy(budget):
    gaps = gap_table(VENTURE)
    weights, costs = gaps.gap.to_numpy(), gaps.cost.to_numpy()

    # SciPy's root finder, on the water level at which the money is spent.
    def overspent(level):
        return np.maximum(weights * level - costs, 0).sum() - budget

    level = optimize.brentq(overspent, 0, 1e3, xtol=1e-14, rtol=1e-14)
    expected = np.maximum(weights * level - costs, 0)
    assert np.allclose(split_budget(budget, gaps.gap, gaps.cost), expected, rtol=1e-6, atol=1e-9)


@fast
@given(problems())
def test_gradient_by_finite_differences(problem):
    budget, weights, costs = problem
    spending = np.full(weights.size, budget / weights.size)
    gradient = budget_value_gradient(spending, weights, costs)
    for i, slope in enumerate(gradient):
        step = np.zeros(weights.size)
        step[i] = 1e-4 * (costs[i] + spending[i])
        change = budget_value(spending + step, weights, costs) - budget_value(
            spending - step, weights, costs
        )
        # The change is a difference of sums over all resources, hence its rounding.
        rounding = 1e-14 * (1 + budget_value(spending, weights, costs)) / step[i]
        assert np.isclose(change / (2 * step[i]), slope, rtol=1e-6, atol=rounding)


def test_value_of_many_splits_at_once():
    spending = np.random.default_rng(0).uniform(0, 9, (2, 5, 3))
    weights, costs = [1.0, 2.0, 0.0], [3.0, 1.0, 2.0]
    values = budget_value(spending, weights, costs)
    by_hand = np.log(1 + spending / 3)[..., 0] + 2 * np.log(1 + spending)[..., 1]
    assert values.shape == (2, 5) and np.allclose(values, by_hand)
    assert budget_value_gradient(spending, weights, costs).shape == (2, 5, 3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((-1, [1], [1]), "budget must be a finite number from 0, not -1"),
        ((np.nan, [1], [1]), "budget must be a finite number from 0, not nan"),
        (([1.0], [1], [1]), "budget must be a finite number"),
        (("much", [1], [1]), "budget must be a finite number from 0, not 'much'"),
        ((1, [], []), "weights is empty"),
        ((1, [[1]], [1]), "weights must have 1 axes"),
        ((1, [1, 2], [1]), "weights has the shape .* and costs has"),
        ((1, [1, -2], [1, 1]), "each of weights must be a finite number from 0, not -2.0"),
        ((1, [1, np.inf], [1, 1]), "weights holds NaN or infinity"),
        ((1, [0, 0], [1, 1]), "weights: all are 0"),
        ((1, [1, 2], [1, 0]), "each of costs must be a finite number above 0, not 0.0"),
        ((1, [1, 2], [1, None]), "costs must hold numbers, it holds object"),
    ],
)
def test_split_refuses(arguments, says):
    with pytest.raises(ValueError, match=says):
        split_budget(*arguments)


@pytest.mark.parametrize("function", [budget_value, budget_value_gradient])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([1, 2, 3], [1, 2], [1, 1]), r"spending: the shape \(3,\) does not end in 2"),
        ((1.0, [1], [1]), r"spending: the shape \(\) does not end in 1"),
        (([1, np.nan], [1, 2], [1, 1]), "spending holds NaN or infinity"),
        (([0, -1], [1, 2], [1, 1]), "spending: a value is at or below -cost"),
        (([0, 1], [1, 2], [1, -1]), "each of costs must be a finite number above 0, not -1.0"),
    ],
)
def test_value_refuses(function, arguments, says):
    with pytest.raises(ValueError, match=says):
        function(*arguments)


@fast
@given(problems())
def test_caps_out_of_reach_change_nothing(problem):
    budget, weights, costs = problem
    capped = check_split_with_caps.expected(budget, weights, costs, np.full(weights.size, budget))
    atol = 1e-9 * (budget + costs.sum())
    assert np.allclose(capped, split_budget(*problem), atol=atol)
