"""Tokens on the disk and blocks of them: nothing lost, each order the same again, any number of processes."""

import hashlib

import numpy as np
import pytest
import torch

from hypersst.datasets import (
    EOS,
    PAD,
    Characters,
    TokenStream,
    Words,
    cut_text,
    encode_lines,
    load_language,
    map_tokens,
)
from hypersst.errors import DataError


@pytest.fixture
def text(tmp_path):
    """A text of 3,000 lines, more than are encoded at once, in a folder that nothing can be written to."""
    folder = tmp_path / "text"
    folder.mkdir()
    lines = (" ".join(hashlib.sha256(bytes([i % 256])).hexdigest()[: i % 40 : 2]) for i in range(3000))
    (folder / "a.txt").write_text("".join(f"{line}\n" for line in lines))
    folder.chmod(0o555)
    yield cut_text([folder / "a.txt"])[0]
    folder.chmod(0o755)


def _rows(stream: TokenStream) -> list[tuple[list[int], list[int]]]:
    return [pair for b in stream for pair in zip(b.tokens.tolist(), b.targets.tolist(), strict=True)]


def test_the_file_holds_each_line_and_its_end_and_is_made_once(text, tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERSST_CACHE", str(tmp_path / "cache"))
    before = sorted((tmp_path / "text").rglob("*"))
    words = Words.train(text.lines())
    tokens = map_tokens(text, words)
    assert isinstance(tokens, np.memmap)
    assert tokens.dtype == np.uint16
    assert tokens.tolist() == [i for row in words.encode(list(text.lines())) for i in (*row, EOS)]
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 0
    [made] = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    stamp = made.stat().st_mtime_ns

    def refuse(*_):
        raise AssertionError("encoded again")

    monkeypatch.setattr("hypersst.datasets.token_file.encode_lines", refuse)
    assert np.array_equal(map_tokens(text, words), tokens)
    assert made.stat().st_mtime_ns == stamp
    assert sorted((tmp_path / "text").rglob("*")) == before


def test_another_tokenizer_or_a_changed_text_has_another_file(text, tmp_path):
    folder = tmp_path / "out"
    path = text.slices[0].path
    first = map_tokens(text, Words.train(text.lines()), folder)
    other = map_tokens(text, Characters.train(text.lines()), folder)
    assert not np.array_equal(first, other)
    assert len(list((folder / "tokens").iterdir())) == 2
    path.write_text(path.read_text().replace("a", "b"))
    assert not np.array_equal(map_tokens(text, Words.train(text.lines()), folder), first)
    assert len(list((folder / "tokens").iterdir())) == 3


def test_a_large_vocabulary_takes_four_bytes(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"w{i} " for i in range(70_000)))
    part = cut_text([tmp_path / "a.txt"])[0]
    words = Words.train(part.lines())
    tokens = map_tokens(part, words, tmp_path)
    assert tokens.dtype == np.uint32
    assert sorted(tokens.tolist()) == [EOS, *range(4, 70_004)]


def test_a_failure_leaves_no_file_behind(text, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    words = Words.train(text.lines())

    def stops(tokenizer, lines):
        yield [1, 2]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hypersst.datasets.token_file.encode_lines", stops)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\).*HYPERSST_CACHE"):
        map_tokens(text, words, folder)
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_a_text_without_lines_has_no_tokens(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match="`shares` must leave at least a line"):
        cut_text([tmp_path / "a.txt"])


def test_encoding_holds_few_lines_at_a_time():
    read = []

    def lines():
        for i in range(5000):
            read.append(i)
            yield "a b"

    rows = encode_lines(Words.train(["a b"]), lines(), at_once=100)
    next(rows)
    assert len(read) <= 101


@pytest.mark.parametrize(("count", "batch", "length"), [(100, 4, 5), (97, 4, 5), (83, 3, 7), (5, 2, 7), (1, 1, 1)])
def test_targets_in_order_are_the_tokens_and_follow_what_is_seen(count, batch, length):
    tokens = np.arange(10, 10 + count)
    rows = _rows(TokenStream(tokens, batch, length, ordered=True))
    targets = [t for _, row in rows for t in row if t != PAD]
    assert targets == tokens.tolist()
    seen = [s for row, wanted in rows for s, t in zip(row, wanted, strict=True) if t != PAD]
    assert seen == [EOS, *tokens.tolist()[:-1]]


def test_shapes_are_the_same_in_every_step():
    stream = TokenStream(np.arange(4, 101), 4, 5, ordered=True)
    assert {block.tokens.shape for block in stream} == {block.targets.shape for block in stream} == {(4, 5)}
    assert {block.tokens.dtype for block in stream} == {torch.long}


def test_an_epoch_has_each_block_once_in_an_order_of_its_own():
    tokens = np.arange(10, 110)
    stream = TokenStream(tokens, 4, 5, seed=3)
    first, second = _rows(stream), _rows(stream)
    assert stream.epoch == 2
    assert len(stream) == 5
    assert first != second
    assert sorted(first) == sorted(second) == sorted(_rows(TokenStream(tokens, 4, 5, ordered=True)))
    assert _rows(TokenStream(tokens, 4, 5, seed=3)) == first
    assert _rows(TokenStream(tokens, 4, 5, seed=4)) != first


def test_blocks_that_fill_no_batch_come_in_other_epochs():
    stream = TokenStream(np.arange(10, 61), 3, 5)  # ten blocks, three batches, and one token that fills no block
    epochs = [_rows(stream) for _ in range(8)]
    assert all(len(rows) == 9 for rows in epochs)
    assert len({tuple(targets) for rows in epochs for _, targets in rows}) == 10


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("stop", [0, 1, 4, 5, 7])
def test_a_run_that_was_stopped_goes_on_where_it_was(ordered, stop):
    def make(**shard) -> TokenStream:
        return TokenStream(np.arange(10, 110), 4, 5, seed=1, ordered=ordered, **shard)

    def take(stream: TokenStream, number: int) -> list[list[int]]:
        found = []
        while len(found) < number:
            before = len(found)
            for block in stream:
                found.append(block.targets.tolist())
                if len(found) == number:
                    break
            assert len(found) > before  # an epoch without batches would go on for ever
        return found

    unbroken = take(make(), 12)
    stream = make()
    head = take(stream, stop)
    state = stream.state_dict()
    resumed = make()
    resumed.load_state_dict(state)
    assert (resumed.epoch, stream.epoch) == (stop // 5, stop // 5)
    assert head + take(resumed, 12 - stop) == unbroken
    # Two processes take over from one.
    halves = [make(rank=rank, world=2) for rank in (0, 1)]
    for half in halves:
        half.load_state_dict(state)
    parts = [take(half, 12 - stop) for half in halves]
    for whole, even, odd in zip(unbroken[stop:], *parts, strict=True):
        assert (whole[::2], whole[1::2]) == (even, odd)


@pytest.mark.parametrize("ordered", [False, True])
def test_shards_take_equally_many_steps_and_make_up_the_batch(ordered):
    tokens = np.arange(10, 97)
    whole = list(TokenStream(tokens, 6, 5, ordered=ordered))
    shards = [list(TokenStream(tokens, 6, 5, ordered=ordered, rank=r, world=3)) for r in range(3)]
    for block, *parts in zip(whole, *shards, strict=True):
        for r, part in enumerate(parts):
            assert torch.equal(part.tokens, block.tokens[r::3])
            assert torch.equal(part.targets, block.targets[r::3])


def test_positions_of_other_streams_are_refused():
    state = TokenStream(np.arange(10, 110), 4, 5).state_dict()
    for other, message in (
        (TokenStream(np.arange(10, 110), 4, 5, seed=1), "got seed 0 for 1"),
        (TokenStream(np.arange(10, 111), 4, 5), "got tokens 100 for 101"),
        (TokenStream(np.arange(10, 110), 4, 4), "got length 5 for 4"),
        (TokenStream(np.arange(10, 110), 4, 5, ordered=True), "got ordered False for True"),
    ):
        with pytest.raises(ValueError, match=f"`state` must be of the same batches, {message}"):
            other.load_state_dict(state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "`length` must be at least 1, got 0"),
        ({"batch": 0}, "`batch` must be a positive multiple of `world` = 1, got 0"),
        ({"batch": 5, "world": 2}, "`batch` must be a positive multiple of `world` = 2, got 5"),
        ({"rank": 2, "world": 2}, "`rank` must be between 0 and `world` - 1 = 1, got 2"),
        ({"batch": 21}, "`tokens` must hold at least 105, for one batch, got 100"),
        ({"tokens": np.arange(0), "ordered": True}, "`tokens` must hold at least 1, for one batch, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TokenStream(**{"tokens": np.arange(10, 110), "batch": 4, "length": 5, **arguments})


@pytest.mark.data
def test_all_of_a_real_text_is_predicted_once(tmp_path, monkeypatch):
    from data_cases import real_data

    monkeypatch.setenv("HYPERSST_CACHE", str(tmp_path))
    part = load_language("wikitext2", data_dir=real_data()).validation
    tokens = map_tokens(part, Words.train(part.lines()))
    targets = torch.cat([block.targets.flatten() for block in TokenStream(tokens, 16, 128, ordered=True)])
    assert torch.equal(targets[targets != PAD], torch.from_numpy(tokens.astype(np.int64)))
    assert int((targets != PAD).sum()) == 217646
