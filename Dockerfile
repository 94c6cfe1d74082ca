# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
# ring compiles a little C.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc=4:12.2.0-3 libc6-dev=2.36-* \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Alone and without tests or examples: only so the certificate check is certainly in it.
RUN cargo build --release --locked --bin tautan

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin tautan \
    && install -d -o tautan -g tautan -m 0700 /data
COPY --from=build /src/target/release/tautan /usr/local/bin/tautan
# The roots that a Redis over TLS is checked against.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 10001:10001
ENV TAUTAN_LISTEN=0.0.0.0:8080 \
    TAUTAN_DATA_DIR=/data
VOLUME /data
EXPOSE 8080
# SIGTERM drains; give it longer than the program's own grace.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/tautan"]
