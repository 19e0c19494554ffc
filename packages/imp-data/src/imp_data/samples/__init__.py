"""Real sample corpora, written as ordinary files: what the quickstart learns from.

Five of them, from packages of the `samples` extra, without a download. See docs/SAMPLES.md.
"""

from imp_data.samples.write import ALL, Written, write_samples

__all__ = ["ALL", "Written", "write_samples"]
