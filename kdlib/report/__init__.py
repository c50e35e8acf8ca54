"""What the numbers become: tables, figures, verdicts, pages and the book."""
