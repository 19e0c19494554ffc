"""IMP's data path: files to multi-resolution shards, shards to batches."""

# Written into data sets. A constant, since run from its sources a package has no metadata.
__version__ = "0.1.0"
