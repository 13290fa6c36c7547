"""The tables and figures of PPL."""
