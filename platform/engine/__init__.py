"""Ray Tune places workers and replaces those that die; the store keeps what must survive them."""
