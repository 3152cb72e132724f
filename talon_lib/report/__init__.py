"""From the table of a sweep to one self-contained HTML page."""
