"""Estimates what a training needs: memory, disk, time; and whether the machine has it."""
