"""Who works on what: leases in the store, and locks where the disk has them."""
