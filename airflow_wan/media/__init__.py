"""The media that go into a request: where they are, whether they fit the gateway's limits, and how it gets them.

`prepare` has the two functions that the operators call; the other modules are its parts.
"""
