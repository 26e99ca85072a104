"""What a person sees while a stream runs."""
