"""hypersst.experiments."""
