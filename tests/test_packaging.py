"""The tree and what setup.cfg says of it agree."""

import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def options() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def _folders_with_init() -> set[str]:
    found = set()
    for top in ("hypersst", "models", "datasets", "experiments"):
        for init in (ROOT / top).rglob("__init__.py"):
            folder = init.parent.relative_to(ROOT)
            # hypersst/models and the others are links to the folders beside it.
            if not any(parent.is_symlink() for parent in [init.parent, *init.parents]):
                found.add(str(folder))
    return found


def test_every_folder_with_an_init_is_listed_by_its_installed_name(options: configparser.ConfigParser) -> None:
    packages = options["options"]["packages"].split()
    folders = dict(line.split(" = ") for line in options["options"]["package_dir"].strip().splitlines())
    listed = {folders.get(name, name.replace(".", "/")) for name in packages}
    assert listed == _folders_with_init()


@pytest.mark.parametrize("name", ["models", "datasets", "experiments"])
def test_the_links_in_the_library_point_beside_it(name: str) -> None:
    link = ROOT / "hypersst" / name
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{name}"


def test_torch_is_pinned_where_it_is_installed_and_open_in_the_metadata(options: configparser.ConfigParser) -> None:
    requirements = [r for r in options["options"]["install_requires"].splitlines() if r.startswith("torch")]
    assert "torch>=2.6" in requirements
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()


def test_library_code_never_imports_what_builds_on_it() -> None:
    below = {
        "hypersst": ("models", "datasets", "experiments"),
        "models": ("experiments",),
        "datasets": ("experiments",),
    }
    for top, above in below.items():
        for file in (ROOT / top).rglob("*.py"):
            if any(parent.is_symlink() for parent in file.parents):
                continue
            text = file.read_text()
            for name in above:
                assert f"import hypersst.{name}" not in text, f"{file} imports {name}"
                assert f"from hypersst.{name}" not in text, f"{file} imports {name}"
