"""The files of texts: where each comes from and what its checksum is.

Addresses are pinned to a commit. All files were compared with the git blobs of that commit.
"""

from __future__ import annotations

from hypersst.datasets.files import DataFile

__all__ = ["IWSLT14", "IWSLT14_JOINED", "IWSLT14_SAMPLES", "MULTI30K", "SHAKESPEARE", "WIKITEXT2"]

_GITHUB = "https://raw.githubusercontent.com"
_MULTI30K_URL = f"{_GITHUB}/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw"
_IWSLT_URL = f"{_GITHUB}/johntzwei/nmt_iwslt"
_IWSLT_COMMITS = ("7750e75a0379bacdc3ad2f49da883116a69b3691", "663fc3e8dfc9a87e276323a18fd271e7a8dfc5ed")
_WIKITEXT_URL = (
    f"{_GITHUB}/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2"
)
_SHAKESPEARE_URL = f"{_GITHUB}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare"
_IWSLT_FOLDER = "iwslt14.tokenized.de-en"


def _iwslt(name: str, path: str, checksum: str, commit: str = _IWSLT_COMMITS[0]) -> DataFile:
    return DataFile(f"{_IWSLT_FOLDER}/{name}", f"{_IWSLT_URL}/{commit}/{_IWSLT_FOLDER}/{path}", checksum)


MULTI30K = tuple(
    DataFile(f"multi30k/raw/{name}.gz", f"{_MULTI30K_URL}/{name}.gz", checksum)
    for name, checksum in {
        "train.de": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
        "train.en": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
        "val.de": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
        "val.en": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
        "test_2016_flickr.de": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
        "test_2016_flickr.en": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
        "test_2017_flickr.de": "a2c89666db00c495cd8513b9d708d5a3acc205d7de312ef2bf5fb7ebc1540aee",
        "test_2017_flickr.en": "76a444ee25172e72695cddb13ae4a3bda59430617be88e0bb46b60504f054074",
        "test_2017_mscoco.de": "799e4854c25d601cb6cb6be29eabe5667734c61ace2f495e03e429031a0bc338",
        "test_2017_mscoco.en": "aab300bfb4427697987e02cd0aacd44bfe8aa50456231b6474c08038bbed2b58",
        "test_2018_flickr.de": "ddd0130c7d97482dc5197a02141dae8dd79f20f03586c480d675c09a32daf608",
        "test_2018_flickr.en": "ef4f4844037d4c5dea75c9a8ed5fd78905967a26f67c255e230cc9780032654d",
    }.items()
)
"""German and English of Multi30k, task 1 (no licence; for the images, research and education, non-commercial)."""

IWSLT14 = (
    _iwslt("valid.de", "10k_bpe/valid.de", "27660c689b99b54f0f858775527ff351c520f7581be90aac84b6d16f14624c9e"),
    _iwslt("valid.en", "10k_bpe/valid.en", "1b1f2246625cc907fbd9c8195776434b24687c3fc4e068c6f3d3ec542846823f"),
    _iwslt("test.de", "10k_bpe/test.de", "0bca28e500495a4a9694ae134b0ae35526a280cb0966abbcf3c9af3edc3dfe10"),
    _iwslt("test.en", "10k_bpe/test.en", "c2951533a0b03557599978ea1726c440bdbb8210454d1e9ef3b87c2b6228ac43"),
)
"""Validation and test sets of IWSLT'14 as fairseq's script makes them, in BPE (TED, CC BY-NC-ND 3.0)."""

IWSLT14_SAMPLES = (
    _iwslt(
        "train-lr4600.de",
        "lr_samples/first/train.de",
        "22edc946d289c487c22e116b86527dc7efd139e962ed3d61f92b68883dcc5517",
    ),
    _iwslt(
        "train-lr4600.en",
        "lr_samples/first/train.en",
        "03d8d5b0528c3b8dea05e7eed701ad66a88fe351434ff2ff3dc32b0cb6ce360c",
    ),
    _iwslt(
        "train-lr4200.de",
        "lr_samples/first/train.de",
        "7435c0cd38a80cfb1358cde8125aff646b1192cefc89e27adc173b49aa8f6d87",
        _IWSLT_COMMITS[1],
    ),
    _iwslt(
        "train-lr4200.en",
        "lr_samples/first/train.en",
        "db94c372a0d358edec84704dac80b3b13badcbec9099a741dcce513779ec59b1",
        _IWSLT_COMMITS[1],
    ),
)
"""Two samples of the training set, in two different BPEs: the same words, one after the other, as `IWSLT14_JOINED`."""

IWSLT14_JOINED = tuple(
    DataFile(f"{_IWSLT_FOLDER}/{name}", "", checksum)
    for name, checksum in {
        "train-lr8800.de": "830e1ec6c20adfc738f1fa6417f623defc35eb3164aee4f3ffedb7d5102c0b02",
        "train-lr8800.en": "4ab268d8e5902a942188286abbfc0494238516a64625bb3654db56b9620b0550",
    }.items()
)
"""The two samples as one file a language, in a local folder only: no address holds them."""

WIKITEXT2 = tuple(
    DataFile(f"wikitext-2/{name}", f"{_WIKITEXT_URL}/{name}", checksum)
    for name, checksum in {
        "train.txt": "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
        "valid.txt": "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        "test.txt": "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
    }.items()
)
"""WikiText-2 in words (CC BY-SA)."""

SHAKESPEARE = DataFile(
    "tinyshakespeare/input.txt",
    f"{_SHAKESPEARE_URL}/input.txt",
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)
"""40,000 lines of plays (public domain)."""
