"""The built-in data sets: toy scenes, the VOC devkit, COCO, Hugging Face data sets, and a folder of your own photos."""
