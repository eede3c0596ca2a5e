"""One contender: python contenders.py NAME FOLDER TASK; runs when told, and says how long it took.

TASK is a JSON file with the texts to score and texts to calibrate on. A line on standard input,
`bulk` or `one`, is a run; the answer is a line of JSON. Every contender gets texts, and gives back
probabilities: cutting into tokens counts.
"""

import json
import os
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path

import numpy as np

NAME, FOLDER, TASK = sys.argv[1], Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text())
ONE = 40  # texts, when they are scored one at a time


def tokenizer():
    from tokenizers import BertWordPieceTokenizer

    made = BertWordPieceTokenizer(str(FOLDER / "vocab.txt"), lowercase=True)
    made.enable_truncation(128)
    return made


def batches(tokens, most):
    """Padded ids and mask of texts of like length, at most so many tokens together, with places."""
    batch, order = [], np.argsort([-len(t) for t in tokens], kind="stable")
    for i in [*order, None]:
        if batch and (i is None or (len(batch) + 1) * len(tokens[batch[0]]) > most):
            ids = np.zeros((len(batch), len(tokens[batch[0]])), np.int64)
            mask = np.zeros_like(ids)
            for row, k in enumerate(batch):
                ids[row, : len(tokens[k])], mask[row, : len(tokens[k])] = tokens[k], 1
            yield batch, ids, mask
            batch = []
        batch.append(i)


def by_batches(run, most):
    """A scorer of texts from a function of ids and mask to logits."""
    cut = tokenizer()

    def score(texts):
        tokens, logits = [e.ids for e in cut.encode_batch(texts)], np.zeros((len(texts), 2))
        for places, ids, mask in batches(tokens, most):
            logits[places] = run(ids, mask)
        return logits

    return score


def network():
    """Hugging Face's BERT with the saved weights and head."""
    import torch
    import transformers
    from safetensors.torch import load_file

    class Network(torch.nn.Module):
        def __init__(self, attention):
            super().__init__()
            told = json.loads((FOLDER / "config.json").read_text())
            config = transformers.BertConfig(**told)
            config._attn_implementation = attention
            self.bert = transformers.BertModel(config, add_pooling_layer=False)
            weights = load_file(FOLDER / "model.safetensors")
            self.bert.load_state_dict(weights, strict=False)
            head = load_file(FOLDER / "head.safetensors")
            self.kernel, self.bias = head["kernel"], head["bias"]

        def forward(self, ids, mask):
            x = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            m = mask[..., None].float()
            return (x * m).sum(1) / m.sum(1) @ self.kernel + self.bias

    return Network


def pytorch(precision):
    import torch

    made, kind = network()("sdpa").eval(), getattr(torch, precision)

    @torch.inference_mode()
    def run(ids, mask):
        with torch.autocast("cpu", kind, enabled=kind != torch.float32):
            return made(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()

    return by_batches(run, 2048)


def exported(place):
    """The network as ONNX, by PyTorch's own exporter."""
    import torch

    ids = torch.randint(1000, 20000, (2, 9))
    axes = {"ids": {0: "b", 1: "l"}, "mask": {0: "b", 1: "l"}, "logits": {0: "b"}}
    torch.onnx.export(
        network()("eager").eval(), (ids, torch.ones_like(ids)), place, dynamo=False,
        input_names=["ids", "mask"], output_names=["logits"], dynamic_axes=axes,
        opset_version=17,
    )  # fmt: skip


def onnx_runtime(bits, folder):
    """Optimized and rounded by ONNX Runtime's own tools."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model

    exported(f"{folder}/raw.onnx")
    made = optimize_model(f"{folder}/raw.onnx", model_type="bert", num_heads=12, hidden_size=384)
    made.save_model_to_file(f"{folder}/32.onnx")
    if bits == 8:
        quantize_dynamic(f"{folder}/32.onnx", f"{folder}/8.onnx", per_channel=True,
                         weight_type=QuantType.QInt8,
                         extra_options={"DefaultTensorType": 1})  # fmt: skip
    session = onnxruntime.InferenceSession(f"{folder}/{bits}.onnx")
    return by_batches(lambda ids, mask: session.run(None, {"ids": ids, "mask": mask})[0], 1024)


def openvino(kind, folder):
    """By PyTorch's exporter; for int8, rounded by NNCF on texts, as its makers advise."""
    import openvino as ov

    exported(f"{folder}/raw.onnx")
    core, cut = ov.Core(), tokenizer()
    model = core.read_model(f"{folder}/raw.onnx")
    if kind == "int8":
        import nncf

        tokens = [np.array([e.ids]) for e in cut.encode_batch(TASK["calibrate"])]
        texts = nncf.Dataset([{"ids": t, "mask": np.ones_like(t)} for t in tokens])
        model = nncf.quantize(model, texts, model_type=nncf.ModelType.TRANSFORMER,
                              subset_size=len(tokens))  # fmt: skip
    hint = "bf16" if kind == "bf16" else "f32"
    told = {"INFERENCE_PRECISION_HINT": hint}
    many = core.compile_model(model, "CPU", told | {"PERFORMANCE_HINT": "THROUGHPUT"})
    one = core.compile_model(model, "CPU", told | {"PERFORMANCE_HINT": "LATENCY"})

    def score(texts):
        tokens, logits = [e.ids for e in cut.encode_batch(texts)], np.zeros((len(texts), 2))
        if len(texts) == 1:
            return one({"ids": np.array(tokens), "mask": np.ones((1, len(tokens[0])), int)})[0]
        queue = ov.AsyncInferQueue(many)
        queue.set_callback(lambda r, places: logits.__setitem__(places, r.get_output_tensor().data))
        for places, ids, mask in batches(tokens, 512):
            queue.start_async({"ids": ids, "mask": mask}, places)
        queue.wait_all()
        return logits

    return score


def ours(kind):
    if kind == "keras":
        from sentiment_course.bert import BertClassifier

        made = BertClassifier.load(FOLDER)
        made.verbose = False
        return made.predict_proba
    from sentiment_course.runtime import OnnxClassifier, as_onnx, for_scoring

    files = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    told = files, TASK["classes"], 128
    data = as_onnx(*told) if kind == "32" else for_scoring(*told, TASK["calibrate"])
    return OnnxClassifier(data).predict_proba


def scorer(folder):
    make, _, kind = NAME.partition("-")
    if make == "ours":
        return ours(kind)
    if make == "torch":
        return pytorch(kind)
    if make == "onnxruntime":
        return onnx_runtime(int(kind), folder)
    return openvino(kind, folder)


def main():
    answer = os.fdopen(os.dup(1), "w")  # what libraries print goes elsewhere
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory() as folder:
        score, texts = scorer(folder), TASK["texts"]
        score(texts[:200]), score(texts[:1])  # what is made at the first call
    for line in chain(["ready\n"], iter(sys.stdin.readline, "")):
        start, cpu, said = time.perf_counter(), time.process_time(), []
        if line == "bulk\n":
            said = np.argmax(score(texts), axis=1).tolist()
        elif line == "one\n":
            for text in texts[:ONE]:
                score([text])
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(json.dumps({"seconds": seconds, "cpu": cpu, "said": said}), file=answer, flush=True)


main()
