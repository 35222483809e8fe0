"""Sparse Spectral Training inside other people's trainers; each module needs the extra of its name.

`hypersst.integrations.transformers` and `hypersst.integrations.lightning` each have an ``SSTCallback``. Import the one
you need: this package imports neither, so that it works without both.
"""
