"""The same loader over the pictures and clips themselves, decoded as they are needed."""
