"""Batches of sentence pairs: each once, within the bound, the same again, shared out."""

import pytest
import torch
from text_cases import captions, random_pairs

from hypersst.datasets import BOS, EOS, PAD, TokenBatch, TokenBatches, Words, encode_pairs, ordered_batches


def _rows(batches) -> list[int]:
    return [row for batch in batches for row in batch.rows.tolist()]


def _same(first: TokenBatch, second: TokenBatch) -> bool:
    names = ("source", "target_in", "target_out", "rows")
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)


def _take(batches: TokenBatches, number: int) -> list[TokenBatch]:
    found: list[TokenBatch] = []
    while len(found) < number:
        before = len(found)
        for batch in batches:
            found.append(batch)
            if len(found) == number:
                break
        assert len(found) > before  # an epoch without batches would go on for ever
    return found


def test_rows_are_sentences_with_their_marks_filled_up():
    [batch] = ordered_batches([([5, 6, 7], [8]), ([9], [10, 11])])
    assert batch.source.tolist() == [[5, 6, 7, EOS], [9, EOS, PAD, PAD]]
    assert batch.target_in.tolist() == [[BOS, 8, PAD], [BOS, 10, 11]]
    assert batch.target_out.tolist() == [[8, EOS, PAD], [10, 11, EOS]]
    assert batch.rows.tolist() == [0, 1]
    assert batch.target_tokens == 5
    assert batch.source.dtype == batch.target_in.dtype == batch.target_out.dtype == torch.long


@pytest.mark.parametrize("window", [1, 16, 100, 8192])
@pytest.mark.parametrize("world", [1, 3])
def test_every_pair_comes_once_per_epoch_within_the_bound(window, world):
    pairs = random_pairs(317)
    batches = TokenBatches(pairs, tokens=130, window=window)
    for _ in range(3):
        epoch = list(batches)
        assert sorted(_rows(epoch)) == list(range(317))
        for batch in epoch:
            assert batch.source.numel() <= 130
            assert batch.target_in.numel() <= 130
            assert len(batch.rows) * max(batch.source.size(1), batch.target_in.size(1)) <= 130
            assert int((batch.target_out != PAD).sum()) == batch.target_tokens
            for row, source, target in zip(batch.rows, batch.source, batch.target_out, strict=True):
                assert source[source != PAD].tolist() == [*pairs[row][0], EOS]
                assert target[target != PAD].tolist() == [*pairs[row][1], EOS]


@pytest.mark.parametrize("number", [6, 7, 40, 53, 317])
@pytest.mark.parametrize("window", [1, 7, 8192])
def test_shards_take_equally_many_steps_and_make_up_the_batch(number, window):
    pairs, options = random_pairs(number), {"tokens": 130, "window": window, "seed": 5}
    for world in (2, 3):
        whole = TokenBatches(pairs, **options)
        shards = [TokenBatches(pairs, **options, rank=rank, world=world) for rank in range(world)]
        for _ in range(3):
            for batch, *parts in zip(whole, *shards, strict=True):
                for rank, part in enumerate(parts):
                    assert part.rows.tolist() == batch.rows.tolist()[rank::world]
                    assert part.rows.numel() > 0
                    assert part.target_tokens == batch.target_tokens
                assert sum(int((part.target_out != PAD).sum()) for part in parts) == batch.target_tokens


def test_no_shard_is_empty_where_equal_lengths_leave_a_rest():
    pairs = [([5] * 9, [5] * 9)] * 41  # four rows fit into a batch, so one is left
    for seed in range(5):
        for rank in (0, 1):
            batches = list(TokenBatches(pairs, tokens=40, seed=seed, rank=rank, world=2))
            assert len(batches) == 11
            assert min(len(batch.rows) for batch in batches) >= 1


def test_epochs_and_seeds_have_orders_of_their_own_and_the_same_again():
    pairs = random_pairs(200)
    batches = TokenBatches(pairs, tokens=130, seed=3)
    first, second = _rows(batches), _rows(batches)
    assert batches.epoch == 2
    assert first != second
    assert _rows(TokenBatches(pairs, tokens=130, seed=3)) == first
    assert _rows(TokenBatches(pairs, tokens=130, seed=4)) != first


@pytest.mark.parametrize("stop", [0, 1, 7, "epoch", 40])
def test_a_run_that_was_stopped_goes_on_where_it_was(stop):
    pairs = random_pairs(200)

    def make(**shard) -> TokenBatches:
        return TokenBatches(pairs, tokens=130, seed=1, window=64, **shard)

    if stop == "epoch":
        stop = len(make())
    unbroken = _take(make(), 60)
    batches = make()
    head = _take(batches, stop)
    state = batches.state_dict()
    resumed = make()
    resumed.load_state_dict(state)
    assert resumed.epoch == batches.epoch
    tail = _take(resumed, 60 - stop)
    assert all(_same(a, b) for a, b in zip(unbroken, head + tail, strict=True))
    halves = [make(rank=rank, world=2) for rank in (0, 1)]
    for half in halves:
        half.load_state_dict(state)
    for whole, even, odd in zip(unbroken[stop:], *(_take(half, 60 - stop) for half in halves), strict=True):
        assert (even.rows.tolist(), odd.rows.tolist()) == (whole.rows.tolist()[::2], whole.rows.tolist()[1::2])


def test_windows_keep_lengths_together_and_larger_ones_need_less_padding():
    pairs = random_pairs(2000, longest=60)

    def padding(window: int) -> float:
        batches = list(TokenBatches(pairs, tokens=1200, window=window))
        lengths = [max(len(s), len(t)) + 1 for s, t in pairs]
        used = sum(lengths)
        return 1 - used / sum(len(b.rows) * max(b.source.size(1), b.target_in.size(1)) for b in batches)

    # Sorted as a whole, a batch's lengths differ by about 60 / 50 on average; unsorted, each is as long as the longest.
    assert padding(2000) < 0.05 < padding(100) < padding(1)
    assert padding(1) > 0.2


def test_pairs_that_are_too_long_are_left_out_and_counted():
    pairs = [*random_pairs(50, longest=10), ([5] * 10, [5]), ([5], [5] * 10), ([5] * 9, [5] * 9)]
    batches = TokenBatches(pairs, tokens=40, longest=10)
    assert batches.dropped == 2
    assert sorted(_rows(batches)) == [*range(50), 52]


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("tokens", [1, 12, 130, 100_000])
def test_evaluation_leaves_nothing_out(by_length, tokens):
    pairs = random_pairs(100)
    batches = list(ordered_batches(pairs, tokens, by_length=by_length))
    rows = _rows(batches)
    assert sorted(rows) == list(range(100))
    assert by_length or rows == list(range(100))
    for batch in batches:
        assert len(batch.rows) == 1 or len(batch.rows) * max(batch.source.size(1), batch.target_in.size(1)) <= tokens
    if by_length:
        lengths = [max(len(pairs[i][0]), len(pairs[i][1])) for i in rows]
        assert lengths == sorted(lengths, reverse=True)


def test_sentences_may_lack_their_translations():
    [batch] = ordered_batches([([5, 6], []), ([7], [])])
    assert (batch.target_in.tolist(), batch.target_out.tolist()) == ([[BOS], [BOS]], [[EOS], [EOS]])
    assert list(ordered_batches([])) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": 19}, "`tokens` must be at least 20: the longest pair, got 19"),
        (
            {"tokens": 79, "world": 2},
            "`tokens` must be at least 80: two rows for each process of the longest pair",
        ),
        ({"longest": 0}, "`longest` and `window` must be at least 1, got 0 and 8192"),
        ({"window": 0}, "`longest` and `window` must be at least 1, got 256 and 0"),
        ({"rank": 1}, "`rank` must be between 0 and `world` - 1 = 0, got 1"),
        ({"longest": 1}, "`pairs` must hold at least `world` = 1 of at most 1 tokens, got 0 and 60 longer ones"),
        ({"pairs": [([5], [5])], "world": 2}, "`pairs` must hold at least `world` = 2 of at most 256 tokens, got 1"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
    pairs = [([5] * 19, [5])] * 60
    with pytest.raises(ValueError, match=message):
        TokenBatches(**{"pairs": pairs, **arguments})


def test_positions_of_other_batches_are_refused():
    state = TokenBatches(random_pairs(50), tokens=130).state_dict()
    for options in ({"tokens": 131}, {"seed": 1}, {"window": 8}, {"longest": 30}, {"pairs": random_pairs(51)}):
        other = TokenBatches(**{"pairs": random_pairs(50), "tokens": 130, **options})
        name = next(iter(options))
        with pytest.raises(ValueError, match=f"`state` must be of the same batches, got {name}"):
            other.load_state_dict(state)
    with pytest.raises(ValueError, match="`tokens` must be at least 1, got 0"):
        next(ordered_batches([([5], [5])], tokens=0))


@pytest.mark.data
def test_captions_fill_their_batches():
    pairs = captions().train
    words = Words.train((*pairs.source, *pairs.target))
    batches = TokenBatches(encode_pairs(pairs, words, words), tokens=4096)
    epoch = list(batches)
    assert batches.dropped == 0
    assert sorted(_rows(epoch)) == list(range(29000))
    used = sum(int((batch.source != PAD).sum()) for batch in epoch)
    cells = sum(batch.source.numel() for batch in epoch)
    assert used / cells > 0.85
    assert max(len(b.rows) * max(b.source.size(1), b.target_in.size(1)) for b in epoch) <= 4096
