"""What SECURITY.md promises is held by tests that exist."""

import re
from pathlib import Path

import pytest
from test_faults import exists

TABLE = (Path(__file__).parent.parent / "SECURITY.md").read_text(encoding="utf-8")


def test_every_promise_names_a_test():
    rows = [line for line in TABLE.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10 and all("::test_" in row.rsplit("|", 2)[1] for row in rows)


@pytest.mark.parametrize("test", re.findall(r"`(test_\w+\.py::test_\w+)`", TABLE))
def test_the_test_exists(test):
    assert exists(test)
