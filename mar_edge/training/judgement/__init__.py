"""What training makes of its validation clips: which weights to keep, when to stop, what to use, and what to say of it."""
