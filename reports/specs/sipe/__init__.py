"""The tables and figures of SIPE."""
