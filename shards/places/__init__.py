"""Where data lie, and the files of a node's cache folder."""

from camsweep.shards.places.place import Place, as_place, redact

__all__ = ["Place", "as_place", "redact"]
