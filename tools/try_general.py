"""How the general classifier does beside those of one source, and on what it has not learned from.

    python tools/try_general.py alone
    python tools/try_general.py FOLDER [SOURCE]

The first trains MiniLM by the plain recipe on each English source alone (but films: that is done by
`try_recipes.py`). The second trains the general classifier on all sources but SOURCE, saves it in
FOLDER, and judges it: on all texts of SOURCE, and on what is held out of the others. The results go
where appendix A21 reads them.
"""

import sys
from pathlib import Path

import pandas as pd
from try_recipes import PLAIN, RESULTS

from sentiment_course.general import ALL, SOURCES, labelled, parts, train_general
from sentiment_course.ladder import load_classifier
from sentiment_course.recipes import train_by


def alone():
    """The accuracy on each English source of a classifier that has learned from it alone."""
    for source in list(SOURCES)[1:]:  # films: tools/try_recipes.py
        train, test = parts(source)
        right = train_by(PLAIN, train, seed=0).predict(test.text) == test.label.to_numpy()
        yield source, len(test), right.mean()


def general(folder, left_out):
    """The accuracy on each source of the general classifier."""
    table = train_general(folder, [source for source in ALL if source != left_out])
    for source, texts, accuracy in table.itertuples(index=False):
        if source == left_out:
            whole = labelled(source)
            said = load_classifier(folder).predict(whole.text.tolist())
            texts, accuracy = len(whole), (said == whole.label.to_numpy()).mean()
        yield source, texts, accuracy


def main(folder, left_out=""):
    path, name = RESULTS / "general.csv", f"all but {left_out}" if left_out else "all"
    name, rows = (
        ("alone", alone()) if folder == "alone" else (name, general(Path(folder), left_out))
    )
    table = pd.DataFrame(rows, columns=["source", "texts", "accuracy"])
    table.insert(0, "learned_from", name)
    if path.is_file():
        before = pd.read_csv(path)
        table = pd.concat([before[before.learned_from != name], table])
    table.round(4).to_csv(path, index=False)
    print(table.to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])
