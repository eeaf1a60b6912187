"""One self-contained HTML file that shows what a run, or several side by side, brought."""

from .page import write_report

__all__ = ["write_report"]
