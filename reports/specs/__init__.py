"""Artefact specs: one YAML file a table or figure, in a folder a paper."""
