"""One self-contained HTML file with the results of a run, or of several side by side."""

from .collect import collect
from .page import write_report

__all__ = ["collect", "write_report"]
