"""Side-by-side measurements of the function and what people would write instead."""
