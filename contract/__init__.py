"""The contract checks: what our connectors ask of vendors, held against the vendors' own OpenAPI files.

``make contract SPECS=DIR``. ``preparation`` makes a file fit for a mock, ``prism`` serves it, ``cases`` have a real
connector ask everything it can ask, and ``peer`` stands between the two and has every request judged: by the mock, and
by ``schema``, which looks where the mock does not.
"""
