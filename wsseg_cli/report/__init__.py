"""One self-contained HTML file that shows what a run, or several side by side, brought."""

from .collect import collect
from .page import write_report

__all__ = ["collect", "write_report"]
