"""The embedded data set: rendered, deterministic from a seed, nothing downloaded."""
