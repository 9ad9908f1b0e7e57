"""What comes home: fetched, accepted, put at its place."""
