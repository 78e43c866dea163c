"""Datasets made ready for others: the card, a page of their own."""
