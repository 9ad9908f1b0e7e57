"""What goes into a request: found, measured, and made reachable for the gateway."""
