"""Languages: the right encoder for the texts; pieces; weights in four bits, also hostile ones."""

import dataclasses
import shutil
import struct
import tracemalloc

import numpy as np
import pytest

from sentiment_course import languages
from sentiment_course.assets import asset_path, home
from sentiment_course.languages import (
    best_path,
    choose_encoder,
    dequantise,
    is_english,
    load_sentences,
    minilm_pieces,
    normalised,
    quantise,
    read_packed,
    unreadable_share,
)
from sentiment_course.reviews import SOURCES, load_ratings

SENTENCES = load_sentences()


def test_the_sentences_are_two_hundred_and_balanced():
    assert len(SENTENCES) == 200 and not SENTENCES.duplicated("text").any()
    counts = SENTENCES.groupby(["language", "label"]).size()
    assert len(counts) == 40 and set(counts) == {5}
    assert SENTENCES.script.nunique() == 10


@pytest.mark.parametrize("language", SENTENCES.language.unique())
def test_each_language_gets_the_encoder_that_reads_it(language):
    texts = SENTENCES.text[SENTENCES.language == language]
    handle, why = choose_encoder(list(texts))
    assert handle == ("minilm" if language == "English" else "multilingual")
    assert "English" in why and "%" in why


@pytest.mark.parametrize("source", SOURCES)
def test_english_sources_are_read_by_minilm(source):
    texts = load_ratings(source).text.sample(400, random_state=0)
    assert choose_encoder(texts)[0] == "minilm"


def test_a_column_with_a_fifth_of_spanish_is_given_to_the_multilingual_encoder():
    english = load_ratings("amazon").text.sample(40, random_state=0)
    spanish = SENTENCES.text[SENTENCES.language == "Spanish"]
    assert choose_encoder([*english, *spanish])[0] == "multilingual"


def test_texts_without_words_are_left_to_minilm():
    assert choose_encoder(["", "5/5", "!!!"])[0] == "minilm"
    assert choose_encoder([])[0] == "minilm"


def test_only_what_is_no_text_is_refused():
    with pytest.raises(ValueError, match="not text"):
        choose_encoder([1.5])


def test_a_long_column_is_sampled_all_along_it():
    texts = ["It is a good book."] * 6000 + ["这本书很好。"] * 6000
    handle, why = choose_encoder(texts)
    assert handle == "multilingual" and "50%" in why


def test_short_praise_without_function_words_is_english():
    tokenizer = minilm_pieces()
    assert is_english("Great product", tokenizer) and not is_english("Buen producto", tokenizer)


def test_a_text_that_is_mostly_unreadable_is_not_english_for_one_english_word():
    assert not is_english("this 房间很干净，服务员也很热情", minilm_pieces())


def test_the_unreadable_share_counts_pieces_and_not_marks():
    assert unreadable_share(["很 good"]) == 0.5
    assert unreadable_share([""]) == 0 and unreadable_share([]) == 0


def test_a_mark_typed_into_a_text_is_spelled():
    assert "[UNK]" not in minilm_pieces().encode("[SEP] [UNK]").tokens[1:-1]
    assert asset_path("minilm").is_dir() and np.isfinite(unreadable_share(["[UNK]"]))


# ------------------------------------------------------------------ the best path


TOY = {a + b: -float(x) for (a, b), x in zip(
    [(a, b) for a in "abc" for b in ["", *"abc", "aa"]],
    np.random.default_rng(3).uniform(1, 9, 15), strict=True,
)}  # fmt: skip


def cuts(text):
    """Every cut of a text into pieces."""
    if not text:
        yield []
    for end in range(1, len(text) + 1):
        yield from ([text[:end], *rest] for rest in cuts(text[end:]))


@pytest.mark.parametrize("seed", range(8))
def test_the_best_path_is_the_best_of_all_cuts(seed):
    text = "".join(np.random.default_rng(seed).choice(list("abc"), 11))
    total = {tuple(cut): sum(TOY.get(p, -99) for p in cut) for cut in cuts(text)}
    best = best_path(text, TOY)
    assert "".join(best) == text and total[tuple(best)] == max(total.values())


def test_an_unknown_character_is_a_piece_of_its_own():
    assert best_path("axb", {"a": -1.0, "b": -2.0}) == ["a", "x", "b"]
    assert best_path("", TOY) == []


def test_of_equal_cuts_the_longest_last_piece_is_taken_as_by_the_library():
    scores = {"~": -2.0, "~~": -3.0, "▁": -1.0}
    from tokenizers import Tokenizer, models

    peer = Tokenizer(models.Unigram([("<unk>", 0.0), *scores.items()], 0))
    for count in range(1, 8):
        assert best_path("~" * count, scores) == peer.encode("~" * count).tokens


# ------------------------------------------------------------------ a small file of the format


CONFIG = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 16, "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}  # fmt: skip
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "a", "b", "ab", "▁a", "很", "好", "很好", "▁很好"]
MAP = {0x9: " ", 0x3000: " ", 0xFF21: "A", 0x1: "", 0x2460: "1", 0x1D400: "A", 0xFB01: "fi"}


def arrays_of(config, rows, rng):
    """Random arrays under the names of the file, and which of them are in four bits."""
    h, f = config["hidden_size"], config["intermediate_size"]
    shapes = {"emb.word": (rows, h), "emb.pos": (config["max_position_embeddings"], h),
              "emb.type": (2, h), "emb.ln.w": (h,), "emb.ln.b": (h,)}  # fmt: skip
    for layer in range(config["num_hidden_layers"]):
        for name, shape in {"q": (h, h), "k": (h, h), "v": (h, h), "ao": (h, h),
                            "fi": (f, h), "fo": (h, f)}.items():  # fmt: skip
            shapes |= {f"l{layer}.{name}.w": shape, f"l{layer}.{name}.b": shape[:1]}
        shapes |= {f"l{layer}.{n}.{p}": (h,) for n in ("aln", "oln") for p in "wb"}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def small_file(pieces=PIECES, characters=MAP, config=CONFIG, spare=3, **changes):
    """The bytes of a file, and its arrays; `changes` are other bytes of its parts."""
    rng = np.random.default_rng(0)
    arrays = arrays_of(config, len(pieces) + spare, rng)
    numbers = [config[n] for n in languages.NUMBERS[:4]] + [len(pieces) + spare]
    numbers += [config["max_position_embeddings"], config["type_vocab_size"]]
    text = [p.encode() for p in pieces]
    scores = [0] * 4 + [-2.0 - i / 8 for i in range(len(pieces) - 4)]
    parts = {
        "magic": b"E5S1" + struct.pack("<I", 1),
        "numbers": struct.pack("<7ifi", *numbers, config["layer_norm_eps"], 32),
        "counts": struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, sum(map(len, text))),
        "ends": np.cumsum([0, *map(len, text)]).astype("<u4").tobytes(),
        "scores": np.array(scores, "<f4").tobytes(),
        "words": b"".join(text),
    }  # fmt: skip
    entries = b"".join(
        struct.pack(f"<IB{len(t)}I", code, len(t), *map(ord, t)) for code, t in characters.items()
    )
    parts |= {"map": struct.pack("<iI", len(characters), len(entries)) + entries}
    parts |= changes
    packed = {n: quantise(a) if n.endswith(".w") and a.ndim == 2 or n == "emb.word" else a.tobytes()
              for n, a in arrays.items()}  # fmt: skip
    at = sum(map(len, parts.values())) + 4 + sum(23 + len(n) for n in packed)
    directory = struct.pack("<i", len(packed))
    for name, data in packed.items():
        kind = int(len(data) != arrays[name].nbytes)
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", kind, arrays[name].size, at, len(data))
        at += len(data)
    return b"".join(parts.values()) + directory + b"".join(packed.values()), arrays


def test_a_file_is_unpacked_into_the_arrays_it_was_made_of():
    data, arrays = small_file()
    unpacked = languages.unpack(read_packed(data))
    word = unpacked["embeddings.word_embeddings.weight"]
    assert word.shape == (len(PIECES), 32) and word.dtype == np.float16
    near = dequantise(quantise(arrays["emb.word"])).reshape(-1, 32)[: len(PIECES)]
    assert np.array_equal(word, near.astype(np.float16))
    assert np.array_equal(
        unpacked["encoder.layer.0.attention.output.LayerNorm.bias"], arrays["l0.aln.b"]
    )
    near = dequantise(quantise(arrays["l0.fo.w"])).reshape(32, 64)
    assert np.array_equal(unpacked["encoder.layer.0.output.dense.weight"], near.astype(np.float16))
    assert np.array_equal(unpacked["embeddings.position_embeddings.weight"], arrays["emb.pos"])


def test_its_tokenizer_cuts_as_the_best_path_does():
    packed = read_packed(small_file()[0])
    tokenizer = languages.unigram_tokenizer(packed)
    scores = dict(zip(packed.pieces, packed.scores.tolist(), strict=True))
    rng = np.random.default_rng(0)
    letters = [*"ab很好 x", *map(chr, MAP)]
    for text in ("".join(rng.choice(letters, 9)) for _ in range(300)):
        pieces = best_path(normalised(text, packed.characters), scores)
        ours = [p if p in scores else "<unk>" for p in pieces]
        ours = [p for i, p in enumerate(ours) if p != "<unk>" or ours[i - 1 : i] != [p]]
        theirs = [packed.pieces[i] for i in tokenizer.encode(text).ids]
        assert theirs == ["<s>", *ours, "</s>"], text


def test_the_map_of_characters_maps_each_of_them():
    packed = read_packed(small_file()[0])
    normalizer = languages.unigram_tokenizer(packed).normalizer
    for code, text in MAP.items():
        assert normalizer.normalize_str(f"a{chr(code)}b") == f"a{text}b"
    assert normalizer.normalize_str("ｚ \u3000 很 ") == "ｚ 很"  # not in the map: stays


def test_a_large_map_survives_its_packing():
    rng = np.random.default_rng(0)
    codes = rng.choice(np.setdiff1d(np.arange(33, 0x20000), np.arange(0xD800, 0xE000)), 3000, False)
    characters = {int(c): chr(97 + int(c) % 26) * (int(c) % 4) for c in codes}
    trie = languages.character_map(characters)
    from tokenizers import normalizers

    normalizer = normalizers.Precompiled(trie)
    for code, text in characters.items():
        assert normalizer.normalize_str(chr(code)) == text
    others = sorted({int(c) + 1 for c in codes if not 0xD7FF <= c < 0xE000} - set(characters))
    for code in others[:500]:
        assert normalizer.normalize_str(chr(code)) == chr(code)


LENGTH = len("".join(PIECES).encode())


def replaced(name, at, form, *values):
    """A part of the small file with other numbers at a place."""
    plain = {"numbers": struct.pack("<7ifi", 32, 1, 2, 64, 16, 16, 2, 1e-12, 32)}
    plain["counts"] = struct.pack(
        "<5iQ", len(PIECES), 0, 2, 1, 3, sum(len(p.encode()) for p in PIECES)
    )
    plain["magic"] = b"E5S1" + struct.pack("<I", 1)
    plain["map"] = struct.pack("<iI", 1, 9) + struct.pack("<IBI", 9, 1, 32)
    plain["ends"] = np.cumsum([0, *(len(p.encode()) for p in PIECES)]).astype("<u4").tobytes()
    plain["scores"] = np.zeros(len(PIECES), "<f4").tobytes()
    data = bytearray(plain[name])
    struct.pack_into("<" + form, data, at, *values)
    return {name: bytes(data)}


HOSTILE = {
    "another kind of file": (replaced("magic", 0, "4s", b"PK\3\4"), "begins with something else"),
    "no heads": (replaced("numbers", 8, "i", 0), "num_attention_heads"),
    "a negative size": (replaced("numbers", 0, "i", -32), "hidden_size"),
    "an epsilon that is no number": (replaced("numbers", 28, "f", float("nan")), "layer_norm_eps"),
    "other blocks": (replaced("numbers", 32, "i", 64), "blocks hold 64"),
    "two billion pieces": (replaced("counts", 0, "i", 2**31 - 1), "it ends after"),
    "fewer than no pieces": (replaced("counts", 0, "i", -5), "it ends after"),
    "a text of an exabyte": (replaced("counts", 20, "Q", 2**60), "it ends after"),
    "no such unknown piece": (replaced("counts", 16, "i", 99), "have no scores"),
    "a score that is no number": (replaced("scores", 0, "f", float("nan")), "have no scores"),
    "pieces that overlap": (replaced("ends", 4, "I", 30), "overlap"),
    "a piece that is no text": ({"words": b"\xff" * LENGTH}, "UTF-8"),
    "a map of two billion": (replaced("map", 0, "i", 2**31 - 1), "it ends after"),
    "a map that is longer than the file": (replaced("map", 4, "I", 2**32 - 1), "it ends after"),
    "a map to what is no character": (replaced("map", 13, "I", 0xD800), "no character"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_in_one_sentence_and_takes_no_memory(case):
    changes, said = HOSTILE[case]
    data, _ = small_file(**changes)
    tracemalloc.start()
    with pytest.raises(ValueError, match=said) as caught:
        read_packed(data, "x.bin")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6
    assert str(caught.value).startswith("x.bin is no encoder in four bits, or damaged")
    assert "\n" not in str(caught.value)


def test_a_piece_that_stands_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        read_packed(small_file([*PIECES, "a"])[0])


def test_a_file_cut_off_anywhere_is_refused_in_one_sentence():
    data, _ = small_file()
    for end in [*range(0, 400, 7), *range(400, len(data), 97), len(data) - 1]:
        with pytest.raises(ValueError, match="damaged"):
            read_packed(data[:end])


def test_a_file_that_lacks_an_array_or_has_a_smaller_one_is_refused():
    packed = read_packed(small_file()[0])
    lacking = {n: a for n, a in packed.arrays.items() if n != "l0.k.w"}
    with pytest.raises(ValueError, match=r"lacks 'l0\.k\.w'"):
        languages.unpack(dataclasses.replace(packed, arrays=lacking))
    kind, count, data = packed.arrays["l0.k.w"]
    shorter = packed.arrays | {"l0.k.w": (kind, count - 32, data[:-18])}
    with pytest.raises(ValueError, match=r"'l0\.k\.w': 1024 fit"):
        languages.unpack(dataclasses.replace(packed, arrays=shorter))
    broken = packed.arrays | {"l0.k.w": (kind, count, b"\xff\x7f" + bytes(data[2:]))}
    with pytest.raises(ValueError, match="no number"):
        languages.unpack(dataclasses.replace(packed, arrays=broken))


def test_a_huge_network_in_a_small_file_is_refused_before_memory_is_taken():
    config = CONFIG | {"hidden_size": 2**16, "intermediate_size": 2**20}
    numbers = struct.pack("<7ifi", 2**16, 1, 2, 2**20, 16, 16, 2, 1e-12, 32)
    packed = read_packed(small_file(numbers=numbers)[0])
    assert packed.config["hidden_size"] == config["hidden_size"]
    with pytest.raises(ValueError, match="has 512 numbers in 'emb.word'"):
        languages.unpack(packed)


# ------------------------------------------------------------------ four bits


def test_blocks_of_four_bits_are_read_as_told():
    q = np.arange(16, dtype=np.uint8)
    data = np.float16(0.5).tobytes() + bytes(q | q[::-1] << 4)
    ours = dequantise(data)
    assert ours[:16].tolist() == [0.5 * (i - 8) for i in range(16)]
    assert ours[16:].tolist() == [0.5 * (7 - i) for i in range(16)]


def test_what_is_quantised_is_off_by_half_a_step_at_most_or_at_the_far_end_by_one():
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    rough = dequantise(quantise(weights)).reshape(-1, 32)
    rows = weights.reshape(-1, 32)
    step = np.abs(rows).max(axis=1, keepdims=True) / 8
    assert (np.abs(rough - rows) <= step * 1.01).all()
    assert (np.abs(rough - rows) <= step / 2 * 1.01).mean() > 0.98
    assert np.array_equal(dequantise(quantise(rough)), rough.ravel())


def test_zeros_stay_zeros():
    assert not dequantise(quantise(np.zeros(64))).any()


# ------------------------------------------------------------------ the cache folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder, and the small file in the place of the asset."""
    data, _ = small_file()
    (tmp_path / "asset").mkdir()
    (tmp_path / "asset" / "e5-small-q4.bin").write_bytes(data)
    monkeypatch.setenv("SENTIMENT_COURSE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(languages, "asset_path", lambda name: tmp_path / "asset")
    return tmp_path


def test_it_is_unpacked_once_and_read_as_a_folder_like_any_other(cache, monkeypatch):
    folder = languages.unpacked()
    assert {p.name for p in folder.iterdir()} == {
        "config.json", "hashes.json", "model.safetensors", "tokenizer.json"
    }  # fmt: skip
    assert list((cache / "home").iterdir()) == [folder]
    monkeypatch.setattr(languages, "write_unpacked", None)
    assert languages.unpacked() == folder


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "hashes.json"])
def test_a_damaged_copy_is_unpacked_again(cache, name):
    whole = (languages.unpacked() / name).read_bytes()
    (languages.unpacked() / name).write_bytes(b"{}" if name == "hashes.json" else whole[:-1])
    if name == "hashes.json":
        (languages.unpacked() / name).write_bytes(b"")
    assert (languages.unpacked() / name).read_bytes() == whole


def test_where_another_process_is_at_it_this_one_waits(cache, monkeypatch):
    folder, tried = languages.unpacked(), []
    shutil.move(folder, cache / "aside")
    real = languages.replacing

    def busy(target):
        if not tried:
            tried.append(target)
            raise BlockingIOError("another process is at work on it")
        return real(target)

    monkeypatch.setattr(languages, "replacing", busy)
    monkeypatch.setattr(languages.time, "sleep", lambda s: shutil.move(cache / "aside", folder))
    assert languages.unpacked() == folder and len(tried) == 1


# ------------------------------------------------------------------ the real one


REAL = home() / "multilingual"
real = pytest.mark.skipif(
    not REAL.is_dir(), reason="91 MB not fetched: `sentiment-course assets multilingual`"
)


@real
def test_chinese_reviews_are_cut_as_by_the_library():
    packed = read_packed((REAL / "e5-small-q4.bin").read_bytes())
    scores = dict(zip(packed.pieces, packed.scores.tolist(), strict=True))
    tokenizer, longest, lowest = languages.unigram_tokenizer(packed), 16, min(scores.values())
    assert longest == max(map(len, scores))
    for text in SENTENCES.text:
        ours = best_path(normalised(text, packed.characters), scores, longest, lowest)
        assert tokenizer.encode(text).tokens[1:-1] == ours


def test_the_readings_are_a_hundred_errors_and_sixty_texts_on_which_both_agree():
    readings = languages.course_table("readings.tsv")
    errors = readings[readings.label != readings.model]
    rest = readings.drop(errors.index)
    assert (len(errors), len(rest)) == (100, 60)
    assert set(errors.verdict) == {"label wrong", "model wrong", "undecided"}
    assert set(rest.verdict) <= {"both right", "label wrong", "undecided"}
    assert set(readings.label) == set(readings.model) == {"positive", "negative"}
