"""A stand-in for the Wan gateways of APIYI and DashScope, written from their documentation alone."""
