"""Import every module and every public name of the installed hypersst."""

import importlib
import pathlib
import pkgutil
import warnings

# geoopt and PyG compile helpers with torch.jit.script when imported; torch deprecates that.
warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)

import hypersst

count = 0
installed = pathlib.Path(hypersst.__file__).parent
assert "site-packages" in installed.parts, f"imported from {installed}, not from the wheel"
for info in [None, *pkgutil.walk_packages(hypersst.__path__, "hypersst.")]:
    module = importlib.import_module(info.name if info else "hypersst")
    for name in getattr(module, "__all__", ()):
        getattr(module, name)
        count += 1
print(f"{count} public names import")
