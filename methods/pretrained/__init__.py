"""Weight files of other projects: how they are read and what their tensors are called here."""
