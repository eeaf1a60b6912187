"""Local files: opened only if they are regular, read within size limits, written whole or not at all."""
