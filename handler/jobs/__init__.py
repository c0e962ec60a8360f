"""Jobs: what the functions do; they know the outside only as protocols."""
