"""Many small files of a store into few, and reading both as one."""
