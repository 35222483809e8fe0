"""Import every module and every public name of the installed hypersst, in an environment without extras."""

import importlib
import pathlib
import pkgutil
import warnings

# geoopt and PyG compile helpers with torch.jit.script when imported; torch deprecates that.
warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)

import hypersst

# Their classes derive from those of packages that an extra brings: here they must say which one.
EXTRAS = {"hypersst.integrations.transformers": "transformers", "hypersst.integrations.lightning": "lightning"}

count = 0
installed = pathlib.Path(hypersst.__file__).parent
assert "site-packages" in installed.parts, f"imported from {installed}, not from the wheel"
for info in [None, *pkgutil.walk_packages(hypersst.__path__, "hypersst.")]:
    if info and info.name in EXTRAS:
        said = ""
        try:
            importlib.import_module(info.name)
        except ImportError as error:
            said = str(error)
        assert f"pip install hypersst[{EXTRAS[info.name]}]" in said, f"{info.name} does not name its extra: {said!r}"
        continue
    module = importlib.import_module(info.name if info else "hypersst")
    for name in getattr(module, "__all__", ()):
        getattr(module, name)
        count += 1
print(f"{count} public names import")
