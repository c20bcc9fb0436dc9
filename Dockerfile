# The image of everything in docker-compose.yaml that is ours: the command line with its Python, and the project's code.
FROM python:3.11.15-slim-bookworm

ENV BILLING_HOME=/var/lib/billing \
    PYTHONPATH=/opt/billing/include \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

RUN useradd --system --uid 10001 --home-dir "$BILLING_HOME" --shell /usr/sbin/nologin billing \
    && install --directory --owner=billing --group=billing --mode=0700 "$BILLING_HOME"

WORKDIR /opt/billing
# Packages first: they change seldom, and are nearly all of the image.
COPY requirements.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check --requirement requirements.txt

# What .dockerignore lets through; it belongs to root, so that what runs can't change what runs.
COPY . ./
RUN python -m compileall -q dags include plugins

USER billing
ENTRYPOINT ["python", "-P", "-m", "metering.cli"]
