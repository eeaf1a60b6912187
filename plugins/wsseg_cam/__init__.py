"""Plain class activation maps: the baseline of every table."""
