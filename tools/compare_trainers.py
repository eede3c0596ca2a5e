"""Fine-tune on this machine's device, with this course and with Hugging Face's Trainer.

    python tools/compare_trainers.py [--reviews 1000] [--epochs 3] [--encoder FOLDER] [--out FILE]

Both start from the same weights and see the same film reviews, in batches of the same size and in
the same precision, one after the other in one run. What was measured goes to FILE, by default to
the one that chapter 10 reads: seconds of an epoch, reviews scored per second, accuracy.
Rows of the same device, program and number of reviews are replaced; the others stay.

The course runs on the backend that KERAS_BACKEND names: `KERAS_BACKEND=jax` on a machine that has
JAX and no TensorFlow. Hugging Face's side needs `pip install torch transformers accelerate`.
"""

import argparse
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from sentiment_course.assets import asset_path
from sentiment_course.bert import BertClassifier
from sentiment_course.doctor import best_precision, gpus, quiet
from sentiment_course.encoders import keras
from sentiment_course.reviews import encode_labels, load_reviews, split_reviews

OUT = Path(__file__).parent.parent / "sentiment_course" / "results" / "devices.csv"
KEY = ["device", "program", "reviews", "epochs"]
RATE, BATCH, LENGTH, SMOOTHING = 2e-4, 32, 128, 0.1  # those of BertClassifier


def device_name():
    """The first graphics card, or the processor."""
    if cards := gpus():
        return cards[0][0]
    lines = Path("/proc/cpuinfo").read_text().splitlines() if platform.system() == "Linux" else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"CPU, {len(names)} × {names[0]}" if names else f"CPU, {platform.machine()}"


def run_course(train, test, encoder, epochs):
    """Fine-tune with `BertClassifier`: seconds, reviews per second, accuracy, backend."""
    classifier = BertClassifier(encoder, epochs=epochs, validation_split=0, perturbation=0)
    classifier.fit(train.text, train.label)
    classifier.predict(test.text)  # compiles every shape
    start = time.perf_counter()
    right = (classifier.predict(test.text) == test.label).mean()
    rate = len(test) / (time.perf_counter() - start)
    return classifier.history_.seconds.iloc[-1], rate, right, keras.backend.backend()


def run_trainer(train, test, encoder, epochs):
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
    right = (answers.predictions.argmax(axis=1) == answers.label_ids).mean()
    return seconds[-1], rate, right, "torch"


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
    train, test = split_reviews(load_reviews("movies"))
    if told.reviews:
        train = train.sample(told.reviews, random_state=0)
        test = test.sample(min(len(test), told.reviews), random_state=0)
    folder = asset_path("minilm") if told.encoder == "minilm" else Path(told.encoder)
    rows, versions = [], f"Python {platform.python_version()}, NumPy {np.__version__}"
    programs = {"this course": (run_course, told.encoder), "Hugging Face": (run_trainer, folder)}
    for program, (run, encoder) in programs.items():
        seconds, rate, right, backend = run(train, test, encoder, told.epochs)
        rows.append({
            "device": device_name(), "program": program, "backend": backend,
            "precision": best_precision(), "reviews": len(train), "epochs": told.epochs,
            "seconds_per_epoch": round(seconds, 2), "reviews_per_second": round(rate, 1),
            "accuracy": round(right, 4), "held_out": len(test), "versions": versions,
        })  # fmt: skip
        print(pd.Series(rows[-1]).to_string(), "\n", flush=True)
    write(rows, told.out)


if __name__ == "__main__":
    main()
