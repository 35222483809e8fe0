"""What the page of data sets says of texts is what loading and the folder of real data say."""

import re
from pathlib import Path

import pytest
from data_cases import real_data
from text_cases import captions

from hypersst.datasets import LANGUAGES, TRANSLATIONS, TextPart, load_language, load_translation

_PAGE = Path(__file__).parents[2] / "docs" / "datasets.md"


def _rows(page: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]


def _table() -> dict[str, list[str]]:
    found = re.search(r"<!-- table: texts -->\n.*?\n.*?\n(.*?)\n<!-- end -->", _PAGE.read_text(), re.DOTALL)
    assert found
    return {row[1].strip("`"): row for row in _rows(found[1])}


def _numbers(cell: str) -> list[int]:
    return [int(number.replace(",", "")) for number in re.findall(r"\d{1,3}(?:,\d{3})+|\b\d+\b", cell)]


def _words(part: TextPart) -> int:
    return sum(len(line.split()) + 1 for line in part.lines())


def test_each_text_has_a_row_with_its_source():
    table = _table()
    assert list(table) == [*TRANSLATIONS, *LANGUAGES]
    for name, source in {**TRANSLATIONS, **LANGUAGES}.items():
        assert table[name][7].replace("`", "").startswith(source.source)


@pytest.mark.data
def test_counts_are_those_of_the_folder_of_real_data():
    folder = {row[0]: row for row in _rows((real_data() / "README.md").read_text()) if len(row) == 5}
    for row in _table().values():
        published = folder[row[0]][1:4]
        if row[1] == "`tinyshakespeare`":
            assert sum(n for cell in row[2:5] for n in _numbers(cell)) == _numbers(published[0])[0]
        else:
            assert row[2:5] == published


@pytest.mark.data
def test_counts_are_those_of_loading():
    table = _table()
    text = captions()
    tests = [number for number in _numbers(table["multi30k"][4]) if number not in (2016, 2017, 2018)]
    assert tests == [len(pairs) for pairs in text.tests.values()]
    assert [*map(_numbers, table["multi30k"][2:4])] == [[len(text.train)], [len(text.validation)]]
    talks = load_translation("iwslt14", data_dir=real_data())
    found = [_numbers(cell)[0] for cell in table["iwslt14"][2:5]]
    assert found == [len(talks.train), len(talks.validation), len(talks.tests["test"])]
    articles = load_language("wikitext2", data_dir=real_data())
    found = [_numbers(cell)[0] for cell in table["wikitext2"][2:5]]
    assert found == [_words(part) for part in (articles.train, articles.validation, articles.test)]
    plays = load_language("tinyshakespeare", data_dir=real_data())
    found = [_numbers(cell)[0] for cell in table["tinyshakespeare"][2:5]]
    assert found == [
        sum(len(line) + 1 for line in part.lines()) for part in (plays.train, plays.validation, plays.test)
    ]
