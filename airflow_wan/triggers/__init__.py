"""The triggers, which ask on the event loop."""
