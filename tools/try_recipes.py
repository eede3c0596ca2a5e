"""Try the recipes of chapter 10; train two on three seeds, the plain one on each fifth.

    python tools/try_recipes.py [recipes] [times] [seeds] [folds]

The results go where chapter 10 reads them. What is there already is not done again, so the script
can be stopped at any time; delete rows to have them measured anew. On two cores all of it takes
hours: give a name to do only that part.
"""

import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd

from sentiment_course.recipes import (
    Recipe,
    film_folds,
    rated_reviews,
    recipe_data,
    train_by,
    try_recipe,
)
from sentiment_course.reviews import SOURCES, split_reviews

RESULTS = Path(__file__).parent.parent / "sentiment_course" / "results"
PLAIN, CHOSEN = Recipe("ratings"), Recipe("ratings, adversarial", perturbation=1.0)
RECIPES = [
    PLAIN,
    Recipe("ratings, two readings", readings=2),
    Recipe("labels", learned="labels"),
    Recipe("ratings, words frozen", words="frozen"),
    Recipe("ratings, first token", pooling="first"),
    Recipe("ratings, layer-wise rates", rate_decay=0.8),
    Recipe("ratings, five epochs", epochs=5),
    CHOSEN,
    Recipe("ratings, words frozen, adversarial", words="frozen", perturbation=1.0),
]
RECIPE_SEEDS = [0]
SEEDS = [0, 1, 2]


def keep(rows, path):
    """Add `rows`, dicts, to the table at `path`."""
    table = pd.DataFrame(rows)
    if path.is_file():
        table = pd.concat([pd.read_csv(path), table])
    table.to_csv(path, index=False)
    print({k: v for k, v in rows[0].items() if k != "right"}, flush=True)


def known(path, *columns):
    """The values of `columns` that the table at `path` has."""
    if not path.is_file():
        return set()
    return set(pd.read_csv(path)[list(columns)].itertuples(index=False, name=None))


def try_recipes(path):
    """One row for each recipe and seed, judged on the texts to choose by."""
    fitting, choosing, _ = recipe_data()
    for seed in RECIPE_SEEDS:
        for recipe in RECIPES:
            if (recipe.name, seed) not in known(path, "recipe", "seed"):
                _, row = try_recipe(recipe, fitting, choosing, seed)
                keep([row], path)


def time_recipes(path):
    """How long each recipe trains, as a multiple of the first: the shortest of three, in turn."""
    lacking = [recipe for recipe in RECIPES if (recipe.name,) not in known(path, "recipe")]
    if not lacking:
        return
    fitting, choosing, _ = recipe_data()
    few, seconds = fitting.sample(640, random_state=0), {}
    for _ in range(3):
        for recipe in dict.fromkeys([PLAIN, *lacking]):
            # The first epoch compiles too; the second tells what every other one takes.
            classifier, _ = try_recipe(replace(recipe, epochs=2), few, choosing.head(1))
            took = recipe.epochs * classifier.history_.seconds.iloc[-1]
            seconds[recipe] = min(took, seconds.get(recipe, took))
    keep([{"recipe": recipe.name, "time": round(seconds[recipe] / seconds[PLAIN], 3)}
          for recipe in lacking], path)  # fmt: skip


def train_seeds(path):
    """The accuracy on the held-out fifth of every source, trained on films, and on all four."""
    splits = {source: split_reviews(rated_reviews(source)) for source in SOURCES}
    whole = pd.concat([train for train, _ in splits.values()], ignore_index=True)
    for recipe, trained_on, train, seeds in [
        (CHOSEN, "movies", splits["movies"][0], SEEDS),
        (PLAIN, "movies", splits["movies"][0], SEEDS),
        (PLAIN, "all four", whole, [0]),
    ]:
        for seed in seeds:
            if (recipe.name, trained_on, seed) in known(path, "recipe", "trained_on", "seed"):
                continue
            classifier = train_by(recipe, train, seed)
            keep([{"recipe": recipe.name, "trained_on": trained_on, "seed": seed,
                   "source": source, "texts": len(test),
                   "accuracy": classifier.score(test.text, test.label)}
                  for source, (_, test) in splits.items()], path)  # fmt: skip


def train_folds(path):
    """The accuracy on each fifth of the films, trained on the others by the plain recipe."""
    for fold, (train, held_out) in enumerate(film_folds()):
        if (fold,) in known(path, "fold"):
            continue
        accuracy = train_by(PLAIN, train, seed=0).score(held_out.text, held_out.label)
        keep([{"fold": fold, "texts": len(held_out), "accuracy": accuracy}], path)


def main(parts):
    RESULTS.mkdir(exist_ok=True)
    for part, run in [("recipes", try_recipes), ("times", time_recipes),
                      ("seeds", train_seeds), ("folds", train_folds)]:  # fmt: skip
        if not parts or part in parts:
            run(RESULTS / f"{part}.csv")


if __name__ == "__main__":
    main(sys.argv[1:])
