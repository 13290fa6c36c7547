"""The stages after the maps: pseudo masks, a segmentation network, its test."""
