"""The commands, a file for those that belong together. They parse, call one room, and print."""
