"""Lines of text files in the formats of translation sets."""

import gzip

import pytest

from hypersst.datasets import read_text_lines, undo_bpe
from hypersst.datasets.text_lines import decode_lines
from hypersst.errors import DataError


def test_only_line_feeds_end_lines():
    odd = "a\u2028b\n c\x85d \r\n\n\x0ce"
    assert decode_lines("a.txt", odd.encode()) == ["a\u2028b", "c\x85d", "", "e"]


def test_the_last_line_may_lack_its_end_and_an_empty_file_has_no_lines():
    assert decode_lines("a.txt", b"a\nb") == decode_lines("a.txt", b"a\nb\n") == ["a", "b"]
    assert decode_lines("a.txt", b"") == []
    assert decode_lines("a.txt", b"\n") == [""]
    assert decode_lines("a.txt", b"\xef\xbb\xbfa\n") == ["a"]


def test_archives_are_unpacked(tmp_path):
    path = tmp_path / "a.de.gz"
    path.write_bytes(gzip.compress("Größe\n".encode()))
    assert read_text_lines(path) == ["Größe"]


def test_segments_of_xml_are_the_sentences():
    content = b'<?xml version="1.0"?>\n<doc>\n<title>No</title>\n<seg id="1"> A &amp;\n B </seg>\n<seg id="2">C</seg>\n'
    assert decode_lines("IWSLT17.TED.dev2010.de-en.de.xml", content) == ["A & B", "C"]


def test_lines_of_markup_become_empty_in_training_sets_of_talks_only():
    content = b"<url>http://x</url>\n<title>T</title>\nA < B\n"
    assert decode_lines("train.tags.de-en.de", content) == ["", "", "A < B"]
    assert decode_lines("other.de", content) == ["<url>http://x</url>", "<title>T</title>", "A < B"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("es enth@@ i@@ elt das", "es enthielt das"),
        ("mil@@ ch", "milch"),
        ("ends with mil@@", "ends with mil"),
        ("a@@b c", "a@@b c"),
        ("", ""),
    ],
)
def test_subwords_are_joined_to_words(line, words):
    assert undo_bpe(line) == words


def test_another_mark_can_be_undone():
    assert undo_bpe("mil￭ ch", mark="￭") == "milch"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"ab\xff", "Text file .*a.txt must be UTF-8, got byte 0xff"),
        ("a.gz", b"plain", "Text file a.gz must be a gzip archive"),
        ("a.gz", gzip.compress(b"plain", mtime=0)[:-4], "Text file a.gz must be a gzip archive"),
    ],
)
def test_files_of_another_format_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_text_lines(tmp_path / name)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"Text file .*absent cannot be read: No such file"):
        read_text_lines(tmp_path / "absent")
