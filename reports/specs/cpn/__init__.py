"""The tables and figures of CPN."""
