"""Share what a frozen deep model saw instead of the pictures themselves."""

__version__ = "0.1.0"
