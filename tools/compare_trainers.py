"""Fine-tune on this machine's device, with this course and with Hugging Face's Trainer.

    python tools/compare_trainers.py [--reviews 1000] [--epochs 3] [--encoder FOLDER] [--out FILE]

Both start from the same weights and see the same film reviews, in batches of the same size and in
the same precision, one after the other in one run: the plain recipe by both, and the course's own
besides. What was measured goes to FILE, by default to the one that chapter 13 reads: seconds of the
first epoch, which compiles, and of the last; reviews trained on and scored per second; accuracy;
and how many 10¹² operations a second the device does when it multiplies two large matrices.
Rows of the same device, program, recipe and number of reviews are replaced; the others stay.

The course runs on the backend that KERAS_BACKEND names: `KERAS_BACKEND=jax` on a machine that has
JAX and no TensorFlow. Hugging Face's side needs `pip install torch transformers accelerate`.
"""

import argparse
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from sentiment_course.assets import asset_path
from sentiment_course.bert import BertClassifier
from sentiment_course.doctor import best_precision, gpus, quiet
from sentiment_course.encoders import keras
from sentiment_course.recipes import rated_reviews
from sentiment_course.reviews import encode_labels, split_reviews

OUT = Path(__file__).parent.parent / "sentiment_course" / "results" / "devices.csv"
KEY = ["device", "program", "recipe", "reviews", "epochs"]
RATE, BATCH, LENGTH, SMOOTHING = 2e-4, 32, 128, 0.1  # those of BertClassifier


def device_name():
    """The first graphics card, or the processor."""
    if cards := gpus():
        return cards[0][0]
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"CPU, {len(names)} × {names[0]}" if names else f"CPU, {platform.machine()}"


def matrix_rate(size):
    """10¹² operations a second in products of two square matrices, by PyTorch."""
    import torch

    kind = {"cuda": gpus() and torch.cuda.is_available(), "cpu": True}
    device = next(name for name, there in kind.items() if there)
    a = torch.randn(size, size, device=device, dtype=getattr(torch, best_precision()))
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for the product
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e12


def run_course(train, test, encoder, epochs, recipe):
    """Fine-tune with `BertClassifier`: seconds of each epoch, texts scored a second, accuracy."""
    perturbation = 1.0 if "adversarial" in recipe else 0.0
    certainty = train.certainty if "ratings" in recipe else None
    classifier = BertClassifier(
        encoder, epochs=epochs, validation_split=0, perturbation=perturbation
    )
    classifier.fit(train.text, train.label, certainty)
    classifier.predict(test.text)  # compiles every shape
    start = time.perf_counter()
    right = (classifier.predict(test.text) == test.label).mean()
    rate = len(test) / (time.perf_counter() - start)
    return list(classifier.history_.seconds), rate, right


def run_trainer(train, test, encoder, epochs, recipe):
    """The same with Hugging Face's Trainer on PyTorch."""
    with quiet():
        from transformers import BertTokenizerFast

        trainer, seconds = make_trainer(encoder, epochs)
    tokenizer = BertTokenizerFast(str(Path(encoder, "vocab.txt")), do_lower_case=True)

    def examples(table):
        ids, _ = encode_labels(table.label)
        cut = tokenizer(list(table.text), truncation=True, max_length=LENGTH)
        return [
            {"input_ids": i, "attention_mask": m, "labels": int(y)}
            for i, m, y in zip(cut["input_ids"], cut["attention_mask"], ids, strict=True)
        ]

    trainer.processing_class, trainer.data_collator = tokenizer, collator(tokenizer)
    trainer.train_dataset = examples(train)
    trainer.train()
    held_out = sorted(examples(test), key=lambda e: len(e["input_ids"]))
    trainer.predict(held_out)
    start = time.perf_counter()
    answers = trainer.predict(held_out)
    rate = len(test) / (time.perf_counter() - start)
    return seconds, rate, (answers.predictions.argmax(axis=1) == answers.label_ids).mean()


def collator(tokenizer):
    """Pads a batch to its longest text, as the course does."""
    from transformers import DataCollatorWithPadding

    return DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8)


def make_trainer(encoder, epochs):
    """A Trainer on the encoder with mean pooling, and the list of its epochs' seconds."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    seconds, precision = [], best_precision()

    class Clock(transformers.TrainerCallback):
        def on_epoch_begin(self, *_, **__):
            self.start = time.perf_counter()

        def on_epoch_end(self, *_, **__):
            seconds.append(time.perf_counter() - self.start)

    arguments = transformers.TrainingArguments(
        output_dir=tempfile.mkdtemp(), num_train_epochs=epochs, learning_rate=RATE,
        per_device_train_batch_size=BATCH, per_device_eval_batch_size=64, warmup_steps=0.1,
        weight_decay=0.01, max_grad_norm=1.0, lr_scheduler_type="linear", save_strategy="no",
        train_sampling_strategy="group_by_length", bf16=precision == "bfloat16",
        fp16=precision == "float16", use_cpu=not gpus(), report_to="none", logging_strategy="no",
    )  # fmt: skip
    model = mean_pooled(encoder)
    return transformers.Trainer(model, arguments, callbacks=[Clock()]), seconds


def mean_pooled(encoder):
    """Hugging Face's BertModel, mean pooling and a dense layer, in PyTorch."""
    import torch
    from transformers import BertModel

    class MeanPooled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = BertModel.from_pretrained(encoder, add_pooling_layer=False)
            self.head = torch.nn.Linear(self.bert.config.hidden_size, 2)

        def forward(self, input_ids, attention_mask, labels=None):
            x = self.bert(input_ids, attention_mask).last_hidden_state
            m = attention_mask[:, :, None].to(x.dtype)
            logits = self.head((m * x).sum(1) / m.sum(1)).float()
            if labels is None:
                return {"logits": logits}
            loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
            return {"loss": loss, "logits": logits}

    torch.manual_seed(0)
    return MeanPooled()


def write(rows, path):
    """Put `rows` into the table at `path`, in place of earlier ones of the same key."""
    table = pd.DataFrame(rows)
    if path.is_file():
        table = pd.concat([pd.read_csv(path), table]).drop_duplicates(KEY, keep="last")
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reviews", type=int, help="train on so many; all without it")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--encoder", default="minilm", help="or a folder in the published form")
    parser.add_argument("--out", type=Path, default=OUT)
    told = parser.parse_args(arguments)
    train, test = split_reviews(rated_reviews("movies"))
    if told.reviews:
        train = train.sample(told.reviews, random_state=0)
        test = test.sample(min(len(test), told.reviews), random_state=0)
    folder = asset_path("minilm") if told.encoder == "minilm" else Path(told.encoder)
    rows, backend = [], keras.backend.backend()
    ours = f"{backend} {version(backend)}, Keras {keras.__version__}"
    theirs = f"PyTorch {version('torch')}, transformers {version('transformers')}"
    rate = matrix_rate(8192 if gpus() else 2048)
    for program, recipe, run, encoder, uses in [
        ("Hugging Face", "labels", run_trainer, folder, theirs),
        ("this course", "labels", run_course, told.encoder, ours),
        ("this course", "ratings, adversarial", run_course, told.encoder, ours),
    ]:
        seconds, scored, right = run(train, test, encoder, told.epochs, recipe)
        rows.append({
            "device": device_name(), "program": program, "recipe": recipe,
            "backend": "torch" if run is run_trainer else backend, "precision": best_precision(),
            "reviews": len(train), "epochs": told.epochs,
            "first_epoch_seconds": round(seconds[0], 2), "epoch_seconds": round(seconds[-1], 2),
            "trained_per_second": round(len(train) / seconds[-1]),
            "scored_per_second": round(scored), "accuracy": round(right, 4),
            "held_out": len(test), "teraflops": round(rate, 2),
            "versions": f"{uses}, Python {platform.python_version()}",
        })  # fmt: skip
        print(pd.Series(rows[-1]).to_string(), "\n", flush=True)
    write(rows, told.out)


if __name__ == "__main__":
    main()
