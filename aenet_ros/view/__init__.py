"""The web page of `aenet view` and its server."""
