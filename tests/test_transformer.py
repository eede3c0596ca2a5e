"""The transformer: WordPiece and every step of BERT in NumPy, against three independent peers."""

import csv
import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits
from tokenizers import BertWordPieceTokenizer

from sentiment_course.assets import asset_path
from sentiment_course.doctor import quiet
from sentiment_course.reviews import SOURCES
from sentiment_course.transformer import (
    attention_maps,
    attention_weights,
    check_attend_stream,
    check_causal_attention,
    check_word_attention,
    dense,
    embed,
    encode,
    encode_all,
    encoder_layer,
    join_heads,
    largest_arrays,
    layer_arrays,
    layer_norm,
    load_bert,
    mean_pool,
    multiply_adds,
    pad_pieces,
    piece_ids,
    self_attention,
    split_heads,
    split_word,
    split_words,
    weight_shapes,
    wordpiece,
)

with quiet():
    import torch
    from torch.nn import functional
    from transformers import BertConfig, BertModel

    from sentiment_course.encoders import load_encoder

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 5)
# Characters that the library's older tables of Unicode know: all but these of Unicode 3.2.
RECLASSED = "\u166d\u1734\u1885\u1886"
KNOWN = [
    c
    for c in map(chr, [*range(0xD800), *range(0xE000, 0x110000)])
    if unicodedata.ucd_3_2_0.category(c) != "Cn" and c not in RECLASSED
]


def checked(max_examples=50, **strategies):
    """A property test: the same examples on every run."""
    options = settings(deadline=None, max_examples=max_examples, derandomize=True)
    return lambda test: options(given(**strategies)(test))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small products on several threads that share a busy core only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def minilm():
    return load_bert()


@pytest.fixture(scope="module")
def library():
    return BertWordPieceTokenizer(str(asset_path("minilm") / "vocab.txt"))


@pytest.fixture(scope="module")
def raw_texts():
    """The 23,703 texts exactly as the asset has them."""
    texts = []
    for name in SOURCES.values():
        path = asset_path("reviews") / f"{name}_GroundTruth.txt"
        with open(path, encoding="utf-8", newline="\r\n") as file:
            rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            texts += [row[2] for row in rows]
    return texts


def small_config(heads=2, size=3, layers=2, inner=7):
    return {
        "vocab_size": 11,
        "hidden_size": heads * size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "max_position_embeddings": 9,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
    }


def random_weights(config, rng, scale=1.0):
    return {n: scale * rng.normal(size=shape) for n, shape in weight_shapes(config).items()}


def random_batch(config, rng, batch=3, length=6):
    """Ids and a mask with holes and padding, at least one piece a text."""
    ids = rng.integers(0, config["vocab_size"], (batch, length))
    mask = rng.integers(0, 2, (batch, length))
    mask[np.arange(batch), rng.integers(0, length, batch)] = 1
    return ids, mask


def hugging_face(config, weights, dtype):
    """The independent peer with the same weights."""
    peer = BertModel(BertConfig(**config), add_pooling_layer=False).eval().to(dtype)
    state = {name: torch.tensor(array) for name, array in weights.items()}
    missing, unexpected = peer.load_state_dict(state, strict=False)
    assert not unexpected and not [name for name in missing if "position_ids" not in name]

    def run(ids, mask):
        with torch.no_grad():
            out = peer(torch.tensor(ids).long(), torch.tensor(mask))
        return out.last_hidden_state.numpy()

    return run


# WordPiece


def test_pieces_of_all_reviews_equal_the_library(minilm, library, raw_texts):
    assert len(raw_texts) == 23_703
    theirs = [e.tokens for e in library.encode_batch(raw_texts)]
    for text, expected in zip(raw_texts, theirs, strict=True):
        assert wordpiece(text, minilm[2]) == expected


def test_every_character_is_cut_as_by_the_library(library):
    assert len(KNOWN) > 230_000
    normalizer, splitter = library._tokenizer.normalizer, library._tokenizer.pre_tokenizer
    for i in range(0, len(KNOWN), 5000):
        text = " ".join(f"a{c}Ba{c}" for c in KNOWN[i : i + 5000])
        theirs = [w for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
        assert split_words(text) == theirs


@checked(max_examples=200, text=st.text(st.sampled_from(KNOWN)))
def test_any_text_is_cut_as_by_the_library(minilm, library, text):
    encoded = library.encode(text)
    assert wordpiece(text, minilm[2]) == encoded.tokens
    assert piece_ids([text], minilm[2], 512)[0].tolist() == encoded.ids[:512]


@checked(text=st.text("ab é'!"), length=st.integers(2, 9))
def test_cut_length_is_as_by_the_library(minilm, library, length, text):
    library.enable_truncation(length)
    theirs = library.encode(text).tokens
    library.no_truncation()
    assert wordpiece(text, minilm[2], length) == theirs


@pytest.mark.parametrize("length", [99, 100, 101])
def test_longest_word_is_as_by_the_library(minilm, library, length):
    for word in ("a" * length, "é" * length):
        assert wordpiece(word, minilm[2]) == library.encode(word).tokens


@checked(word=st.text("abc", min_size=1), vocabulary=st.sets(st.text("abc", min_size=1)))
def test_pieces_are_the_longest_and_join_to_the_word(word, vocabulary):
    vocabulary = dict.fromkeys(vocabulary | {"##" + piece for piece in vocabulary})
    pieces = split_word(word, vocabulary)
    if pieces == ["[UNK]"]:
        return
    assert "".join(piece.removeprefix("##") for piece in pieces) == word
    assert [piece.startswith("##") for piece in pieces] == [i > 0 for i in range(len(pieces))]
    rest = word
    for i, piece in enumerate(pieces):
        mark, size = ("##", len(piece) - 2) if i else ("", len(piece))
        longer = [n for n in range(size + 1, len(rest) + 1) if mark + rest[:n] in vocabulary]
        assert not longer
        rest = rest[size:]


def test_a_mark_in_the_text_is_not_obeyed(minilm, library):
    assert library.encode("a [SEP] b").tokens == ["[CLS]", "a", "[SEP]", "b", "[SEP]"]
    assert wordpiece("a [SEP] b", minilm[2]) == ["[CLS]", "a", "[", "sep", "]", "b", "[SEP]"]


# The steps


@checked(seed=SEEDS, batch=SIZES, hidden=st.integers(2, 6))
def test_layer_norm(seed, batch, hidden):
    rng = np.random.default_rng(seed)
    x, gain, bias = 3 + rng.normal(size=(batch, hidden)), *rng.normal(size=(2, hidden))
    ours = layer_norm(x, gain, bias, 1e-5)
    theirs = functional.layer_norm(
        torch.tensor(x), (hidden,), torch.tensor(gain), torch.tensor(bias), 1e-5
    )
    assert np.allclose(ours, theirs.numpy(), atol=1e-9)
    plain = layer_norm(x, np.ones(hidden), np.zeros(hidden))
    assert np.allclose(plain.mean(-1), 0, atol=1e-6)
    assert np.allclose(plain.var(-1), 1, atol=1e-4)
    assert np.allclose(layer_norm(5 * x - 2, gain, bias), layer_norm(x, gain, bias), atol=1e-4)


@checked(seed=SEEDS, n=SIZES, m=SIZES, scale=st.sampled_from([1e-3, 1.0, 30.0, 1e4]))
def test_attention_equals_pytorch(seed, n, m, scale):
    rng = np.random.default_rng(seed)
    q, k, v = (rng.normal(size=(2, 3, rows, 4)) for rows in (n, m, m))
    mask = rng.integers(0, 2, (2, 1, n, m))
    mask[..., 0] = 1
    shares = attention_weights(scale * q, scale * k, mask)
    theirs = functional.scaled_dot_product_attention(
        *(torch.tensor(a) for a in (scale * q, scale * k, v)), attn_mask=torch.tensor(mask == 1)
    )
    assert np.allclose(shares @ v, theirs.numpy(), atol=1e-9)
    assert (
        np.allclose(shares.sum(-1), 1)
        and not shares[np.broadcast_to(mask == 0, shares.shape)].any()
    )


@checked(seed=SEEDS, batch=SIZES, length=SIZES, heads=SIZES, size=SIZES)
def test_heads_are_slices(seed, batch, length, heads, size):
    x = np.random.default_rng(seed).normal(size=(batch, length, heads * size))
    cut = split_heads(x, heads)
    assert cut.shape == (batch, heads, length, size)
    assert np.array_equal(cut[:, -1], x[..., -size:])
    assert np.array_equal(join_heads(cut), x)


@checked(
    max_examples=20, seed=SEEDS, heads=SIZES, size=SIZES, layers=st.integers(1, 3), inner=SIZES
)
def test_encoder_of_any_shape_equals_hugging_face(seed, heads, size, layers, inner):
    rng = np.random.default_rng(seed)
    config = small_config(heads, 1 + size, layers, inner)
    weights = random_weights(config, rng)
    ids, mask = random_batch(config, rng)
    theirs = hugging_face(config, weights, torch.float64)(ids, mask)
    assert np.allclose(encode(weights, config, ids, mask), theirs, atol=1e-6)


@checked(max_examples=20, seed=SEEDS, extra=st.integers(0, 4))
def test_padding_changes_nothing(seed, extra):
    rng = np.random.default_rng(seed)
    config = small_config()
    weights = random_weights(config, rng)
    ids, mask = random_batch(config, rng, length=5)
    mask[:] = 1
    x = encode(weights, config, ids, mask)
    junk = rng.integers(0, config["vocab_size"], (3, extra))
    padded = encode(weights, config, np.hstack([ids, junk]), np.hstack([mask, 0 * junk]))
    assert np.allclose(padded[:, :5], x, atol=1e-9)
    turned = encode(weights, config, ids[::-1], mask)
    assert np.allclose(turned[::-1], x, atol=1e-9)


@checked(max_examples=20, seed=SEEDS)
def test_only_the_position_table_knows_order(seed):
    rng = np.random.default_rng(seed)
    config = small_config()
    weights = random_weights(config, rng)
    ids, mask = random_batch(config, rng)
    order = rng.permutation(ids.shape[1])
    name = "embeddings.position_embeddings.weight"
    blind = weights | {name: 0 * weights[name]}
    a, b = (encode(blind, config, i, m) for i, m in ((ids, mask), (ids[:, order], mask[:, order])))
    assert np.allclose(a[:, order], b, atol=1e-9)
    if (order != np.arange(len(order))).any():
        seeing = encode(weights, config, ids[:, order], mask[:, order])
        assert not np.allclose(encode(weights, config, ids, mask)[:, order], seeing, atol=1e-3)


@checked(max_examples=20, seed=SEEDS)
def test_maps_and_edits(seed):
    rng = np.random.default_rng(seed)
    config = small_config()
    weights = random_weights(config, rng)
    ids, mask = random_batch(config, rng)
    maps = attention_maps(weights, config, ids, mask)
    assert maps.shape == (2, 3, 2, 6, 6) and np.allclose(maps.sum(-1), 1)
    x = encode(weights, config, ids, mask)
    assert np.array_equal(encode(weights, config, ids, mask, lambda i, _: maps[i]), x)
    assert not np.allclose(encode(weights, config, ids, mask, lambda i, a: 0 * a), x)
    by_hand = embed(weights, config, ids)
    for number in range(2):
        by_hand = encoder_layer(by_hand, mask, layer_arrays(weights, number), config)
    assert np.array_equal(by_hand, x)


def test_weights_decide_the_precision(minilm):
    weights, config, _ = minilm
    ids, mask = np.array([[101, 2307, 102]]), np.ones((1, 3), int)
    single = encode(weights, config, ids, mask)
    double = encode({n: np.float64(a) for n, a in weights.items()}, config, ids, mask)
    assert single.dtype == np.float32 and double.dtype == np.float64
    assert np.abs(single - double).max() < 1e-5
    assert attention_maps(weights, config, ids, mask).dtype == np.float32
    assert mean_pool(single, mask).dtype == np.float32


def test_mean_leaves_padding_out():
    x = np.array([[[1.0, 2.0], [3.0, 4.0], [1e9, 1e9]]])
    assert np.allclose(mean_pool(x, [[1, 1, 0]]), [[2.0, 3.0]])


# The whole, on real weights and real texts


def test_200_sentences_equal_keras_and_hugging_face(minilm, raw_texts):
    weights, config, vocabulary = minilm
    ids = piece_ids(raw_texts[::119], vocabulary)
    lengths = [len(text) for text in ids]
    assert len(ids) == 200 and max(lengths) > 5 * min(lengths)
    token_ids, mask = pad_pieces(ids)
    ours = encode_all(weights, config, ids)
    with quiet():
        keras = load_encoder("minilm", dropout=0).model
    peers = {"Keras": lambda i, m: np.asarray(keras.predict_on_batch([i, m])),
             "Hugging Face": hugging_face(config, weights, torch.float32)}  # fmt: skip
    for name, peer in peers.items():
        rows = [peer(token_ids[i : i + 50], mask[i : i + 50]) for i in range(0, 200, 50)]
        for text, theirs, length in zip(ours, np.concatenate(rows), lengths, strict=True):
            assert np.abs(text - theirs[:length]).max() < 1e-4, name


def test_unmasked_padding_would_be_seen(minilm):
    weights, config, vocabulary = minilm
    token_ids, mask = pad_pieces(piece_ids(["A dull film.", "word " * 20], vocabulary))
    right = encode(weights, config, token_ids, mask)[0, :6]
    wrong = encode(weights, config, token_ids, np.ones_like(mask))[0, :6]
    assert np.abs(right - wrong).max() > 0.1


# Cost


class Counting(np.ndarray):
    """Counts the multiply-adds of matrix products."""

    total = 0

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        plain = [np.asarray(i) if isinstance(i, Counting) else i for i in inputs]
        result = np.asarray(getattr(ufunc, method)(*plain, **kwargs))
        if ufunc is np.matmul:
            Counting.total += result.size * plain[0].shape[-1]
        return result.view(Counting)


@checked(max_examples=20, heads=SIZES, size=SIZES, inner=SIZES, length=st.integers(1, 9))
def test_cost_is_what_the_code_does(heads, size, inner, length):
    config = small_config(heads, size, 2, inner)
    weights = random_weights(config, np.random.default_rng(0))
    weights = {name: array.view(Counting) for name, array in weights.items()}
    Counting.total = 0
    encode(weights, config, np.ones((1, length), int), np.ones((1, length), int))
    assert Counting.total == sum(multiply_adds(config, length))
    maps = attention_maps(weights, config, np.ones((1, length), int), np.ones((1, length), int))
    inner_width = weights["encoder.layer.0.intermediate.dense.bias"].size
    assert largest_arrays(config, length) == (length * inner_width, maps[0].size)


# The checkers refuse what looks right


def test_checkers_refuse_naive_answers():
    def mean_both_ways(attention, pieces):
        number = np.cumsum([not piece.startswith("##") for piece in pieces]) - 1
        member = np.arange(number[-1] + 1)[:, None] == number
        mean = member / member.sum(axis=1, keepdims=True)
        return mean @ attention @ mean.T

    def causal_after_softmax(q, k, v):
        return (attention_weights(q, k, np.ones(len(k))) * np.tri(len(q))) @ v

    def stream_without_highest(q, blocks):
        total = mixed = 0
        with np.errstate(all="ignore"):
            for k, v in blocks:
                new = np.exp(q @ k.T / np.sqrt(k.shape[1]))
                total, mixed = total + new.sum(axis=1, keepdims=True), mixed + new @ v
            return mixed / total

    assert not check_word_attention(mean_both_ways)
    assert not check_causal_attention(causal_after_softmax)
    assert not check_attend_stream(stream_without_highest)


# What is refused

CONFIG = small_config()
WEIGHTS = random_weights(CONFIG, np.random.default_rng(0))
ONES = np.ones((1, 3), int)
BIAS = "encoder.layer.1.output.dense.bias"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: split_word("", {}), "word is empty"),
        (lambda: wordpiece("a", {}, 1), "max_length must be a whole number from 2"),
        (lambda: piece_ids("a text", {}), "texts must be a list"),
        (lambda: piece_ids([None], {}), r"texts\[0\]"),
        (lambda: pad_pieces([]), "ids must hold at least one text"),
        (lambda: pad_pieces([[]]), "each text at least one piece"),
        (lambda: weight_shapes({}), "config lacks 'vocab_size'"),
        (lambda: weight_shapes([]), "config must be a dict"),
        (lambda: weight_shapes(CONFIG | {"hidden_size": 7}), "hidden_size 7 cannot be split"),
        (lambda: weight_shapes(CONFIG | {"hidden_act": "relu"}), "hidden_act is 'relu'"),
        (lambda: layer_norm(np.ones((2, 3)), np.ones(2), np.ones(3)), "gain and bias do not fit"),
        (lambda: layer_norm(np.ones(3), np.ones(3), np.ones(3), 0), "epsilon must be above 0"),
        (lambda: split_heads(np.ones((1, 2, 6)), 4), "heads must divide the 6"),
        (lambda: split_heads(np.ones((1, 2, 6)), 0), "heads must divide the 6"),
        (lambda: attention_weights(np.ones((2, 3)), np.ones((2, 4)), 1), "q and k differ in size"),
        (lambda: attention_weights(ONES, ONES * np.nan, 1), "q and k must give finite scores"),
        (lambda: attention_weights(ONES, ONES, np.ones(5)), "mask, of shape"),
        (lambda: attention_weights(ONES, ONES, np.ones((2, 1, 1))), "mask, of shape"),
        (lambda: attention_weights(ONES, ONES, [[0]]), "mask hides every key"),
        (lambda: dense(ONES[:, :2], {"a.weight": np.ones((4, 3)), "a.bias": 0}, "a"), "x has 2"),
        (lambda: layer_arrays(WEIGHTS, 2), "no layer of the number 2"),
        (lambda: mean_pool(np.ones((1, 3, 2)), [[0, 0, 0]]), "mask must be"),
        (lambda: mean_pool(np.ones((1, 3, 2)), [[1, 1]]), "mask must be"),
        (lambda: multiply_adds(CONFIG, 0), "length must be a whole number"),
        (lambda: largest_arrays(CONFIG, 1.5), "length must be a whole number"),
        (lambda: multiply_adds({}, 3), "config lacks"),
        (lambda: encode_all(WEIGHTS, CONFIG, [[1]], 0), "batch_size must be a whole number from 1"),
        (lambda: encode_all(WEIGHTS, CONFIG, [[1], []]), "at least one piece"),
        (lambda: encode({}, CONFIG, ONES, ONES), "weights lack"),
        (lambda: encode(WEIGHTS | {BIAS: np.ones(5)}, CONFIG, ONES, ONES), BIAS),
        (lambda: encode(WEIGHTS, CONFIG, [[1], [1, 2]], ONES), "padded to one length"),
        (lambda: encode(WEIGHTS, CONFIG, [1, 2], [1, 1]), "token_ids must be integers"),
        (lambda: encode(WEIGHTS, CONFIG, [[]], [[]]), "token_ids must be integers"),
        (lambda: encode(WEIGHTS, CONFIG, ONES * 1.0, ONES), "token_ids must be integers"),
        (lambda: encode(WEIGHTS, CONFIG, ONES * 11, ONES), "token_ids must lie in 0..10"),
        (lambda: encode(WEIGHTS, CONFIG, -ONES, ONES), "token_ids must lie in 0..10"),
        (lambda: encode(WEIGHTS, CONFIG, np.ones((1, 10), int), np.ones((1, 10))), "9 positions"),
        (lambda: encode(WEIGHTS, CONFIG, ONES, ONES[:, :2]), "mask must be zeros and ones"),
        (lambda: encode(WEIGHTS, CONFIG, ONES, 2 * ONES), "mask must be zeros and ones"),
        (lambda: encode(WEIGHTS, CONFIG, ONES, 0 * ONES), "mask hides every piece of text 0"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()


def write_bert(folder, config=CONFIG, weights=WEIGHTS, prefix=""):
    from safetensors.numpy import save_file

    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\na\u2028b\n")
    save_file({prefix + n: np.float16(a) for n, a in weights.items()}, folder / "model.safetensors")


def test_a_folder_is_read(tmp_path):
    write_bert(tmp_path, prefix="bert.")
    weights, config, vocabulary = load_bert(tmp_path)
    assert config == CONFIG and vocabulary == {"[PAD]": 0, "[UNK]": 1, "a\u2028b": 2}
    assert set(weights) == set(WEIGHTS) and weights[BIAS].dtype == np.float32
    assert np.allclose(weights[BIAS], WEIGHTS[BIAS], atol=1e-2)


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "model.safetensors"])
def test_a_folder_without_a_file_is_refused(tmp_path, name):
    write_bert(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=f"{name} cannot be read"):
        load_bert(tmp_path)


def test_a_folder_with_something_else_is_refused(tmp_path):
    write_bert(tmp_path, weights={"a": np.ones(2)})
    with pytest.raises(ValueError, match="weights lack"):
        load_bert(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        load_bert(tmp_path)
    (tmp_path / "model.safetensors").write_text("no")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(ValueError, match=r"model\.safetensors cannot be read"):
        load_bert(tmp_path)


def test_self_attention_mixes_only_what_is_visible():
    rng = np.random.default_rng(0)
    arrays = layer_arrays(WEIGHTS, 0)
    x, mask = rng.normal(size=(1, 4, 6)), np.array([[1, 1, 0, 1]])
    before = self_attention(x, mask, arrays, 2)
    x[0, 2] = 99
    assert np.allclose(self_attention(x, mask, arrays, 2)[:, [0, 1, 3]], before[:, [0, 1, 3]])
