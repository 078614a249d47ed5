"""Results on disk: records, training summaries, partial work, identities of references. `load` reads all as a table."""

from bench.store.table import load

__all__ = ["load"]
