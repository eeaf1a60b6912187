"""The commands, one file per group. They parse, call one module, and print."""
