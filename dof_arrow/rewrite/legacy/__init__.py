"""Files of the older versions of DoF, read without running anything that they hold."""
