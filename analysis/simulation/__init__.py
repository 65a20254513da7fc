"""From result files of `doublep simulate` to figures, tables and one report."""
