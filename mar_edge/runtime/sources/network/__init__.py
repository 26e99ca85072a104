"""Network cameras and videos at web addresses, through PyAV."""
