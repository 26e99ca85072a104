"""What the user sees while a stream runs."""
