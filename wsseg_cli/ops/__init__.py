"""Mathematics on tensors and arrays: no paths, no recipe, no device choice."""
