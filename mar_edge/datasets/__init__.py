"""Lists of videos, their clips and their checks, without torch."""
