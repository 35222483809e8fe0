"""Sets for translation by name: counts, alignment, checksums."""

import shutil

import pytest
from data_cases import real_data
from text_cases import captions

from hypersst.datasets import TRANSLATIONS, SentencePairs, load_translation, text_sources
from hypersst.datasets.translation import pair_lines
from hypersst.errors import DataError

_FILES = (*text_sources.MULTI30K, *text_sources.IWSLT14, *text_sources.IWSLT14_SAMPLES, *text_sources.WIKITEXT2)


def _shared_digits(source: tuple[str, ...], target: tuple[str, ...]) -> float:
    """Share of the sentences with a number in digits whose translations have the same."""
    found = [
        [{*filter(str.isdigit, side.replace(".", " ").split())} for side in pair]
        for pair in zip(source, target, strict=True)
    ]
    found = [pair for pair in found if pair[0]]
    return sum(pair[0] == pair[1] for pair in found) / len(found)


def test_every_file_has_a_pinned_address_and_a_checksum():
    files = (*_FILES, text_sources.SHAKESPEARE)
    assert len({file.path for file in files}) == len({file.url for file in files}) == len(files) == 12 + 4 + 4 + 3 + 1
    for file in files:
        assert len(bytes.fromhex(file.url.split("/")[5])) == 20
        assert len(bytes.fromhex(file.sha256)) == 32


@pytest.mark.data
def test_checksums_are_those_of_the_folder_of_real_data():
    listed = dict(reversed(line.split()) for line in (real_data() / "SHA256SUMS").read_text().splitlines())
    here = {*_FILES, *text_sources.IWSLT14_JOINED, text_sources.SHAKESPEARE} - {*text_sources.IWSLT14_SAMPLES}
    assert {file.path: file.sha256 for file in here} == {file.path: listed[file.path] for file in here}


def test_pairs_keep_step_and_know_their_length():
    pairs = SentencePairs(("a", "b"), ("c", "d"))
    assert (len(pairs), list(pairs)) == (2, [("a", "c"), ("b", "d")])
    with pytest.raises(ValueError, match="`source` and `target` must have equally many sentences, got 1 and 2"):
        SentencePairs(("a",), ("c", "d"))


def test_pairs_with_an_empty_side_are_left_out_and_counted():
    assert pair_lines(["a", "", "c"], ["x", "y", ""], ("f", "g")) == SentencePairs(("a",), ("x",), 2)
    with pytest.raises(ValueError, match="must have equally many lines, got 2 in f and 1 in g"):
        pair_lines(["a", "b"], ["x"], ("f", "g"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "multi3k"}, r"`dataset` must be one of multi30k, iwslt14, got 'multi3k'; did you mean multi30k\?"),
        ({"name": "iwslt17"}, "`dataset` must be one of multi30k, iwslt14, got 'iwslt17'"),
        ({"name": "multi30k", "source": "fr"}, "`source` must be one of de, en, got 'fr'"),
        ({"name": "multi30k", "target": "fr"}, "`target` must be one of de, en, got 'fr'"),
        ({"name": "multi30k", "source": "en"}, "`target` must be another language than `source`, got 'en' twice"),
    ],
)
def test_unknown_names_are_refused_before_any_file_is_looked_for(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_translation(**arguments, data_dir=tmp_path / "absent")


@pytest.mark.data
def test_captions_have_the_published_counts_and_stand_side_by_side():
    text = captions()
    assert (len(text.train), len(text.validation)) == (29000, 1014)
    assert {name: len(pairs) for name, pairs in text.tests.items()} == {
        "test2016": 1000,
        "test2017": 1000,
        "test2017-mscoco": 461,
        "test2018": 1071,
    }
    *_, last = text.train
    first = next(iter(text.train))
    assert first == (
        "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
        "Two young, White males are outside near many bushes.",
    )
    assert last[0].startswith("Ein Mann in Shorts und Hawaiihemd lehnt sich")
    assert last[1].startswith("A man in shorts and a Hawaiian shirt leans")
    assert _shared_digits(text.train.source, text.train.target) > 0.75
    assert _shared_digits(text.train.source[:-1], text.train.target[1:]) < 0.1
    assert text.describe().startswith("multi30k de-en, pairs: train 29,000, validation 1,014, test2016 1,000")


@pytest.mark.data
def test_the_other_direction_turns_each_pair_round():
    turned = load_translation("multi30k", source="en", target="de", data_dir=real_data())
    assert (turned.source, turned.target) == ("en", "de")
    assert (turned.validation.source, turned.validation.target) == (
        captions().validation.target,
        captions().validation.source,
    )


@pytest.mark.data
def test_talks_are_whole_words_and_say_that_they_are_a_part():
    text = load_translation("iwslt14", data_dir=real_data())
    assert (len(text.train), len(text.validation), {k: len(v) for k, v in text.tests.items()}) == (
        8800,
        7283,
        {"test": 6750},
    )
    sentences = [*text.train.source, *text.train.target, *text.validation.source, *text.tests["test"].target]
    assert not any("@@" in sentence for sentence in sentences)
    assert text.validation.source[0] == "es ist diese pyramide ."
    assert "8,800 of the 160,239 published training pairs" in text.describe()


@pytest.mark.data
def test_a_folder_without_the_joined_training_set_needs_its_two_samples(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERSST_CACHE", str(tmp_path / "cache"))
    source = real_data() / "iwslt14.tokenized.de-en"
    for name in ("valid.de", "valid.en", "test.de", "test.en"):
        shutil.copyfile(source / name, tmp_path / name)
    asked = []

    def no_network(url, **options):
        asked.append(url)
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(DataError, match=r"train-lr4200.de, train-lr4200.en, train-lr4600.de, train-lr4600.en are not"):
        load_translation("iwslt14", data_dir=tmp_path)
    assert asked == [text_sources.IWSLT14_SAMPLES[0].url]


def test_samples_are_joined_in_their_order(monkeypatch):
    contents = {"valid.de": b"v\n", "valid.en": b"v\n", "test.de": b"t\n", "test.en": b"t\n"}
    samples = [(n, language) for n in (4600, 4200) for language in ("de", "en")]
    contents |= {f"train-lr{n}.{language}": f"{n}@@ {language}\n".encode() for n, language in samples}

    def read(files, data_dir):
        return {file.name: contents[file.name] for file in files}

    monkeypatch.setattr("hypersst.datasets.translation.read_files", read)
    monkeypatch.setattr("hypersst.datasets.translation.find_file", lambda file, data_dir: None)
    text = load_translation("iwslt14")
    assert list(text.train) == [("4600de", "4600en"), ("4200de", "4200en")]


@pytest.mark.data
@pytest.mark.parametrize("name", TRANSLATIONS)
def test_a_set_is_read_from_a_folder_that_stays_as_it_is(name, monkeypatch, tmp_path):
    monkeypatch.setenv("HYPERSST_CACHE", str(tmp_path / "cache"))
    before = sorted(real_data().rglob("*"))
    load_translation(name, data_dir=real_data())
    assert sorted(real_data().rglob("*")) == before
    assert not (tmp_path / "cache").exists()


@pytest.mark.data
def test_a_truncated_file_is_refused(tmp_path):
    shutil.copytree(real_data() / "multi30k" / "raw", tmp_path / "raw")
    path = tmp_path / "raw" / "val.en.gz"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"val.en.gz must have SHA-256 14f7d25d"):
        load_translation("multi30k", data_dir=tmp_path)
