"""Recognition on one stream: session, decision, events, results."""
