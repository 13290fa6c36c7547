"""The tables and figures of CPMC."""
