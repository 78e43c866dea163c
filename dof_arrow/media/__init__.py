"""Pictures and clips to pixels."""
