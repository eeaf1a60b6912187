"""PuzzleCAM (Jo & Yu, ICIP 2021)."""
