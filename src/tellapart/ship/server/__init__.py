"""A model served over HTTP: pictures in, answers with their doubt out, and no more than can be done in time.

From the wire to the answer, one module a step:

    connections.py   bounds on connections and on slow senders of headers
    gate.py          every request: who asks, headers, one line in the log, counts; refuses what is too much
    access.py        who may ask: a token, or on this machine alone nobody from another page
    app.py           the routes, and what OpenAPI says of them (openapi.py)
    body.py, form.py a body into pictures, bounded in bytes, seconds and files
    admission.py     whether what waits can be answered within the deadline
    workers.py       threads that decode and compute
    current_model.py the model, loaded, warmed, and exchanged when its file changes
    server.py        all of it put together, started and stopped
"""
