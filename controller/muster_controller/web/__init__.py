"""REST under /v1, for the command line, the Python API and other programs.

In scope: routes, request shapes, paging, sizes, authentication, errors as JSON, server-sent events.
Not in scope: what the requests do (service), who listens on which socket (cli).
"""
