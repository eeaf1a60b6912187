"""The commands, a file for those that belong together. They parse, call one module, and print."""
