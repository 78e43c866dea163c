"""What a dataset of features reveals of the pictures and the people behind it, measured."""
