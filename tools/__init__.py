"""Tools: what builds the project. The Makefile calls it; the functions and `ops` do not."""
