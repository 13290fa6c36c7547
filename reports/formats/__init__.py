"""The text formats of a report's tables: Markdown, LaTeX, CSV and JSON, and Arrow for notebooks."""
