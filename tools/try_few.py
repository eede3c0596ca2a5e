"""How far a few labels go: five ways to use them, five numbers of labels, ten draws of each.

    python tools/try_few.py SOURCE GENERAL

SOURCE is amazon or chinese; GENERAL the folder of a general classifier that has learned from other
sources only. The results go where chapter 16 reads them, draw by draw, those that need no training
of an encoder first; what is there already is not done again. On two cores a source takes an hour.
"""

import sys
from functools import partial
from itertools import product

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from try_recipes import RESULTS, keep, known

from sentiment_course.baselines import TfidfClassifier
from sentiment_course.bert import BertClassifier, fit_head, soft_targets
from sentiment_course.encoders import keras, load_encoder, pad
from sentiment_course.general import CHINESE, parts
from sentiment_course.pieces import pieces_in
from sentiment_course.recipes import PAIR_STEPS, learn_pairs, pair_step
from sentiment_course.training import Examples, logits_of, use_averages

SIZES, DRAWS = [8, 16, 32, 64, 256], range(10)  # labels of each class
DRAWN_FROM, JUDGED, TOKENS, BATCH = 3_000, 600, 64, 32


class Encoded:
    """An encoder and the texts of a source; each training starts anew, and compiles nothing."""

    def __init__(self, handle, texts, rate=2e-4):
        keep = partial(pieces_in, texts=texts)
        c = self.classifier = BertClassifier(handle, learning_rate=rate, perturbation=0)
        c.classes_ = np.array(["negative", "positive"])
        c._build(partial(load_encoder, handle, keep=keep))
        self.tokens, self.start = c.encoder_.tokenize(texts, TOKENS), c.network_.get_weights()
        self.pooled = keras.Model(c.network_.inputs, c.network_.get_layer("head").input)
        self.trained = {}

    def vectors(self, rows):
        """The mean vector of each text."""
        return logits_of(self.pooled, [self.tokens[i] for i in rows])

    def examples(self, rows, ids):
        """What is learned from."""
        tokens = [self.tokens[i] for i in rows]
        return Examples(tokens, ids, soft_targets(ids, 2), np.ones(len(ids)))

    def fresh(self, kind):
        """A network and its step, as before any training."""
        network = self.classifier.network_
        if kind not in self.trained:
            made = pair_step(self.classifier) if kind == "pairs" else None
            self.trained[kind] = made or (network, self.classifier._compile(network, PAIR_STEPS))
        trained, step = self.trained[kind]
        network.set_weights(self.start)
        for variable in trained.optimizer.variables:
            if variable.path.split("/")[-1] != "learning_rate":
                variable.assign(np.zeros(variable.shape, variable.dtype))
        return trained, step

    def on_pairs(self, examples, judged, seed):
        """Tuned on pairs, then a head: the class numbers of the texts `judged`."""
        learn_pairs(*self.fresh("pairs"), examples, seed)
        fit_head(self.classifier.network_, examples)
        return self.said(judged)

    def fine_tuned(self, examples, judged, seed):
        """Fine-tuned in as many steps: the class numbers of the texts `judged`."""
        network, step = self.fresh("tuned")
        epochs = (examples.batches(BATCH, [seed, epoch]) for epoch in range(PAIR_STEPS))
        batches = [batch for epoch in epochs for batch in epoch][:PAIR_STEPS]
        for batch in batches:
            step(pad(batch.tokens), batch.targets, batch.weights)
        use_averages(network)
        return self.said(judged)

    def said(self, rows):
        tokens = [self.tokens[i] for i in rows]
        return logits_of(self.classifier.network_, tokens).argmax(axis=1)


def by_words(train, ids, judged):
    """The class numbers that TF-IDF gives to texts."""
    return TfidfClassifier().fit(list(train), ids).predict(list(judged))


def by_head(train, ids, judged):
    """The class numbers that logistic regression gives to vectors."""
    return LogisticRegression(max_iter=1000).fit(train, ids).predict(judged)


def chosen(features, ids):
    """The way of `features` that is most accurate in five parts; of equals the last."""
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(ids, ids))

    def right(name):
        learn, x = features[name]
        return np.concatenate([learn(x[a], ids[a], x[b]) == ids[b] for a, b in folds]).sum()

    return max(features, key=lambda name: (right(name), [*features].index(name)))


def draw_rows(ids, labels, draw):
    """So many texts of each class; a larger number holds the smaller ones."""
    rng = np.random.default_rng(draw)
    return np.concatenate([rng.permutation(np.flatnonzero(ids == c))[:labels] for c in (0, 1)])


def by_features(features, ids, rows, judged):
    """What heads on vectors, and TF-IDF, say of the texts `judged`, and what `fit` would choose."""
    said, at = {}, {name: (learn, x[rows]) for name, (learn, x) in features.items()}
    for name, (learn, x) in features.items():
        said[name] = learn(x[rows], ids[rows], x[judged])
    return said | {"chosen": said[chosen(at, ids[rows])]}


def by_training(encoded, ids, rows, judged, seed):
    """What an encoder says of the texts `judged` that is trained in two ways."""
    examples = encoded.examples(rows, ids[rows])
    yield "pairs", encoded.on_pairs(examples, judged, seed)
    yield "fine-tuned", encoded.fine_tuned(examples, judged, seed)


def main(source, general):
    path = RESULTS / "few.csv"
    learn, test = (
        part.sample(min(len(part), most), random_state=0)
        for part, most in zip(parts(source), (DRAWN_FROM, JUDGED), strict=True)
    )
    texts = [*learn.text, *test.text]
    ids = np.array([*learn.label, *test.label]) == "positive"
    rows, judged, ids = np.arange(len(texts)), np.arange(len(learn), len(texts)), ids.astype(int)
    chinese = source == CHINESE
    encoded = Encoded("multilingual", texts, 1e-4) if chinese else Encoded("minilm", texts)
    features = {
        "TF-IDF": (by_words, np.array(texts, dtype=object)),
        "head": (by_head, encoded.vectors(rows)),
        "general": (by_head, Encoded(general, texts).vectors(rows)),
    }
    ways = [
        ("chosen", lambda rows, draw: by_features(features, ids, rows, judged)),
        ("fine-tuned", lambda rows, draw: dict(by_training(encoded, ids, rows, judged, draw))),
    ]
    for (way, said_by), draw, labels in product(ways, DRAWS, SIZES):
        if (source, labels, draw, way) in known(path, "source", "labels", "draw", "way"):
            continue
        rows = draw_rows(ids[: len(learn)], labels, draw)
        right = {w: np.mean(s == ids[judged]) for w, s in said_by(rows, draw).items()}
        keep([{"source": source, "labels": labels, "draw": draw, "way": w,
               "texts": len(judged), "accuracy": round(share, 4)}
              for w, share in right.items()], path)  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
