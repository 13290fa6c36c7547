"""What to run and what came out: specs, plans, trial ids, Arrow results, the shipped sweeps."""
