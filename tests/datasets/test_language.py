"""Texts for language models: cut where they stand, and read line by line."""

import pytest
from data_cases import real_data

from hypersst.datasets import FileSlice, TextPart, cut_text, load_language, text_sources
from hypersst.errors import DataError


def _bytes(part: TextPart) -> bytes:
    return b"".join(piece.path.read_bytes()[piece.start : piece.stop] for piece in part.slices)


@pytest.fixture
def folder(tmp_path):
    """Three files, the last in a folder of its own and without an end of its last line; 60 lines of many lengths."""
    (tmp_path / "z").mkdir()
    for name, lines in (("a.txt", 30), ("b.txt", 20), ("z/c.txt", 10)):
        (tmp_path / name).write_text("".join(f"{name} {'ü' * (i * 7 % 11)}\n" for i in range(lines)))
    (tmp_path / "z" / "c.txt").write_text((tmp_path / "z" / "c.txt").read_text().rstrip("\n"))
    (tmp_path / "notes.md").write_text("no text\n")
    return tmp_path


@pytest.mark.parametrize("shares", [(0.05, 0.05), (0.3, 0.4), (0.04, 0.06), (0.5, 0.2)])
def test_parts_are_contiguous_disjoint_and_complete(folder, shares):
    text = load_language(folder, shares=shares)
    whole = b"".join((folder / name).read_bytes() for name in ("a.txt", "b.txt", "z/c.txt"))
    parts = text.train, text.validation, text.test
    assert b"".join(map(_bytes, parts)) == whole
    assert [line for part in parts for line in part.lines()] == [
        line for name in ("a.txt", "b.txt", "z/c.txt") for line in (folder / name).read_text().splitlines()
    ]
    # A cut is at the end of the line that its share falls into, and no line has 60 bytes.
    for part, share in zip(parts[1:], shares, strict=True):
        assert abs(part.size - share * len(whole)) < 60
    assert sum(part.size for part in parts) == len(whole)


def test_a_cut_at_an_end_of_a_line_stays_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("ab\n" * 10)
    first, second = cut_text([path], [0.5])
    assert (first.slices, second.slices) == ((FileSlice(path, 0, 15),), (FileSlice(path, 15, 30),))
    path.write_text("ab\n" * 10 + "c")
    assert cut_text([path], [0.5])[0].slices == (FileSlice(path, 0, 18),)


def test_ends_of_lines_are_taken_off_whatever_the_system(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("a \r\n\n\u2028b\x85\nc".encode())
    assert list(cut_text([path])[0].lines()) == ["a ", "", "\u2028b\x85", "c"]


def test_a_file_alone_has_its_own_name(folder):
    text = load_language(str(folder / "a.txt"))
    assert text.name == "a"
    assert text.describe() == (
        f"a, bytes: train {text.train.size:,}, validation {text.validation.size:,}, test {text.test.size:,}"
    )


def test_the_fingerprint_follows_path_content_and_bounds(folder):
    part = cut_text([folder / "a.txt"])[0]
    first = part.fingerprint
    assert cut_text([folder / "a.txt"])[0].fingerprint == first
    assert cut_text([folder / "a.txt"], [0.5])[0].fingerprint != first
    assert cut_text([folder / "b.txt"])[0].fingerprint != first
    (folder / "a.txt").write_text((folder / "a.txt").read_text() + "more\n")
    assert part.fingerprint != first


def test_a_file_that_has_grown_gives_its_slice_and_one_that_has_shrunk_none(folder):
    part = cut_text([folder / "a.txt"])[0]
    lines = list(part.lines())
    whole = (folder / "a.txt").read_text()
    (folder / "a.txt").write_text(whole + "more\n")
    assert list(part.lines()) == lines
    (folder / "a.txt").write_text(whole[:20])
    with pytest.raises(DataError, match=r"a.txt must have [\d,]+ bytes, got"):
        list(part.lines())


def test_bytes_that_are_no_text_are_named_with_their_place(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"abc\nd\xffe\n" * 10)
    with pytest.raises(DataError, match=r"a.txt must be UTF-8, got byte 0xff at 5"):
        list(cut_text([tmp_path / "a.txt"])[0].lines())


def test_a_file_that_has_gone_is_named(folder):
    part = cut_text([folder / "a.txt"])[0]
    (folder / "a.txt").unlink()
    with pytest.raises(DataError, match=r"a.txt cannot be read: No such file"):
        list(part.lines())


@pytest.mark.parametrize(
    ("name", "shares", "message"),
    [
        ("wikitext3", None, "`dataset` must be one of wikitext2, tinyshakespeare, a file, .* did you mean wikitext2"),
        ("wikitext2", (0.1, 0.1), "`shares` must be left out for wikitext2, which has three files"),
        ("{folder}", (0.5, 0.5), "`shares` must be positive with a sum below 1"),
        ("{folder}", (0.0, 0.5), "`shares` must be positive with a sum below 1"),
        ("{folder}/short.txt", (0.1, 0.1), "`shares` must leave at least a line in each part"),
        ("{folder}/packed.gz", None, "`name` must be of plain text, .* unpack .*packed.gz first"),
        ("{folder}/empty", None, r"must hold files \*.txt, got none"),
    ],
)
def test_what_cannot_be_read_or_cut_is_refused(folder, name, shares, message):
    (folder / "short.txt").write_text("one line\n")
    (folder / "packed.gz").write_bytes(b"")
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match=message):
        load_language(name.format(folder=folder), shares=shares)


@pytest.mark.data
def test_named_texts_have_their_published_counts():
    text = load_language("wikitext2", data_dir=real_data())
    lines = [sum(1 for _ in part.lines()) for part in (text.train, text.validation, text.test)]
    assert lines == [36718, 3760, 4358]
    assert "<unk>" in next(line for line in text.validation.lines() if "species" in line)
    play = load_language("tinyshakespeare", data_dir=real_data())
    parts = play.train, play.validation, play.test
    assert sum(part.size for part in parts) == 1115394
    assert sum(1 for part in parts for _ in part.lines()) == 40000
    for part, share in zip(parts, (0.9, 0.05, 0.05), strict=True):
        assert part.size / 1115394 == pytest.approx(share, abs=1e-3)


@pytest.mark.data
def test_a_text_with_another_checksum_is_refused(tmp_path):
    (tmp_path / "input.txt").write_text("First Citizen:\n")
    with pytest.raises(DataError, match=f"input.txt must have SHA-256 {text_sources.SHAKESPEARE.sha256}"):
        load_language("tinyshakespeare", data_dir=tmp_path)
