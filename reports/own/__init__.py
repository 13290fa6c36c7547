"""Sweeps of the user, and what every sweep without a published table shares."""
