"""What people would write or take instead: readers of vectors, and scripts that make features."""
