"""Searches as exhibits: what the points of a study say of its settings."""
