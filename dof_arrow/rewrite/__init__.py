"""Datasets made from datasets: convert, merge, edit, repair, the JSON form."""
