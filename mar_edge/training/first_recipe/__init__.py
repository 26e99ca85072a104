"""Makes the first recipe for somebody's own clips: what fits them, this device, and the minutes that there are."""
