"""The built-in data sets: toy scenes, the VOC devkit, and a folder of one's own photos."""
