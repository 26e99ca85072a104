"""What a training needs of the machine: memory, disk, time; and whether it is there."""
