"""Jobs: what the functions do; of the outside they know protocols only."""
