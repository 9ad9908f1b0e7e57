"""The finished video: downloaded, inspected, and published whole or not at all; nothing of the protocol here."""
