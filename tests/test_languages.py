"""Languages: the right encoder for the texts."""

import numpy as np
import pytest

from sentiment_course.assets import asset_path
from sentiment_course.languages import (
    choose_encoder,
    is_english,
    load_sentences,
    minilm_pieces,
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


def test_the_unreadable_share_counts_pieces_and_not_marks():
    assert unreadable_share(["很 good"]) == 0.5
    assert unreadable_share([""]) == 0 and unreadable_share([]) == 0


def test_a_mark_typed_into_a_text_is_spelled():
    assert "[UNK]" not in minilm_pieces().encode("[SEP] [UNK]").tokens[1:-1]
    assert asset_path("minilm").is_dir() and np.isfinite(unreadable_share(["[UNK]"]))
