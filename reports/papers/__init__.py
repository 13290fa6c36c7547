"""Published numbers of the papers, one YAML file a paper."""
