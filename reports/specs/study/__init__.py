"""The tables and figures of the study."""
