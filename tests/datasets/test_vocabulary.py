"""Words and characters as vocabularies, and what all tokenizers share."""

import io

import pytest
import torch

from hypersst.datasets import (
    BOS,
    EOS,
    PAD,
    UNK,
    Characters,
    Words,
    decode_text,
    encode_lines,
    load_language,
    restore_tokenizer,
)

_LINES = ["", " = A rose = ", "a rose is a rose , <unk> is not @-@ a rose"]


def test_words_are_ordered_by_frequency_and_then_by_code_point():
    words = Words.train(_LINES)
    assert words.tokens[:4] == ("<pad>", "<unk>", "<bos>", "<eos>")
    assert words.tokens[4:] == ("rose", "a", "=", "is", ",", "@-@", "A", "not")
    assert Words.train(iter(reversed(_LINES))) == words
    assert Words.train(_LINES, size=6).tokens[4:] == ("rose", "a")


def test_words_come_back_with_single_spaces_and_marks_leave_nothing_behind():
    words = Words.train(_LINES)
    assert words.decode(words.encode(_LINES)) == [" ".join(line.split()) for line in _LINES]
    assert words.encode(["a tulip"]) == [[5, UNK]]
    assert words.decode([[BOS, 5, UNK, EOS, PAD]]) == ["a <unk>"]
    assert words.encode(["<unk> <eos>"]) == [[UNK, EOS]]


def test_characters_come_back_and_the_end_of_a_line_is_a_mark():
    characters = Characters.train(["to be,", "or not"])
    assert characters.tokens[4:] == tuple(" ,benort")
    assert characters.decode(characters.encode(["not to be,", ""])) == ["not to be,", ""]
    assert characters.decode(characters.encode(["note!"])) == ["note\N{REPLACEMENT CHARACTER}"]


@pytest.mark.parametrize("kind", [Words, Characters])
def test_a_checkpoint_holds_a_vocabulary(kind):
    vocabulary = kind.train(_LINES)
    file = io.BytesIO()
    torch.save(vocabulary.state_dict(), file)
    file.seek(0)
    restored = restore_tokenizer(torch.load(file, weights_only=True))
    assert restored == vocabulary
    assert hash(restored) == hash(vocabulary)
    assert restored.fingerprint == vocabulary.fingerprint
    assert len(restored) == len(vocabulary.tokens)
    other = kind.train([*_LINES, "ü"])
    assert other != vocabulary
    assert other.fingerprint != vocabulary.fingerprint
    assert repr(vocabulary) == f"{kind.__name__}(size={len(vocabulary)})"


def test_a_vocabulary_of_marks_alone_survives_a_checkpoint():
    empty = Words(Words.marks)
    assert Words.from_state_dict(empty.state_dict()) == empty


def test_words_and_characters_are_never_equal():
    assert Words([*Words.marks, "a"]) != Characters([*Characters.marks, "a"])


@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_lines_are_encoded_one_after_the_other_however_many_at_once(at_once):
    words = Words.train(_LINES)
    rows = list(encode_lines(words, iter(_LINES), at_once))
    assert rows == [[*row, EOS] for row in words.encode(_LINES)]
    text = decode_text(words, [i for row in rows for i in row])
    assert text == "".join(" ".join(line.split()) + "\n" for line in _LINES)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Words(["a", "b"]), r"`tokens` must begin with \('<pad>', .*, got \('a', 'b'\)"),
        (lambda: Words([*Words.marks, "a", "a"]), "`tokens` must all be different, got 1 repeats"),
        (lambda: Words.train(["", "<unk>"]), "`lines` must hold at least one word, got none"),
        (lambda: Words.train(["a"], size=4), "`size` must be at least 5, got 4"),
        (lambda: Characters.train(["", ""]), "`lines` must hold at least one character, got none"),
        (lambda: Words.train(["a"]).decode([[5]]), "`ids` must be below the size of the vocabulary, 5"),
        (lambda: Words.train(["a"]).decode([[-1]]), "`ids` must be below the size of the vocabulary, 5"),
    ],
)
def test_what_is_no_vocabulary_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.data
def test_wikitext_has_its_published_words_and_tokens():
    from data_cases import real_data

    text = load_language("wikitext2", data_dir=real_data())
    words = Words.train(text.train.lines())
    # Published: 33,278 with <unk> and <eos>; <pad> and <bos> come on top.
    assert len(words) - 2 == 33278
    for part, tokens, lines in ((text.validation, 217646, 3760), (text.test, 245569, 4358)):
        rows = list(encode_lines(words, part.lines()))
        assert (len(rows), sum(map(len, rows))) == (lines, tokens)
        spelt = sum(line.split().count("<unk>") for line in part.lines())
        assert sum(row.count(UNK) for row in rows) == spelt  # no word but that is unknown
