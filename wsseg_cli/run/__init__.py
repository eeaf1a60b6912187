"""One run directory: what is asked of each stage, what is done, who works in it."""
