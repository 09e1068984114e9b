# tellapart serve, with a model that is given to the container:
#
#     docker build -t tellapart .
#     docker run --rm --read-only --cap-drop ALL --security-opt no-new-privileges -p 127.0.0.1:8000:8000 \
#         -v "$PWD/model.onnx:/model.onnx:ro" -e TELLAPART_TOKEN="$(openssl rand -hex 16)" tellapart
#
# Nothing is written to a disk, and nothing runs as root. docs/serve.md says more.

FROM python:3.13-slim AS build

WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/tellapart \
    && /opt/tellapart/bin/python -m pip install --no-cache-dir --disable-pip-version-check '.[serve]'

FROM python:3.13-slim

# What ONNX Runtime would send to its makers stays unsent.
ENV PATH="/opt/tellapart/bin:$PATH" \
    HOME=/nonexistent \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=build /opt/tellapart /opt/tellapart
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
CMD ["tellapart", "serve", "/model.onnx", "--host", "0.0.0.0", "--port", "8000"]
