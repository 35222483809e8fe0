"""Subwords: lossless up to normalisation, the same each time, and part of a checkpoint."""

import builtins
import io
import pickle
import sys
from functools import cache

import pytest
import torch
from text_cases import captions

from hypersst.datasets import BOS, EOS, PAD, UNK, SentencePairs, Subwords, restore_tokenizer, train_subwords

_SENTENCES = [
    "Zwei junge Männer sind im Freien.",
    "Ein Mann in einem blauen Hemd steht auf einer Leiter.",
    "Ein kleines Mädchen klettert in ein Spielhaus aus Holz.",
    "Zwei Männer stehen am Herd und bereiten Essen zu.",
] * 3


@cache
def _trained(kind: str = "unigram") -> Subwords:
    return Subwords.train(_SENTENCES, 60, kind=kind)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_training_twice_gives_the_same_bytes(kind):
    again = Subwords.train(list(_SENTENCES), 60, kind=kind)
    assert again == _trained(kind)
    assert again is not _trained(kind)
    assert hash(again) == hash(_trained(kind))
    assert again.fingerprint == _trained(kind).fingerprint
    assert len(again) == 60


def test_other_sentences_sizes_and_kinds_give_other_models():
    others = [Subwords.train([*_SENTENCES[:-1], "Männer"], 60), Subwords.train(_SENTENCES, 55), _trained("bpe")]
    assert all(other != _trained() and other.fingerprint != _trained().fingerprint for other in others)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_decoding_undoes_encoding_up_to_normalisation(kind):
    subwords = _trained(kind)
    sentences = [*_SENTENCES, "  Zwei   Männer ", "", "ﬁnden"]
    decoded = subwords.decode(subwords.encode(sentences))
    assert decoded == [subwords.normalize(sentence) for sentence in sentences]
    assert decoded[: len(_SENTENCES)] == _SENTENCES
    assert decoded[-3:] == ["Zwei Männer", "", "finden"]


def test_marks_have_their_numbers_and_leave_nothing_behind():
    subwords = _trained()
    ids = subwords.encode(["Zwei Männer"])[0]
    assert min(ids) > max(PAD, UNK, BOS, EOS)
    assert subwords.decode([[BOS, *ids, EOS, PAD, PAD], []]) == ["Zwei Männer", ""]
    assert subwords.decode([]) == []
    assert UNK in subwords.encode(["字"])[0]


def test_bytes_take_the_place_of_characters_that_training_lacked():
    subwords = Subwords.train(_SENTENCES, 310, byte_fallback=True)
    assert subwords.decode(subwords.encode(["字 und 🙂"])) == ["字 und 🙂"]


def test_long_lines_are_trained_on_too():
    with_long = Subwords.train([*_SENTENCES, "q" * 5000], 60)
    assert UNK not in with_long.encode(["q"])[0]
    assert UNK in _trained().encode(["q"])[0]


def test_a_checkpoint_holds_the_model():
    file = io.BytesIO()
    torch.save({"tokenizer": _trained().state_dict()}, file)
    file.seek(0)
    restored = restore_tokenizer(torch.load(file, weights_only=True)["tokenizer"])
    assert restored == _trained()
    assert pickle.loads(pickle.dumps(_trained())) == _trained()
    with pytest.raises(ValueError, match="`kind` must be one of subwords, words, characters, got 'syllables'"):
        restore_tokenizer({"kind": "syllables"})


def test_languages_share_a_vocabulary_or_have_one_each():
    pairs = SentencePairs(tuple(_SENTENCES), tuple(s.lower() for s in _SENTENCES))
    source, target = train_subwords(pairs, 60)
    assert source is target
    assert source == Subwords.train([*pairs.source, *pairs.target], 60)
    source, target = train_subwords(pairs, 55, shared=False)
    assert source == Subwords.train(pairs.source, 55)
    assert target == Subwords.train(pairs.target, 55)
    assert source != target


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "wordpiece"}, "`kind` must be one of unigram, bpe, got 'wordpiece'"),
        ({"size": 5000}, r"`size` must be at most \d+ for these sentences, got 5000"),
        ({"size": 8}, r"`size` must be at least \d+, marks and single characters of these sentences, got 8"),
        ({"sentences": ["", " "]}, "`sentences` must hold at least one that is not empty, got none"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Subwords.train(**{"sentences": _SENTENCES, "size": 60, **arguments})


def test_the_limits_that_errors_name_are_exact():
    with pytest.raises(ValueError, match="at least") as caught:
        Subwords.train(_SENTENCES, 8, kind="bpe")
    least = int(str(caught.value).split("at least ")[1].split(",")[0])
    assert len(Subwords.train(_SENTENCES, least, kind="bpe")) == least
    with pytest.raises(ValueError, match=f"at least {least}"):
        Subwords.train(_SENTENCES, least - 1, kind="bpe")


def test_other_bytes_and_foreign_numbers_are_no_model():
    with pytest.raises(ValueError, match="`model` must be a sentencepiece model, got 3 other bytes"):
        Subwords(b"abc")
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES), model_writer=model, vocab_size=50, minloglevel=2
    )
    with pytest.raises(ValueError, match=r"number padding, unknown, start and end as 0, 1, 2, 3, got \(-1, 0, 1, 2\)"):
        Subwords(model.getvalue())


def test_numbers_beyond_the_vocabulary_are_refused():
    with pytest.raises(ValueError, match="`ids` must be below the size of the vocabulary, 60"):
        _trained().decode([[60]])


def test_without_sentencepiece_the_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **options):
        if name == "sentencepiece":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.delitem(sys.modules, "sentencepiece", raising=False)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r"pip install hypersst\[text\]"):
        Subwords.train(_SENTENCES, 60)


@pytest.mark.data
@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_captions_that_were_not_trained_on_come_back(kind):
    train, held_out = captions().train, captions().validation
    subwords = Subwords.train((*train.source[:400], *train.target[:400]), 800, kind=kind)
    encoded = subwords.encode([*held_out.source, *held_out.target])
    known = [UNK not in row for row in encoded]
    assert sum(known) > 0.95 * len(known)
    for sentence, decoded, whole in zip(
        [*held_out.source, *held_out.target], subwords.decode(encoded), known, strict=True
    ):
        if whole:
            assert decoded == subwords.normalize(sentence)
    # Captions are written in NFKC but for a few spaces and quotes.
    same = sum(a == b for a, b in zip(held_out.target, map(subwords.normalize, held_out.target), strict=True))
    assert same > 0.95 * len(held_out)
