"""What a graph costs and how exact it is, on this device."""
