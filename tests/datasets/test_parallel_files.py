"""Two aligned files of one's own."""

import gzip

import pytest

from hypersst.datasets import read_parallel


@pytest.fixture
def files(tmp_path):
    """Ten lines each, the fourth empty in German; the English file packed."""
    (tmp_path / "own.de").write_text("".join(f"de {i}\n" if i != 3 else "\n" for i in range(10)))
    with gzip.open(tmp_path / "own.en.gz", "wt") as file:
        file.writelines(f"en {i}\n" for i in range(10))
    return tmp_path / "own.de", tmp_path / "own.en.gz"


def test_pairs_are_held_out_at_random_and_each_is_in_one_part(files):
    text = read_parallel(*files, validation=4, seed=1)
    assert (text.name, len(text.train), len(text.validation), text.train.dropped) == ("own", 5, 4, 1)
    both = sorted([*text.train, *text.validation])
    assert both == [(f"de {i}", f"en {i}") for i in range(10) if i != 3]
    assert list(text.train) == sorted(text.train)
    assert list(text.validation) == sorted(text.validation)
    assert read_parallel(*files, validation=4, seed=1) == text
    assert any(read_parallel(*files, validation=4, seed=s).validation != text.validation for s in (2, 3))
    assert text.describe() == "own de-en, pairs: train 5, validation 4; 1 left out with an empty side"


def test_validation_and_tests_may_be_files(files, tmp_path):
    (tmp_path / "dev.de").write_text("ein@@ s zwei\n")
    (tmp_path / "dev.en").write_text("o@@ ne two\n")
    dev = tmp_path / "dev.de", tmp_path / "dev.en"
    text = read_parallel(*files, validation=dev, tests={"a": dev}, bpe_mark="@@", name="mine", target="nl")
    assert list(text.validation) == list(text.tests["a"]) == [("eins zwei", "one two")]
    assert (text.name, text.source, text.target, len(text.train)) == ("mine", "de", "nl", 9)


def test_archives_of_talks_are_read_as_they_are(tmp_path):
    for language in ("de", "en"):
        (tmp_path / f"train.tags.de-en.{language}").write_text(
            f"<url>http://x</url>\n<title>{language} title</title>\n {language} one \n<doc>\n{language} two\n"
        )
        (tmp_path / f"IWSLT17.TED.dev2010.de-en.{language}.xml").write_text(
            f'<refset>\n<doc>\n<title>T</title>\n<seg id="1"> {language} dev </seg>\n</doc>\n</refset>\n'
        )
    train = tmp_path / "train.tags.de-en.de", tmp_path / "train.tags.de-en.en"
    dev = tuple(tmp_path / f"IWSLT17.TED.dev2010.de-en.{language}.xml" for language in ("de", "en"))
    text = read_parallel(*train, validation=dev, name="iwslt17")
    assert list(text.train) == [("de one", "en one"), ("de two", "en two")]
    assert list(text.validation) == [("de dev", "en dev")]
    assert text.train.dropped == 3


def test_unequal_numbers_of_lines_are_refused_with_both(files, tmp_path):
    (tmp_path / "more.en").write_text("x\n" * 11)
    with pytest.raises(ValueError, match=r"equally many lines, got 10 in .*own.de and 11 in .*more.en"):
        read_parallel(files[0], tmp_path / "more.en", validation=1)


@pytest.mark.parametrize("validation", [0, 9, 1000])
def test_a_part_without_pairs_is_refused(files, validation):
    with pytest.raises(ValueError, match=f"`validation` must be between 1 and 8, .*, got {validation}"):
        read_parallel(*files, validation=validation)


def test_shares_are_held_out_for_validation_and_test(files):
    text = read_parallel(*files, validation=0.3, tests={"test": 0.1, "other": 2})
    parts = [text.train, text.validation, text.tests["test"], text.tests["other"]]
    assert [len(part) for part in parts] == [3, 3, 1, 2]  # shares of the nine pairs that are whole
    assert len({pair for part in parts for pair in part}) == 9
    with pytest.raises(ValueError, match=r"`tests\['test'\]` as a share must lie in \(0, 1\), got 1\.5"):
        read_parallel(*files, validation=0.1, tests={"test": 1.5})
