"""Where data lie, and the files of a node's cache folder."""

from camsweep.shards.places.place import ChangedFile, LostFile, MissingFile, Place, as_place, redact

__all__ = ["ChangedFile", "LostFile", "MissingFile", "Place", "as_place", "redact"]
