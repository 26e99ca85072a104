"""A camera that moves through a drawn world."""
