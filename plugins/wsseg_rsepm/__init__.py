"""RecurSeed + EdgePredictMix (Jo, Yu & Kim, arXiv 2204.06754)."""
