"""Refiners that learn pairwise affinities and walk along them: PSA (AffinityNet) and IRN."""
