"""The toy scenes: procedural pictures of six classes with masks, labels and imperfect saliency maps.

Two traps are built in. The body of an object is shared by several classes and by things of no class, so only a small
part reveals the class; and rails lie under every train and hardly anywhere else.
"""

from .compose import Scene, draw_scene
from .objects import CLASSES

DRAWING = 1
"""Version of the drawings; a new number gives every scene's files a new folder."""

SIZE = (160, 128)
"""Width and height of a scene in pixels; the published table was made with these."""

__all__ = ["CLASSES", "DRAWING", "SIZE", "Scene", "draw_scene"]
