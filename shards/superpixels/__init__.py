"""SLIC superpixels of whole splits: computed once, read as often as wanted."""

from camsweep.shards.superpixels.opening import open_superpixels, precompute
from camsweep.shards.superpixels.reader import SuperpixelReader

__all__ = ["SuperpixelReader", "open_superpixels", "precompute"]
