"""Start weights by name: the table of published ones, the folder that holds them, and downloads on request."""

from .folder import WORDS, by_name, folder, locate, path_of
from .table import TABLE, Published, Source, published

__all__ = ["TABLE", "WORDS", "Published", "Source", "by_name", "folder", "locate", "path_of", "published"]
