"""The whole live path with real servers: outages, and many streams on one engine."""
