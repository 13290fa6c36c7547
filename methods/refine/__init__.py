"""From maps to pseudo masks: denseCRF, random walk, IRN."""
