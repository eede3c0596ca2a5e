"""Write two BERT modules with the TensorFlow Model Garden's own export, for test_hub.py.

    python tests/make_model_garden_encoder.py FOLDER VOCABULARY

FOLDER gets `packages` (the Model Garden, apart from everything that is installed), `6x384` and
`2x128`; what is there is kept. The weights are random, in every variable.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

PINNED = {
    "tf-models-official==2.20.0":
        "0bf173f9ea83e1a83f983b35fe515e9d9bfd294b27538f6e8806afeb5a069150",
    "gin-config==0.5.0":
        "bddb7ca221ea2b46cdb59321e79fecf02d6e3b728906047fcd4076c297609fd6",
}  # fmt: skip
CASED = "[PAD] [UNK] [CLS] [SEP] [MASK] The the Film film was good bad . , ! No no ##s ##ly It it"
SIZES = {"6x384": (6, 384, 12), "2x128": (2, 128, 2)}  # layers, hidden, heads


def install(packages):
    """Put the Model Garden into the folder `packages`, without what it declares to need."""
    with tempfile.TemporaryDirectory(dir=packages.parent) as temporary:
        pinned, ready = Path(temporary, "pinned.txt"), Path(temporary, "packages")
        lines = [f"{requirement} --hash=sha256:{sha256}" for requirement, sha256 in PINNED.items()]
        pinned.write_text("\n".join(lines))
        options = ["-q", "--no-deps", "--no-compile", "--require-hashes", "--target", str(ready)]
        command = [sys.executable, "-m", "pip", "install", *options, "-r", str(pinned)]
        subprocess.run(command, check=True)
        ready.rename(packages)


def randomize(variables):
    """Random weights everywhere, so that no two can be taken for one another."""
    import numpy as np

    rng = np.random.default_rng(0)
    for variable in variables:
        middle = 1.0 if "gamma" in variable.name else 0.0
        variable.assign(middle + 0.1 * rng.normal(size=variable.shape))


def export(folder, vocabulary, layers, hidden, heads):
    """Write one module; the small one keeps case and has a language model beside the encoder."""
    import tensorflow as tf
    from official.legacy.bert import configs
    from official.modeling import tf_utils
    from official.nlp.modeling import models
    from official.nlp.tools import export_tfhub_lib

    small = hidden < 384
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        if small:
            vocabulary = Path(temporary, "vocab.txt")
            vocabulary.write_text("\n".join(CASED.split()) + "\n")
        config = configs.BertConfig(
            vocab_size=len(Path(vocabulary).read_text(encoding="utf-8").splitlines()),
            hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=4 * hidden, type_vocab_size=2,
        )  # fmt: skip
        encoder = export_tfhub_lib.get_bert_encoder(config)
        trained = {"encoder": encoder}
        if small:
            gelu = tf_utils.get_activation("gelu")
            whole = models.BertPretrainerV2(encoder_network=encoder, mlm_activation=gelu)
            whole(whole.inputs)
            trained = whole.checkpoint_items
        randomize(encoder.variables)
        checkpoint = tf.train.Checkpoint(**trained).save(str(Path(temporary, "checkpoint")))
        export_tfhub_lib.export_model(
            str(Path(temporary, "ready")), bert_config=config, encoder_config=None,
            model_checkpoint_path=checkpoint, with_mlm=small, vocab_file=str(vocabulary),
            do_lower_case=not small,
        )  # fmt: skip
        Path(temporary, "ready").rename(folder)


def main(folder, vocabulary):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "packages").is_dir():
        install(folder / "packages")
    os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    sys.path.insert(0, str(folder / "packages"))
    for name, sizes in SIZES.items():
        if not (folder / name).is_dir():
            export(folder / name, vocabulary, *sizes)


if __name__ == "__main__":
    main(*sys.argv[1:])
